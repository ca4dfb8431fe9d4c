package krakenfutures

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

var file = venuetest.Recording{File: "cryptofeed-v3/KRAKEN_FUTURES.jsonl.zst", Spec: spec()}

// spec is the market without any symbol: it takes what comes.
func spec() *venue.Spec {
	cfg := Defaults()
	cfg.Symbols = nil
	s, err := cfg.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// The recording has ten inverse products. expected_counts.json has a second opinion by cryptofeed: l2_book 7,024, ticker
// 107, trades 3.
//
//   - 7,024 book updates = 10 snapshots + 7,014 changes; seq has no gap, and no book crosses.
//   - 107 messages of ticker_lite = 104 quotes + 3 that repeat the one before of their product.
//   - 1,003 trades = 3 new ones + 10 snapshots of the last 100 trades of a product, which cryptofeed leaves out. Their
//     numbers join: the new ones follow the newest of their snapshots.
//   - 30 acknowledgements and an info name feeds too, and are none.
//   - 1,002 records are late: the 1,000 old trades, marked as such, and the snapshots of two books that had not changed for
//     seconds.
func TestRecordingGivesKnownCounts(t *testing.T) {
	m, out := venuetest.Play(t, file)
	want := venuetest.Totals{Applied: 7014, Snapshots: 10, Quotes: 104, Duplicates: 3, Trades: 1003, Late: 1002}
	if diff := cmp.Diff(want, venuetest.Measure(m, out)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	late := map[string]int{}
	for _, e := range out.Late() {
		late[e.Type]++
		if tr, ok := e.Message.(*schemas.Trade); ok && tr.Meta.Flags != 4 {
			t.Fatalf("trade %s is late and not marked as old", tr.Meta.Id)
		}
	}
	if diff := cmp.Diff(map[string]int{"Trade": 1000, "BookSnapshot": 2}, late); diff != "" {
		t.Errorf("late (-want +got):\n%s", diff)
	}
	for _, q := range sourcetest.Of[*schemas.Quote](out) {
		if q.BidQuantity != nil || q.AskQuantity != nil || q.BidPrice.Cmp(q.AskPrice) >= 0 {
			t.Fatalf("quote %v: ticker_lite has no quantities, and bid below ask", q)
		}
	}
}

func TestLaws(t *testing.T) { venuetest.Laws(t, file) }
