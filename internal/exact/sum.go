// Package exact adds decimals without rounding: 128-bit mantissas over a common power of ten.
package exact

import (
	"math/bits"

	"github.com/tapewatch/tapewatch/internal/pack"
)

// maxDrop bounds how many digits one rescaling moves.
const maxDrop = 18

var pow10 = [maxDrop + 1]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// A Sum is a sum of decimals: sign x (hi, lo) x 10^exp. It is exact while the mantissa fits 127 bits, which market figures do
// by far; past that it drops the lowest digits, always in the same way. The zero value is zero.
type Sum struct {
	hi, lo uint64
	exp    int32
	neg    bool
}

// Add adds mantissa x 10^exp.
func (s *Sum) Add(mantissa int64, exp int32) {
	m, neg := magnitude(mantissa)
	s.add(Sum{lo: m, exp: exp, neg: neg})
}

// AddProduct adds the product of two decimals.
func (s *Sum) AddProduct(m1 int64, e1 int32, m2 int64, e2 int32) {
	a, an := magnitude(m1)
	b, bn := magnitude(m2)
	hi, lo := bits.Mul64(a, b)
	s.add(Sum{hi: hi, lo: lo, exp: e1 + e2, neg: an != bn})
}

func magnitude(m int64) (uint64, bool) {
	if m < 0 {
		return uint64(-m), true
	}
	return uint64(m), false
}

func (s *Sum) add(o Sum) {
	if o.hi|o.lo == 0 {
		return
	}
	if s.hi|s.lo == 0 {
		*s = o
		return
	}
	for s.exp > o.exp && s.grow() {
	}
	for o.exp > s.exp && o.grow() {
	}
	for s.exp < o.exp {
		s.shrink()
	}
	for o.exp < s.exp {
		o.shrink()
	}
	if s.hi>>62 != 0 || o.hi>>62 != 0 { // room for the carry
		s.shrink()
		o.shrink()
	}
	if s.neg == o.neg {
		var c uint64
		s.lo, c = bits.Add64(s.lo, o.lo, 0)
		s.hi, _ = bits.Add64(s.hi, o.hi, c)
		return
	}
	if o.hi > s.hi || (o.hi == s.hi && o.lo > s.lo) {
		*s, o = o, *s
	}
	var b uint64
	s.lo, b = bits.Sub64(s.lo, o.lo, 0)
	s.hi, _ = bits.Sub64(s.hi, o.hi, b)
	if s.hi|s.lo == 0 {
		s.neg = false
	}
}

// grow multiplies the mantissa by ten and lowers the exponent; false when it would not fit.
func (s *Sum) grow() bool {
	c1, lo := bits.Mul64(s.lo, 10)
	c2, hi := bits.Mul64(s.hi, 10)
	hi, carry := bits.Add64(hi, c1, 0)
	if c2 != 0 || carry != 0 || hi>>63 != 0 {
		return false
	}
	s.hi, s.lo, s.exp = hi, lo, s.exp-1
	return true
}

// shrink divides the mantissa by ten, towards zero, and raises the exponent.
func (s *Sum) shrink() {
	var r uint64
	s.hi, r = s.hi/10, s.hi%10
	s.lo, _ = bits.Div64(r, s.lo, 10)
	s.exp++
}

// Decimal returns the sum as a mantissa that fits int64 and an exponent in -18..18; digits that do not fit are dropped.
func (s *Sum) Decimal() (mantissa int64, exp int32) {
	v := *s
	for v.hi != 0 || v.lo > 1<<63-1 || v.exp < -maxDrop {
		v.shrink()
	}
	m := int64(v.lo)
	if v.neg {
		m = -m
	}
	if m == 0 {
		v.exp = 0
	}
	return m, v.exp
}

// Float returns the sum as the nearest float64 of its leading digits.
func (s *Sum) Float() float64 {
	m, e := s.Decimal()
	switch {
	case e < 0:
		return float64(m) / float64(pow10[-e])
	case e > 0 && e <= maxDrop:
		return float64(m) * float64(pow10[e])
	}
	return float64(m)
}

// Append writes the sum for a snapshot.
func (s *Sum) Append(dst []byte) []byte {
	dst = pack.Bool(dst, s.neg)
	dst = pack.Uint(dst, s.hi)
	dst = pack.Uint(dst, s.lo)
	return pack.Int(dst, int64(s.exp))
}

// Restore reads what Append wrote.
func (s *Sum) Restore(r *pack.Reader) {
	s.neg, s.hi, s.lo = r.Bool(), r.Uint(), r.Uint()
	s.exp = int32(r.Int())
	if s.hi>>63 != 0 || s.exp > 4*maxDrop || s.exp < -4*maxDrop {
		*s = Sum{}
	}
}
