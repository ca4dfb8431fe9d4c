package venue

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

func (o outcome) String() string {
	return [...]string{"kept", "applied", "idle", "stale", "known", "lost", "corrupt", "mismatch", "refetch"}[o]
}

// step is one message to a book: what it is and what becomes of it.
type syncStep struct {
	snap, answer      bool
	first, last, prev uint64
	at                schemas.Time
	bid, ask          int64 // one level of quantity 1 a side, 0 none
	sum               uint32
	digest            uint64
	want              outcome
}

func (s syncStep) play(b *bookSync) outcome {
	e := Event{First: s.first, Last: s.last, Prev: s.prev, At: s.at, Checksum: s.sum, HasChecksum: s.sum != 0}
	if s.bid != 0 {
		e.Bids = []book.Level{{Price: Number{Mantissa: s.bid}, Quantity: Number{Mantissa: 1}}}
	}
	if s.ask != 0 {
		e.Asks = []book.Level{{Price: Number{Mantissa: s.ask}, Quantity: Number{Mantissa: 1}}}
	}
	switch {
	case s.snap:
		return b.snapshot(&e, s.digest)
	case s.answer:
		return b.answer(&e)
	}
	return b.update(&e, s.digest)
}

// levelCount is a checksum that a test can do in its head: levels of both sides.
func levelCount(b *book.Book) uint32 {
	bids, asks := b.Depth()
	return uint32(bids + asks)
}

func TestBookSync(t *testing.T) {
	asked := func(c Chain) BookRules { return BookRules{Chain: c, Asked: true} }
	for _, c := range []struct {
		name  string
		rules BookRules
		steps []syncStep
		valid bool
	}{
		{"an update before any snapshot waits", BookRules{Chain: ChainStep}, []syncStep{{last: 5, bid: 10, want: kept}}, false},
		{"step by one", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, bid: 10, ask: 20, want: applied}, {last: 6, bid: 11, want: applied}, {last: 7, ask: 19, want: applied},
		}, true},
		{"a step is missing", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {last: 7, bid: 11, want: lost}, {last: 8, bid: 12, want: kept},
		}, false},
		{"resync after a loss", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, at: 1, bid: 10, digest: 1, want: applied},
			{last: 7, bid: 11, want: lost},
			{snap: true, last: 9, at: 2, bid: 12, digest: 2, want: applied},
			{last: 10, bid: 13, want: applied},
		}, true},
		{"an update that comes twice", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {last: 6, bid: 11, want: applied}, {last: 6, bid: 11, want: known}, {last: 5, bid: 9, want: known},
		}, true},
		{"a snapshot that comes twice, and an older one", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, at: 5, digest: 1, bid: 10, want: applied},
			{snap: true, last: 5, at: 5, digest: 1, bid: 10, want: known},
			{snap: true, last: 3, at: 3, digest: 2, bid: 8, want: known},
			{last: 6, bid: 11, want: applied},
		}, true},
		{"numbers begin anew with a later snapshot", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 500, at: 1, digest: 1, bid: 10, want: applied}, {snap: true, last: 1, at: 2, digest: 2, bid: 12, want: applied}, {last: 2, bid: 13, want: applied},
		}, true},

		{"each names its predecessor", BookRules{Chain: ChainPrevious}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {prev: 5, last: 9, bid: 11, want: applied}, {prev: 9, last: 30, bid: 12, want: applied},
		}, true},
		{"a predecessor that never came", BookRules{Chain: ChainPrevious}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {prev: 7, last: 9, bid: 11, want: lost},
		}, false},
		{"a predecessor that was overtaken", BookRules{Chain: ChainPrevious}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {prev: 3, last: 9, bid: 11, want: lost},
		}, false},
		{"its own predecessor: nothing changed", BookRules{Chain: ChainPrevious}, []syncStep{
			{snap: true, last: 5, bid: 10, want: applied}, {prev: 5, last: 5, want: idle}, {prev: 5, last: 6, bid: 11, want: applied},
		}, true},
		{"numbers begin anew under maintenance", BookRules{Chain: ChainPrevious}, []syncStep{
			{snap: true, last: 50, bid: 10, want: applied}, {prev: 50, last: 3, bid: 11, want: applied}, {prev: 3, last: 5, bid: 12, want: applied},
		}, true},

		{"no chain: a checksum proves", BookRules{Checksum: levelCount}, []syncStep{
			{snap: true, bid: 10, ask: 20, sum: 2, digest: 1, want: applied},
			{bid: 11, sum: 3, digest: 2, want: applied},
			{bid: 12, sum: 3, digest: 3, want: mismatch},
			{bid: 13, sum: 5, digest: 4, want: kept},
		}, false},
		{"no chain: a snapshot without a checksum, then one that is wrong", BookRules{Checksum: levelCount}, []syncStep{
			{snap: true, bid: 10, digest: 1, want: applied}, {snap: true, bid: 11, sum: 9, digest: 2, want: mismatch},
		}, false},
		{"no chain: doubled in a row", BookRules{}, []syncStep{
			{snap: true, bid: 10, digest: 1, want: applied},
			{snap: true, bid: 10, digest: 1, want: known},
			{bid: 11, digest: 2, want: applied},
			{bid: 11, digest: 2, want: known},
			{bid: 12, digest: 3, want: applied},
		}, true},
		{"the checksum speaks ahead of reason", BookRules{Checksum: levelCount}, []syncStep{
			{snap: true, bid: 10, ask: 20, digest: 1, want: applied}, {bid: 30, sum: 9, digest: 2, want: mismatch},
		}, false},
		{"crossed", BookRules{Chain: ChainStep}, []syncStep{
			{snap: true, last: 5, bid: 10, ask: 20, want: applied}, {last: 6, bid: 20, want: corrupt}, {last: 7, bid: 11, want: kept},
		}, false},
		{"a crossed snapshot", BookRules{}, []syncStep{{snap: true, bid: 20, ask: 20, want: corrupt}}, false},

		{"asked: updates wait for the answer, older ones are left out", asked(ChainRange), []syncStep{
			{first: 1, last: 3, bid: 1, want: kept},
			{first: 4, last: 6, bid: 2, want: kept},
			{answer: true, last: 5, bid: 10, ask: 20, want: applied},
			{first: 7, last: 7, bid: 11, want: applied},
		}, true},
		{"asked: the answer is older than what waits", asked(ChainRange), []syncStep{
			{first: 8, last: 9, bid: 1, want: kept}, {answer: true, last: 5, bid: 10, want: refetch},
		}, false},
		{"asked: stale updates after the answer", asked(ChainRange), []syncStep{
			{answer: true, last: 5, bid: 10, want: applied}, {first: 3, last: 4, bid: 9, want: stale}, {first: 5, last: 5, bid: 9, want: stale}, {first: 4, last: 7, bid: 11, want: applied},
		}, true},
		{"asked: a second answer is of no use", asked(ChainRange), []syncStep{
			{answer: true, last: 5, bid: 10, want: applied}, {answer: true, last: 6, bid: 99, want: known}, {first: 6, last: 7, bid: 11, want: applied},
		}, true},
		{"asked: a gap among what waited", asked(ChainRange), []syncStep{
			{first: 6, last: 7, bid: 1, want: kept}, {first: 9, last: 9, bid: 2, want: kept}, {answer: true, last: 5, bid: 10, want: lost},
		}, false},
		{"overlap: the first may begin before the answer", asked(ChainOverlap), []syncStep{
			{answer: true, last: 5, bid: 10, want: applied},
			{first: 3, last: 7, prev: 2, bid: 11, want: applied},
			{first: 9, last: 12, prev: 7, bid: 12, want: applied},
			{first: 15, last: 16, prev: 14, bid: 13, want: lost},
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bookSync{rules: &c.rules}
			for i, s := range c.steps {
				if got := s.play(&b); got != s.want {
					t.Fatalf("step %d %+v: %v, want %v", i, s, got, s.want)
				}
			}
			if b.valid() != c.valid {
				t.Errorf("valid %v, want %v", b.valid(), c.valid)
			}
		})
	}
}

