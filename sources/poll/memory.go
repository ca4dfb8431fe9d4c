package poll

import (
	"cmp"
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
)

// memory is the set of what a job has published, with the turn in which each was last seen. What an answer still holds is
// never forgotten; of what has left the answers, the latest.
type memory struct {
	seen map[uint64]uint32
	turn uint32
}

// keepGone is how many identities are kept that no answer holds any more: a feed that drops an item and brings it back within
// so many others is recognised.
const keepGone = 8192

func (s *memory) has(k uint64) bool {
	_, ok := s.seen[k]
	return ok
}

// add notes identities as seen in this turn.
func (s *memory) add(keys []uint64) {
	if s.seen == nil {
		s.seen = map[uint64]uint32{}
	}
	for _, k := range keys {
		s.seen[k] = s.turn
	}
}

// list returns the identities, the longest unseen first, and forgets the eldest beyond keepGone.
func (s *memory) list() []uint64 {
	all := make([]uint64, 0, len(s.seen))
	gone := 0
	for k, turn := range s.seen {
		all = append(all, k)
		if turn != s.turn {
			gone++
		}
	}
	slices.SortFunc(all, func(a, b uint64) int { return cmp.Or(cmp.Compare(s.seen[a], s.seen[b]), cmp.Compare(a, b)) })
	for gone > keepGone {
		delete(s.seen, all[0])
		all = all[1:]
		gone--
	}
	return all
}

// restore takes what list gave.
func (s *memory) restore(keys []uint64) {
	*s = memory{}
	s.add(keys)
}

// identities hashes what makes a record the same as another.
func identities(r Record) []uint64 {
	out := []uint64{identity(r.Topic, r.Message)}
	for _, k := range r.Keys {
		out = append(out, hash(r.Topic.KeyOf(r.Message), k))
	}
	return out
}

// identity is the key on the topic, the type and the id: what the catalogue promises to be unique.
func identity(t schemas.Topic, m schemas.Message) uint64 {
	return hash(t.Name, t.KeyOf(m), schemas.TypeOf(m), schemas.MetaOf(m).GetId())
}

// hash is FNV-1a over the parts with a separator between.
func hash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h *= 1099511628211
	}
	return h
}
