package loopback

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fastjson"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// stream is a channel of an instrument, by our names.
type stream struct{ symbol, channel string }

// state is a book as it was from a frame on.
type state struct {
	frame int
	text  string
}

// oracle is what the clean playback of a recording gives: the truth that a run against the loopback venue is held to.
type oracle struct {
	market  market
	frames  []capture.Frame
	symbols []string
	keys    [][]string // streams of each frame, by the venue's names
	books   [][]string // symbols whose books each frame speaks of
	states  map[string][]state
	first   map[stream]int // frame of the first record
	dialled int            // connections of the connector
	conns   map[stream]int // the one that carries a stream
	carried map[string]int // the same by the venue's name
	book    target         // the book with most messages
	trade   target         // the trades with most messages, if there are any
	quiet   target         // a stream besides books

	at int // the frame at hand
}

// target is a stream that faults are about: what the venue calls it, and where its frames are.
type target struct {
	ref

	at []int
}

type ref struct {
	stream

	key string
}

// most frames of a recording are enough for a fault. The runs without one take all, but under the race detector, which makes
// everything ten times as dear.
func most() int {
	if raced {
		return 700
	}
	return 1500
}

// newOracle plays the recording and lets the machine publish its books behind every frame.
func newOracle(t testing.TB, m market, limit int) *oracle {
	t.Helper()
	o := &oracle{market: m, frames: m.recording(t), states: map[string][]state{}, first: map[stream]int{}}
	// A quarter of a minute: source time goes on by the receipt clock behind the end, from what was usual while all went fast.
	const least, span = 300, 15 * time.Second
	for limit > 0 && len(o.frames) > least && (len(o.frames) > limit || o.frames[len(o.frames)-1].At.Sub(o.frames[0].At) > span) {
		o.frames = o.frames[:len(o.frames)-1]
	}
	s := m.spec()
	cfg := venue.Defaults(nil, m.channels)
	cfg.BookInterval = 0
	machine, err := venue.NewMachine(s, cfg, o, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	decoder, targets := s.NewDecoder(), map[ref][]int{}
	for i, f := range o.frames {
		o.at = i
		venuetest.Run(t, machine, o.frames[i:i+1])
		if err := machine.Advance(f.At); err != nil {
			t.Fatal(err)
		}
		o.read(t, f, s, decoder, targets)
	}
	for _, f := range machine.Figures() {
		for s := range o.first {
			if s.symbol == f.Symbol && !slices.Contains(o.symbols, f.Symbol) {
				o.symbols = append(o.symbols, f.Symbol)
			}
		}
	}
	o.choose(targets)
	o.connect(t)
	o.carried = map[string]int{}
	for r := range targets {
		o.carried[r.key] = o.conns[r.stream]
	}
	return o
}

// connect notes by which of its connections the connector gets a stream.
func (o *oracle) connect(t testing.TB) {
	t.Helper()
	s, err := o.market.make(venue.Defaults(o.symbols, o.market.channels)).Spec()
	if err != nil {
		t.Fatal(err)
	}
	o.dialled, o.conns = len(s.Connections), map[stream]int{}
	for i, c := range s.Connections {
		streams := s.Streams(capture.Frame{Kind: capture.Connect, URL: c.URL})
		for _, raw := range c.Send {
			streams = append(streams, s.Streams(capture.Frame{Kind: capture.Send, Data: raw})...)
		}
		for _, carried := range streams {
			if symbol, err := s.Canonical(carried.Symbol); err == nil {
				o.conns[stream{symbol, carried.Channel}] = i
			}
		}
	}
	for s := range o.first {
		if _, known := o.conns[s]; !known {
			t.Fatalf("no connection carries %v", s)
		}
	}
}

// read notes what a frame is about.
func (o *oracle) read(t testing.TB, f capture.Frame, s *venue.Spec, decoder venue.Decoder, targets map[ref][]int) {
	t.Helper()
	var keys, books []string
	if v, err := fastjson.ParseBytes(f.Data); err == nil && f.Kind == capture.Receive {
		keys = dialects[s.SourceName()].keys(v)
	}
	if len(keys) > 0 {
		events, err := decoder.Message(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			channel := map[venue.Kind]string{
				venue.Trade: venue.Trades, venue.Quote: venue.Quotes, venue.BookUpdate: venue.Book, venue.BookSnapshot: venue.Book,
				venue.Derivative: venue.Marks, venue.Option: venue.Options,
			}[e.Kind]
			symbol, err := s.Canonical(string(e.Symbol))
			if channel == "" || err != nil || !slices.Contains(o.market.channels, channel) {
				continue
			}
			if channel == venue.Book {
				books = append(books, symbol)
			}
			name := stream{symbol, channel}
			if _, known := o.first[name]; !known {
				o.first[name] = o.at
			}
			at := ref{name, keys[0]}
			if n := len(targets[at]); len(keys) == 1 && (n == 0 || targets[at][n-1] != o.at) {
				targets[at] = append(targets[at], o.at)
			}
		}
	}
	o.keys, o.books = append(o.keys, keys), append(o.books, books)
}

// choose takes the streams with most messages, the first by name of several.
func (o *oracle) choose(targets map[ref][]int) {
	order := slices.SortedFunc(maps.Keys(targets), func(a, b ref) int {
		if n := len(targets[b]) - len(targets[a]); n != 0 {
			return n
		}
		return strings.Compare(a.key+a.channel, b.key+b.channel)
	})
	for _, r := range order {
		c := target{r, targets[r]}
		switch c.channel {
		case venue.Book:
			o.book = first(o.book, c)
		case venue.Trades:
			o.trade = first(o.trade, c)
		}
		if c.channel != venue.Book {
			o.quiet = first(o.quiet, c)
		}
	}
}

func first(a, b target) target {
	if a.key != "" {
		return a
	}
	return b
}

// Publish notes the state of a book.
func (o *oracle) Publish(_ schemas.Topic, m schemas.Message) error {
	if b, ok := m.(*schemas.BookSnapshot); ok {
		o.states[b.Meta.Symbol] = append(o.states[b.Meta.Symbol], state{o.at, published(b)})
	}
	return nil
}

// Tick and Flush are nothing to it.
func (o *oracle) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }
func (o *oracle) Flush(context.Context) error                       { return nil }

