package binance

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// recording names a capture of a venue and its market.
type recording struct {
	file, market string
}

var (
	spotFile    = recording{"cryptofeed-v3/BINANCE.jsonl.zst", Spot}
	usFile      = recording{"cryptofeed-v3/BINANCE_US.jsonl.zst", Spot}
	futuresFile = recording{"cryptofeed-v3/BINANCE_FUTURES.jsonl.zst", USDM}
	usdmFile    = recording{"hftbacktest/usdm/btcusdt_20240808.gz", USDM}
)

// testMachine makes a machine that publishes to memory.
func testMachine(t testing.TB, market string, p sources.Publisher) *machine {
	t.Helper()
	cfg := Defaults()
	cfg.Market, cfg.Symbols = market, nil
	m, err := newMachine(cfg, newCore(cfg, p, sources.NewMetrics(nil), nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read returns all frames of a capture.
func read(t testing.TB, file string) []capture.Frame {
	t.Helper()
	r, err := capture.Open(filepath.Join(testservices.DataDir(t), file))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var frames []capture.Frame
	for {
		f, err := r.Next()
		if err != nil {
			break
		}
		f.Data = slices.Clone(f.Data)
		frames = append(frames, f)
	}
	if n, err := r.Bad(); n > 0 {
		t.Fatalf("%d unreadable lines, last: %v", n, err)
	}
	return frames
}

// run feeds frames to a machine without ending it.
func run(t testing.TB, m *machine, frames []capture.Frame) {
	t.Helper()
	pump := feed.NewPump(m)
	for i, f := range frames {
		if err := pump.Frame(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

// play runs a whole recording.
func play(t testing.TB, rec recording) (*machine, *sourcetest.Memory) {
	t.Helper()
	out := &sourcetest.Memory{}
	m := testMachine(t, rec.market, out)
	r, err := capture.Open(filepath.Join(testservices.DataDir(t), rec.file))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := feed.Play(t.Context(), r, m, 0); err != nil {
		t.Fatal(err)
	}
	return m, out
}

// figures are what a recording must give. bookUpdates is the count of cryptofeed's own decoder: applied differences and
// one snapshot for each symbol.
type figures struct {
	Stale, Applied, Snapshots, Lost, Crossed int
	Quotes, Trades, Bars                     int
	Gaps, Late, Unknown, Rejected            int
}

func measure(m *machine, out *sourcetest.Memory) figures {
	var f figures
	for _, in := range m.order {
		s := in.sync.stats
		f.Stale += s.stale
		f.Applied += s.applied
		f.Snapshots += s.snapshots
		f.Lost += s.lost
		f.Crossed += s.crossed
	}
	f.Quotes, f.Trades = len(sourcetest.Of[*schemas.Quote](out)), len(sourcetest.Of[*schemas.Trade](out))
	f.Gaps, f.Late = len(sourcetest.Of[*schemas.Gap](out)), len(out.Late())
	for _, in := range m.order {
		if s := in.streams[channelIndex(chBars)]; s != nil {
			f.Bars += int(s.Total())
		}
	}
	unknown, rejected := m.core.Counts()
	f.Unknown, f.Rejected = int(unknown), int(rejected)
	return f
}

// The recordings give the counts of two independent decoders: cryptofeed's (expected_counts.json; its l2_book is applied +
// snapshots) and a count of the raw lines by script. Every difference between messages and records:
//
//   - BINANCE: 177 depth messages = 5 older than their snapshot + 172 applied; with 4 snapshots 176 book updates.
//     2 klines are counted for health and not published: bars are made from trades.
//   - BINANCE_FUTURES: 764 = 12 older + 752 applied; with 4 snapshots 756. 91 aggregate trades, 67 klines.
//   - BINANCE_US speaks the spot protocol: 336 = 4 older + 332 applied, with 4 snapshots 336.
//   - The USD-M file: 6,551 = 4 older + 6,547 applied, one snapshot inline.
func TestRecordingsGiveKnownCounts(t *testing.T) {
	for _, c := range []struct {
		recording
		want        figures
		bookUpdates int
	}{
		{spotFile, figures{Stale: 5, Applied: 172, Snapshots: 4, Quotes: 84, Trades: 2, Bars: 2}, 176},
		{usFile, figures{Stale: 4, Applied: 332, Snapshots: 4, Quotes: 128, Trades: 11, Bars: 5}, 336},
		{futuresFile, figures{Stale: 12, Applied: 752, Snapshots: 4, Quotes: 613, Trades: 91, Bars: 67}, 756},
		{usdmFile, figures{Stale: 4, Applied: 6547, Snapshots: 1, Quotes: 66_089, Trades: 21_313}, 6548},
	} {
		t.Run(strings.ReplaceAll(c.file, "/", "_"), func(t *testing.T) {
			m, out := play(t, c.recording)
			got := measure(m, out)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if n := got.Applied + got.Snapshots; n != c.bookUpdates {
				t.Errorf("%d book updates, want %d", n, c.bookUpdates)
			}
			for _, e := range out.Late() {
				t.Errorf("late: %s %s at %v", e.Type, e.Key, schemas.TimeOf(e.Message))
				break
			}
		})
	}
}
