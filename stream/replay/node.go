package replay

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// node is one processor of a chain.
type node struct {
	*processor.Bound
	chain *chain
	next  []*node // what reads its output
	lanes map[int32]*link
	merge merger
	// offsets are the next ones of the output's partitions.
	offsets []int64
	inexact []string
}

// rekeys reports whether the node's output has other keys than its input, and someone in the chain reads it.
func (n *node) rekeys() bool { return len(n.next) > 0 && n.Input.Key != n.Output.Key }

// link is one input partition of a node. It is its task's sink.
type link struct {
	node        *node
	partition   int32
	first, last int64
	task        *processor.Task
	kept        keeper
	enc         schemas.Encoder
	pending     []item // of the record in hand
	err         error
}

// item is what a record gave: a record of the next topic, a Tick of it, or an output of the chain.
type item struct {
	rec  tape.Record
	tick *schemas.Tick
	out  *Output
}

// process runs one record, and all that it leads to, through the chain. The record's bytes must not change any more.
func (n *node) process(partition int32, r tape.Record) error {
	l := n.lanes[partition]
	if l == nil {
		l = &link{node: n, partition: partition, first: r.Offset}
		l.task = processor.NewTask(n.Bound, partition, r.Offset, n.chain.Policy, l, l.kept.history)
		l.task.SchemaTypes(n.chain.SchemaTypes)
		n.lanes[partition] = l
		if r.Offset > 0 {
			n.inexact = append(n.inexact, fmt.Sprintf("partition %d of the file starts at offset %d", partition, r.Offset))
		}
	}
	l.kept.record(r)
	l.task.Process(input(&r))
	l.last = r.Offset
	if l.err != nil {
		return l.err
	}
	items := l.pending
	l.pending = nil
	for i := range items {
		if err := n.hand(l, &items[i]); err != nil {
			return err
		}
	}
	if cap(items) > cap(l.pending) {
		clear(items)
		l.pending = items[:0]
	}
	return l.kept.forget(l.task, l.last+1)
}

// hand sends an item where it belongs.
func (n *node) hand(l *link, it *item) error {
	switch {
	case it.out != nil:
		return n.chain.Out(*it.out)
	case n.rekeys():
		return n.merge.add(n, l.partition, *it)
	}
	return n.deliver(l.partition, it.rec)
}

// deliver appends a record to a partition of the output topic.
func (n *node) deliver(partition int32, r tape.Record) error {
	for int(partition) >= len(n.offsets) {
		n.offsets = append(n.offsets, 0)
	}
	r.Offset = n.offsets[partition]
	n.offsets[partition]++
	for _, next := range n.next {
		if err := next.process(partition, r); err != nil {
			return err
		}
	}
	return nil
}

// Emit takes an output of the processor.
func (l *link) Emit(m schemas.Message) {
	t := l.node.Output
	if len(l.node.next) == 0 {
		l.pending = append(l.pending, item{out: &Output{Topic: t, Key: t.KeyOf(m), Message: proto.Clone(m), Partition: l.partition}})
		return
	}
	l.pending = append(l.pending, item{rec: l.encode(m, []byte(t.KeyOf(m)))})
}

func (l *link) encode(m schemas.Message, key []byte) tape.Record {
	value, err := l.enc.AppendValue(nil, l.node.Output, m)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("emitting from %s: %w", l.node.Name, err)
	}
	return tape.Record{Key: key, Value: value, Type: schemas.TypeOf(m)}
}

// Undo takes the last n outputs back.
func (l *link) Undo(n int) {
	clear(l.pending[len(l.pending)-n:])
	l.pending = l.pending[:len(l.pending)-n]
}

// Forward sends a Tick on, with the input partition in it where the key changes.
func (l *link) Forward(t *schemas.Tick) {
	if len(l.node.next) == 0 {
		return
	}
	if l.node.rekeys() {
		t = &schemas.Tick{Source: t.Source, Time: t.Time, Partition: uint32(l.partition), Partitions: uint32(l.node.chain.partitions)}
	}
	l.pending = append(l.pending, item{rec: l.encode(t, nil), tick: t})
}

// Reject keeps a copy of a record that was refused.
func (l *link) Reject(p processor.Poison) {
	p.Key, p.Value, p.Stack = bytes.Clone(p.Key), bytes.Clone(p.Value), bytes.Clone(p.Stack)
	l.pending = append(l.pending, item{out: &Output{Topic: l.node.Input, Key: string(p.Key), Poison: &p, Partition: l.partition}})
}

// summary says what the node did.
func (n *node) summary(badLines int) Summary {
	s := Summary{Processor: n.Name, Inexact: n.inexact, BadLines: badLines}
	for _, p := range sortedKeys(n.lanes) {
		l := n.lanes[p]
		s.Partitions = append(s.Partitions, PartitionSummary{Partition: p, First: l.first, Next: l.last + 1, Stats: l.task.Stats()})
	}
	s.sum()
	return s
}

// owned copies a record out of its batch.
func owned(r *tape.Record) tape.Record {
	c := *r
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	return c
}

// hashOf is Kafka's own rule for the partition of a key.
var hashOf = kgo.StickyKeyPartitioner(nil).ForTopic("")

func partitionOf(key []byte, partitions int32) int32 {
	return int32(hashOf.Partition(&kgo.Record{Key: key}, int(partitions)))
}
