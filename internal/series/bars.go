package series

import "encoding/binary"

// A Bar is one interval of trading. Prices and volume are in the units of the source.
type Bar struct {
	Start                  int64 // ns of event time
	Open, High, Low, Close float64
	Volume                 float64
	Trades                 int64
}

// Bars is a ring of the last n bars.
type Bars struct {
	ring    []Bar
	next, n int
}

// MaxBars is the longest ring of bars.
const MaxBars = 4096

// NewBars makes a ring of size 1..MaxBars; other sizes are pulled into that range.
func NewBars(size int) *Bars { return &Bars{ring: make([]Bar, min(max(size, 1), MaxBars))} }

// Add appends a bar and drops the oldest of a full ring.
func (b *Bars) Add(bar Bar) {
	b.ring[b.next] = bar
	b.n = min(b.n+1, len(b.ring))
	if b.next++; b.next == len(b.ring) {
		b.next = 0
	}
}

// Len returns how many bars the ring holds.
func (b *Bars) Len() int { return b.n }

// Last returns the bar added i bars ago, 0 for the newest; the zero bar when there is none.
func (b *Bars) Last(i int) Bar {
	if i < 0 || i >= b.n {
		return Bar{}
	}
	return b.ring[(b.next+len(b.ring)-1-i)%len(b.ring)]
}

// Clear forgets all bars, after a gap.
func (b *Bars) Clear() { b.next, b.n = 0, 0 }

// AppendState appends the bars, oldest first, about 45 bytes each.
func (b *Bars) AppendState(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(b.n))
	last := int64(0)
	for i := b.n - 1; i >= 0; i-- {
		v := b.Last(i)
		dst = binary.AppendVarint(dst, v.Start-last)
		dst = appendFloats(dst, v.Open, v.High, v.Low, v.Close, v.Volume)
		dst = binary.AppendVarint(dst, v.Trades)
		last = v.Start
	}
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it; more bars than the ring is long are an error.
func (b *Bars) RestoreState(src []byte) (rest []byte, err error) {
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(b.ring)) {
		return nil, ErrState
	}
	src = src[k:]
	v := NewBars(len(b.ring))
	last := int64(0)
	for range n {
		var bar Bar
		d, k := binary.Varint(src)
		if k <= 0 {
			return nil, ErrState
		}
		last += d
		bar.Start = last
		if src, err = takeFloats(src[k:], &bar.Open, &bar.High, &bar.Low, &bar.Close, &bar.Volume); err != nil {
			return nil, err
		}
		if bar.Trades, k = binary.Varint(src); k <= 0 {
			return nil, ErrState
		}
		src = src[k:]
		v.Add(bar)
	}
	*b = *v
	return src, nil
}
