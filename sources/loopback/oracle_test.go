package loopback

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// oracle is what the clean playback of a recording gives: the truth that a run against the loopback venue is held to.
type oracle struct {
	market market
	frames []capture.Frame
	// states are all that each book ever showed, by symbol, and final what it shows at the end.
	states map[string]map[string]bool
	final  map[string]string
	parsed [][]string // streams of each frame
}

// newOracle plays the recording and lets the machine publish its books behind every frame.
func newOracle(t testing.TB, m market) *oracle {
	t.Helper()
	o := &oracle{market: m, frames: m.recording(t), states: map[string]map[string]bool{}, final: map[string]string{}}
	cfg := venue.Defaults(nil, m.channels)
	cfg.BookInterval = 0
	machine, err := venue.NewMachine(m.spec(), cfg, o, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range o.frames {
		venuetest.Run(t, machine, o.frames[i:i+1])
		if err := machine.Advance(f.At); err != nil {
			t.Fatal(err)
		}
	}
	d := dialects[m.spec().SourceName()]
	for _, f := range o.frames {
		var keys []string
		if v, err := fastjson.ParseBytes(f.Data); err == nil && f.Kind == capture.Receive {
			keys = d.keys(v)
		}
		o.parsed = append(o.parsed, keys)
	}
	return o
}

// Publish notes the state of a book.
func (o *oracle) Publish(_ schemas.Topic, m schemas.Message) error {
	if b, ok := m.(*schemas.BookSnapshot); ok {
		symbol, state := b.Meta.Symbol, published(b)
		if o.states[symbol] == nil {
			o.states[symbol] = map[string]bool{}
		}
		o.states[symbol][state], o.final[symbol] = true, state
	}
	return nil
}

// Tick and Flush are nothing to it.
func (o *oracle) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }
func (o *oracle) Flush(context.Context) error                       { return nil }

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

// records counts everything but books, gaps and health by what it says, when it was received and when it was published aside.
func records(entries []sourcetest.Entry, channels map[string]bool) map[string]int {
	out := map[string]int{}
	for _, e := range entries {
		if !channels[e.Type] {
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
		out[e.Type+" "+meta.Symbol+" "+fmt.Sprint(m)]++
	}
	return out
}

// without plays the recording less some frames.
func (o *oracle) without(t testing.TB, missed [][]byte) []sourcetest.Entry {
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
	return out.Entries()
}

// judge holds what was published to the truth: every record but books is one of the recording's, once, and only those of
// missed frames are not there; every book is one that the venue had; the last one is the venue's last; a book that was lost
// comes back as a fresh one; and the losses told are those that were made.
func (o *oracle) judge(got []sourcetest.Entry, expected map[string]int, gaps []string) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	have := records(got, o.market.types())
	for r, n := range have {
		if n > expected[r] {
			say("%d times, not %d: %.200s", n, expected[r], r)
		}
	}
	for r, n := range expected {
		if have[r] < n {
			say("missing: %.200s", r)
		}
	}
	told, last, lost := map[string]bool{}, map[string]string{}, map[string]bool{}
	for _, e := range got {
		switch m := e.Message.(type) {
		case *schemas.Gap:
			told[m.Meta.Symbol+" "+m.Channel+" "+m.Cause] = true
			if m.Channel == "book" {
				lost[m.Meta.Symbol] = true
			}
		case *schemas.BookSnapshot:
			state := published(m)
			if !o.states[m.Meta.Symbol][state] {
				say("a book of %s that the venue never had: %.120s", m.Meta.Symbol, state)
			}
			const fresh = 1
			if lost[m.Meta.Symbol] && m.Meta.Flags&fresh == 0 {
				say("a book of %s after a gap that is not from a fresh snapshot", m.Meta.Symbol)
			}
			lost[m.Meta.Symbol], last[m.Meta.Symbol] = false, state
		}
	}
	for symbol, state := range o.final {
		if last[symbol] != state {
			say("the last book of %s is\n%.160s\nnot\n%.160s", symbol, last[symbol], state)
		}
	}
	slices.Sort(gaps)
	for _, g := range slices.Compact(gaps) {
		if !told[g] {
			say("no gap: %s", g)
		}
		delete(told, g)
	}
	for g := range told {
		say("gap: %s", g)
	}
	slices.Sort(wrong)
	return wrong
}

// recovery is the longest time from a gap of a book to the next book of that instrument, by the receipt clock.
func recovery(got []sourcetest.Entry) (longest time.Duration, n int) {
	since := map[string]int64{}
	for _, e := range got {
		switch m := e.Message.(type) {
		case *schemas.Gap:
			if m.Channel == "book" {
				since[m.Meta.Symbol] = m.Meta.ReceiveTime
			}
		case *schemas.BookSnapshot:
			if at, ok := since[m.Meta.Symbol]; ok {
				longest, n = max(longest, time.Duration(m.Meta.ReceiveTime-at)), n+1
				delete(since, m.Meta.Symbol)
			}
		}
	}
	return longest, n
}
