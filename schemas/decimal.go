package schemas

import (
	"cmp"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// maxExponent bounds the exponent of a Decimal on either side.
const maxExponent = 18

var pow10 = [maxExponent + 1]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// ParseDecimal reads the decimal text of a venue ("61345.10", "-0.5", "1e-8") exactly; digits are kept as written, so
// "8750.0000" has exponent -4. It fails on anything else, and on values beyond 18 digits or 18 powers of ten.
func ParseDecimal(text []byte) (*Decimal, error) {
	d := new(Decimal)
	if err := d.Parse(text); err != nil {
		return nil, err
	}
	return d, nil
}

// Parse is ParseDecimal into an existing Decimal, without allocation.
func (d *Decimal) Parse(text []byte) error {
	i, neg := 0, false
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		neg = text[0] == '-'
		i++
	}
	var m int64
	exp, digits, point := int32(0), 0, false
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if m > (1<<63-1-9)/10 {
			return fmt.Errorf("decimal %q has more than 18 digits: it must fit int64", clip(text))
		}
		m = m*10 + int64(c-'0')
		digits++
		if point {
			exp--
		}
	}
	if digits == 0 {
		return fmt.Errorf("decimal %q is not a number: it must be digits with at most one point", clip(text))
	}
	if i < len(text) {
		if text[i] != 'e' && text[i] != 'E' {
			return fmt.Errorf("decimal %q is not a number: unexpected %q", clip(text), text[i])
		}
		e, err := strconv.ParseInt(string(text[i+1:]), 10, 16)
		if err != nil {
			return fmt.Errorf("decimal %q has a bad exponent: it must be an integer", clip(text))
		}
		exp += int32(e)
	}
	if exp < -maxExponent || exp > maxExponent {
		return fmt.Errorf("decimal %q has exponent %d: it must lie in -18..18", clip(text), exp)
	}
	if neg {
		m = -m
	}
	d.Mantissa, d.Exponent = m, exp
	return nil
}

func clip(text []byte) string {
	if len(text) > 40 {
		return string(text[:40]) + "…"
	}
	return string(text)
}

// exact says that the exponent is one that a decimal may have.
func (d *Decimal) exact() bool {
	return d == nil || d.Exponent >= -maxExponent && d.Exponent <= maxExponent
}

// NewDecimal returns mantissa x 10^exponent.
func NewDecimal(mantissa int64, exponent int32) *Decimal {
	return &Decimal{Mantissa: mantissa, Exponent: exponent}
}

// Float returns the nearest float64; exactly rounded while the mantissa has at most 53 bits. A nil Decimal gives 0: ask for
// nil first where absent matters.
func (d *Decimal) Float() float64 {
	if d == nil {
		return 0
	}
	m := float64(d.Mantissa)
	switch {
	case d.Exponent == 0:
		return m
	case d.Exponent < 0 && d.Exponent >= -maxExponent:
		return m / float64(pow10[-d.Exponent])
	case d.Exponent > 0 && d.Exponent <= maxExponent:
		return m * float64(pow10[d.Exponent])
	}
	return 0
}

// Rescale returns the mantissa of d at the given exponent; ok is false if digits would be lost or int64 overflows.
func (d *Decimal) Rescale(exponent int32) (mantissa int64, ok bool) {
	diff := int64(d.GetExponent()) - int64(exponent)
	m := d.GetMantissa()
	switch {
	case diff == 0 || m == 0:
		return m, true
	case diff > maxExponent || diff < -maxExponent:
		return 0, false
	case diff < 0:
		p := pow10[-diff]
		return m / p, m%p == 0
	}
	neg := m < 0
	u := uint64(m)
	if neg {
		u = uint64(-m)
	}
	hi, lo := bits.Mul64(u, uint64(pow10[diff]))
	if hi != 0 || lo > 1<<63-1 {
		return 0, false
	}
	if neg {
		return -int64(lo), true
	}
	return int64(lo), true
}

// Cmp compares two decimals by value, whatever their exponents: -1, 0 or 1. A nil Decimal counts as zero.
func (d *Decimal) Cmp(o *Decimal) int {
	a, b := d.GetMantissa(), o.GetMantissa()
	if d.GetExponent() != o.GetExponent() {
		low := min(d.GetExponent(), o.GetExponent())
		am, aok := d.Rescale(low)
		bm, bok := o.Rescale(low)
		if !aok || !bok {
			return far(d, o)
		}
		a, b = am, bm
	}
	return cmp.Compare(a, b)
}

// far compares two decimals that have no exponent in common. It costs the same whatever their exponents: those of a record that
// nobody has looked at yet may be anything.
func far(d, o *Decimal) int {
	sign := cmp.Compare(d.Sign(), o.Sign())
	if sign != 0 || d.Sign() == 0 {
		return sign
	}
	a, b := d.digits(), o.digits()
	size := cmp.Compare(int64(len(a))+int64(d.GetExponent()), int64(len(b))+int64(o.GetExponent()))
	if size == 0 { // the first digits stand at one place: with zeros behind the shorter one, texts compare as numbers do
		n := max(len(a), len(b))
		size = cmp.Compare(a+strings.Repeat("0", n-len(a)), b+strings.Repeat("0", n-len(b)))
	}
	return size * d.Sign()
}

// digits are those of the mantissa.
func (d *Decimal) digits() string {
	return strings.TrimPrefix(strconv.FormatInt(d.GetMantissa(), 10), "-")
}

// Sign returns -1, 0 or 1; 0 for a nil Decimal.
func (d *Decimal) Sign() int {
	switch m := d.GetMantissa(); {
	case m < 0:
		return -1
	case m > 0:
		return 1
	}
	return 0
}

// Text prints d in plain notation with the digits it was written with ("8750.0000" stays so); "" for nil. An exponent that no valid
// record has is printed as such ("5e40").
func (d *Decimal) Text() string {
	if d == nil {
		return ""
	}
	return string(d.AppendText(nil))
}

// AppendText appends Text to dst without allocation.
func (d *Decimal) AppendText(dst []byte) []byte {
	m := d.GetMantissa()
	u := uint64(m)
	if m < 0 {
		dst = append(dst, '-')
		u = uint64(-m)
	}
	var buf [20]byte
	digits := strconv.AppendUint(buf[:0], u, 10)
	e := int(d.GetExponent())
	if e < -maxExponent || e > maxExponent {
		return strconv.AppendInt(append(append(dst, digits...), 'e'), int64(e), 10)
	}
	if e >= 0 {
		dst = append(dst, digits...)
		for range e {
			dst = append(dst, '0')
		}
		return dst
	}
	whole := len(digits) + e
	if whole <= 0 {
		dst = append(dst, '0', '.')
		for range -whole {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:whole]...)
	dst = append(dst, '.')
	return append(dst, digits[whole:]...)
}
