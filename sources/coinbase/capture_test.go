package coinbase

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// recording is of Advanced Trade, BTC-USD and ETH-USD, of 2026-08-09.
var recording = venuetest.Recording{File: "cryptofeed-v3/COINBASE.jsonl.zst", Spec: spec(Advanced)}

// spec is a market without any symbol: it takes what comes.
func spec(market string) *venue.Spec {
	cfg := Defaults()
	cfg.Market, cfg.Symbols = market, nil
	s, err := cfg.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// Against expected_counts.json, where cryptofeed decoded the recording:
//
//   - l2_book 775 = 773 updates applied + 2 snapshots; ticker 160; candles 204, counted and not published.
//   - trades 79 there, 279 here: cryptofeed leaves out the two snapshots of 100 trades that open the subscription. They are
//     trades that happened, so they are published, marked as old.
//
// The 1,030 messages are numbered 0 to 1,029 without a gap: 775 + 160 + 59 with trades + 6 with candles + 25 heartbeats + 5
// acknowledgements.
func TestRecordingGivesKnownCounts(t *testing.T) {
	m, out := venuetest.Play(t, recording)
	want := venuetest.Totals{Applied: 773, Snapshots: 2, Quotes: 160, Trades: 279, Bars: 204}
	if diff := cmp.Diff(want, venuetest.Measure(m, out)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	old := 0
	last := map[string]uint64{}
	for _, tr := range sourcetest.Of[*schemas.Trade](out) {
		if tr.Meta.Flags&4 != 0 {
			old++
		}
		if before := last[tr.Meta.Symbol]; before != 0 && tr.Meta.Sequence != before+1 {
			t.Errorf("trade %s %d follows %d", tr.Meta.Symbol, tr.Meta.Sequence, before)
		}
		last[tr.Meta.Symbol] = tr.Meta.Sequence
	}
	if old != 200 {
		t.Errorf("%d trades are marked as old, want 200", old)
	}
}

// The numbers of the messages and the counter of the heartbeats, by the text alone.
func TestRecordingIsWhole(t *testing.T) {
	var p fastjson.Parser
	messages, beats, counter := 0, 0, 0
	for _, f := range venuetest.Read(t, recording.File) {
		if f.Kind != capture.Receive {
			continue
		}
		v, err := p.ParseBytes(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		if n := v.GetInt("sequence_num"); n != messages {
			t.Fatalf("message %d has number %d", messages, n)
		}
		messages++
		if string(v.GetStringBytes("channel")) != "heartbeats" {
			continue
		}
		n := v.GetInt("events", "0", "heartbeat_counter")
		if beats > 0 && n != counter+1 {
			t.Errorf("heartbeat %d follows %d", n, counter)
		}
		counter = n
		beats++
	}
	if messages != 1030 || beats != 25 || counter != 41_715 {
		t.Errorf("%d messages, %d heartbeats to %d, want 1030 and 25 to 41715", messages, beats, counter)
	}
}

func TestLaws(t *testing.T) { venuetest.Laws(t, recording) }

// The documentation of Exchange says that the side of a trade is the maker's; that of Advanced Trade does not say. The
// recording does: a buyer takes the ask. Of the 79 trades 71 are at the best price as it stood ahead of them, every one of
// them on the taker's side as we have it; the others came while the book moved.
func TestSideIsTheTakers(t *testing.T) {
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, recording.Spec, out)
	seen, right, wrong := 0, 0, 0
	frames := venuetest.Read(t, recording.File)
	for i := range frames {
		books := map[string][2]float64{}
		for _, symbol := range []string{"BTC-USD", "ETH-USD"} {
			if b, _, _ := m.Book(symbol); b != nil {
				if bids, asks := b.Depth(); bids > 0 && asks > 0 {
					books[symbol] = [2]float64{b.Bid(0).Price.Decimal().Float(), b.Ask(0).Price.Decimal().Float()}
				}
			}
		}
		venuetest.Run(t, m, frames[i:i+1])
		trades := sourcetest.Of[*schemas.Trade](out)
		for _, tr := range trades[seen:] {
			best, ok := books[tr.Meta.Symbol]
			if !ok {
				continue
			}
			price := tr.Price.Float()
			switch {
			case price >= best[1] == (tr.TakerSide == schemas.Side_SIDE_BUY) && price <= best[0] == (tr.TakerSide == schemas.Side_SIDE_SELL):
				right++
			case price >= best[1] || price <= best[0]:
				wrong++
			}
		}
		seen = len(trades)
	}
	if right != 71 || wrong != 0 {
		t.Errorf("%d trades agree with the book, %d contradict it, want 71 and none", right, wrong)
	}
}

// A message that is missing taints every stream of the connection: one gap each, and both books wait for the snapshots that
// are asked for.
func TestMissingMessageTaintsEveryStream(t *testing.T) {
	frames := venuetest.Read(t, recording.File)
	at := slices.IndexFunc(frames, func(f capture.Frame) bool { return bytes.Contains(f.Data, []byte(`"sequence_num":500,`)) })
	out := &sourcetest.Memory{}
	var asked []string
	m := venuetest.Machine(t, recording.Spec, out, venue.Hands{Recover: func(_, symbol string) { asked = append(asked, symbol) }})
	venuetest.Run(t, m, slices.Delete(slices.Clone(frames), at, at+1)[:at+50])
	var got []string
	for _, g := range sourcetest.Of[*schemas.Gap](out) {
		got = append(got, g.Meta.Symbol+" "+g.Channel+" "+g.Cause)
	}
	want := []string{
		"BTC-USD book sequence", "BTC-USD quotes sequence", "BTC-USD trades sequence",
		"ETH-USD book sequence", "ETH-USD quotes sequence", "ETH-USD trades sequence",
	}
	if !slices.Equal(got, want) {
		t.Errorf("gaps %q\nwant %q", got, want)
	}
	if !slices.Equal(asked, []string{"BTC-USD", "ETH-USD"}) {
		t.Errorf("asked for %v, want both books", asked)
	}
	for _, f := range m.Figures() {
		if f.Valid {
			t.Errorf("the book of %s is valid", f.Symbol)
		}
	}
}

func BenchmarkPlayback(b *testing.B) {
	venuetest.Benchmark(b, recording.Spec, venuetest.Read(b, recording.File))
}

// 20,000 messages of one trade each, one every 5 ms.
func BenchmarkTrades(b *testing.B) {
	for market, format := range map[string]string{
		Advanced: `{"channel":"market_trades","timestamp":%[2]q,"sequence_num":%[1]d,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"%[1]d","price":"65083.67","size":"0.01034361","time":%[2]q,"side":"SELL"}]}]}`,
		Exchange: `{"type":"match","trade_id":%d,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"sell","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":%q}`,
	} {
		b.Run(market, func(b *testing.B) {
			at := schemas.Time(1_700_000_000_000_000_000)
			frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: at}}
			for n := range 20_000 {
				at = at.Add(5 * time.Millisecond)
				frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at.Add(20 * time.Millisecond), Data: fmt.Appendf(nil, format, n, at)})
			}
			venuetest.Benchmark(b, spec(market), frames)
		})
	}
}
