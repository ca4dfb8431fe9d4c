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
	// inexact and badLines are written by the source only.
	inexact  []string
	badLines int
}

// lane is one partition on its way through its task. One goroutine at a time uses it.
type lane struct {
	partition   int32
	first, next int64
	task        *processor.Task
	bound       *processor.Bound
	out         *collector
	pending     []Output // of the record in hand
	kept        keeper
}

// lane returns the lane of a partition that begins at an offset.
func (r *run) lane(partition int32, first int64) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[partition]
	if l == nil {
		l = &lane{partition: partition, first: first, next: first, bound: r.Bound, out: r.out}
		l.task = processor.NewTask(r.Bound, partition, first, r.Policy, l, l.kept.history)
		l.task.SchemaTypes(r.SchemaTypes)
		r.lanes[partition] = l
	}
	return l
}

// process runs a batch through the task, and owns it from then on.
func (l *lane) process(b *tape.Batch) error {
	l.kept.add(b)
	for i := range b.Records {
		rec := &b.Records[i]
		l.task.Process(input(rec))
		l.next = rec.Offset + 1
		if len(l.pending) > 0 {
			err := l.out.put(l.partition, l.pending)
			clear(l.pending)
			l.pending = l.pending[:0]
			if err != nil {
				return err
			}
		}
	}
	return l.kept.forget(l.task, l.next)
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
