package loopback

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// raced says that the race detector is on, which makes all of it ten times as dear: then recordings are cut shorter.
var raced bool

// faultCase is one row of the table of fault runs.
type faultCase struct {
	name string
	// plan is the run for a market, or why there is none.
	plan func(t testing.TB, o *oracle) (p plan, skip string)
}

const (
	unseen    = "nothing that the venue sends shows it"
	unspoken  = "the venue announces nothing"
	unasked   = "books are in the stream"
	allStream = 1 << 30 // messages
)

func faultCases() []faultCase {
	fault := func(f func(o *oracle) Fault) func(testing.TB, *oracle) (plan, string) {
		return func(_ testing.TB, o *oracle) (plan, string) { return plan{faults: []Fault{f(o)}}, "" }
	}
	return []faultCase{
		{"none", func(testing.TB, *oracle) (plan, string) { return plan{}, "" }},
		{Silence, func(_ testing.TB, o *oracle) (plan, string) {
			return plan{faults: []Fault{{Kind: Silence, Stream: o.quiet.key}}, silent: o.quiet.stream}, ""
		}},
		{"drop a book message", func(t testing.TB, o *oracle) (plan, string) { return bookFault(t, o, Drop, lost) }},
		{"drop a trade message", dropTrade},
		{"duplicate everything", func(_ testing.TB, o *oracle) (plan, string) {
			return plan{faults: []Fault{{Kind: Duplicate, Count: allStream}}, also: countsDuplicates}, ""
		}},
		{"reorder two book messages", func(t testing.TB, o *oracle) (plan, string) { return bookFault(t, o, Reorder, lost) }},
		{"corrupt a digit of a book", func(t testing.TB, o *oracle) (plan, string) {
			if o.market.loss != "checksum" {
				return plan{}, unseen
			}
			return bookFault(t, o, Corrupt, func(raw []byte, n int) []byte { return flip(raw, place(1, n)) })
		}},
		{"cut a book message", cutMessage},
		{"429 to depth requests", func(_ testing.TB, o *oracle) (plan, string) {
			if !o.market.spec().Books.Asked {
				return plan{}, unasked
			}
			return plan{faults: []Fault{{Kind: TooMany, Stream: "/depth", Count: 2, For: time.Second}}}, ""
		}},
		{"429 to handshakes", func(_ testing.TB, o *oracle) (plan, string) {
			return plan{
				faults: []Fault{{Kind: TooMany, Count: 2, For: time.Second, Stream: "ws"}},
				change: func(s *venue.Spec, _ *venue.Config) { inPath(s, "ws") },
			}, ""
		}},
		{Slow, fault(func(o *oracle) Fault {
			return Fault{Kind: Slow, Stream: o.book.key, At: 2, Count: 2, For: 300 * time.Millisecond}
		})},
		{HalfOpen, func(_ testing.TB, o *oracle) (plan, string) {
			p := cutOff(o, HalfOpen)
			p.change = func(_ *venue.Spec, c *venue.Config) { c.Silence = 3 * time.Second }
			return p, ""
		}},
		{Disconnect, func(_ testing.TB, o *oracle) (plan, string) { return cutOff(o, Disconnect), "" }},
		{"age, renewed ahead of it", renewed},
		{Shutdown, announced},
		{"age, not renewed", aged},
	}
}

func lost([]byte, int) []byte { return nil }

// bookFault strikes one message in the midst of a book. The next one of the book shows it, or the next of the connection where
// that numbers its messages; then every stream that had spoken on it has lost something.
func bookFault(t testing.TB, o *oracle, kind string, change func(raw []byte, n int) []byte) (plan, string) {
	t.Helper()
	if o.market.loss == "" {
		return plan{}, unseen
	}
	n := middle(t, o, change)
	p := plan{faults: []Fault{{Kind: kind, Stream: o.book.key, At: n}}, known: o.book.at[n], losses: []loss{{o.book.stream, o.market.loss}}}
	if o.market.spec().Numbered {
		p.known = o.next(o.book.at[n-1])
		p.losses = o.heard(o.book.at[n-1], "sequence")
	}
	return p, ""
}

