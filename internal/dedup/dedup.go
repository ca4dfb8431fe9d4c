// Package dedup recognises records of one key that come again: a high-water mark of sequence numbers and the last 64 ids.
package dedup

import (
	"slices"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// window is how many ids are remembered: duplicates come from reconnects and retries, close to the original.
const window = 64

// Recent remembers the records of one key. The zero value is empty.
type Recent struct {
	high uint64
	ids  [window]uint64
	next uint8
	full bool

	duplicates uint64 // no state: a restored memory counts from 0
}

// Seen reports whether the record was seen before, and remembers it. Records without id and sequence are never seen.
func (r *Recent) Seen(m *schemas.Meta) bool {
	id := m.GetSequence()
	if id > r.high {
		// Above the mark it cannot have been seen: the common case costs one comparison.
		r.high = id
		r.push(id)
		return false
	}
	if id == 0 {
		if m.GetId() == "" {
			return false
		}
		id = hash(m.GetId())
	}
	return r.SeenHash(id)
}

// SeenHash is Seen for records that are recognised by something else than their Meta: a hash of it, never 0.
func (r *Recent) SeenHash(id uint64) bool {
	n := int(r.next)
	if r.full {
		n = window
	}
	if slices.Contains(r.ids[:n], id) {
		r.duplicates++
		return true
	}
	r.push(id)
	return false
}

// Forget makes a hash unseen again.
func (r *Recent) Forget(id uint64) {
	if i := slices.Index(r.ids[:], id); i >= 0 {
		r.ids[i] = 0
	}
}

// Hash is FNV-1a over the parts, kept apart.
func Hash(parts ...string) uint64 {
	h := uint64(offset)
	for _, p := range parts {
		h = (hashOn(h, p) ^ 0xff) * prime
	}
	return h
}

// Duplicates counts the records that were seen before.
func (r *Recent) Duplicates() uint64 { return r.duplicates }

func (r *Recent) push(id uint64) {
	r.ids[r.next] = id
	r.next++
	if r.next == window {
		r.next, r.full = 0, true
	}
}

// Constants of FNV-1a with 64 bits.
const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// hash is FNV-1a; two of 64 ids collide once in 10^16 records.
func hash(id string) uint64 { return hashOn(offset, id) }

func hashOn(h uint64, text string) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * prime
	}
	return h
}

// Append writes the memory for a snapshot: ids as differences from the mark, since sequences lie close together.
func (r *Recent) Append(dst []byte) []byte {
	n := int(r.next)
	if r.full {
		n = window
	}
	dst = pack.Uint(dst, r.high)
	dst = pack.Uint(dst, uint64(n))
	dst = pack.Uint(dst, uint64(r.next))
	for _, id := range r.ids[:n] {
		dst = pack.Int(dst, int64(id-r.high))
	}
	return dst
}

// Restore reads what Append wrote.
func (r *Recent) Restore(in *pack.Reader) {
	*r = Recent{high: in.Uint()}
	n := in.Count(window)
	r.full = n == window
	r.next = uint8(in.Count(window - 1))
	if !r.full {
		r.next = uint8(n)
	}
	for i := range n {
		r.ids[i] = uint64(in.Int()) + r.high
	}
}
