package binance

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

func TestLaws(t *testing.T) {
	testservices.Study(t)
	for _, rec := range []venuetest.Recording{spotFile, futuresFile, usdmFile} {
		venuetest.Laws(t, rec)
	}
}

// A capture fed again, without a new connection, is all duplicates.
func TestDuplicatesGiveTheSameOutputOnce(t *testing.T) {
	testservices.Study(t)
	for _, rec := range []venuetest.Recording{spotFile, futuresFile, usdmFile} {
		const most = 20_000
		frames := venuetest.Read(t, rec.File)
		frames = frames[:min(len(frames), most)]
		_, once := venuetest.Fed(t, rec.Spec, frames)
		data := slices.DeleteFunc(slices.Clone(frames), func(f capture.Frame) bool { return f.Kind == capture.Connect })
		m, again := venuetest.Fed(t, rec.Spec, frames, data)
		if once.Digest(venuetest.Market) != again.Digest(venuetest.Market) {
			t.Errorf("%s fed twice gives %d records, once %d, or others", rec.File, len(again.Entries()), len(once.Entries()))
		}
		if venuetest.Measure(m, again).Duplicates == 0 {
			t.Errorf("%s fed twice: no duplicate was counted", rec.File)
		}
	}
}

// The recorder's clock is 1.27 s behind the venue's throughout. That is no corruption: every record is taken, none is late
// (TestRecordingsGiveKnownCounts), and the skew is measured.
func TestSkewedClockIsMeasured(t *testing.T) {
	testservices.Study(t)
	m, out := venuetest.Play(t, usdmFile)
	skew, ok := m.Core().Clock.Skew()
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
	for _, topic := range spec(Spot).Topics {
		if n := ticks[topic.Name]; n < 344 || n > 347 {
			t.Errorf("%s has %d ticks, want one a second over 345 s", topic.Name, n)
		}
	}
}

// Depth within 10 basis points of the mid price, both sides, after every difference.
func TestDepthNearTheMid(t *testing.T) {
	testservices.Study(t)
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, spec(USDM), out)
	var depths []float64
	applied := 0
	for i, f := range venuetest.Read(t, usdmFile.File) {
		if err := m.Frame(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		figures := m.Figures()
		if len(figures) == 0 || figures[0].Book.Applied == applied {
			continue
		}
		applied = figures[0].Book.Applied
		b, _, _ := m.Book(bitcoin)
		depths = append(depths, near(b))
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

const bitcoin = "BTC-USDT-PERP"

func near(b *book.Book) float64 {
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
	testservices.Study(t)
	frames := venuetest.Read(t, usdmFile.File)
	broken, at := without(frames, "BTCUSDT", 3000)

	// The whole recording's book some time later makes the snapshot that the broken run recovers by.
	whole := venuetest.Machine(t, spec(USDM), &sourcetest.Memory{})
	const later = 20_000
	venuetest.Run(t, whole, frames[:at+later])
	snapshot := capture.Frame{Kind: capture.HTTP, Conn: "test.http", At: frames[at+later].At, URL: "/fapi/v1/depth?symbol=BTCUSDT", Data: snapshotOf(whole)}

	out := &sourcetest.Memory{}
	var wanted []string
	m := venuetest.Machine(t, spec(USDM), out, venue.Hands{Recover: func(_, s string) { wanted = append(wanted, s) }})
	venuetest.Run(t, m, broken[:at+later-1])
	gaps := sourcetest.Of[*schemas.Gap](out)
	if len(gaps) != 1 || gaps[0].Channel != "book" || gaps[0].Cause != "sequence" || gaps[0].Missing != nil {
		t.Fatalf("gaps %v, want one of the book with unknown size: futures ids do not count messages", gaps)
	}
	if m.Figures()[0].Valid {
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

	venuetest.Run(t, m, []capture.Frame{snapshot})
	venuetest.Run(t, m, broken[at+later-1:])
	venuetest.Run(t, whole, frames[at+later:])
	if n := len(sourcetest.Of[*schemas.Gap](out)); n != 1 {
		t.Errorf("%d gaps after the resync, want still 1", n)
	}
	if a, b := top(m, bitcoin), top(whole, bitcoin); a != b {
		t.Errorf("the recovered book differs from the unbroken one:\n%s\n%s", a, b)
	}
	books := sourcetest.Of[*schemas.BookSnapshot](out)
	fresh := slices.IndexFunc(books, func(b *schemas.BookSnapshot) bool { return b.Meta.EventTime > gaps[0].From })
	if fresh < 0 || books[fresh].Meta.Flags != 1 {
		t.Error("the first book after the loss is not marked as a fresh snapshot")
	}
}

// snapshotOf prints the whole book as the venue answers a depth request.
func snapshotOf(m *venue.Machine) []byte {
	b, last, at := m.Book(bitcoin)
	bids, asks := b.Depth()
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"lastUpdateId":%d,"E":%d,"T":%d,"bids":[`, last, at/1e6, at/1e6)
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

func top(m *venue.Machine, symbol string) string {
	var s strings.Builder
	b, _, _ := m.Book(symbol)
	bids, asks := b.Depth()
	for i := range min(bids, 100) {
		fmt.Fprintln(&s, b.Bid(i))
	}
	for i := range min(asks, 100) {
		fmt.Fprintln(&s, b.Ask(i))
	}
	return s.String()
}

// One symbol's loss leaves the others as they are.
func TestLossOfOneSymbolLeavesTheOthers(t *testing.T) {
	frames := venuetest.Read(t, futuresFile.File)
	broken, _ := without(frames, "SUSHIUSDT", 100)
	m, out := venuetest.Fed(t, spec(USDM), broken)
	whole, _ := venuetest.Fed(t, spec(USDM), frames)
	for i, f := range m.Figures() {
		if f.Symbol == "SUSHI-USDT-PERP" {
			if f.Valid {
				t.Error("the broken book is valid")
			}
			continue
		}
		if got, want := f.Book, whole.Figures()[i].Book; got != want || top(m, f.Symbol) != top(whole, f.Symbol) {
			t.Errorf("%s: %+v, want %+v as without the loss", f.Symbol, got, want)
		}
	}
	if gaps := sourcetest.Of[*schemas.Gap](out); len(gaps) != 1 || gaps[0].Meta.Symbol != "SUSHI-USDT-PERP" {
		t.Errorf("gaps %v, want one, of SUSHI-USDT-PERP", gaps)
	}
}

// Liveness is per stream: a connection whose depth flows while trades and klines do not names those two, for each symbol.
func TestSilentStreamsAreNamed(t *testing.T) {
	frames := slices.DeleteFunc(venuetest.Read(t, futuresFile.File), func(f capture.Frame) bool {
		return f.Kind == capture.Receive && (bytes.Contains(f.Data, []byte("@aggTrade")) || bytes.Contains(f.Data, []byte("@kline")))
	})
	m, out := venuetest.Fed(t, spec(USDM), frames)
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
	if !silent[venue.Trades] || !silent[venue.Bars] || spoke[venue.Trades] || spoke[venue.Bars] || !spoke[venue.Book] || !spoke[venue.Quotes] {
		t.Errorf("never heard: %v, heard: %v", silent, spoke)
	}
	if names, all := m.Core().Health.Silent(m.Core().Clock.Now(), 10*time.Second); len(names) < 8 || all != 16 {
		t.Errorf("silent of %d: %v, want trades and bars of 4 symbols", all, names)
	}
}