// middle is a message of the book in the midst of the recording, counted from 1, whose loss or change the next one shows.
func middle(t testing.TB, o *oracle, change func(raw []byte, n int) []byte) int {
	t.Helper()
	at := o.book.at
	for n := len(at) / 2; n < len(at)-1; n++ {
		frames := slices.Clone(o.frames[:at[n+1]+1])
		if raw := change(frames[at[n]].Data, n+1); raw == nil {
			frames = slices.Delete(frames, at[n], at[n]+1)
		} else {
			frames[at[n]].Data = raw
		}
		if o.market.loss != "checksum" {
			return n + 1
		}
		out := &sourcetest.Memory{}
		venuetest.Run(t, venuetest.Machine(t, o.market.spec(), out), frames)
		if len(sourcetest.Of[*schemas.Gap](out)) > 0 {
			return n + 1
		}
	}
	t.Fatal("no message's loss is seen")
	return 0
}

// dropTrade takes a message with trades away that has one of the same instrument behind it.
func dropTrade(t testing.TB, o *oracle) (plan, string) {
	t.Helper()
	n := max(2, len(o.trade.at)/2)
	if len(o.trade.at) <= n {
		t.Fatalf("%d messages with trades of one instrument: too few to lose one", len(o.trade.at))
	}
	p := plan{faults: []Fault{{Kind: Drop, Stream: o.trade.key, At: n}}}
	strike := o.trade.at[n-1]
	numbered := loss{o.trade.stream, "sequence"}
	switch s := o.market.spec(); {
	case s.Numbered:
		// The number of the message tells of every stream, and that of the next trade how many there were.
		p.known, p.losses = o.trade.at[n], append(o.heard(strike, "sequence"), numbered)
	case s.Contiguous:
		p.known, p.losses = o.trade.at[n], []loss{numbered}
	}
	return p, ""
}

// cutOff ends the connection of a book in the midst of the recording: each of its streams that had spoken says so once.
func cutOff(o *oracle, kind string) plan {
	n := len(o.book.at) / 2
	strike := o.book.at[n-1]
	return plan{faults: []Fault{{Kind: kind, Stream: o.book.key, At: n}}, known: strike, reconnects: 1, losses: o.heard(strike, "disconnect")}
}

// cutMessage cuts a message of a book in its middle. It tells no more of what kind it was: every stream of its connection may
// have lost it, those of its symbol when that can still be read. Where the messages are numbered, that of the next one, which
// answers the request for the book, tells of all others, too.
func cutMessage(t testing.TB, o *oracle) (plan, string) {
	t.Helper()
	n := len(o.book.at) / 2
	strike := o.book.at[n-1]
	s := o.market.spec()
	p := plan{faults: []Fault{{Kind: Cut, Stream: o.book.key, At: n}}, known: strike, losses: o.heard(strike, "undecodable"), also: countsUndecodable}
	symbol, err := s.VenueSymbol(o.book.symbol)
	if err != nil {
		t.Fatal(err)
	}
	if raw := o.frames[strike].Data; bytes.Contains(raw[:len(raw)/2], []byte(symbol)) {
		p.losses = slices.DeleteFunc(p.losses, func(l loss) bool { return l.symbol != o.book.symbol })
	}
	if s.Numbered {
		for _, l := range o.heard(strike, "sequence") {
			if l.stream != o.book.stream { // it is invalid by then
				p.losses = append(p.losses, l)
			}
		}
	}
	return p, ""
}

// renewed has every connection renewed ahead of the age at which the venue ends it, twice, while the market goes on.
func renewed(_ testing.TB, o *oracle) (plan, string) {
	const age = time.Second
	third := len(o.frames) / 3
	return plan{
		faults: []Fault{{Kind: Age, For: plenty}}, reconnects: -1,
		change: func(_ *venue.Spec, c *venue.Config) { c.MaxAge = age },
		holds: func(tr *trial, next int) string {
			switch next {
			case third:
				return tr.followed(o.conns[o.book.stream], 2)
			case 2 * third:
				return tr.followed(o.conns[o.quiet.stream], 2)
			}
			return ""
		},
		also: func(tr *trial) (wrong []string) {
			if n := tr.server.Sessions(); n < 3*len(tr.spec.Connections) {
				wrong = append(wrong, fmt.Sprintf("%d sessions, want each renewed twice", n))
			}
			return append(wrong, missedNone(tr)...)
		},
	}, ""
}

// aged has every connection reach the age of a day at once and unrenewed, in the midst of the market: each stream that had
// spoken says so once, and nothing else is lost, as nothing was on its way. Reconnects are counted by the source.
func aged(_ testing.TB, o *oracle) (plan, string) {
	strike := o.book.at[len(o.book.at)/2]
	p := plan{faults: []Fault{{Kind: Age, For: day}}, known: strike - 1, reconnects: o.dialled, also: missedNone}
	for s, at := range o.first {
		if at < strike {
			p.losses = append(p.losses, loss{s, "disconnect"})
		}
	}
	p.holds = func(tr *trial, next int) string {
		if next != strike {
			return ""
		}
		if !tr.aged.Load() {
			if why := tr.inFlight(); why != "" {
				return why
			}
			tr.aged.Store(true)
			close(tr.old)
		}
		if n := tr.server.Sessions(); n < 2*o.dialled {
			return fmt.Sprintf("%d sessions, want each connection dialled again", n)
		}
		return tr.followed(-1, 1)
	}
	return p, ""
}