// stateAt is what a book was behind a frame.
func (o *oracle) stateAt(symbol string, frame int) (text string) {
	for _, s := range o.states[symbol] {
		if s.frame <= frame {
			text = s.text
		}
	}
	return text
}

// next is the first frame behind one that is of any stream.
func (o *oracle) next(frame int) int {
	for i := frame + 1; i < len(o.keys); i++ {
		if len(o.keys[i]) > 0 {
			return i
		}
	}
	return len(o.keys)
}

// heard are the streams of the book's connection that had a record ahead of a frame.
func (o *oracle) heard(frame int, cause string) (out []loss) {
	for s, at := range o.first {
		if at < frame && o.conns[s] == o.conns[o.book.stream] {
			out = append(out, loss{s, cause})
		}
	}
	return out
}

func published(b *schemas.BookSnapshot) string {
	var s strings.Builder
	for _, side := range [][]*schemas.Level{b.Bids, b.Asks} {
		for _, l := range side {
			s.WriteString(" " + l.Price.Text() + "x" + l.Quantity.Text())
		}
		s.WriteString(" |")
	}
	return s.String()
}

// types are the records of all channels, books aside.
var types = map[string]bool{"Trade": true, "Quote": true, "Mark": true, "Funding": true, "OpenInterest": true, "OptionQuote": true}

// sequences are all records but books, gaps and health, by type and symbol in their order, when they were received and
// published aside.
func sequences(entries []sourcetest.Entry) map[string][]string {
	out := map[string][]string{}
	for _, e := range entries {
		if !types[e.Type] {
			continue
		}
		m := proto.Clone(e.Message)
		meta := schemas.MetaOf(m)
		id := ""
		if e.Type == "Trade" {
			id = meta.Id
		}
		symbol := meta.Symbol
		meta.Reset()
		meta.Symbol, meta.Id = symbol, id
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			panic(err)
		}
		out[e.Type+" "+symbol] = append(out[e.Type+" "+symbol], string(raw))
	}
	return out
}

// without plays the recording less some frames.
func (o *oracle) without(t testing.TB, missed [][]byte) map[string][]string {
	t.Helper()
	left := map[string]int{}
	for _, raw := range missed {
		left[string(raw)]++
	}
	var kept []capture.Frame
	for _, f := range o.frames {
		if f.Kind == capture.Receive && left[string(f.Data)] > 0 {
			left[string(f.Data)]--
			continue
		}
		kept = append(kept, f)
	}
	_, out := venuetest.Fed(t, o.market.spec(), kept)
	return sequences(out.Entries())
}

// loss is one that must be told.
type loss struct {
	stream

	cause string
}

// told is how a Gap tells of it: what is keyed by the asset is told by it.
func (l loss) told() string {
	base, _, _ := strings.Cut(l.symbol, "-")
	switch l.channel {
	case venue.Marks:
		return base + " derivatives " + l.cause
	case venue.Options:
		return base + " options " + l.cause
	}
	return l.symbol + " " + l.channel + " " + l.cause
}