// An update reaches only as deep as the subscription.
func TestBookSyncKeepsTheDepth(t *testing.T) {
	rules := BookRules{Checksum: levelCount}
	b := bookSync{rules: &rules}
	e := Event{Kind: BookSnapshot, Depth: 2}
	for _, p := range []int64{12, 11} {
		e.Bids = append(e.Bids, book.Level{Price: Number{Mantissa: p}, Quantity: Number{Mantissa: 1}})
	}
	b.snapshot(&e, 1)
	if got := (syncStep{bid: 13, sum: 2, digest: 2}).play(&b); got != applied || b.book.Bid(1).Price.Mantissa != 12 {
		t.Errorf("%v, second bid %v, want two levels: 13 and 12", got, b.book.Bid(1))
	}
}

// The buffer is bounded, and dropped as a whole: without its oldest part it could not match an answer.
func TestBookSyncBoundsItsBuffer(t *testing.T) {
	rules := BookRules{Chain: ChainRange, Asked: true}
	b := bookSync{rules: &rules}
	for i := uint64(1); i <= maxBuffered+10; i++ {
		(syncStep{first: i, last: i, bid: 1}).play(&b)
	}
	if len(b.buffer) != 10 || b.stats.Overflows != 1 {
		t.Errorf("%d wait, %d overflows, want 10 and 1", len(b.buffer), b.stats.Overflows)
	}
	if got := (syncStep{answer: true, last: 5, bid: 10}).play(&b); got != refetch {
		t.Errorf("an answer from before the overflow: %v, want refetch", got)
	}
}

// Against a model: whatever is dropped or doubled, a book that calls itself valid equals the venue's as of its last number.
func TestBookSyncIsRightOrInvalid(t *testing.T) {
	for _, chain := range []Chain{ChainStep, ChainPrevious, ChainRange} {
		rapid.Check(t, func(t *rapid.T) {
			rules := BookRules{Chain: chain}
			b := bookSync{rules: &rules}
			var theirs book.Book
			states := map[uint64]string{}
			for last := range rapid.Uint64Range(1, 60).Draw(t, "messages") {
				change := []book.Level{{
					Price:    Number{Mantissa: rapid.Int64Range(1, 9).Draw(t, "price")},
					Quantity: Number{Mantissa: rapid.Int64Range(0, 3).Draw(t, "quantity")},
				}}
				if err := theirs.Apply(change, nil); err != nil {
					t.Fatal(err)
				}
				states[last] = fmt.Sprint(bids(&theirs))
				e := Event{First: last, Last: last, Prev: last - 1, At: schemas.Time(last), Bids: change}
				if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
					e.Bids = bids(&theirs)
					b.snapshot(&e, last)
				} else {
					for range rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(t, "times") {
						b.update(&e, last)
					}
				}
				if got := fmt.Sprint(bids(&b.book)); b.valid() && got != states[b.last] {
					t.Fatalf("at %d: %s, the venue had %s", b.last, got, states[b.last])
				}
			}
		})
	}
}

func bids(b *book.Book) []book.Level {
	out := []book.Level{}
	n, _ := b.Depth()
	for i := range n {
		out = append(out, b.Bid(i))
	}
	return out
}
