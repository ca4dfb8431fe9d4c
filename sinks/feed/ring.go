package feed

import (
	"slices"
	"sync"

	"github.com/tapewatch/tapewatch/schemas"
)

// Entry is one event in the feed. It is shared by all readers and never changed.
type Entry struct {
	Event *schemas.Event
	// JSON is the event as protojson, made once for all readers.
	JSON      []byte
	Partition int32
	Offset    int64

	// next are the offsets to go on from after this entry, one per partition.
	next  []int64
	topic [16]byte
	token func() string
}

// Since is the token with which a reader that has seen everything up to this entry goes on.
func (e *Entry) Since() string { return e.token() }

// ring holds the last events in the order of arrival. Index counts events since the process started.
type ring struct {
	// mu guards everything below.
	mu      sync.RWMutex
	topic   [16]byte
	entries []*Entry // entries[i % size] has index i
	size    int64
	head    int64 // index of the next entry
	// position is the next offset per partition; low the offset from which on the ring holds every event.
	position, low []int64
	wake          chan struct{}
	ready         bool
}

func newRing(size int) *ring {
	return &ring{entries: make([]*Entry, size), size: int64(size), wake: make(chan struct{})}
}

// reset begins anew at the given offsets: at the first start, and when the topic was made anew. Indexes go on.
func (r *ring) reset(topic [16]byte, low []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.entries)
	r.topic, r.low, r.position, r.ready = topic, slices.Clone(low), slices.Clone(low), false
}

// add appends what one poll brought and moves the positions, then wakes the readers, once.
func (r *ring) add(entries []*Entry, position map[int32]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.position[e.Partition] = max(r.position[e.Partition], e.Offset+1)
		e.next, e.topic = slices.Clone(r.position), r.topic
		e.token = sync.OnceValue(func() string { return encodeToken(e.topic, e.next) })
		slot := r.head % r.size
		if gone := r.entries[slot]; gone != nil {
			r.low[gone.Partition] = gone.Offset + 1
		}
		r.entries[slot] = e
		r.head++
	}
	for p, next := range position {
		r.position[p] = max(r.position[p], next)
	}
	if len(entries) > 0 {
		close(r.wake)
		r.wake = make(chan struct{})
	}
}

// oldest is the index of the first entry held; the caller holds mu.
func (r *ring) oldest() int64 {
	for i := max(0, r.head-r.size); i < r.head; i++ {
		if r.entries[i%r.size] != nil {
			return i
		}
	}
	return r.head
}

// read returns up to most entries from index on, the index after them, and how many were no longer there.
func (r *ring) read(index int64, most int) (entries []*Entry, next, missed int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if oldest := r.oldest(); index < oldest {
		missed, index = oldest-index, oldest
	}
	for ; index < r.head && len(entries) < most; index++ {
		entries = append(entries, r.entries[index%r.size])
	}
	return entries, index, missed
}

// covers reports whether the ring holds every event of a range; the caller holds mu.
func (r *ring) covers(g Range) bool {
	if r.topic != g.topic {
		return false // its partitions need not be as many
	}
	for p := range g.from {
		if g.from[p] < r.low[p] {
			return false
		}
	}
	return true
}

// stretch returns the entries of a range, and whether they are all that it has: both of one moment, as events leave the ring.
func (r *ring) stretch(g Range) (entries []*Entry, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !r.covers(g) {
		return nil, false
	}
	for i := r.oldest(); i < r.head; i++ {
		if e := r.entries[i%r.size]; e.Offset >= g.from[e.Partition] && e.Offset < g.to[e.Partition] {
			entries = append(entries, e)
		}
	}
	return entries, true
}
