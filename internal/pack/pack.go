// Package pack reads and writes the compact bytes of processor snapshots: varints, fixed floats, short strings. A Reader never
// panics: after the first fault every read gives zero, and Err tells.
package pack

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrShort is what a Reader says of bytes that end too early or hold a broken varint.
var ErrShort = errors.New("snapshot bytes end too early or are broken")

// Bool appends one byte.
func Bool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Int appends a zigzag varint.
func Int(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// Uint appends a varint.
func Uint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// Fixed appends eight bytes, little endian.
func Fixed(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }

// Float appends the eight bytes of a float64.
func Float(dst []byte, v float64) []byte { return Fixed(dst, math.Float64bits(v)) }

// Float32 appends the four bytes of a float32.
func Float32(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// String appends a length and the bytes.
func String(dst []byte, v string) []byte { return append(Uint(dst, uint64(len(v))), v...) }

// A Reader takes snapshot bytes apart in the order in which they were written.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader reads b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns ErrShort if any read went wrong.
func (r *Reader) Err() error {
	if r.bad {
		return ErrShort
	}
	return nil
}

// Fail makes the reader's bytes broken, for what only their reader can see, and returns it.
func (r *Reader) Fail() *Reader {
	r.bad, r.b = true, nil
	return r
}

// Rest returns what has not been read.
func (r *Reader) Rest() []byte { return r.b }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Bool reads what Bool wrote.
func (r *Reader) Bool() bool { return r.Byte() != 0 }

// Int reads what Int wrote.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Uint reads what Uint wrote.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Count reads a length that must not exceed limit: a broken snapshot must not make a reader allocate.
func (r *Reader) Count(limit int) int {
	v := r.Uint()
	if v > uint64(limit) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

// Fixed reads what Fixed wrote.
func (r *Reader) Fixed() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Float reads what Float wrote.
func (r *Reader) Float() float64 { return math.Float64frombits(r.Fixed()) }

// Float32 reads what Float32 wrote.
func (r *Reader) Float32() float32 {
	if len(r.b) < 4 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return math.Float32frombits(v)
}

// String reads what String wrote.
func (r *Reader) String() string {
	n := r.Uint()
	if r.bad || n > uint64(len(r.b)) { // what is left behind the length itself
		r.bad, r.b = true, nil
		return ""
	}
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v
}
