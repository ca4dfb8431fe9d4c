package loopback

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// The runs wait most of the time: more of them than there are processors go side by side.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// raced says that the race detector is on. It slows the connectors below the pace of the runs: a few of them go, slowly.
var raced bool

// oracles are made once for all tests: they are read only.
var oracles = struct {
	sync.Mutex // guards made
	made       map[string]*oracle
}{made: map[string]*oracle{}}

func oracleOf(t testing.TB, m market) *oracle {
	t.Helper()
	oracles.Lock()
	defer oracles.Unlock()
	if oracles.made[m.name] == nil {
		oracles.made[m.name] = newOracle(t, m)
	}
	return oracles.made[m.name]
}

// faultCase is one row of the table of fault runs.
type faultCase struct {
	name string
	// skip says why the fault does not apply to a market; "" that it does.
	skip   func(m market) string
	faults func(t testing.TB, o *oracle) []Fault
	change func(s *venue.Spec, c *venue.Config)
	// gaps are the losses that must be told, "SYMBOL channel cause": those and no others. nil means none.
	gaps func(o *oracle, got []sourcetest.Entry) []string
	// pace, unless 0, is in place of the usual one.
	pace float64
	// also holds the run to what only this fault has.
	also func(t *testing.T, o *oracle, r result)
}

func one(f func(m market) Fault) func(testing.TB, *oracle) []Fault {
	return func(_ testing.TB, o *oracle) []Fault { return []Fault{f(o.market)} }
}

// lossOfBook tells what is told of a lost message of the first symbol's book.
func lossOfBook(o *oracle, got []sourcetest.Entry) []string {
	if o.market.whole {
		return heard(got, "sequence", true)
	}
	return []string{o.market.symbols[0] + " book " + o.market.loss}
}

// lossOfSymbol is what is told of a message that is cut behind its symbol: what kind it was cannot be read any more, so every
// stream of the symbol on that connection may have lost it. Where the connection is numbered its number is missing, too.
func lossOfSymbol(o *oracle, got []sourcetest.Entry) []string {
	symbol := o.market.symbols[0]
	asset, _, _ := strings.Cut(symbol, "-")
	out := slices.DeleteFunc(heard(got, "undecodable", o.market.name != "binance_usdm"), func(name string) bool {
		return !strings.HasPrefix(name, symbol+" ") && !strings.HasPrefix(name, asset+" derivatives")
	})
	if o.market.whole {
		for _, name := range heard(got, "sequence", true) {
			if name != symbol+" book sequence" { // it is invalid by then
				out = append(out, name)
			}
		}
	}
	return out
}

