package binance

import (
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A connection that stands, acknowledges and then says nothing: every expected stream is reported as never heard, on the
// receipt clock, and the connection is not taken for a success.
func TestAcknowledgedAndSilent(t *testing.T) {
	out := &sourcetest.Memory{}
	symbols, channels := []string{"BTC-USDT-PERP"}, []string{venue.Trades, venue.Marks}
	m := machineOf(t, out, symbols, channels)
	start := schemas.Time(1_723_161_255_000_000_000)
	pump := feed.NewPump(m)
	cfg := FuturesDefaults()
	cfg.Symbols, cfg.Channels = symbols, channels
	dialled, err := cfg.Spec()
	if err != nil || len(dialled.Connections) != 1 || dialled.Connections[0].URL != "wss://fstream.binance.com/market/stream?streams=btcusdt@aggTrade/btcusdt@markPrice@1s" {
		t.Fatalf("addresses %v, %v", dialled, err)
	}
	ack := []byte(`{"result":null,"id":1}`)
	if isData(ack) || !isData([]byte(`{"stream":"x","data":{}}`)) {
		t.Error("an acknowledgement counts as data, or data does not")
	}
	for _, f := range []capture.Frame{
		{Kind: capture.Connect, Conn: "binance.usdm.0/1", At: start, URL: dialled.Connections[0].URL},
		{Kind: capture.Receive, Conn: "binance.usdm.0/1", At: start + 1, Data: ack},
	} {
		if err := pump.Frame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := pump.Advance(start.Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	for _, h := range sourcetest.Of[*schemas.FeedHealth](out) {
		if !h.Connected || h.SilentNs != nil || h.Records != 0 || h.UnknownMessages != 0 {
			t.Errorf("health %v", h)
		}
		named[h.Meta.Symbol+" "+h.Channel]++
	}
	if named["BTC-USDT-PERP trades"] < 3 || named["BTC-USDT-PERP marks"] < 3 || len(named) != 2 {
		t.Errorf("named %v, want trades and marks each second from the fifth on", named)
	}
}

// machineOf makes a machine of the futures market for some symbols.
func machineOf(t *testing.T, out sources.Publisher, symbols, channels []string) *venue.Machine {
	t.Helper()
	cfg := FuturesDefaults()
	cfg.Symbols = symbols
	if channels != nil {
		cfg.Channels = channels
	}
	s, err := cfg.Spec()
	if err != nil {
		t.Fatal(err)
	}
	m, err := venue.NewMachine(s, cfg.Config, out, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
