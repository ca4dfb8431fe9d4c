package binance

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

func TestPlayingTwiceGivesTheSameBytes(t *testing.T) {
	for _, rec := range []recording{spotFile, futuresFile, usdmFile} {
		_, a := play(t, rec)
		_, b := play(t, rec)
		if len(a.Entries()) < 100 || a.Digest(nil) != b.Digest(nil) {
			t.Errorf("%s: two playbacks differ, or give next to nothing (%d records)", rec.file, len(a.Entries()))
		}
	}
}

// fed runs frames and ends the recording.
func fed(t *testing.T, market string, frames ...[]capture.Frame) (*machine, *sourcetest.Memory) {
	t.Helper()
	out := &sourcetest.Memory{}
	m := testMachine(t, market, out)
	for _, f := range frames {
		run(t, m, f)
	}
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	return m, out
}

// A capture fed again is all duplicates; frames that come twice in a row give each record once. The health of the streams
// counts duplicates, so it is left out.
func TestDuplicatesGiveTheSameOutputOnce(t *testing.T) {
	market := func(e sourcetest.Entry) bool { return e.Topic != schemas.VenuesStatus.Name }
	for _, rec := range []recording{spotFile, futuresFile, usdmFile} {
		frames := read(t, rec.file)
		_, once := fed(t, rec.market, frames)
		data := slices.DeleteFunc(slices.Clone(frames), func(f capture.Frame) bool { return f.Kind == capture.Connect })
		m, again := fed(t, rec.market, frames, data)
		if once.Digest(market) != again.Digest(market) {
			t.Errorf("%s fed twice gives %d records, once %d, or others", rec.file, len(again.Entries()), len(once.Entries()))
		}
		var dups uint64
		for _, in := range m.order {
			for _, s := range in.streams {
				if s != nil {
					dups += s.Duplicates()
				}
			}
		}
		if dups == 0 {
			t.Errorf("%s fed twice: no duplicate was counted", rec.file)
		}
		var doubled []capture.Frame
		for _, f := range frames {
			doubled = append(doubled, f)
			if f.Kind == capture.Receive {
				doubled = append(doubled, f)
			}
		}
		_, twice := fed(t, rec.market, doubled)
		if once.Digest(market) != twice.Digest(market) {
			t.Errorf("%s with every message doubled differs from the original", rec.file)
		}
	}
}

// The recorder's clock is 1.27 s behind the venue's throughout. That is no corruption: every record is taken, none is late
// (TestRecordingsGiveKnownCounts), and the skew is measured.
func TestSkewedClockIsMeasured(t *testing.T) {
	m, out := play(t, usdmFile)
	skew, ok := m.core.Clock.Skew()
	if !ok || (skew+1270*time.Millisecond).Abs() > 20*time.Millisecond {
		t.Errorf("skew %v, want -1.27 s", skew)
	}
	trades := sourcetest.Of[*schemas.Trade](out)
	for i, tr := range trades {
		if i > 0 && tr.Meta.Sequence != trades[i-1].Meta.Sequence+1 {
			t.Fatalf("trade %d follows %d", tr.Meta.Sequence, trades[i-1].Meta.Sequence)
		}
	}
	ticks := map[string]int{}
	for _, e := range out.Entries() {
		if e.Type == "Tick" {
			ticks[e.Topic]++
		}
	}
	// 344.8 s of traffic: a Tick ahead of it, one each second, one behind it.
	for _, topic := range Defaults().topics() {
		if n := ticks[topic.Name]; n < 344 || n > 347 {
			t.Errorf("%s has %d ticks, want one a second over 345 s", topic.Name, n)
		}
	}
}

