package series

import (
	"encoding/binary"
	"slices"
)

// MaxWindow is the longest Window: its sorted insert is linear.
const MaxWindow = 512

// A Window keeps the last n floats in order of arrival and sorted: minimum, maximum, median and quantiles. Adding is linear in n
// (copies of at most 4 kB), reading constant.
type Window struct {
	ring    []float64
	sorted  []float64
	next, n int
}

// NewWindow makes a window of size 1..MaxWindow; other sizes are pulled into that range.
func NewWindow(size int) *Window {
	size = min(max(size, 1), MaxWindow)
	return &Window{ring: make([]float64, size), sorted: make([]float64, 0, size)}
}

// Add takes a value and drops the oldest of a full window. NaN and infinities are ignored.
func (w *Window) Add(x float64) {
	if !finite(x) {
		return
	}
	x += 0 // no negative zero: it would sort by arrival
	if w.n == len(w.ring) {
		i, _ := slices.BinarySearch(w.sorted, w.ring[w.next])
		w.sorted = slices.Delete(w.sorted, i, i+1)
	} else {
		w.n++
	}
	i, _ := slices.BinarySearch(w.sorted, x)
	w.sorted = slices.Insert(w.sorted, i, x)
	w.ring[w.next] = x
	if w.next++; w.next == len(w.ring) {
		w.next = 0
	}
}

// Clear forgets all values, after a gap.
func (w *Window) Clear() { w.sorted, w.next, w.n = w.sorted[:0], 0, 0 }

// Len returns how many values the window holds.
func (w *Window) Len() int { return w.n }

// Last returns the value added i steps ago, 0 for the newest; 0 when there is none.
func (w *Window) Last(i int) float64 {
	if i < 0 || i >= w.n {
		return 0
	}
	return w.ring[(w.next+len(w.ring)-1-i)%len(w.ring)]
}

// Min returns the smallest value, 0 when empty.
func (w *Window) Min() float64 { return w.Quantile(0) }

// Max returns the largest value, 0 when empty.
func (w *Window) Max() float64 { return w.Quantile(1) }

// Median returns the middle value, or the mean of the two in the middle; 0 when empty.
func (w *Window) Median() float64 { return w.Quantile(0.5) }

// Quantile returns the p-quantile, 0..1, linear between order statistics (Hyndman and Fan's type 7, as NumPy); 0 when empty.
func (w *Window) Quantile(p float64) float64 {
	if w.n == 0 {
		return 0
	}
	h := float64(min(max(p, 0), 1) * float64(w.n-1))
	i := min(max(int(h), 0), w.n-1)
	f := h - float64(i)
	if f <= 0 || i+1 >= w.n {
		return w.sorted[i]
	}
	return w.sorted[i] + float64(f*(w.sorted[i+1]-w.sorted[i]))
}

// AppendState appends the values, oldest first, 8 bytes each.
func (w *Window) AppendState(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(w.n))
	for i := w.n - 1; i >= 0; i-- {
		dst = appendFloats(dst, w.Last(i))
	}
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it; more values than the window is long are an error.
func (w *Window) RestoreState(src []byte) (rest []byte, err error) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(w.ring)) {
		return nil, ErrState
	}
	src = src[k:]
	v := NewWindow(len(w.ring))
	for range n {
		var x float64
		if src, err = takeFloats(src, &x); err != nil {
			return nil, err
		}
		v.Add(x)
	}
	*w = *v
	return src, nil
}
