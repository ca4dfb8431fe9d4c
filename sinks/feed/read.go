package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
)

// Head returns the index of the next event to come and a channel that is closed when it has come.
func (f *Feed) Head() (index int64, came <-chan struct{}) {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	return f.ring.head, f.ring.wake
}

// Read returns up to most entries from an index on, the index after them, and how many had left the memory already.
func (f *Feed) Read(index int64, most int) (entries []*Entry, next, missed int64) {
	return f.ring.read(index, most)
}

// Mark is a place in the feed from which a reader goes on.
type Mark struct {
	// Index is the next event's in memory.
	Index int64
	// Since is the token for a reader that goes on elsewhere or later.
	Since string

	next []int64
}

// Here returns the place behind the last event.
func (f *Feed) Here() Mark {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	return Mark{Index: f.ring.head, Since: encodeToken(f.ring.topic, f.ring.position), next: slices.Clone(f.ring.position)}
}

// Range is a stretch of the topic between a token and a Mark.
type Range struct {
	from, to []int64
	index    int64
	topic    [16]byte
}

// Since reads a token into the range from there to a Mark. The error wraps ErrToken.
func (f *Feed) Since(token string, until Mark) (Range, error) {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	from, err := decodeToken(token, f.ring.topic, until.next)
	return Range{from: from, to: until.next, index: until.Index, topic: f.ring.topic}, err
}

// Records is how many records the range spans, at most.
func (r Range) Records() (n int64) {
	for p := range r.to {
		n += r.to[p] - r.from[p]
	}
	return n
}

// InMemory reports whether the range can be had without reading the topic.
func (f *Feed) InMemory(r Range) bool {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	return f.ring.covers(r)
}

// Replay hands the events of a range to fn, each with the token to go on from. From memory they come in the order of
// arrival, from the topic partition by partition. Events of one key are in order either way.
func (f *Feed) Replay(ctx context.Context, r Range, fn func(e *Entry, since func() string) error) error {
	progress := slices.Clone(r.from)
	since := func() string { return encodeToken(r.topic, progress) }
	if entries, ok := f.ring.stretch(r); ok {
		for _, e := range entries {
			progress[e.Partition] = e.Offset + 1
			if err := fn(e, since); err != nil {
				return err
			}
		}
		return nil
	}
	if topic, _ := f.where(); topic != r.topic {
		return fmt.Errorf("%w: the topic was made anew meanwhile", ErrToken)
	}
	for p := range r.from {
		err := stream.ReadRange(ctx, f.options.Cluster, f.topic, int32(p), r.from[p], r.to[p], func(rec *kgo.Record) error {
			progress[p] = rec.Offset + 1
			if e := f.entry(rec); e != nil {
				return fn(e, since)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading back from the topic: %w", err)
		}
		progress[p] = r.to[p]
	}
	return nil
}

// Query chooses a page of events.
type Query struct {
	Filter Filter
	Limit  int
	// BeforeTime and BeforeID name the last event of the page before; zero for the first page.
	BeforeTime schemas.Time
	BeforeID   string
}

// Recent returns the newest events in memory that a query chooses, newest event time first.
func (f *Feed) Recent(_ context.Context, q Query) ([]*schemas.Event, error) {
	entries, _, _ := f.ring.read(0, len(f.ring.entries))
	var out []*schemas.Event
	for _, e := range entries {
		if q.Filter.Matches(e.Event) && (q.BeforeID == "" || newer(q.BeforeTime, q.BeforeID, e.Event) < 0) {
			out = append(out, e.Event)
		}
	}
	slices.SortFunc(out, func(a, b *schemas.Event) int { return newer(schemas.Time(a.GetEventTime()), a.GetId(), b) })
	return out[:min(len(out), q.Limit)], nil
}

// newer compares the time and id of one event with another event: negative when the first comes first on a page.
func newer(at schemas.Time, id string, e *schemas.Event) int {
	switch {
	case at > schemas.Time(e.GetEventTime()):
		return -1
	case at < schemas.Time(e.GetEventTime()):
		return 1
	}
	return -strings.Compare(id, e.GetId())
}
