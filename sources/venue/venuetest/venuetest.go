// Package venuetest holds what the tests of every venue connector share: recordings, machines that publish to memory, the
// laws that each keeps, and a benchmark.
package venuetest

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A Recording is a capture in the data folder, with the market that it is of.
type Recording struct {
	File string
	Spec *venue.Spec
}

// Machine makes a machine of a market that takes what comes and publishes to p.
func Machine(t testing.TB, spec *venue.Spec, p sources.Publisher, hands ...venue.Hands) *venue.Machine {
	t.Helper()
	cfg := venue.Defaults(nil, nil)
	var h venue.Hands
	if len(hands) > 0 {
		h = hands[0]
	}
	m, err := venue.NewMachine(spec, cfg, p, sources.NewMetrics(nil), nil, h)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Read returns all frames of a recording.
func Read(t testing.TB, file string) []capture.Frame {
	t.Helper()
	r, err := capture.Open(filepath.Join(testservices.DataDir(t), filepath.FromSlash(file)))
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

// Run feeds frames to a machine without ending it.
func Run(t testing.TB, m *venue.Machine, frames []capture.Frame) {
	t.Helper()
	pump := feed.NewPump(m)
	for i, f := range frames {
		if err := pump.Frame(f); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

// Fed runs frames and ends the recording.
func Fed(t testing.TB, spec *venue.Spec, frames ...[]capture.Frame) (*venue.Machine, *sourcetest.Memory) {
	t.Helper()
	out := &sourcetest.Memory{}
	m := Machine(t, spec, out)
	for _, f := range frames {
		Run(t, m, f)
	}
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	return m, out
}

// Play runs a whole recording.
func Play(t testing.TB, rec Recording) (*venue.Machine, *sourcetest.Memory) {
	t.Helper()
	out := &sourcetest.Memory{}
	m := Machine(t, rec.Spec, out)
	r, err := capture.Open(filepath.Join(testservices.DataDir(t), filepath.FromSlash(rec.File)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := feed.Play(t.Context(), r, m, 0); err != nil {
		t.Fatal(err)
	}
	return m, out
}

// Totals are what a recording gives, over all instruments.
type Totals struct {
	// Of books.
	Stale, Applied, Idle, Snapshots, Early, Lost, Crossed, Checked, Mismatched int
	// Records published.
	Quotes, Trades, Marks, Funding, Interest, Liquidations, Options, Statuses int
	// Messages of the venue's own bars.
	Bars int
	// What must be explained, one by one.
	Gaps, Late, Duplicates, Unknown, Rejected int
}

// Measure counts what a machine did and published.
func Measure(m *venue.Machine, out *sourcetest.Memory) Totals {
	var t Totals
	for _, f := range m.Figures() {
		s := f.Book
		t.Stale += s.Stale
		t.Applied += s.Applied
		t.Idle += s.Idle
		t.Snapshots += s.Snapshots
		t.Early += s.Early
		t.Lost += s.Lost
		t.Crossed += s.Crossed
		t.Checked += s.Checked
		t.Mismatched += s.Mismatched
		t.Bars += int(f.Records[venue.Bars])
		t.Duplicates += int(f.Duplicates)
	}
	t.Quotes, t.Trades = len(sourcetest.Of[*schemas.Quote](out)), len(sourcetest.Of[*schemas.Trade](out))
	t.Marks, t.Funding = len(sourcetest.Of[*schemas.Mark](out)), len(sourcetest.Of[*schemas.Funding](out))
	t.Interest, t.Liquidations = len(sourcetest.Of[*schemas.OpenInterest](out)), len(sourcetest.Of[*schemas.Liquidation](out))
	t.Options, t.Statuses = len(sourcetest.Of[*schemas.OptionQuote](out)), len(sourcetest.Of[*schemas.VenueStatus](out))
	t.Gaps, t.Late = len(sourcetest.Of[*schemas.Gap](out)), len(out.Late())
	unknown, rejected := m.Core().Counts()
	t.Unknown, t.Rejected = int(unknown), int(rejected)
	return t
}

// Laws holds a recording to what every connector promises: playing it twice gives the same bytes, the depth of a book is that of
// its levels, and messages that come twice in a row give each record once. The health of the streams counts duplicates, so it is
// left out there.
func Laws(t *testing.T, rec Recording) {
	t.Helper()
	_, a := Play(t, rec)
	_, b := Play(t, rec)
	if len(a.Entries()) < 50 || a.Digest(nil) != b.Digest(nil) {
		t.Errorf("%s: two playbacks differ, or give next to nothing (%d records)", rec.File, len(a.Entries()))
	}
	const most = 20_000 // enough of the long recordings
	frames := Read(t, rec.File)
	frames = frames[:min(len(frames), most)]
	depths(t, rec, frames)
	_, once := Fed(t, rec.Spec, frames)
	var doubled []capture.Frame
	for _, f := range frames {
		doubled = append(doubled, f)
		if f.Kind == capture.Receive {
			doubled = append(doubled, f)
		}
	}
	m, twice := Fed(t, rec.Spec, doubled)
	if once.Digest(Market) != twice.Digest(Market) {
		t.Errorf("%s with every message doubled differs from the original", rec.File)
	}
	if Measure(m, twice).Duplicates == 0 {
		t.Errorf("%s with every message doubled: no duplicate was counted", rec.File)
	}
}

// Loss takes a frame out of a recording, which is a change of the book of one instrument: one Gap tells of it, the book is
// not valid from there on and is asked for, and the books and trades of the others are the same. (Where a record has no time
// of its own, the frame that is missing may move it: the clock has learnt from one frame less.)
func Loss(t *testing.T, rec Recording, frame int, symbol, venueSymbol string) {
	t.Helper()
	frames := Read(t, rec.File)
	_, whole := Fed(t, rec.Spec, frames)
	out := &sourcetest.Memory{}
	asked := map[string]int{}
	m := Machine(t, rec.Spec, out, venue.Hands{Recover: func(_, s string) { asked[s]++ }})
	Run(t, m, slices.Delete(frames, frame, frame+1))
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	gaps := sourcetest.Of[*schemas.Gap](out)
	if len(gaps) != 1 || gaps[0].Meta.Symbol != symbol || gaps[0].Channel != "book" || gaps[0].Cause != "sequence" {
		t.Fatalf("gaps %v, want one of the book of %s", gaps, symbol)
	}
	if asked[venueSymbol] == 0 || len(asked) != 1 {
		t.Errorf("asked for %v, want %s alone", asked, venueSymbol)
	}
	for _, f := range m.Figures() {
		if f.Valid == (f.Symbol == symbol) {
			t.Errorf("the book of %s is valid: %v", f.Symbol, f.Valid)
		}
	}
	entries := out.Entries()
	for _, e := range entries[slices.IndexFunc(entries, func(e sourcetest.Entry) bool { return e.Type == "Gap" }):] {
		if b, ok := e.Message.(*schemas.BookSnapshot); ok && b.Meta.Symbol == symbol {
			t.Fatalf("a book of %s was published while it was not valid", symbol)
		}
	}
	others := func(e sourcetest.Entry) bool {
		return (e.Type == "BookSnapshot" || e.Type == "Trade") && !strings.HasSuffix(e.Key, symbol)
	}
	if whole.Digest(others) != out.Digest(others) {
		t.Errorf("the loss of %s changed what was published of others", symbol)
	}
}

// Market leaves the health of streams out of a digest.
func Market(e sourcetest.Entry) bool { return e.Topic != schemas.VenuesStatus.Name }

// Fuzz feeds any bytes as every kind of frame: the machine goes on, and what it publishes is valid (Memory refuses the
// rest).
func Fuzz(t *testing.T, spec *venue.Spec, raw []byte) {
	t.Helper()
	m := Machine(t, spec, &sourcetest.Memory{})
	at := schemas.Time(1_672_515_782_136_000_000)
	Run(t, m, []capture.Frame{
		{Kind: capture.Connect, Conn: "a", At: at, URL: string(raw)},
		{Kind: capture.Receive, Conn: "a", At: at.Add(5 * time.Millisecond), Data: raw},
		{Kind: capture.HTTP, Conn: "h", At: at.Add(6 * time.Millisecond), URL: string(raw), Data: raw},
		{Kind: capture.HTTP, Conn: "h", At: at.Add(6 * time.Millisecond), URL: "/depth?symbol=BTCUSDT", Data: raw},
		{Kind: capture.Receive, Conn: "a", At: at.Add(3 * time.Second), Data: raw},
		{Kind: capture.Send, Conn: "a", At: at.Add(3 * time.Second), Data: raw},
		{Kind: capture.Close, Conn: "a", At: at.Add(3 * time.Second), Data: raw},
	})
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
}

// Benchmark decodes, keeps state and encodes. Frames by second of processor time are what a busy machine does not distort.
func Benchmark(b *testing.B, spec *venue.Spec, frames []capture.Frame) {
	b.Helper()
	owner := Machine(b, spec, &encoding{})
	frames = slices.DeleteFunc(slices.Clone(frames), func(f capture.Frame) bool { return !owner.Owns(f) })
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		Run(b, Machine(b, spec, &encoding{}), frames)
	}
	b.ReportMetric(float64(len(frames))*float64(b.N)/(processorTime(b)-before).Seconds(), "frames/cpu-s")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// encoding is a publisher that encodes, as the producer does, and keeps nothing.
type encoding struct {
	enc schemas.Encoder
	buf []byte
}

func (e *encoding) Publish(topic schemas.Topic, m schemas.Message) (err error) {
	e.buf, err = e.enc.AppendValue(e.buf[:0], topic, m)
	return err
}

func (e *encoding) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }

func (e *encoding) Flush(context.Context) error { return nil }