// Depth within 10 basis points of the mid price, both sides, after every difference.
func TestDepthNearTheMid(t *testing.T) {
	out := &sourcetest.Memory{}
	m := testMachine(t, USDM, out)
	var depths []float64
	applied := 0
	for i, f := range read(t, usdmFile.file) {
		if err := m.Frame(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if len(m.order) == 0 || m.order[0].sync.stats.applied == applied {
			continue
		}
		applied = m.order[0].sync.stats.applied
		depths = append(depths, near(m.order[0]))
	}
	slices.Sort(depths)
	got := []float64{depths[0], depths[len(depths)/2], depths[len(depths)-1]}
	for i, want := range []float64{9.87, 17.95, 54.5} {
		if math.Abs(got[i]-want) > 0.006*want {
			t.Errorf("depth (min, median, max) = %.3f million dollars, want 9.87, 17.95, 54.5", got)
			break
		}
	}
}

func near(in *instrument) float64 {
	b := &in.sync.book
	bids, asks := b.Depth()
	mid := (b.Bid(0).Price.Decimal().Float() + b.Ask(0).Price.Decimal().Float()) / 2
	sum := 0.0
	for i := range bids {
		l := b.Bid(i)
		if p := l.Price.Decimal().Float(); p >= mid*(1-1e-3) {
			sum += p * l.Quantity.Decimal().Float()
		}
	}
	for i := range asks {
		l := b.Ask(i)
		if p := l.Price.Decimal().Float(); p <= mid*(1+1e-3) {
			sum += p * l.Quantity.Decimal().Float()
		}
	}
	return sum / 1e6
}

// isDiff says that a frame is a depth message of a symbol.
func isDiff(f capture.Frame, symbol string) bool {
	return f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"e":"depthUpdate"`)) && bytes.Contains(f.Data, []byte(`"s":"`+symbol+`"`))
}

// without drops the n-th depth message of a symbol and returns its place.
func without(frames []capture.Frame, symbol string, n int) ([]capture.Frame, int) {
	for i, f := range frames {
		if isDiff(f, symbol) {
			if n--; n == 0 {
				return slices.Delete(slices.Clone(frames), i, i+1), i
			}
		}
	}
	panic("no such frame")
}

func TestDroppedDifferenceIsOneGapAndABookInvalidUntilResync(t *testing.T) {
	frames := read(t, usdmFile.file)
	broken, at := without(frames, "BTCUSDT", 3000)

	// The whole recording's book some time later makes the snapshot that the broken run recovers by.
	whole := testMachine(t, USDM, &sourcetest.Memory{})
	const later = 20_000
	run(t, whole, frames[:at+later])
	snapshot := capture.Frame{Kind: capture.HTTP, Conn: "test.http", At: frames[at+later].At, URL: "/fapi/v1/depth?symbol=BTCUSDT", Data: snapshotOf(whole.order[0])}

	out := &sourcetest.Memory{}
	var wanted []string
	m := testMachine(t, USDM, out)
	m.want = func(s string) { wanted = append(wanted, s) }
	run(t, m, broken[:at+later-1])
	gaps := sourcetest.Of[*schemas.Gap](out)
	if len(gaps) != 1 || gaps[0].Channel != "book" || gaps[0].Cause != "sequence" || gaps[0].Missing != nil {
		t.Fatalf("gaps %v, want one of the book with unknown size: futures ids do not count messages", gaps)
	}
	if m.order[0].sync.valid() {
		t.Fatal("the book is valid without a snapshot after the loss")
	}
	entries := out.Entries()
	gapAt := slices.IndexFunc(entries, func(e sourcetest.Entry) bool { return e.Type == "Gap" })
	for _, e := range entries[gapAt:] {
		if e.Type == "BookSnapshot" {
			t.Fatal("a book was published while it was invalid")
		}
	}
	// One request before the file's own snapshot, one after the loss; what came in between asked for no more.
	if len(wanted) != 2 {
		t.Errorf("%d snapshot requests, want 2", len(wanted))
	}

	run(t, m, []capture.Frame{snapshot})
	run(t, m, broken[at+later-1:])
	run(t, whole, frames[at+later:])
	if n := len(sourcetest.Of[*schemas.Gap](out)); n != 1 {
		t.Errorf("%d gaps after the resync, want still 1", n)
	}
	if a, b := top(m.order[0]), top(whole.order[0]); a != b {
		t.Errorf("the recovered book differs from the unbroken one:\n%s\n%s", a, b)
	}
	books := sourcetest.Of[*schemas.BookSnapshot](out)
	fresh := slices.IndexFunc(books, func(b *schemas.BookSnapshot) bool { return b.Meta.EventTime > gaps[0].From })
	if fresh < 0 || books[fresh].Meta.Flags != flagSnapshot {
		t.Error("the first book after the loss is not marked as a fresh snapshot")
	}
}

// snapshotOf prints the whole book as the venue answers a depth request.
func snapshotOf(in *instrument) []byte {
	b := &in.sync.book
	bids, asks := b.Depth()
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"lastUpdateId":%d,"E":%d,"T":%d,"bids":[`, in.sync.last, in.sync.at/1e6, in.sync.at/1e6)
	for i := range bids {
		fmt.Fprintf(&out, `%s["%s","%s"]`, strings.Repeat(",", min(i, 1)), b.Bid(i).Price.Decimal().Text(), b.Bid(i).Quantity.Decimal().Text())
	}
	out.WriteString(`],"asks":[`)
	for i := range asks {
		fmt.Fprintf(&out, `%s["%s","%s"]`, strings.Repeat(",", min(i, 1)), b.Ask(i).Price.Decimal().Text(), b.Ask(i).Quantity.Decimal().Text())
	}
	out.WriteString(`]}`)
	return out.Bytes()
}

