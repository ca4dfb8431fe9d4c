package replay

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// run is one replay.
type run struct {
	Options
	out *collector

	mu    sync.Mutex // guards what follows while lanes are made
	lanes map[int32]*lane
	// What follows is written by the source only.
	inexact, notes []string
	badLines       int
}

// lane is one partition on its way through its task. One goroutine at a time uses it.
type lane struct {
	partition int32
	// first is the offset of the first record whose outputs count, next the one after the last record.
	first, next int64
	// While warming, records before first only bring the state forward; before is what the task had counted when that ended.
	warming bool
	before  processor.Stats
	// turns are changes of configuration still to come, ran the configurations so far.
	turns []turn
	ran   []*processor.Bound

	task    *processor.Task
	bound   *processor.Bound
	out     *collector
	pending []Output // of the record in hand
	kept    keeper
}

// lane returns the lane of a partition that begins at an offset.
func (r *run) lane(partition int32, first int64) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[partition]
	if l == nil {
		l = r.newLane(partition, first, first, r.Bound)
		r.lanes[partition] = l
	}
	return l
}

func (r *run) newLane(partition int32, begin, first int64, b *processor.Bound) *lane {
	l := &lane{partition: partition, first: first, next: first, bound: b, ran: []*processor.Bound{b}, out: r.out}
	l.task = processor.NewTask(b, partition, begin, r.Policy, l, l.kept.history)
	l.task.SchemaTypes(r.SchemaTypes)
	return l
}

// laneOf is lane for a partition of which the group has recorded a past.
func (r *run) laneOf(partition int32, first int64, h *past) (*lane, error) {
	if h == nil {
		return r.lane(partition, first), nil
	}
	l := r.newLane(partition, h.begin, first, h.bound)
	r.mu.Lock()
	r.lanes[partition] = l
	r.mu.Unlock()
	err := l.resume(h)
	return l, err
}

// process runs a batch through the task, and owns it from then on.
func (l *lane) process(b *tape.Batch) error {
	l.kept.add(b)
	for i := range b.Records {
		rec := &b.Records[i]
		if len(l.turns) > 0 {
			if err := l.turn(rec.Offset); err != nil {
				return err
			}
		}
		if l.warming && rec.Offset >= l.first {
			l.warming, l.before = false, l.task.Stats()
		}
		l.task.Process(input(rec))
		l.next = rec.Offset + 1
		if len(l.pending) > 0 && !l.warming {
			err := l.out.put(l.partition, l.pending)
			if err != nil {
				return err
			}
		}
		clear(l.pending)
		l.pending = l.pending[:0]
	}
	return l.kept.forget(l.task, l.next)
}

// stats are the task's counts of the records that count.
func (l *lane) stats() processor.Stats {
	if l.warming {
		return processor.Stats{}
	}
	return l.task.Stats().Since(l.before)
}

func input(r *tape.Record) processor.Input {
	return processor.Input{Key: r.Key, Value: r.Value, Type: r.Type, ContentType: r.ContentType, Offset: r.Offset}
}

// Emit keeps a copy of an output until the call that made it has ended.
func (l *lane) Emit(m schemas.Message) {
	t := l.bound.Output
	l.pending = append(l.pending, Output{Topic: t, Key: t.KeyOf(m), Message: proto.Clone(m), Partition: l.partition})
}

// Undo takes the last n outputs back.
func (l *lane) Undo(n int) {
	clear(l.pending[len(l.pending)-n:])
	l.pending = l.pending[:len(l.pending)-n]
}

// Forward drops the tick: nothing reads the output here.
func (*lane) Forward(*schemas.Tick) {}

// Reject keeps a copy of a record that was refused.
func (l *lane) Reject(p processor.Poison) {
	p.Key, p.Value, p.Stack = bytes.Clone(p.Key), bytes.Clone(p.Value), bytes.Clone(p.Stack)
	l.pending = append(l.pending, Output{Topic: l.bound.Input, Key: string(p.Key), Poison: &p, Partition: l.partition})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