// announced has the venue say that it ends a connection, and the market go on while both sessions stand.
func announced(_ testing.TB, o *oracle) (plan, string) {
	if dialects[o.market.spec().SourceName()].shutdown == "" {
		return plan{}, unspoken
	}
	n := len(o.book.at) / 3
	strike := o.book.at[n-1]
	return plan{
		faults: []Fault{{Kind: Shutdown, Stream: o.book.key, At: n, For: plenty}}, reconnects: 1,
		holds: func(tr *trial, next int) string {
			if next == strike+1 {
				return tr.followed(o.conns[o.book.stream], 2)
			}
			return ""
		},
		also: func(tr *trial) (wrong []string) {
			if n := tr.standing(); n != len(tr.spec.Connections) {
				wrong = append(wrong, fmt.Sprintf("%d sessions stand, want the old one ended", n))
			}
			return append(wrong, missedNone(tr)...)
		},
	}, ""
}

func missedNone(tr *trial) []string {
	if n := len(tr.server.Missed()); n > 0 {
		return []string{fmt.Sprintf("%d frames were missed, want none", n)}
	}
	return nil
}

func countsDuplicates(tr *trial) (wrong []string) {
	counted := map[stream]bool{}
	for _, h := range sourcetest.Of[*schemas.FeedHealth](&tr.out.Memory) {
		if h.Duplicates > 0 {
			counted[stream{h.Meta.Symbol, h.Channel}] = true
		}
	}
	for s := range tr.o.first {
		if !counted[s] {
			wrong = append(wrong, fmt.Sprintf("no duplicate of %v is counted", s))
		}
	}
	return wrong
}

func countsUndecodable(tr *trial) []string {
	if n := testutil.ToFloat64(tr.metrics.Rejected.WithLabelValues(tr.spec.SourceName(), "undecodable")); n != 1 {
		return []string{fmt.Sprintf("%v frames could not be read, want the one that was cut", n)}
	}
	return nil
}

// inPath adds an element to the address of all connections.
func inPath(s *venue.Spec, element string) {
	for i, c := range s.Connections {
		before, query, ok := strings.Cut(c.URL, "?")
		if s.Connections[i].URL = before + "/" + element; ok {
			s.Connections[i].URL += "?" + query
		}
	}
}

// Every fault against one venue, those in turn.
func TestFaults(t *testing.T) {
	all := markets()
	for i, c := range faultCases() {
		m := all[i%len(all)]
		t.Run(c.name+"/"+m.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, oracleOf(t, m))
		})
	}
}

// Every fault against every venue. Cells of the table, which is that of docs/proofs.md: gaps told; longest time without a book.
func TestEveryFault(t *testing.T) {
	testservices.Study(t) // under the race detector TestFaults has enough
	var mu sync.Mutex     // guards rows
	rows := map[string]map[string]string{}
	cases, all := faultCases(), markets()
	t.Run("run", func(t *testing.T) {
		for _, c := range cases {
			rows[c.name] = map[string]string{}
			for _, m := range all {
				t.Run(c.name+"/"+m.name, func(t *testing.T) {
					t.Parallel()
					cell := c.run(t, oracleOf(t, m))
					mu.Lock()
					defer mu.Unlock()
					rows[c.name][m.name] = cell
				})
			}
		}
	})
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 8, 1, ' ', 0)
	fmt.Fprint(w, "| fault")
	for _, m := range all {
		fmt.Fprintf(w, "\t| %s", m.name)
	}
	fmt.Fprintln(w, "\t|")
	for _, c := range cases {
		fmt.Fprintf(w, "| %s", c.name)
		for _, m := range all {
			fmt.Fprintf(w, "\t| %s", rows[c.name][m.name])
		}
		fmt.Fprintln(w, "\t|")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("gaps told; longest time without a book:\n%s", s.String())
}

