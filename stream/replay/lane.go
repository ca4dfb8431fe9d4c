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

// A lane keeps its records, to rebuild a key after a panic, up to keepRecords, and keepPerKey for each key. Then it takes a
// snapshot in memory and lets them go. Few records stay in the caches of a core; many keys make a snapshot dear.
const (
	keepRecords = 1 << 14
	keepPerKey  = 1 << 7
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
	ticked      func(*schemas.Tick)
	kept        []*tape.Batch // since the last snapshot
	keptRecords int
}

// lane returns the lane of a partition that begins at an offset.
func (r *run) lane(partition int32, first int64) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[partition]
	if l == nil {
		l = &lane{partition: partition, first: first, next: first, bound: r.Bound, out: r.out}
		l.task = processor.NewTask(r.Bound, partition, first, r.Policy, l, l.history)
		l.task.SchemaTypes(r.SchemaTypes)
		r.lanes[partition] = l
	}
	return l
}

// process runs a batch through the task, and owns it from then on.
func (l *lane) process(b *tape.Batch) error {
	l.kept = append(l.kept, b)
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
	if l.keptRecords += len(b.Records); l.keptRecords >= max(keepRecords, keepPerKey*l.task.Instances()) {
		return l.forget()
	}
	return nil
}

func input(r *tape.Record) processor.Input {
	return processor.Input{Key: r.Key, Value: r.Value, Type: r.Type, ContentType: r.ContentType, Offset: r.Offset}
}

// forget takes a snapshot, so that a rebuild starts here, and gives the memory of the records back.
func (l *lane) forget() error {
	_, err := l.task.Snapshot(l.next, func(string, []byte) {})
	for _, b := range l.kept {
		b.Release()
	}
	clear(l.kept)
	l.kept, l.keptRecords = l.kept[:0], 0
	return err
}

// history reads kept records again.
func (l *lane) history(from, to int64, fn func(processor.Input)) error {
	for _, b := range l.kept {
		for i := range b.Records {
			if rec := &b.Records[i]; rec.Offset >= from && rec.Offset < to {
				fn(input(rec))
			}
		}
	}
	return nil
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

// Forward hands the tick on where stages are chained; elsewhere it goes nowhere.
func (l *lane) Forward(t *schemas.Tick) {
	if l.ticked != nil {
		l.ticked(t)
	}
}

// Reject keeps a copy of a record that was refused.
func (l *lane) Reject(p processor.Poison) {
	p.Key, p.Value, p.Stack = bytes.Clone(p.Key), bytes.Clone(p.Value), bytes.Clone(p.Stack)
	l.pending = append(l.pending, Output{Topic: l.bound.Input, Key: string(p.Key), Poison: &p, Partition: l.partition})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