// judge holds what was published to the truth:
//   - every record is one of the recording's, once and in its order, and only those of frames that nobody was sent are not there;
//   - every book is one that the venue had, none goes back, the last is the venue's last;
//   - a book that was lost comes back as a fresh one, as the venue has it at that moment;
//   - the losses told are those that were made, each once, and no stream counts others.
func (o *oracle) judge(got []sourcetest.Entry, expected map[string][]string, back []recovered, losses []loss) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	have := sequences(got)
	names := slices.Sorted(maps.Keys(expected))
	for name := range have {
		if expected[name] == nil {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if a, b := have[name], expected[name]; !slices.Equal(a, b) {
			i := 0
			for i < min(len(a), len(b)) && a[i] == b[i] {
				i++
			}
			say("%d of %s, want %d; they part at %d", len(a), name, len(b), i)
		}
	}
	wrong = append(wrong, o.judgeBooks(got)...)
	for _, b := range back {
		if want := o.stateAt(b.symbol, b.frame); b.text != want {
			say("the book of %s comes back at frame %d as\n%.160s\nnot\n%.160s", b.symbol, b.frame, b.text, want)
		}
	}
	want := map[string]int{}
	for _, l := range losses {
		want[l.told()]++
	}
	for _, e := range got {
		if g, ok := e.Message.(*schemas.Gap); ok {
			want[g.Meta.Symbol+" "+g.Channel+" "+g.Cause]--
		}
	}
	for name, n := range want {
		switch {
		case n > 0:
			say("no gap: %s (%d)", name, n)
		case n < 0:
			say("gap: %s (%d)", name, -n)
		}
	}
	slices.Sort(wrong)
	return wrong
}

func (o *oracle) judgeBooks(got []sourcetest.Entry) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	place, last, lost := map[string]int{}, map[string]string{}, map[string]bool{}
	for _, e := range got {
		switch m := e.Message.(type) {
		case *schemas.Gap:
			lost[m.Meta.Symbol] = lost[m.Meta.Symbol] || m.Channel == "book"
		case *schemas.BookSnapshot:
			symbol, text := m.Meta.Symbol, published(m)
			states := o.states[symbol]
			n := slices.IndexFunc(states[min(place[symbol], len(states)):], func(s state) bool { return s.text == text })
			if n < 0 {
				say("a book of %s that the venue never had, or had before: %.120s", symbol, text)
			} else {
				place[symbol] += n
			}
			const fresh = 1
			if lost[symbol] && m.Meta.Flags&fresh == 0 {
				say("a book of %s after a gap that is not from a fresh snapshot", symbol)
			}
			lost[symbol], last[symbol] = false, text
		}
	}
	for symbol, states := range o.states {
		if final := states[len(states)-1].text; last[symbol] != final {
			say("the last book of %s is\n%.160s\nnot\n%.160s", symbol, last[symbol], final)
		}
	}
	return wrong
}

// judgeHealth holds the last health of every stream to what happened to it.
func (o *oracle) judgeHealth(got []sourcetest.Entry, losses []loss, silent stream, reconnects int) (wrong []string) {
	last := map[stream]*schemas.FeedHealth{}
	for _, e := range got {
		if h, ok := e.Message.(*schemas.FeedHealth); ok {
			last[stream{h.Meta.Symbol, h.Channel}] = h
		}
	}
	gaps := map[stream]uint32{}
	for _, l := range losses {
		gaps[l.stream]++
	}
	for s := range o.first {
		h := last[s]
		switch {
		case h == nil:
			wrong = append(wrong, fmt.Sprintf("no health of %v", s))
		case h.Gaps != gaps[s] || !h.Connected || h.UnknownMessages != 0 || (h.SilentNs == nil) != (s == silent):
			wrong = append(wrong, fmt.Sprintf("health of %v: %v, want %d gaps, connected, silent from the start: %v", s, h, gaps[s], s == silent))
		case reconnects >= 0 && int(h.Reconnects) != reconnects:
			wrong = append(wrong, fmt.Sprintf("health of %v: %d reconnects, want %d", s, h.Reconnects, reconnects))
		}
	}
	return wrong
}

// recovered is the first book behind a loss, and the frame that the market stood at.
type recovered struct {
	state

	symbol string
	took   time.Duration
}

// witness keeps what a connector publishes, and what became of its books.
type witness struct {
	sourcetest.Memory

	mu   sync.Mutex // guards what follows
	at   int        // frame that the market stands at
	gaps int
	lost map[string]time.Time // books told as lost, since when
	up   map[string]bool      // books that were published since they were due
	back []recovered
}

// Publish notes what becomes of books.
func (w *witness) Publish(topic schemas.Topic, m schemas.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m := m.(type) {
	case *schemas.Gap:
		w.gaps++
		if m.Channel == "book" {
			w.lost[m.Meta.Symbol], w.up[m.Meta.Symbol] = time.Now(), false
		}
	case *schemas.BookSnapshot:
		symbol := m.Meta.Symbol
		if since, ok := w.lost[symbol]; ok {
			w.back = append(w.back, recovered{state{w.at, published(m)}, symbol, time.Since(since)})
			delete(w.lost, symbol)
		}
		w.up[symbol] = true
	}
	return w.Memory.Publish(topic, m)
}
