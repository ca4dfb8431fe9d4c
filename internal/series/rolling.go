package series

import (
	"encoding/binary"
	"math/bits"
)

// MaxRolling is the longest window of a Rolling.
const MaxRolling = 4096

// MaxValue is the largest magnitude a Rolling takes: 4096 squares of it fit 128 bits.
const MaxValue = 1 << 57

// A Rolling is a window over the last n integers (ticks, lots, micro-units) with exact mean and variance: the sums of values and
// squares are kept in 128 bits, so an outlier that has left the window leaves no trace.
type Rolling struct {
	ring     []int64
	next, n  int
	hi, lo   uint64 // sum, two's complement
	hi2, lo2 uint64 // sum of squares
}

// NewRolling makes a window of size 1..MaxRolling; other sizes are pulled into that range.
func NewRolling(size int) *Rolling {
	return &Rolling{ring: make([]int64, min(max(size, 1), MaxRolling))}
}

// Add takes a value and drops the oldest of a full window. It refuses, and changes nothing, beyond ±MaxValue.
func (r *Rolling) Add(x int64) bool {
	if x > MaxValue || x < -MaxValue {
		return false
	}
	if r.n == len(r.ring) {
		r.move(r.ring[r.next], true)
	} else {
		r.n++
	}
	r.move(x, false)
	r.ring[r.next] = x
	if r.next++; r.next == len(r.ring) {
		r.next = 0
	}
	return true
}

// move adds a value to the sums, or takes it away.
func (r *Rolling) move(x int64, away bool) {
	m := uint64(x)
	sign := uint64(x >> 63)
	a := (m ^ sign) - sign
	h, l := bits.Mul64(a, a)
	var c uint64
	if away {
		r.lo, c = bits.Sub64(r.lo, m, 0)
		r.hi, _ = bits.Sub64(r.hi, sign, c)
		r.lo2, c = bits.Sub64(r.lo2, l, 0)
		r.hi2, _ = bits.Sub64(r.hi2, h, c)
		return
	}
	r.lo, c = bits.Add64(r.lo, m, 0)
	r.hi, _ = bits.Add64(r.hi, sign, c)
	r.lo2, c = bits.Add64(r.lo2, l, 0)
	r.hi2, _ = bits.Add64(r.hi2, h, c)
}

// Mean returns the mean, from the exact sum with two roundings; 0 when empty.
func (r *Rolling) Mean() float64 {
	if r.n == 0 {
		return 0
	}
	q, rest := r.split()
	return float64(q) + float64(rest)/float64(r.n)
}

// split returns sum = q n + rest with 0 <= rest < n.
func (r *Rolling) split() (q int64, rest uint64) {
	n := uint64(r.n)
	hi, lo := r.hi, r.lo
	negative := hi>>63 != 0
	if negative {
		var b uint64
		lo, b = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, b)
	}
	_, hi = bits.Div64(0, hi, n) // hi < n follows from |value| <= MaxValue; the remainder keeps broken states from panicking
	u, rest := bits.Div64(hi, lo, n)
	if negative {
		q = -int64(u)
		if rest != 0 {
			q, rest = q-1, n-rest
		}
		return q, rest
	}
	return int64(u), rest
}

// Var returns the sample variance (n - 1 in the denominator), from the exact sums with three roundings; 0 below two values.
func (r *Rolling) Var() float64 {
	if r.n < 2 {
		return 0
	}
	// With sum = q n + rest: n^2 var' = n sum (x-q)^2 - rest^2, and sum (x-q)^2 = squares - q (sum + rest), all modulo 2^128.
	q, rest := r.split()
	lo, c := bits.Add64(r.lo, rest, 0)
	hi := r.hi + c
	ph, pl := bits.Mul64(uint64(q), lo)
	ph += uint64(q) * hi
	if q < 0 { // uint64(q) is q + 2^64
		ph -= lo
	}
	dl, b := bits.Sub64(r.lo2, pl, 0)
	dh, _ := bits.Sub64(r.hi2, ph, b)
	n := uint64(r.n)
	// n d - rest^2 in 192 bits: rest^2 < 2^24 only borrows.
	c0, w0 := bits.Mul64(dl, n)
	w2, w1 := bits.Mul64(dh, n)
	w1, c = bits.Add64(w1, c0, 0)
	w2 += c
	w0, b = bits.Sub64(w0, rest*rest, 0)
	w1, b = bits.Sub64(w1, 0, b)
	w2 -= b
	return wide(w2, w1, w0) / float64(n*(n-1))
}

// wide returns a 192-bit number as the float64 of its leading 64 bits.
func wide(w2, w1, w0 uint64) float64 {
	const two64 = 1 << 64
	switch {
	case w2 != 0:
		z := bits.LeadingZeros64(w2)
		return float64(w2<<z|w1>>(64-z)|sticky(w1<<z|w0)) * (two64 * two64) / float64(uint64(1)<<z)
	case w1 != 0:
		z := bits.LeadingZeros64(w1)
		return float64(w1<<z|w0>>(64-z)|sticky(w0<<z)) * two64 / float64(uint64(1)<<z)
	}
	return float64(w0)
}

// sticky is 1 when lower bits were cut, so that a tie rounds the right way.
func sticky(low uint64) uint64 {
	if low != 0 {
		return 1
	}
	return 0
}

// AppendState appends the values as varint differences, oldest first; the sums follow from them.
func (r *Rolling) AppendState(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.n))
	last := int64(0)
	for i := range r.n {
		v := r.ring[(r.next+len(r.ring)-r.n+i)%len(r.ring)]
		dst = binary.AppendVarint(dst, v-last)
		last = v
	}
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it; more values than the window is long are an error.
func (r *Rolling) RestoreState(src []byte) (rest []byte, err error) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(r.ring)) {
		return nil, ErrState
	}
	src = src[k:]
	v := NewRolling(len(r.ring))
	last := int64(0)
	for range n {
		d, k := binary.Varint(src)
		last += d
		if k <= 0 || !v.Add(last) {
			return nil, ErrState
		}
		src = src[k:]
	}
	*r = *v
	return src, nil
}
