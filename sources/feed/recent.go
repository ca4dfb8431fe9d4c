package feed

import "hash/maphash"

// recentSize is how many ids back a duplicate is known.
const recentSize = 1 << 12

// Recent de-duplicates by a native id that is text, over the last recentSize ids. The zero value is ready.
type Recent struct {
	seen map[uint64]struct{}
	ring []uint64
	next int
}

// recentSeed makes the hashes of one process; which ids are taken for equal does not hang on it, collisions of 64 bits aside.
var recentSeed = maphash.MakeSeed()

// Add reports whether id is new.
func (r *Recent) Add(id []byte) bool {
	h := maphash.Bytes(recentSeed, id)
	if _, known := r.seen[h]; known {
		return false
	}
	if r.seen == nil {
		r.seen = map[uint64]struct{}{}
	}
	r.seen[h] = struct{}{}
	if len(r.ring) < recentSize {
		r.ring = append(r.ring, h)
		return true
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = h
	r.next = (r.next + 1) % recentSize
	return true
}

// Fingerprint tells messages apart that have no id, within one process. Equal ones are equal, collisions of 64 bits aside.
func Fingerprint(raw []byte, place int) uint64 {
	return maphash.Bytes(recentSeed, raw) + uint64(place)*0x9E3779B97F4A7C15
}
