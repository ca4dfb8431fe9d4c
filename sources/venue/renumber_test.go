package venue_test

import (
	"testing"

	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A venue that numbers trades anew, as after a maintenance, or one number that was far too high, does not make all that follows a
// repetition: what is much later than everything before is none. How much was lost between is not known.
func TestTradesThatAreNumberedAnew(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1")
	p.say(100, "a/1", trade("X", 900_000)).say(200, "a/1", trade("X", 900_001)).again("a/1")
	p.say(300, "a/1", trade("X", 1)).say(10_300, "a/1", trade("X", 2)).again("a/1").say(10_400, "a/1", trade("X", 3)).say(10_500, "a/1", trade("X", 5))
	_, got := p.run(t)
	expect(t, got, "trade 900000", "trade 900001", "gap X-USD trades sequence ?", "trade 2", "trade 3", "gap X-USD trades sequence 1", "trade 5")
}

// Numbers that lie within the window are no different: 5 was seen, but not so late.
func TestTradesThatAreNumberedAnewCloseBy(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1")
	for id := uint64(1); id < 9; id++ {
		p.say(int(100*id), "a/1", trade("X", id))
	}
	p.say(20_000, "a/1", trade("X", 5)).say(20_100, "a/1", trade("X", 6))
	_, got := p.run(t)
	expect(t, got[8:], "gap X-USD trades sequence ?", "trade 5", "trade 6")
}

// A book whose numbers begin anew is lost: it is asked for again, instead of standing still with all of its updates taken for known.
func TestBookThatIsNumberedAnew(t *testing.T) {
	of := func(kind venue.Kind, last uint64, bid int64) venue.Event {
		e := bookOf(kind, "X", bid)
		e.Last = last
		return e
	}
	p := newPlay().do(0, capture.Connect, "a/1")
	p.rules = venue.BookRules{Chain: venue.ChainStep}
	p.say(10, "a/1", of(venue.BookSnapshot, 50, 10)).say(100, "a/1", of(venue.BookUpdate, 51, 11)).again("a/1")
	p.say(200, "a/1", of(venue.BookUpdate, 2, 99)).say(10_200, "a/1", of(venue.BookUpdate, 3, 12)).say(10_210, "a/1", of(venue.BookUpdate, 4, 13))
	p.say(10_400, "a/1", of(venue.BookSnapshot, 9, 14)).say(10_600, "a/1", of(venue.BookUpdate, 10, 15))
	m, got := p.run(t)
	expect(t, got, "book X-USD 10", "book X-USD 11", "gap X-USD book sequence ?", "book X-USD 14", "book X-USD 15")
	expect(t, p.asked, "a X")
	if f := m.Figures()[0]; f.Book.Known != 2 || f.Book.Lost != 1 {
		t.Errorf("%+v, want two known and one lost", f.Book)
	}
}

// Quotes whose numbers fall are old ones of another session, unless none has come for a while: then they began anew.
func TestQuotesThatAreNumberedAnew(t *testing.T) {
	quote := func(last uint64) venue.Event {
		price := venue.Number{Mantissa: int64(last)}
		return venue.Event{Kind: venue.Quote, Symbol: []byte("X"), Last: last, Price: price, AskPrice: price, Quantity: price, AskQuantity: price}
	}
	p := newPlay().do(0, capture.Connect, "a/1")
	p.say(100, "a/1", quote(70)).say(200, "a/1", quote(71)).say(300, "a/1", quote(70)).say(20_000, "a/1", quote(71)).say(20_100, "a/1", quote(3))
	p.say(20_200, "a/1", quote(4)).say(20_300, "a/1", quote(3))
	_, got := p.run(t)
	if len(got) != 4 || p.quotes[2].Meta.Sequence != 3 || p.quotes[3].Meta.Sequence != 4 {
		t.Errorf("%d quotes, want those of 70, 71, 3 and 4: %v", len(got), p.quotes)
	}
}
