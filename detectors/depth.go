package detectors

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// The sides of a book.
const (
	bidSide = iota
	askSide
	bookSides
)

// sideNames are the sides as evidence calls them.
func sideName(side int) string { return [bookSides]string{"bid", "ask"}[side] }

// A sideView is what one side of a book offers near the mid price.
type sideView struct {
	// near and band are the quantities within the two bands, in units of base.
	near, band float64
	// slippage is how far from the mid, in basis points, a taker's average price for a fixed notional lies; -1 when the levels
	// that are known do not suffice.
	slippage float64
	// truncated says that more may lie within the band than the source keeps: band is a lower bound.
	truncated bool
}

// A bookView is what is kept of a book.
type bookView struct {
	at       schemas.Time // 0: none that counts
	mid      float64      // of the best prices
	spreadBp float64
	sides    [bookSides]sideView
}

// bands are the limits of a view, as shares of the mid, and the notional of its slippage in units of quote.
type bands struct{ near, band, notional float64 }

// view looks at a book from a robust mid price, 0 for the book's own; false for one that cannot be judged: crossed, or one of
// whose sides is empty while no mid is known.
func (w bands) view(b *schemas.BookSnapshot, at schemas.Time, robust float64) (v bookView, ok bool) {
	if len(b.Bids) == 0 && len(b.Asks) == 0 {
		return v, false
	}
	v.at, v.mid = at, robust
	if len(b.Bids) > 0 && len(b.Asks) > 0 {
		bid, ask := b.Bids[0].Price.Float(), b.Asks[0].Price.Float()
		if !(bid > 0 && bid < ask) {
			return v, false
		}
		v.mid = (bid + ask) / 2
		v.spreadBp = 1e4 * (ask - bid) / v.mid
	}
	if robust == 0 {
		robust = v.mid
	}
	if robust == 0 {
		return v, false
	}
	v.sides[bidSide] = w.side(b.Bids, -1, robust, b.Depth)
	v.sides[askSide] = w.side(b.Asks, 1, robust, b.Depth)
	return v, true
}

// side looks at one side; sign is the direction in which its prices get worse.
func (w bands) side(levels []*schemas.Level, sign, mid float64, depth uint32) sideView {
	s := sideView{slippage: w.slip(levels, sign, mid)}
	near, far := float64(mid*(1+float64(sign*w.near))), float64(mid*(1+float64(sign*w.band)))
	i, exponent, nearest := 0, int32(math.MinInt32), false
	sum, limit, closer := 0.0, 0.0, 0.0
	for ; i < len(levels); i++ {
		p, q := levels[i].Price, levels[i].Quantity
		if p.Exponent != exponent {
			// The bands in units of the price's last digit: levels share their exponent, and comparing integers is what a deep
			// book needs.
			exponent = p.Exponent
			unit := schemas.NewDecimal(1, exponent).Float()
			limit, closer = far/unit, near/unit
		}
		m := float64(p.Mantissa)
		if sign*(m-limit) > 0 {
			break
		}
		if !nearest && sign*(m-closer) > 0 {
			s.near, nearest = sum, true
		}
		sum += q.Float()
	}
	s.band = sum
	if !nearest {
		s.near = sum
	}
	s.truncated = i == len(levels) && uint32(len(levels)) >= depth
	return s
}

// slip walks the levels until a notional is filled.
func (w bands) slip(levels []*schemas.Level, sign, mid float64) float64 {
	left, base := w.notional, 0.0
	for _, l := range levels {
		p, q := l.Price.Float(), l.Quantity.Float()
		value := float64(p * q)
		if value >= left {
			base += left / p
			average := w.notional / base
			return float64(1e4*sign*(average-mid)) / mid
		}
		left -= value
		base += q
	}
	return -1
}

func (v *bookView) appendTo(dst []byte) []byte {
	dst = pack.Float(pack.Float(pack.Int(dst, int64(v.at)), v.mid), v.spreadBp)
	for i := range v.sides {
		s := &v.sides[i]
		dst = pack.Float(pack.Float(pack.Float(dst, s.near), s.band), s.slippage)
		dst = pack.Bool(dst, s.truncated)
	}
	return dst
}

func (v *bookView) restore(r *pack.Reader) {
	v.at, v.mid, v.spreadBp = schemas.Time(r.Int()), r.Float(), r.Float()
	for i := range v.sides {
		s := &v.sides[i]
		s.near, s.band, s.slippage = r.Float(), r.Float(), r.Float()
		s.truncated = r.Bool()
	}
}

// A least keeps the last values of a series and knows the smallest: what has not held for the whole window does not count.
type least struct {
	ring []float32
	n    int
	next int
}

func newLeast(size int) least { return least{ring: make([]float32, size)} }

func (l *least) clear() { l.n, l.next = 0, 0 }

func (l *least) push(v float64) {
	l.ring[l.next] = float32(v)
	if l.next++; l.next == len(l.ring) {
		l.next = 0
	}
	l.n = min(l.n+1, len(l.ring))
}

// value is the smallest of a full window; false while it is not full.
func (l *least) value() (float64, bool) {
	if l.n < len(l.ring) {
		return 0, false
	}
	v := l.ring[0]
	for _, x := range l.ring[1:] {
		v = min(v, x)
	}
	return float64(v), true
}

// latest is the newest value, 0 when there is none.
func (l *least) latest() float64 {
	if l.n == 0 {
		return 0
	}
	return float64(l.ring[(l.next+len(l.ring)-1)%len(l.ring)])
}

// list returns the values, oldest first.
func (l *least) list() []float64 {
	out := make([]float64, 0, l.n)
	for k := range l.n {
		out = append(out, float64(l.ring[(l.next+len(l.ring)-l.n+k)%len(l.ring)]))
	}
	return out
}

func (l *least) appendTo(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(l.n))
	for k := range l.n {
		dst = pack.Float32(dst, l.ring[(l.next+len(l.ring)-l.n+k)%len(l.ring)])
	}
	return dst
}

// restore keeps as many values as the configured window holds.
func (l *least) restore(r *pack.Reader) {
	l.clear()
	for range r.Count(longestLeast) {
		l.push(float64(r.Float32()))
	}
}

// longestLeast is the longest window of a least.
const longestLeast = 60
