package venue_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// change is the update behind which the best bid is n, the n-th state of the book.
func change(n int) venue.Event {
	e := bookOf(venue.BookUpdate, "X", int64(n))
	e.First, e.Last, e.Prev, e.At = uint64(n), uint64(n), uint64(n-1), at(10*n)
	return e
}

// whole is the snapshot of the n-th state: the levels 1 to n.
func whole(n int) venue.Event {
	e := change(n)
	e.Kind, e.Bids = venue.BookSnapshot, nil
	for p := n; p > 0; p-- {
		e.Bids = append(e.Bids, book.Level{Price: venue.Number{Mantissa: int64(p)}, Quantity: venue.Number{Mantissa: 1}})
	}
	return e
}

// Whatever two sockets do to the order of their messages while a session is renewed: no gap is told, no book goes back, and
// the last one is the venue's last. The one thing that is needed is the next session's snapshot ahead of the end of this one,
// and what waits for that is told of it. Control: without it there is a gap.
func TestRenewalLosesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		chain    venue.Chain
		timeless bool // snapshots, as some venues have them
	}{
		"step": {chain: venue.ChainStep}, "previous": {chain: venue.ChainPrevious}, "none": {}, "none, snapshots without time": {timeless: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				last := rapid.IntRange(4, 40).Draw(rt, "states")
				joins := rapid.IntRange(1, last-1).Draw(rt, "next session joins at")
				ends := rapid.IntRange(joins, last).Draw(rt, "first session ends at")
				p := newPlay()
				p.rules.Chain = c.chain
				first, next := []venue.Event{whole(1)}, []venue.Event{whole(joins)}
				for n := 2; n <= ends; n++ {
					first = append(first, change(n))
				}
				for n := joins + 1; n <= last; n++ {
					next = append(next, change(n))
				}
				p.do(0, capture.Connect, "a/1").say(10, "a/1", first[0]).do(20, capture.Connect, "a/2")
				first = first[1:]
				heard, closed := false, false
				for ms := 30; len(next) > 0 || !closed; ms += 10 * rapid.IntRange(0, 10).Draw(rt, "pause") {
					turn := rapid.Bool().Draw(rt, "turn")
					switch {
					case (turn || closed) && len(next) > 0:
						p.say(ms, "a/2", next[0])
						if c.timeless && !heard {
							p.events[string(p.frames[len(p.frames)-1].Data)][0].At = 0
						}
						next, heard = next[1:], true
					case len(first) > 0:
						p.say(ms, "a/1", first[0])
						first = first[1:]
					case heard && !closed:
						p.do(ms, capture.Close, "a/1")
						closed = true
					}
				}
				books, gaps, settled := renewed(t, p)
				if !slices.IsSorted(books) || len(books) == 0 || books[len(books)-1] != last || gaps != 0 || settled > 1 {
					rt.Errorf("books %v of %d states, %d gaps, settled %d times: want an ascent to the last, none, and once at most", books, last, gaps, settled)
				}
			})
		})
	}
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", whole(1)).do(20, capture.Connect, "a/2").do(1500, capture.Close, "a/1")
	p.say(1600, "a/2", whole(3))
	if _, gaps, settled := renewed(t, p); gaps != 1 || settled != 0 {
		t.Errorf("control: %d gaps, settled %d times, want one gap of a session that ended too early", gaps, settled)
	}
}

// renewed plays and lists the best bids that were published.
func renewed(t *testing.T, p *play) (books []int, gaps, settled int) {
	t.Helper()
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, p.spec(), out, venue.Hands{Settled: func(string) { settled++ }})
	p.do(0, capture.Header, "")
	p.frames[len(p.frames)-1].At = p.frames[len(p.frames)-2].At.Add(time.Second)
	venuetest.Run(t, m, p.frames)
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	for _, e := range out.Entries() {
		switch r := e.Message.(type) {
		case *schemas.BookSnapshot:
			n, err := strconv.Atoi(r.Bids[0].Price.Text())
			if err != nil || len(r.Bids) != min(n, 20) {
				t.Fatalf("book %v, %v: want the levels from %d down", r, err, n)
			}
			books = append(books, n)
		case *schemas.Gap:
			gaps++
		}
	}
	return books, gaps, settled
}

// A session ends, and with it changes that its own socket still held. The next one's snapshot has them and no time, and nothing
// changes after it: the book takes it over after a while.
func TestHeirWithoutTime(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", whole(3)).do(100, capture.Connect, "a/2").say(110, "a/2", whole(4))
	p.events[string(p.frames[len(p.frames)-1].Data)][0].At = 0
	p.do(200, capture.Close, "a/1").say(4_000, "a/2", trade("X", 1)).say(6_500, "a/2", trade("X", 2))
	_, got := p.run(t)
	expect(t, got, "book X-USD 3", "trade 1", "book X-USD 4", "trade 2")
}

// A message whose number was passed was told of as lost: it changes no book that was made anew since.
func TestMessageBehindItsNumber(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", numbered(bookOf(venue.BookSnapshot, "X", 10), 0))
	p.say(200, "a/1", numbered(venue.Event{Kind: venue.Note}, 2))
	p.say(300, "a/1", numbered(bookOf(venue.BookSnapshot, "X", 12), 3)).say(400, "a/1", numbered(bookOf(venue.BookUpdate, "X", 99), 1))
	p.say(500, "a/1", numbered(trade("X", 2), 4)).say(600, "a/1", numbered(trade("X", 1), 1))
	_, got := p.run(t)
	expect(t, got, "book X-USD 10", "gap X-USD book sequence ?", "book X-USD 12", "trade 2", "trade 1")
}

// An heir that lost a message is none: a snapshot is asked for, and the book goes on by it.
func TestHeirIsBroken(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", whole(3))
	p.rules.Chain = venue.ChainStep
	p.do(100, capture.Connect, "a/2").say(110, "a/2", whole(1)).say(120, "a/2", change(3)) // 2 is missing
	p.say(200, "a/1", change(4)).say(300, "a/2", whole(5)).do(400, capture.Close, "a/1").say(500, "a/2", change(6))
	_, got := p.run(t)
	expect(t, got, "book X-USD 3", "book X-USD 4", "book X-USD 5", "book X-USD 6")
	expect(t, p.asked, "a X")
}
