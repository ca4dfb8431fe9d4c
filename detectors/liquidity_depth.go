package detectors

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/depth"
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

// mostBands is how many bands of a book are followed: the widest ones up to the configured one.
const mostBands = 4

// A bandView is what stands within a distance of the mid price.
type bandView struct {
	width    uint32             // in millionths of the mid price; 0 for none
	quantity [bookSides]float64 // capped: no level counts for more than its share
	// complete says that all of the band is known; else quantity is a lower bound.
	complete [bookSides]bool
}

// A sideView is what one side of a book offers near the mid price.
type sideView struct {
	// near is the quantity within the narrow band, in units of base; -1 when not all of it is known.
	near float64
	// slippage is how far from the mid, in basis points, a taker's average price for a fixed notional lies; -1 when the levels
	// that are known do not suffice.
	slippage float64
}

// A bookView is what is kept of a book.
type bookView struct {
	at       schemas.Time // 0: none that counts
	mid      float64      // of the best prices
	spreadBp float64
	bands    [mostBands]bandView
	sides    [bookSides]sideView
}

// known says that some band of a side is complete.
func (v *bookView) known(side int) bool {
	for i := range v.bands {
		if v.bands[i].complete[side] {
			return true
		}
	}
	return false
}

// shareOf is a width as a share of the mid price.
func shareOf(width uint32) float64 { return float64(width) / 1e6 }

// pctOf is a width in percent of the mid price.
func pctOf(width uint32) float64 { return float64(width) / 1e4 }

// bands are the limits of a view, in millionths of the mid, and the notional of its slippage in units of quote.
type bands struct {
	near, band uint32
	notional   float64
}

func newBands(nearPct, bandPct, notional float64) bands {
	const ofPercent = 10_000
	return bands{uint32(math.Round(nearPct * ofPercent)), uint32(math.Round(bandPct * ofPercent)), notional}
}

// view looks at a book: at the depth by band that its source states or, where it states none, at its levels from a robust mid price, 0
// for the book's own. False for one that cannot be judged: crossed, or one of whose sides is empty while no mid is known.
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
	w.side(&v, bidSide, b.Bids, -1, robust, b.Depth)
	w.side(&v, askSide, b.Asks, 1, robust, b.Depth)
	if len(b.Bands) > 0 {
		w.stated(&v, b.Bands)
	}
	return v, true
}

// stated takes the bands of the whole book that the source keeps, unless all are wider than the configured one.
func (w bands) stated(v *bookView, list []*schemas.DepthBand) {
	const ofBasisPoint = 100
	within := 0
	for ; within < len(list) && list[within].BasisPoints*ofBasisPoint <= w.band; within++ {
		d := list[within]
		if d.BasisPoints*ofBasisPoint == w.near && d.BidComplete {
			v.sides[bidSide].near = d.BidQuantity.Float()
		}
		if d.BasisPoints*ofBasisPoint == w.near && d.AskComplete {
			v.sides[askSide].near = d.AskQuantity.Float()
		}
	}
	if within == 0 {
		return
	}
	v.bands = [mostBands]bandView{}
	for i, d := range list[max(within-mostBands, 0):within] {
		v.bands[i] = bandView{
			width: d.BasisPoints * ofBasisPoint, quantity: [...]float64{cappedOf(d.BidCapped, d.BidQuantity), cappedOf(d.AskCapped, d.AskQuantity)},
			complete: [...]bool{d.BidComplete, d.AskComplete},
		}
	}
}

// cappedOf is the capped depth of a band, which its source leaves out where it is all of it.
func cappedOf(capped, all *schemas.Decimal) float64 {
	if capped != nil {
		return capped.Float()
	}
	return all.Float()
}

// side looks at the levels of one side; sign is the direction in which its prices get worse, most how many the source publishes.
func (w bands) side(v *bookView, side int, levels []*schemas.Level, sign, mid float64, most uint32) {
	s, band := &v.sides[side], &v.bands[0]
	s.slippage = w.slip(levels, sign, mid)
	near, far := float64(mid*(1+float64(sign*shareOf(w.near)))), float64(mid*(1+float64(sign*shareOf(w.band))))
	i, exponent, nearest := 0, int32(math.MinInt32), false
	sum, largest, limit, closer := 0.0, 0.0, 0.0, 0.0
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
		v := q.Float()
		sum, largest = sum+v, max(largest, v)
	}
	truncated := i == len(levels) && uint32(len(levels)) >= most // more may lie within the band than is published
	switch {
	case !nearest && truncated:
		s.near = -1
	case !nearest:
		s.near = sum
	}
	band.width, band.complete[side] = w.band, !truncated
	band.quantity[side] = depth.Capped(i, sum, largest, func(k int) float64 { return levels[k].Quantity.Float() })
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
		dst = pack.Float(pack.Float(dst, v.sides[i].near), v.sides[i].slippage)
	}
	for i := range v.bands {
		b := &v.bands[i]
		dst = pack.Uint(dst, uint64(b.width))
		for side := range b.quantity {
			dst = pack.Bool(pack.Float(dst, b.quantity[side]), b.complete[side])
		}
	}
	return dst
}

func (v *bookView) restore(r *pack.Reader) {
	v.at, v.mid, v.spreadBp = schemas.Time(r.Int()), r.Float(), r.Float()
	for i := range v.sides {
		v.sides[i] = sideView{near: r.Float(), slippage: r.Float()}
	}
	for i := range v.bands {
		b := &v.bands[i]
		b.width = uint32(r.Uint())
		for side := range b.quantity {
			b.quantity[side], b.complete[side] = r.Float(), r.Bool()
		}
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
