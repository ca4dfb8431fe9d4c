package calibration

import (
	"encoding/binary"
	"math"
)

// Flags of the hour that is being collected.
const (
	flagOpen = 1 << iota
	flagExcused
)

// AppendState appends the leg: the ring, and about 50 bytes.
func (g *Leg) AppendState(dst []byte) []byte {
	dst = g.ring.AppendState(dst)
	dst = binary.AppendVarint(dst, g.hour)
	dst = binary.AppendVarint(dst, g.day)
	flags := byte(0)
	if g.open {
		flags |= flagOpen
	}
	if g.excused {
		flags |= flagExcused
	}
	dst = binary.AppendUvarint(append(dst, flags), uint64(g.alarms))
	for _, v := range [...]float64{g.highest, g.base, g.moved, g.current} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it.
func (g *Leg) RestoreState(src []byte) (rest []byte, err error) {
	var v Leg
	if src, err = v.ring.RestoreState(src); err != nil {
		return nil, err
	}
	for _, p := range [...]*int64{&v.hour, &v.day} {
		x, n := binary.Varint(src)
		if n <= 0 {
			return nil, ErrState
		}
		*p, src = x, src[n:]
	}
	if len(src) == 0 || src[0] > flagOpen|flagExcused {
		return nil, ErrState
	}
	v.open, v.excused = src[0]&flagOpen != 0, src[0]&flagExcused != 0
	alarms, n := binary.Uvarint(src[1:])
	if n <= 0 || alarms > math.MaxUint32 || len(src) < 1+n+4*8 {
		return nil, ErrState
	}
	v.alarms, src = uint32(alarms), src[1+n:]
	for _, p := range [...]*float64{&v.highest, &v.base, &v.moved, &v.current} {
		*p, src = math.Float64frombits(binary.LittleEndian.Uint64(src)), src[8:]
		if *p != *p {
			return nil, ErrState
		}
	}
	*g = v
	return src, nil
}

// AppendState appends the ring: per week the number of filled cells, then of each one varint of its count and of the empty cells before
// it, so an empty week costs a byte and a usual one about 25.
func (r *Ring) AppendState(dst []byte) []byte {
	dst = binary.AppendVarint(dst, r.week)
	for i := range r.slots {
		s := &r.slots[i]
		filled := 0
		for _, v := range s {
			if v != 0 {
				filled++
			}
		}
		dst = append(dst, byte(filled))
		next := 0
		for cell, v := range s {
			if v == 0 {
				continue
			}
			skipped := cell - next
			dst = binary.AppendUvarint(dst, uint64(v)*(farSkip+1)+uint64(min(skipped, farSkip)))
			if skipped >= farSkip {
				dst = append(dst, byte(skipped-farSkip))
			}
			next = cell + 1
		}
	}
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it.
func (r *Ring) RestoreState(src []byte) (rest []byte, err error) {
	var v Ring
	x, n := binary.Varint(src)
	if n <= 0 {
		return nil, ErrState
	}
	v.week, src = x, src[n:]
	for i := range v.slots {
		if src, err = v.slots[i].restore(src); err != nil {
			return nil, err
		}
		v.sum.Merge(&v.slots[i])
	}
	*r = v
	return src, nil
}

// farSkip is the number of empty cells from which on they have a byte of their own.
const farSkip = 3

func (c *Counts) restore(src []byte) (rest []byte, err error) {
	if len(src) == 0 || src[0] > Cells {
		return nil, ErrState
	}
	filled := int(src[0])
	src = src[1:]
	cell := 0
	for range filled {
		both, n := binary.Uvarint(src)
		if n <= 0 {
			return nil, ErrState
		}
		src = src[n:]
		k, skipped := both/(farSkip+1), int(both%(farSkip+1))
		if skipped == farSkip {
			if len(src) == 0 {
				return nil, ErrState
			}
			skipped, src = skipped+int(src[0]), src[1:]
		}
		cell += skipped
		if cell >= Cells || k == 0 || k > math.MaxUint32/(2*Weeks) {
			return nil, ErrState
		}
		c[cell] = uint32(k)
		cell++
	}
	return src, nil
}