// run makes one fault run and says in a few words what came of it.
func (c faultCase) run(t *testing.T, o *oracle) string {
	t.Helper()
	p, skip := c.plan(t, o)
	if skip != "" {
		return skip
	}
	tr, wrong := run(t, o, p)
	if len(wrong) > 0 {
		t.Errorf("%d differences:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 12)], "\n"))
	}
	if len(tr.out.back) == 0 {
		return strconv.Itoa(len(p.losses))
	}
	return fmt.Sprintf("%d; %d ms", len(p.losses), tr.slowest().Milliseconds())
}

// The judge fails who is wrong: a connector without detection of gaps, and outputs that were doctored.
func TestJudgeFails(t *testing.T) {
	t.Parallel()
	o := oracleOf(t, markets()[1])
	p, _ := bookFault(t, o, Drop, lost)
	p.patience = time.Second
	p.change = func(s *venue.Spec, _ *venue.Config) { s.Books.Chain, s.Contiguous = venue.ChainNone, false }
	_, wrong := run(t, o, p)
	if !slices.ContainsFunc(wrong, func(w string) bool {
		return strings.Contains(w, "0 of 1 gaps told") || strings.Contains(w, "no gap: "+p.losses[0].told())
	}) {
		t.Errorf("a connector that sees no gaps: the judge says %q, want that a gap was not told", wrong)
	}
	_, out := venuetest.Fed(t, o.market.spec(), o.frames)
	expected := sequences(out.Entries())
	if wrong := o.judge(out.Entries(), expected, nil, nil); len(wrong) > 0 {
		t.Fatalf("clean playback is judged wrong: %v", wrong[0])
	}
	entries := out.Entries()
	find := func(kind string, n int) int {
		for i, e := range entries {
			if e.Type == kind {
				if n--; n < 0 {
					return i
				}
			}
		}
		t.Fatalf("no %s", kind)
		return 0
	}
	trade, shot, later, health := find("Trade", 0), find("BookSnapshot", 20), find("BookSnapshot", 40), find("FeedHealth", 0)
	gap := &schemas.Gap{Meta: &schemas.Meta{Symbol: o.symbols[0]}, Channel: "book", Cause: "sequence"}
	told := []loss{{stream{o.symbols[0], venue.Book}, "sequence"}}
	for _, c := range []struct {
		name   string
		doctor func(e []sourcetest.Entry) []sourcetest.Entry
		back   []recovered
		losses []loss
		says   string
	}{
		{"a trade less", func(e []sourcetest.Entry) []sourcetest.Entry { return slices.Delete(e, trade, trade+1) }, nil, nil, "they part at 0"},
		{"a trade twice", func(e []sourcetest.Entry) []sourcetest.Entry { return slices.Insert(e, trade, e[trade]) }, nil, nil, "they part at 1"},
		{"a book of nobody", func(e []sourcetest.Entry) []sourcetest.Entry {
			b := e[shot].Message.(*schemas.BookSnapshot)
			b.Bids = b.Bids[1:]
			return e
		}, nil, nil, "never had"},
		{"a book that goes back", func(e []sourcetest.Entry) []sourcetest.Entry {
			return slices.Insert(e, later, e[find("BookSnapshot", 0)])
		}, nil, nil, "had before"},
		{"a gap of nothing", func(e []sourcetest.Entry) []sourcetest.Entry {
			return append(e, sourcetest.Entry{Type: "Gap", Message: gap})
		}, nil, nil, "gap: "},
		{"a gap twice", func(e []sourcetest.Entry) []sourcetest.Entry {
			return append(e, sourcetest.Entry{Type: "Gap", Message: gap}, sourcetest.Entry{Type: "Gap", Message: gap})
		}, nil, told, "gap: "},
		{"a gap that is not told", func(e []sourcetest.Entry) []sourcetest.Entry { return e }, nil, told, "no gap: "},
		{
			"a book that comes back as another", func(e []sourcetest.Entry) []sourcetest.Entry { return e },
			[]recovered{{state{len(o.frames), "another"}, o.symbols[0], 0}},
			nil, "comes back",
		},
		{"a loss that no health counts", func(e []sourcetest.Entry) []sourcetest.Entry {
			return append(e[:health+1], slices.DeleteFunc(slices.Clone(e[health+1:]), func(e sourcetest.Entry) bool { return e.Type == "FeedHealth" })...)
		}, nil, nil, "no health"},
	} {
		_, fresh := venuetest.Fed(t, o.market.spec(), o.frames)
		got := c.doctor(fresh.Entries())
		wrong := append(o.judge(got, expected, c.back, c.losses), o.judgeHealth(got, c.losses, stream{}, 0)...)
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, c.says) }) {
			t.Errorf("%s: the judge says %.300q, want %q", c.name, wrong, c.says)
		}
	}
}
