package binance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

var (
	spotFile    = recording("cryptofeed-v3/BINANCE.jsonl.zst", Spot)
	usFile      = recording("cryptofeed-v3/BINANCE_US.jsonl.zst", Spot)
	futuresFile = recording("cryptofeed-v3/BINANCE_FUTURES.jsonl.zst", USDM)
	coinFile    = venuetest.Recording{File: "cryptofeed-v3/BINANCE_DELIVERY.jsonl.zst", Spec: coinMargined()}
	usdmFile    = recording("hftbacktest/usdm/btcusdt_20240808.gz", USDM)
)

func recording(file, market string) venuetest.Recording {
	return venuetest.Recording{File: file, Spec: spec(market)}
}

// spec is the market without any symbol: it takes what comes.
func spec(market string) *venue.Spec {
	cfg := Defaults()
	cfg.Market, cfg.Symbols = market, nil
	s, err := cfg.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// coinMargined is the market that no source reads, as its quantities are contracts: the futures' protocol, with symbols of its own.
func coinMargined() *venue.Spec {
	s := spec(USDM)
	s.Canonical = func(symbol string) (string, error) {
		pair, kind, _ := strings.Cut(symbol, "_")
		base, ok := strings.CutSuffix(pair, "USD")
		switch {
		case !ok || !plainAsset(base):
			return "", fmt.Errorf("%w: %q", errSymbol, symbol)
		case kind == "PERP":
			return base + "-USD-PERP", nil
		}
		return base + "-USD-FUT-20" + kind, nil
	}
	return s
}

// The recordings give the counts of two independent decoders: cryptofeed's (expected_counts.json; its l2_book is applied +
// snapshots) and a count of the raw lines by script. Every difference between messages and records:
//
//   - BINANCE: 177 depth messages = 5 older than their snapshot + 172 applied; with 4 snapshots 176 book updates.
//     2 klines are counted for health and not published: bars are made from trades.
//   - BINANCE_FUTURES: 764 = 12 older + 752 applied; with 4 snapshots 756. 91 aggregate trades, 67 klines.
//   - BINANCE_US speaks the spot protocol: 336 = 4 older + 332 applied, with 4 snapshots 336.
//   - BINANCE_DELIVERY: 2,047 = 259 older + 1,788 applied; with 10 snapshots 1,798. A quote and a trade
//     are late, of a moment in which the recorder ran up to 4.8 s behind the venue.
//   - The USD-M file: 6,551 = 4 older + 6,547 applied, one snapshot inline.
func TestRecordingsGiveKnownCounts(t *testing.T) {
	testservices.Study(t)
	for _, c := range []struct {
		venuetest.Recording
		want        venuetest.Totals
		bookUpdates int
	}{
		{spotFile, venuetest.Totals{Stale: 5, Applied: 172, Snapshots: 4, Quotes: 84, Trades: 2, Bars: 2}, 176},
		{usFile, venuetest.Totals{Stale: 4, Applied: 332, Snapshots: 4, Quotes: 128, Trades: 11, Bars: 5}, 336},
		{futuresFile, venuetest.Totals{Stale: 12, Applied: 752, Snapshots: 4, Quotes: 613, Trades: 91, Bars: 67}, 756},
		{coinFile, venuetest.Totals{Stale: 259, Applied: 1788, Snapshots: 10, Quotes: 2240, Trades: 51, Bars: 33, Late: 2}, 1798},
		{usdmFile, venuetest.Totals{Stale: 4, Applied: 6547, Snapshots: 1, Quotes: 66_089, Trades: 21_313}, 6548},
	} {
		t.Run(strings.ReplaceAll(c.File, "/", "_"), func(t *testing.T) {
			m, out := venuetest.Play(t, c.Recording)
			got := venuetest.Measure(m, out)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if n := got.Applied + got.Snapshots; n != c.bookUpdates {
				t.Errorf("%d book updates, want %d", n, c.bookUpdates)
			}
			for _, e := range out.Late() {
				t.Logf("late: %s %s at %v, received %v", e.Type, e.Key, schemas.TimeOf(e.Message), schemas.Time(schemas.MetaOf(e.Message).ReceiveTime))
			}
		})
	}
}
