// Package fixed holds the logarithms and exponentials of the decision path. They give the same bits on every machine: only
// correctly rounded single operations, no fused multiply-add (a product is always converted before it is added, which the
// language forbids to fuse), no assembly. math.Exp and math.Log promise neither.
package fixed

import (
	"math"
	"math/bits"
)

const (
	ln2Hi   = 0x1.62e42feep-01        // the leading 31 bits of ln 2: n x ln2Hi is exact for every exponent n
	ln2Lo   = math.Ln2 - ln2Hi        // the rest, an exact constant expression
	sqrt2   = math.Sqrt2              // upper end of the reduced mantissa
	oddLast = 23                      // last term of the atanh series: the next is below 2^-60 of the sum
	expLast = 14                      // last power of the exponential series: the next is below 2^-60
	maxExp2 = 1024                    // 2^1024 overflows
	minExp2 = -1075                   // 2^-1075 rounds to zero
	mantBit = 52                      // explicit mantissa bits of a float64
	fracOne = uint64(1) << mantBit    // the implicit one
	oneBits = uint64(1023) << mantBit // the bits of 1.0
)

// Ln is the natural logarithm; error at most 2 ulp, or 4e-16 absolute near 1. Ln(0) is -Inf, of a negative NaN.
func Ln(x float64) float64 {
	e, l, ok := split(x)
	if !ok {
		return l
	}
	return float64(e*ln2Hi) + (l + float64(e*ln2Lo))
}

// Log2 is the logarithm to base 2; exact for powers of two, else error at most 3 ulp.
func Log2(x float64) float64 {
	e, l, ok := split(x)
	if !ok {
		return l
	}
	return e + float64(l*math.Log2E)
}

// split returns the exponent of x and the natural logarithm of its mantissa in sqrt(1/2)..sqrt(2); or false and the answer.
func split(x float64) (e, l float64, ok bool) {
	switch {
	case x != x || x < 0:
		return 0, math.NaN(), false
	case x == 0:
		return 0, math.Inf(-1), false
	case x > math.MaxFloat64:
		return 0, x, false
	}
	b := math.Float64bits(x)
	n := int(b >> mantBit)
	m := b & (fracOne - 1)
	if n == 0 { // subnormal
		s := bits.LeadingZeros64(m) - (63 - mantBit)
		m = (m << s) & (fracOne - 1)
		n = 1 - s
	}
	n -= 1023
	f := math.Float64frombits(oneBits | m)
	if f > sqrt2 {
		f /= 2
		n++
	}
	// ln f = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 0.1716
	s := (f - 1) / (f + 1)
	z := float64(s * s)
	p := 0.0
	for k := oddLast; k >= 3; k -= 2 {
		p = float64((p + 1/float64(k)) * z)
	}
	return float64(n), 2 * (s + float64(s*p)), true
}

// Exp is e to the power x; error at most 2 ulp.
func Exp(x float64) float64 {
	n := math.RoundToEven(float64(x * math.Log2E))
	if v, out := outside(n); out {
		return v
	}
	r := (x - float64(n*ln2Hi)) - float64(n*ln2Lo)
	return math.Ldexp(series(r), int(n))
}

// Exp2 is 2 to the power x; exact for whole x, else error at most 2 ulp.
func Exp2(x float64) float64 {
	n := math.RoundToEven(x)
	if v, out := outside(n); out {
		return v
	}
	return math.Ldexp(series(float64((x-n)*math.Ln2)), int(n))
}

// outside answers for exponents that overflow, vanish or are NaN.
func outside(n float64) (v float64, out bool) {
	switch {
	case n != n:
		return n, true
	case n > maxExp2:
		return math.Inf(1), true
	case n < minExp2:
		return 0, true
	}
	return 0, false
}

// series is e to the power r for |r| <= 0.35.
func series(r float64) float64 {
	p := 1.0
	for k := expLast; k >= 1; k-- {
		p = 1 + float64(float64(r*p)/float64(k))
	}
	return p
}

// Decay is 2^(-dt/halfLife), the factor by which an exponentially weighted sum fades in dt; both in one unit. A dt below zero
// counts as none, a half-life of zero or less forgets all.
func Decay(dt, halfLife int64) float64 {
	switch {
	case dt <= 0:
		return 1
	case halfLife <= 0:
		return 0
	}
	return Exp2(-float64(dt) / float64(halfLife))
}

// Atanh is the inverse hyperbolic tangent for |x| < 1, Fisher's z of a correlation.
func Atanh(x float64) float64 { return Ln((1+x)/(1-x)) / 2 }
