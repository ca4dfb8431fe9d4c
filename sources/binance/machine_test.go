package binance

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

const began = schemas.Time(1_672_515_780_000_000_000)

// script writes frames in short: what a connection does at so many milliseconds.
type script struct{ frames []capture.Frame }

func (s *script) at(ms int, kind capture.Kind, conn, data string) *script {
	f := capture.Frame{Kind: kind, Conn: conn, At: began.Add(time.Duration(ms) * time.Millisecond)}
	switch kind {
	case capture.Connect, capture.HTTP:
		f.URL = data
	default:
		f.Data = []byte(data)
	}
	s.frames = append(s.frames, f)
	return s
}

// trade is a message that the venue stamps at ms and that comes 20 ms later.
func (s *script) trade(ms int, conn string, id int) *script {
	stamp := int64(began)/1e6 + int64(ms)
	return s.at(ms+20, capture.Receive, conn, fmt.Sprintf(`{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"100.10","q":"1","T":%d,"m":false}`, stamp, id, stamp))
}

func TestReconnect(t *testing.T) {
	var s script
	address := "wss://x/stream?streams=btcusdt@trade"
	s.at(0, capture.Connect, "a/1", address).trade(100, "a/1", 1).trade(200, "a/1", 2)
	s.at(1000, capture.Close, "a/1", "broken")
	s.at(2000, capture.Connect, "a/2", address).trade(2100, "a/2", 2).trade(2200, "a/2", 6).trade(2300, "a/2", 7)
	// Renewal: the next session stands before this one ends, and both carry the same trades.
	s.at(3000, capture.Connect, "a/3", address).trade(3100, "a/2", 8).trade(3100, "a/3", 8)
	s.at(3200, capture.Close, "a/2", "renewed").trade(3300, "a/3", 9)

	m, out := venuetest.Fed(t, spec(Spot), s.frames)
	var got []string
	for _, e := range out.Entries() {
		switch msg := e.Message.(type) {
		case *schemas.Trade:
			got = append(got, fmt.Sprintf("%s/%d", msg.Meta.Id, msg.Meta.Epoch))
		case *schemas.Gap:
			missing := "?"
			if msg.Missing != nil {
				missing = strconv.FormatUint(*msg.Missing, 10)
			}
			got = append(got, fmt.Sprintf("gap %s %s %s from %d to %d", msg.Channel, msg.Cause, missing,
				schemas.Time(msg.From).Sub(began)/time.Millisecond, max(schemas.Time(msg.To).Sub(began), 0)/time.Millisecond))
		}
	}
	want := []string{
		"1/1", "2/1", "gap trades disconnect ? from 200 to 0",
		"gap trades disconnect 3 from 200 to 2200", "6/2", "7/2", "8/2", "9/3",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := m.Core().Health.Reconnects(); n != 2 {
		t.Errorf("%d reconnects, want 2", n)
	}
}

// The first message after a subscription may be old: it is marked, published, and moves no time back.
func TestOldTradeAtSubscribe(t *testing.T) {
	var s script
	s.at(0, capture.Connect, "a/1", "wss://x/stream?streams=btcusdt@trade").trade(100, "a/1", 1)
	for i := range 30 {
		s.trade(200+i*100, "a/1", 2+i)
	}
	s.at(3300, capture.Close, "a/1", "").at(3400, capture.Connect, "a/2", "wss://x/stream?streams=ethusdt@trade")
	stamp, old := int64(began)/1e6+3500, int64(began)/1e6-25_500
	s.at(3520, capture.Receive, "a/2", fmt.Sprintf(`{"e":"trade","E":%d,"s":"ETHUSDT","t":1,"p":"1","q":"1","T":%d,"m":false}`, stamp, old))
	_, out := venuetest.Fed(t, spec(Spot), s.frames)
	var ticked schemas.Time
	flagged := 0
	for _, e := range out.Entries() {
		if e.Type == "Tick" && e.Topic == schemas.MarketTrades.Name {
			if at := schemas.TimeOf(e.Message); at <= ticked {
				t.Fatalf("tick %v after %v", at, ticked)
			}
			ticked = schemas.TimeOf(e.Message)
		}
		if tr, ok := e.Message.(*schemas.Trade); ok && tr.Meta.Flags&4 != 0 {
			flagged++
			if tr.Meta.Symbol != "ETH-USDT" {
				t.Errorf("%s %s is marked as old", tr.Meta.Symbol, tr.Meta.Id)
			}
		}
	}
	if flagged != 1 {
		t.Errorf("%d trades marked as old, want 1", flagged)
	}
}

// Spot quotes have no time of their own: they get the receipt as the venue's clock would show it, and say so.
func TestQuotesWithoutTime(t *testing.T) {
	_, out := venuetest.Play(t, spotFile)
	for _, q := range sourcetest.Of[*schemas.Quote](out) {
		if q.Meta.TimeSource != schemas.TimeSource_TIME_SOURCE_RECEIPT {
			t.Fatalf("quote %v", q)
		}
		if d := schemas.Time(q.Meta.ReceiveTime).Sub(schemas.Time(q.Meta.EventTime)).Abs(); d > 2*time.Second {
			t.Fatalf("event time %v from the receipt", d)
		}
	}
}

func TestDerivatives(t *testing.T) {
	var s script
	s.at(0, capture.Connect, "a/1", "wss://x/market/stream?streams=btcusdt@markPrice@1s/btcusdt@forceOrder")
	ms := int64(began) / 1e6
	mark := fmt.Sprintf(`{"e":"markPriceUpdate","E":%d,"s":"BTCUSDT","p":"11794.15","i":"11784.62","P":"11784.25","r":"0.00038167","T":%d}`, ms+100, ms+3_600_000)
	force := fmt.Sprintf(`{"e":"forceOrder","E":%d,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9912.5","X":"FILLED","l":"0.010","z":"0.012","T":%d}}`, ms+200, ms+190)
	s.at(110, capture.Receive, "a/1", mark).at(111, capture.Receive, "a/1", mark).at(210, capture.Receive, "a/1", force).at(211, capture.Receive, "a/1", force)
	s.at(500, capture.Close, "a/1", "")
	_, out := venuetest.Fed(t, spec(USDM), s.frames)
	marks, funding, forced := sourcetest.Of[*schemas.Mark](out), sourcetest.Of[*schemas.Funding](out), sourcetest.Of[*schemas.Liquidation](out)
	if len(marks) != 1 || len(funding) != 1 || len(forced) != 1 {
		t.Fatalf("%d marks, %d funding rates, %d liquidations, want one of each", len(marks), len(funding), len(forced))
	}
	if m := marks[0]; m.MarkPrice.Text() != "11794.15" || m.SettlePrice.Text() != "11784.25" || m.Asset != "BTC" || m.Meta.Symbol != "BTC-USDT-PERP" {
		t.Errorf("mark %v", m)
	}
	if f := funding[0]; f.Rate.Text() != "0.00038167" || f.NextTime != (ms+3_600_000)*1e6 || f.Kind != schemas.FundingKind_FUNDING_KIND_CURRENT {
		t.Errorf("funding %v", f)
	}
	// The order sells, so a long was closed; the fill counts, not the order; the stream drops some.
	if l := forced[0]; l.PositionSide != schemas.Side_SIDE_BUY || l.OrderSide != schemas.Side_SIDE_SELL || l.Price.Text() != "9912.5" ||
		l.LimitPrice.Text() != "9910" || l.Quantity.Text() != "0.012" || l.Complete || l.Meta.Flags != 8 {
		t.Errorf("liquidation %v", l)
	}
	for _, e := range out.Entries() {
		if e.Topic == schemas.MarketDerivatives.Name && e.Type != "Tick" && e.Key != "BTC" {
			t.Errorf("%s has key %q, want the base asset", e.Type, e.Key)
		}
	}
	if gaps := sourcetest.Of[*schemas.Gap](out); len(gaps) != 2 || gaps[0].Channel != "derivatives" {
		t.Errorf("gaps %v, want one for either stream", gaps)
	}
}

// A shed book is offered again with what came in between; a shed quote is gone; both cost no error.
func TestShedding(t *testing.T) {
	frames := venuetest.Read(t, futuresFile.File)
	behind := true
	out := &sourcetest.Memory{}
	out.Refuse = func(_ schemas.Topic, m schemas.Message) error {
		switch m.(type) {
		case *schemas.Quote, *schemas.BookSnapshot:
			if behind {
				return sources.ErrShed
			}
		}
		return nil
	}
	m := venuetest.Machine(t, spec(USDM), out)
	venuetest.Run(t, m, frames[:1000])
	if n := len(sourcetest.Of[*schemas.BookSnapshot](out)) + len(sourcetest.Of[*schemas.Quote](out)); n != 0 {
		t.Fatalf("%d records were taken while shedding", n)
	}
	behind = false
	venuetest.Run(t, m, frames[1000:])
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := len(sourcetest.Of[*schemas.Trade](out)); n != 91 {
		t.Errorf("%d trades, want all 91", n)
	}
	var updates uint32
	for _, b := range sourcetest.Of[*schemas.BookSnapshot](out) {
		updates += b.Updates
	}
	if updates < 700 {
		t.Errorf("the books published stand for %d updates, want those of the shed ones too", updates)
	}
}

func TestConfigErrors(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"binance.market":      func(c *Config) { c.Market = "coinm" },
		"binance.symbols":     func(c *Config) { c.Symbols = []string{"BTCUSDT"} },
		"-PERP":               func(c *Config) { c.Market = USDM },
		"binance.channels":    func(c *Config) { c.Channels = []string{"liquidations"} },
		"binance.trades":      func(c *Config) { c.Trades = "both" },
		"binance.book_depth":  func(c *Config) { c.BookDepth = 0 },
		"binance.max_age":     func(c *Config) { c.MaxAge = 48 * time.Hour },
		"binance.speed is -1": func(c *Config) { c.Speed = -1 },
		"it must be one of [5 10 20 50 100 500 1000]": func(c *Config) {
			*c = FuturesDefaults()
			c.SnapshotLevels = 5000
		},
		"between 5 and 5000": func(c *Config) { c.SnapshotLevels = 5001 },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func TestConnections(t *testing.T) {
	c := Defaults()
	c.StreamsPerConn = 4
	s, err := c.Spec()
	var got []string
	for _, conn := range s.Connections {
		got = append(got, conn.URL)
	}
	want := []string{
		"wss://stream.binance.com:9443/stream?streams=btcusdt@trade/ethusdt@trade/btcusdt@bookTicker/ethusdt@bookTicker",
		"wss://stream.binance.com:9443/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms",
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if u := c.snapshotURL("BTCUSDT"); u != "https://api.binance.com/api/v3/depth?limit=1000&symbol=BTCUSDT" {
		t.Errorf("snapshot at %s", u)
	}
}

func BenchmarkPlayback(b *testing.B) {
	venuetest.Benchmark(b, spec(USDM), venuetest.Read(b, usdmFile.File))
}

func BenchmarkTrades(b *testing.B) {
	var trades []capture.Frame
	for _, f := range venuetest.Read(b, usdmFile.File) {
		if f.Kind == capture.Connect || f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"e":"trade"`)) {
			trades = append(trades, f)
		}
	}
	venuetest.Benchmark(b, spec(USDM), trades)
}