// heard are the streams that had published something when the first gap was told, with a cause.
func heard(got []sourcetest.Entry, cause string, every bool) (out []string) {
	add := func(name string) {
		if name += " " + cause; !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, e := range got {
		switch m := e.Message.(type) {
		case *schemas.Gap:
			return out
		case *schemas.BookSnapshot:
			add(m.Meta.Symbol + " book")
		case *schemas.Quote:
			add(m.Meta.Symbol + " quotes")
		case *schemas.Trade:
			if every {
				add(m.Meta.Symbol + " trades")
			}
		case *schemas.Mark:
			if every {
				add(m.Asset + " derivatives")
			}
		}
	}
	return out
}

// middle is a message of the first symbol's book in the midst of the recording, whose loss shows at once by the venue's proof.
func middle(t testing.TB, o *oracle, change func(raw []byte, n int) []byte) int {
	t.Helper()
	at := o.places(o.market.book)
	for n := len(at) / 2; n < len(at)-20; n++ {
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

// places are where the frames of a stream stand in the recording.
func (o *oracle) places(stream string) (at []int) {
	for i, m := range o.parsed {
		if slices.Contains(m, stream) {
			at = append(at, i)
		}
	}
	return at
}

func lost([]byte, int) []byte { return nil }

func half(raw []byte, _ int) []byte { return raw[:len(raw)/2] }

const renewal = 4 * time.Second

func faultCases() []faultCase {
	none := func(*oracle, []sourcetest.Entry) []string { return nil }
	return []faultCase{
		{name: "none", faults: func(testing.TB, *oracle) []Fault { return nil }, gaps: none},
		{
			name: Silence, faults: one(func(m market) Fault { return Fault{Kind: Silence, Stream: m.trade} }), gaps: none,
			also: namesTheSilent,
		},
		{
			name: "drop a book message", gaps: lossOfBook,
			faults: func(t testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Drop, Stream: o.market.book, At: middle(t, o, lost)}}
			},
		},
		{
			name: "drop a trade message", faults: func(_ testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Drop, Stream: o.market.trade, At: max(2, len(o.places(o.market.trade))/2)}}
			},
			gaps: func(o *oracle, got []sourcetest.Entry) []string {
				switch {
				case o.market.whole:
					return heard(got, "sequence", true)
				case o.market.numbered:
					return []string{o.market.symbols[0] + " trades sequence"}
				}
				return nil // nothing that the venue sends shows it
			},
		},
		{name: "duplicate everything", faults: one(func(market) Fault { return Fault{Kind: Duplicate, Count: 1 << 30} }), gaps: none},
		{
			name: "reorder two book messages", gaps: lossOfBook,
			faults: func(t testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Reorder, Stream: o.market.book, At: middle(t, o, lost)}}
			},
		},
		{
			name: "corrupt a digit of a book", gaps: lossOfBook,
			skip: func(m market) string {
				if m.loss != "checksum" {
					return "nothing that the venue sends shows it"
				}
				return ""
			},
			faults: func(t testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Corrupt, Stream: o.market.book, At: middle(t, o, func(raw []byte, n int) []byte { return flip(raw, place(1, n)) })}}
			},
		},
		{
			name: "cut a book message", gaps: lossOfSymbol,
			faults: func(t testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Cut, Stream: o.market.book, At: middle(t, o, half)}}
			},
			also: func(t *testing.T, o *oracle, r result) {
				if n := testutil.ToFloat64(r.metrics.Rejected.WithLabelValues(o.market.spec().SourceName(), "undecodable")); n != 1 {
					t.Errorf("%v frames could not be read, want the one that was cut", n)
				}
			},
		},
		{
			name: "429 to depth requests", faults: one(func(market) Fault { return Fault{Kind: TooMany, Stream: "/depth", Count: 2, For: time.Second} }), gaps: none,
			skip: func(m market) string {
				if m.name != "binance_usdm" {
					return "books are in the stream"
				}
				return ""
			},
		},
		{
			name: "429 to handshakes", faults: one(func(m market) Fault { return Fault{Kind: TooMany, Count: 2, For: time.Second, Stream: "ws"} }), gaps: none,
			change: func(s *venue.Spec, _ *venue.Config) { inPath(s, "ws") },
		},
		{
			name: "slow", faults: one(func(m market) Fault { return Fault{Kind: Slow, Stream: m.book, At: 20, For: 500 * time.Millisecond} }), gaps: none,
		},
		{
			name: HalfOpen, faults: func(_ testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: HalfOpen, Stream: o.market.book, At: len(o.places(o.market.book)) / 4}}
			},
			change: func(_ *venue.Spec, c *venue.Config) { c.Silence = 4 * time.Second },
			pace:   2.5, // the market must go on when the silence was seen
			gaps:   cutOff,
		},
		{
			name: Disconnect, faults: func(_ testing.TB, o *oracle) []Fault {
				return []Fault{{Kind: Disconnect, Stream: o.market.book, At: len(o.places(o.market.book)) / 2}}
			}, gaps: cutOff,
		},
		{
			// A snapshot of the next session that is behind the book is not taken, and the book ends with the session it follows.
			name: "age, renewed ahead of it", faults: one(func(market) Fault { return Fault{Kind: Age, For: 3 * renewal} }), gaps: booksCutOff,
			change: func(_ *venue.Spec, c *venue.Config) { c.MaxAge = renewal },
			pace:   3, // MaxAge/10 is how long two sessions stand side by side: snapshots must come in the time
			also: func(t *testing.T, _ *oracle, r result) {
				if r.server.Sessions() < 2 {
					t.Errorf("%d sessions, want renewals", r.server.Sessions())
				}
				if n := len(r.server.Missed()); n > 0 {
					t.Errorf("%d frames were missed", n)
				}
			},
		},
		{
			name: Shutdown, gaps: booksCutOff,
			skip: func(m market) string {
				if dialects[m.spec().SourceName()].shutdown == "" {
					return "the venue announces nothing"
				}
				return ""
			},
			faults: one(func(m market) Fault {
				return Fault{Kind: Shutdown, Stream: m.book, At: 40, For: 300 * time.Millisecond}
			}),
			also: func(t *testing.T, _ *oracle, r result) {
				if n := len(r.server.Missed()); n > 0 {
					t.Errorf("%d frames were missed", n)
				}
			},
		},
	}
}

// cutOff tells what is told of a connection that is gone: all its streams that had data by then. A book may have had data
// and not been published yet.
func cutOff(o *oracle, got []sourcetest.Entry) []string {
	out := heard(got, "disconnect", o.market.name != "binance_usdm") // there, trades come by a connection of their own
	if o.market.name == "okx" {                                      // and there, contracts
		out = slices.DeleteFunc(out, func(name string) bool { return strings.Count(name, "-") > 1 })
	}
	return append(out, booksCutOff(o, got)...)
}

