package venue

import (
	"math/bits"

	"github.com/tapewatch/tapewatch/schemas"
)

// base converts a quantity as the venue counts it into units of the base asset: contracts times the multiplier, and for an
// inverse contract, which counts the quote currency, divided by the price and rounded half up to baseDecimals. ok is false
// when the number does not fit.
func (in *instrument) base(quantity, price Number) (n Number, ok bool) {
	if in.multiplier.Set {
		if quantity, ok = multiply(quantity, in.multiplier.Number); !ok {
			return Number{}, false
		}
	}
	if !in.inverse {
		return quantity, true
	}
	return divide(quantity, price)
}

// baseDecimals of the base quantity of an inverse contract: a contract of 1 USD on an asset at 100,000 USD is 0.00001.
const baseDecimals = 10

// multiply is exact; the exponent must stay within what a decimal may have.
func multiply(a, b Number) (Number, bool) {
	hi, lo := bits.Mul64(magnitude(a.Mantissa), magnitude(b.Mantissa))
	exponent := a.Exponent + b.Exponent
	// Zeros at the end of the product make room: 0.010 x 100.
	for lo != 0 && hi == 0 && lo%10 == 0 && exponent < 0 {
		lo, exponent = lo/10, exponent+1
	}
	if hi != 0 || lo > 1<<63-1 || exponent < -18 || exponent > 18 {
		return Number{}, false
	}
	n := Number{Mantissa: int64(lo), Exponent: exponent}
	if (a.Mantissa < 0) != (b.Mantissa < 0) {
		n.Mantissa = -n.Mantissa
	}
	return n, true
}

// divide returns a/b of two numbers that are not negative, rounded half up to baseDecimals.
func divide(a, b Number) (Number, bool) {
	if a.Mantissa < 0 || b.Mantissa <= 0 {
		return Number{}, false
	}
	num, den := uint64(a.Mantissa), uint64(b.Mantissa)
	hi := uint64(0)
	shift := a.Exponent - b.Exponent + baseDecimals
	for ; shift > 0; shift-- {
		if hi > 1<<59 {
			return Number{}, false
		}
		carry, lo := bits.Mul64(num, 10)
		hi, num = hi*10+carry, lo
	}
	for ; shift < 0; shift++ {
		if den > 1<<59 {
			return Number{Exponent: -baseDecimals}, true
		}
		den *= 10
	}
	half, carry := bits.Add64(num, den/2, 0)
	hi += carry
	if hi >= den {
		return Number{}, false
	}
	q, _ := bits.Div64(hi, half, den)
	if q > 1<<63-1 {
		return Number{}, false
	}
	return Number{Mantissa: int64(q), Exponent: -baseDecimals}, true
}

func magnitude(m int64) uint64 {
	if m < 0 {
		return uint64(-m)
	}
	return uint64(m)
}

// put copies a number into a record field.
func put(d *schemas.Decimal, n Number) { d.Mantissa, d.Exponent = n.Mantissa, n.Exponent }
