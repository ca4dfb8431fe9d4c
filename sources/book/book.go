// Package book keeps one instrument's order book from snapshots and differences.
package book

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
)

// Number is a decimal by value, as the venue wrote it.
type Number struct {
	Mantissa int64
	Exponent int32
}

// Decimal returns n as a new record field.
func (n Number) Decimal() *schemas.Decimal { return schemas.NewDecimal(n.Mantissa, n.Exponent) }

// Level is one price and the quantity that stands there; quantity zero in a difference removes the price.
type Level struct {
	Price, Quantity Number
}

// ErrPrice says that a price cannot be compared with the others: too large for one so fine among them.
var ErrPrice = errors.New("price out of range")

type entry struct {
	key int64 // price x 10^-scale
	Level
}

// Book is both sides. The zero value is an empty book. Not for concurrent use.
type Book struct {
	// The best level is the last: most changes are near it, so little moves.
	bids []entry // ascending
	asks []entry // descending
	// scale is the exponent that prices are compared at: that of the finest one so far. Some books have asks at 9,999,999,997,
	// others ten decimals.
	scale int32
	// Where what is known of the venue's book ends.
	bidEnd, askEnd bound
}

// Clear empties the book.
func (b *Book) Clear() { *b = Book{bids: b.bids[:0], asks: b.asks[:0]} }

// Apply sets levels on both sides. After an error the book is not to be trusted.
func (b *Book) Apply(bids, asks []Level) error {
	for _, l := range bids {
		key, err := b.key(l.Price)
		if err != nil {
			return err
		}
		b.bids = set(b.bids, key, 1, l)
	}
	for _, l := range asks {
		key, err := b.key(l.Price)
		if err != nil {
			return err
		}
		b.asks = set(b.asks, key, -1, l)
	}
	return nil
}

// Replace makes the levels the whole book: what Clear and Apply do, at little cost where they come best first, as in the
// snapshots of venues, which have tens of thousands.
func (b *Book) Replace(bids, asks []Level) error {
	b.Clear()
	if b.fill(&b.bids, bids, 1) && b.fill(&b.asks, asks, -1) {
		return nil
	}
	b.Clear()
	return b.Apply(bids, asks)
}

// fill appends levels from the last to the first; false when they are not best first, or one is not to be set.
func (b *Book) fill(side *[]entry, levels []Level, sign int64) bool {
	for _, l := range slices.Backward(levels) {
		key, err := b.key(l.Price)
		if n := len(*side); err != nil || l.Quantity.Mantissa == 0 || (n > 0 && key*sign <= (*side)[n-1].key*sign) {
			return false
		}
		*side = append(*side, entry{key, l})
	}
	return true
}

// key returns a price as a whole number of 10^scale.
func (b *Book) key(n Number) (int64, error) {
	m, e := n.Mantissa, n.Exponent
	for e < b.scale && m%10 == 0 && m != 0 {
		m, e = m/10, e+1
	}
	if m == 0 {
		return 0, nil
	}
	for e < b.scale {
		if !b.refine() {
			return 0, outOfRange(n)
		}
	}
	for ; e > b.scale; e-- {
		if !fits(m) {
			return 0, outOfRange(n)
		}
		m *= 10
	}
	return m, nil
}

// refine makes room for prices of one more decimal, if there is any.
func (b *Book) refine() bool {
	for _, side := range [...][]entry{b.bids, b.asks} {
		for _, e := range side {
			if !fits(e.key) {
				return false
			}
		}
	}
	for _, end := range [...]bound{b.bidEnd, b.askEnd} {
		if !fits(end.key) || !fits(end.half) {
			return false
		}
	}
	b.bidEnd.refine()
	b.askEnd.refine()
	for _, side := range [...][]entry{b.bids, b.asks} {
		for i := range side {
			side[i].key *= 10
		}
	}
	b.scale--
	return true
}

// fits says that ten times n is in range.
func fits(n int64) bool { return n <= math.MaxInt64/10 && n >= math.MinInt64/10 }

func outOfRange(n Number) error { return fmt.Errorf("%w: %s", ErrPrice, n.Decimal().Text()) }

// set changes one price; sign is 1 for an ascending side and -1 for a descending one.
func set(side []entry, key, sign int64, l Level) []entry {
	i, found := slices.BinarySearchFunc(side, key*sign, func(e entry, want int64) int {
		switch have := e.key * sign; {
		case have < want:
			return -1
		case have > want:
			return 1
		}
		return 0
	})
	switch {
	case l.Quantity.Mantissa == 0 && found:
		return slices.Delete(side, i, i+1)
	case l.Quantity.Mantissa == 0:
		return side
	case found:
		side[i].Level = l
		return side
	}
	return slices.Insert(side, i, entry{key, l})
}

// Truncate drops the worst levels beyond n a side, as the venue tells of no more; 0 keeps all. What is known of a side that has had n
// levels ends at its worst level.
func (b *Book) Truncate(n int) {
	if n <= 0 {
		return
	}
	b.bidEnd.set, b.askEnd.set = b.bidEnd.set || len(b.bids) >= n, b.askEnd.set || len(b.asks) >= n
	if extra := len(b.bids) - n; extra > 0 {
		b.bids = slices.Delete(b.bids, 0, extra)
	}
	if extra := len(b.asks) - n; extra > 0 {
		b.asks = slices.Delete(b.asks, 0, extra)
	}
}

// Depth returns how many levels stand on the two sides.
func (b *Book) Depth() (bids, asks int) { return len(b.bids), len(b.asks) }

// Bid returns the i-th best bid, 0 the best; i must be less than the depth.
func (b *Book) Bid(i int) Level { return b.bids[len(b.bids)-1-i].Level }

// Ask returns the i-th best ask.
func (b *Book) Ask(i int) Level { return b.asks[len(b.asks)-1-i].Level }

// Crossed says that the best bid is not below the best ask.
func (b *Book) Crossed() bool {
	return len(b.bids) > 0 && len(b.asks) > 0 && b.bids[len(b.bids)-1].key >= b.asks[len(b.asks)-1].key
}
