package stream

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A route says where a group's outputs go.
type route struct {
	input, output schemas.Topic
	// Names on the cluster.
	inputName, outputName, stateName, checkpointName, deadName string

	inputID               [16]byte
	inputs, outputs, dead int32 // partition counts
	processor             string
	kind                  processor.Kind
	encoder               schemas.Encoder
}

// outputs is the live sink of one part: it encodes at once, as messages are used again, and keeps the records until Run
// produces them.
type outputs struct {
	route   *route
	part    *part
	encoder schemas.Encoder
	hash    kgo.TopicPartitioner
	record  *kgo.Record // in hand, for dead letters
	scratch []byte
	pending []*kgo.Record
	emitted int
	ranks   []int // severity of each emission since take
	err     error
}

var _ processor.Sink = (*outputs)(nil)

func (o *outputs) bind(r *route, p *part) {
	o.route, o.part, o.encoder = r, p, r.encoder
	// Kafka's own rule, computed here because state, ticks and dead letters of the same client go to a partition by number.
	o.hash = kgo.StickyKeyPartitioner(nil).ForTopic(r.outputName)
}

// Emit takes an output.
func (o *outputs) Emit(m schemas.Message) {
	r := o.encode(m)
	if r == nil {
		return
	}
	r.Key = []byte(o.route.output.KeyOf(m))
	r.Partition = int32(o.hash.Partition(r, int(o.route.outputs)))
	o.pending = append(o.pending, r)
	o.emitted++
	k := rank(m)
	o.part.severities[k]++
	o.ranks = append(o.ranks, k)
}

// Undo takes the last n outputs back. Between them and now nothing else can have come, as they are of one call.
func (o *outputs) Undo(n int) {
	o.pending = o.pending[:len(o.pending)-n]
	o.emitted -= n
	for range n {
		last := len(o.ranks) - 1
		o.part.severities[o.ranks[last]]--
		o.ranks = o.ranks[:last]
	}
}

// Forward sends a tick of a stage's input on: to the same partition where the key is kept, to all of them with the input
// partition written into it where the key changes.
func (o *outputs) Forward(t *schemas.Tick) {
	if o.route.input.Key == o.route.output.Key {
		if r := o.encode(t); r != nil {
			r.Partition = o.part.num
			o.pending = append(o.pending, r)
		}
		return
	}
	tagged, ok := proto.Clone(t).(*schemas.Tick)
	if !ok {
		return
	}
	tagged.Partition, tagged.Partitions = uint32(o.part.num), uint32(o.route.inputs)
	r := o.encode(tagged)
	if r == nil {
		return
	}
	for p := range o.route.outputs {
		c := *r
		c.Partition = p
		o.pending = append(o.pending, &c)
	}
}

// Reject makes a dead letter of the record in hand.
func (o *outputs) Reject(p processor.Poison) {
	r := deadletter.Encode(o.route.deadName, o.record, o.route.processor, p)
	r.Partition = o.part.num % o.route.dead
	o.pending = append(o.pending, r)
	o.part.letters[p.Reason]++
}

// encode makes the record of a message, without key and partition. A message that cannot be encoded is a fault of the
// processor's code that no retry heals: it ends the group.
func (o *outputs) encode(m schemas.Message) *kgo.Record {
	var err error
	if o.scratch, err = o.encoder.AppendValue(o.scratch[:0], o.route.output, m); err != nil {
		o.err = fmt.Errorf("emitting from %s at offset %d: %w", o.route.processor, o.record.Offset, err)
		return nil
	}
	r := &kgo.Record{Topic: o.route.outputName, Value: bytes.Clone(o.scratch)}
	for _, h := range o.encoder.Headers(o.route.output, m) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// take returns the pending records and begins a new list.
func (o *outputs) take() (recs []*kgo.Record, emitted int) {
	recs, emitted = o.pending, o.emitted
	o.pending, o.emitted, o.ranks = nil, 0, o.ranks[:0]
	return recs, emitted
}

func rank(m schemas.Message) int {
	if e, ok := m.(*schemas.Event); ok {
		return schemas.SeverityRank(e.GetSeverity())
	}
	return 0
}