// booksCutOff are the books that are told of as cut off.
func booksCutOff(_ *oracle, got []sourcetest.Entry) (out []string) {
	for _, e := range got {
		if g, ok := e.Message.(*schemas.Gap); ok && g.Channel == "book" && g.Cause == "disconnect" {
			out = append(out, g.Meta.Symbol+" book disconnect")
		}
	}
	return out
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

// namesTheSilent holds the health of the streams to the one that is silent while its connection stands.
func namesTheSilent(t *testing.T, o *oracle, r result) {
	t.Helper()
	last := map[string]*schemas.FeedHealth{}
	for _, h := range sourcetest.Of[*schemas.FeedHealth](r.out) {
		last[h.Meta.Symbol+" "+h.Channel] = h
	}
	name := o.market.symbols[0] + " trades"
	if h := last[name]; h == nil || !h.Connected || h.SilentNs != nil {
		t.Errorf("health of %s: %v, want a stream that never spoke on a connection that stands", name, h)
	}
	if h := last[o.market.symbols[0]+" book"]; h == nil || h.SilentNs == nil {
		t.Errorf("health of the book beside it: %v, want one that spoke", h)
	}
}

// Every fault against every venue, judged by clean playback: the losses told are those that were made, nothing is invented or
// doubled, what was not hit is the same, and every book comes back as the venue has it. The table is that of docs/proofs.md.
func TestFaults(t *testing.T) {
	var mu sync.Mutex // guards rows
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
	if raced {
		if c.name != "none" && c.name != Disconnect {
			return ""
		}
		c.pace = 2
	}
	if c.skip != nil {
		if why := c.skip(o.market); why != "" {
			return why
		}
	}
	var wrong []string
	expected, known, gaps := map[string]int{}, -1, 0
	r := o.run(t, c.faults(t, o), c.pace, c.change, func(r result) bool {
		if missed := r.server.Missed(); len(missed) != known {
			expected, known = records(o.without(t, missed), o.market.types()), len(missed)
		}
		wrong, gaps = o.judge(r.out.Entries(), expected, c.gaps(o, r.out.Entries())), len(sourcetest.Of[*schemas.Gap](r.out))
		return len(wrong) == 0
	})
	if len(wrong) > 0 {
		t.Errorf("%d differences:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 12)], "\n"))
	}
	if c.also != nil {
		c.also(t, o, r)
	}
	// That the server ends is told too.
	if took, n := recovery(r.out.Entries()); n > 0 {
		return fmt.Sprintf("%d; %d ms", gaps, took.Milliseconds())
	}
	return strconv.Itoa(gaps)
}

// The judge fails who is wrong: a connector without detection of gaps, and outputs that were doctored.
func TestJudgeFails(t *testing.T) {
	if raced {
		t.Skip("SKIPPED under the race detector: the connector is too slow for the pace")
	}
	o := oracleOf(t, markets()[0])
	c := faultCases()[2]
	var wrong []string
	faults := c.faults(t, o)
	faults[0].Count = 40
	o.run(t, faults, 0, func(s *venue.Spec, _ *venue.Config) {
		s.Books.Chain, s.Contiguous = venue.ChainNone, false
	}, func(r result) bool {
		wrong = o.judge(r.out.Entries(), records(o.without(t, r.server.Missed()), o.market.types()), c.gaps(o, r.out.Entries()))
		return true
	})
	if want := "no gap: " + o.market.symbols[0] + " book sequence"; !slices.Contains(wrong, want) {
		t.Errorf("a connector that sees no gaps: the judge says only\n%s", strings.Join(wrong, "\n"))
	}
	_, out := venuetest.Fed(t, o.market.spec(), o.frames)
	expected := records(out.Entries(), o.market.types())
	if wrong := o.judge(out.Entries(), expected, nil); len(wrong) > 0 {
		t.Fatalf("clean playback is judged wrong: %v", wrong[0])
	}
	trade := slices.IndexFunc(out.Entries(), func(e sourcetest.Entry) bool { return e.Type == "Trade" })
	shot := slices.IndexFunc(out.Entries(), func(e sourcetest.Entry) bool { return e.Type == "BookSnapshot" })
	for name, doctor := range map[string]func(e []sourcetest.Entry) []sourcetest.Entry{
		"a trade less":  func(e []sourcetest.Entry) []sourcetest.Entry { return slices.Delete(e, trade, trade+1) },
		"a trade twice": func(e []sourcetest.Entry) []sourcetest.Entry { return slices.Insert(e, trade, e[trade]) },
		"a book of nobody": func(e []sourcetest.Entry) []sourcetest.Entry {
			b, ok := e[shot].Message.(*schemas.BookSnapshot)
			if ok {
				b.Bids = b.Bids[1:]
			}
			return e
		},
		"a gap of nothing": func(e []sourcetest.Entry) []sourcetest.Entry {
			g := &schemas.Gap{Meta: &schemas.Meta{Symbol: o.market.symbols[0]}, Channel: "book", Cause: "sequence"}
			return append(e, sourcetest.Entry{Type: "Gap", Message: g})
		},
	} {
		_, fresh := venuetest.Fed(t, o.market.spec(), o.frames)
		if len(o.judge(doctor(fresh.Entries()), maps.Clone(expected), nil)) == 0 {
			t.Errorf("%s: the judge sees nothing", name)
		}
	}
}
