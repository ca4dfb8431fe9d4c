package book

import (
	"math"
	"math/bits"

	"github.com/tapewatch/tapewatch/internal/depth"
	"github.com/tapewatch/tapewatch/schemas"
)

// A Band is what stands within a distance of the mid price.
type Band struct{ Bid, Ask Depth }

// Depth is the quantity of one side of a band.
type Depth struct {
	Quantity Number
	// Capped is the quantity when no level counts for more than a share of it (depth.Capped), rounded down to the last digit of
	// Quantity.
	Capped Number
	// Complete says that all of the band is known; where it is not, the quantities are lower bounds.
	Complete bool
}

// bound is where what is known of a side ends.
type bound struct {
	set   bool
	fixed bool  // at key, wherever the levels go
	key   int64 // else at the worst level
	half  int64 // of a fixed one: halfway there from the best price of the snapshot
}

// Cut says that the snapshot which the book was filled from had at most n levels a side. Beyond the worst of them stands what has
// changed since then and what has not: nothing is complete there, until the next snapshot. A side with fewer levels was whole.
func (b *Book) Cut(n int) {
	b.bidEnd, b.askEnd = cut(b.bids, n), cut(b.asks, n)
}

func cut(side []entry, n int) bound {
	if n <= 0 || len(side) < n {
		return bound{}
	}
	end, best := side[0].key, side[len(side)-1].key
	return bound{set: true, fixed: true, key: end, half: end + (best-end)/2}
}

// refine multiplies the prices by ten.
func (e *bound) refine() { e.key, e.half = e.key*10, e.half*10 }

// Short says that on one side the best price has gone half of the way to where a snapshot was cut.
func (b *Book) Short() bool { return b.bidEnd.short(b.bids, 1) || b.askEnd.short(b.asks, -1) }

func (e bound) short(side []entry, sign int64) bool {
	return e.fixed && (len(side) == 0 || side[len(side)-1].key*sign < e.half*sign)
}

// covers says that a side is known as far as the limit; sign is 1 for bids and -1 for asks.
func (e bound) covers(side []entry, limit, sign int64) bool {
	switch {
	case !e.set:
		return true
	case e.fixed:
		return e.key*sign <= limit*sign
	}
	return len(side) > 0 && side[0].key*sign <= limit*sign
}

// MaxBasisPoints is the widest band: half of the mid price.
const MaxBasisPoints = schemas.MaxBandBasisPoints

// DefaultBands are the distances from the mid price, in basis points, within which books state their depth unless they are told
// others.
func DefaultBands() []int { return []int{10, 20, 50, 100, 200} }

// Bands appends the depth within each distance of the mid price to dst: basis points, ascending, at most MaxBasisPoints. A price at the
// limit itself counts. One walk from the best prices outwards serves all of them. convert, unless nil, is what a level's quantity stands
// for. A sum that does not fit, or a quantity that cannot be converted, ends what is known. A book with an empty side, or whose best bid
// is not above zero and below the best ask, has no mid price and no bands.
func (b *Book) Bands(dst []Band, basisPoints []int, convert func(Level) (Number, bool)) []Band {
	if len(b.bids) == 0 || len(b.asks) == 0 {
		return dst
	}
	bid, ask := b.bids[len(b.bids)-1].key, b.asks[len(b.asks)-1].key
	if bid <= 0 || bid >= ask {
		return dst
	}
	twice := uint64(bid) + uint64(ask)
	bids, asks := walk{side: b.bids, sign: 1, convert: convert}, walk{side: b.asks, sign: -1, convert: convert}
	for _, d := range basisPoints {
		// The limits are twice the mid price x (1 - d) and (1 + d), rounded inwards, over two.
		hi, lo := bits.Mul64(twice, uint64(whole-d))
		low, rest := bits.Div64(hi, lo, 2*whole)
		if rest > 0 {
			low++
		}
		hi, lo = bits.Mul64(twice, uint64(whole+d))
		high, _ := bits.Div64(hi, lo, 2*whole)
		low, high = min(low, math.MaxInt64), min(high, math.MaxInt64)
		dst = append(dst, Band{bids.to(int64(low), b.bidEnd), asks.to(int64(high), b.askEnd)})
	}
	return dst
}

// whole is the mid price itself, in basis points.
const whole = 10_000

// A walk sums the quantities of a side from the best price outwards.
type walk struct {
	side    []entry
	sign    int64
	convert func(Level) (Number, bool)
	taken   int
	sum     Number
	largest Number
	failed  bool
}

// to goes on as far as the limit.
func (w *walk) to(limit int64, end bound) Depth {
	for !w.failed && w.taken < len(w.side) {
		e := &w.side[len(w.side)-1-w.taken]
		if e.key*w.sign < limit*w.sign {
			break
		}
		n := e.Quantity
		if w.convert != nil {
			var ok bool
			if n, ok = w.convert(e.Level); !ok {
				w.failed = true
				break
			}
		}
		if sum := w.sum.Mantissa + n.Mantissa; n.Exponent == w.sum.Exponent && sum >= w.sum.Mantissa { // most of the time
			w.sum.Mantissa = sum
		} else if !w.sum.add(n) {
			w.failed = true
			break
		}
		if n.Exponent == w.largest.Exponent {
			w.largest.Mantissa = max(w.largest.Mantissa, n.Mantissa)
		} else if n.in(w.sum.Exponent) > w.largest.in(w.sum.Exponent) {
			w.largest = n
		}
		w.taken++
	}
	return Depth{w.sum, w.capped(), !w.failed && end.covers(w.side, limit, w.sign)}
}

// capped is the sum of what was taken when no level counts for more than its share.
func (w *walk) capped() Number {
	unit, sum := w.sum.Exponent, float64(w.sum.Mantissa)
	v := depth.Capped(w.taken, sum, w.largest.in(unit), func(i int) float64 {
		e := &w.side[len(w.side)-1-i]
		if w.convert == nil {
			return e.Quantity.in(unit)
		}
		n, _ := w.convert(e.Level) // it could be converted before
		return n.in(unit)
	})
	if v >= sum {
		return w.sum
	}
	return Number{int64(v), unit}
}

// in is n in units of 10^exponent, rounded.
func (n Number) in(exponent int32) float64 {
	if n.Exponent == exponent {
		return float64(n.Mantissa)
	}
	return float64(n.Mantissa) * math.Pow10(int(n.Exponent-exponent))
}

// add is exact; false, with nothing added, when the sum does not fit. Neither may be negative.
func (n *Number) add(m Number) bool {
	a, b := n.Mantissa, m.Mantissa
	switch {
	case a == 0:
		*n = m
		return true
	case b == 0:
		return true
	}
	e := n.Exponent
	for ; e > m.Exponent; e-- {
		if !fits(a) {
			return false
		}
		a *= 10
	}
	for at := m.Exponent; at > e; at-- {
		if !fits(b) {
			return false
		}
		b *= 10
	}
	if a > math.MaxInt64-b {
		return false
	}
	n.Mantissa, n.Exponent = a+b, e
	return true
}