func top(in *instrument) string {
	var s strings.Builder
	bids, asks := in.sync.book.Depth()
	for i := range min(bids, 100) {
		fmt.Fprintln(&s, in.sync.book.Bid(i))
	}
	for i := range min(asks, 100) {
		fmt.Fprintln(&s, in.sync.book.Ask(i))
	}
	return s.String()
}

// One symbol's loss leaves the others as they are.
func TestLossOfOneSymbolLeavesTheOthers(t *testing.T) {
	frames := read(t, futuresFile.file)
	broken, _ := without(frames, "SUSHIUSDT", 100)
	m, out := fed(t, USDM, broken)
	whole, _ := fed(t, USDM, frames)
	for i, in := range m.order {
		if in.symbol == "SUSHI-USDT-PERP" {
			if in.sync.valid() {
				t.Error("the broken book is valid")
			}
			continue
		}
		if got, want := in.sync.stats, whole.order[i].sync.stats; got != want || top(in) != top(whole.order[i]) {
			t.Errorf("%s: %+v, want %+v as without the loss", in.symbol, got, want)
		}
	}
	if gaps := sourcetest.Of[*schemas.Gap](out); len(gaps) != 1 || gaps[0].Meta.Symbol != "SUSHI-USDT-PERP" {
		t.Errorf("gaps %v, want one, of SUSHI-USDT-PERP", gaps)
	}
}

// Liveness is per stream: a connection whose depth flows while trades and klines do not names those two, for each symbol.
func TestSilentStreamsAreNamed(t *testing.T) {
	frames := slices.DeleteFunc(read(t, futuresFile.file), func(f capture.Frame) bool {
		return f.Kind == capture.Receive && (bytes.Contains(f.Data, []byte("@aggTrade")) || bytes.Contains(f.Data, []byte("@kline")))
	})
	m, out := fed(t, USDM, frames)
	silent := map[string]bool{}
	spoke := map[string]bool{}
	for _, h := range sourcetest.Of[*schemas.FeedHealth](out) {
		if !h.Connected {
			t.Fatalf("%s %s is not connected", h.Meta.Symbol, h.Channel)
		}
		if h.SilentNs == nil {
			silent[h.Channel] = true
		} else {
			spoke[h.Channel] = true
		}
	}
	if !silent[chTrades] || !silent[chBars] || spoke[chTrades] || spoke[chBars] || !spoke[chBook] || !spoke[chQuotes] {
		t.Errorf("never heard: %v, heard: %v", silent, spoke)
	}
	if names, all := m.core.Health.Silent(m.core.Clock.Now(), 10*time.Second); len(names) < 8 || all != 16 {
		t.Errorf("silent of %d: %v, want trades and bars of 4 symbols", all, names)
	}
}
