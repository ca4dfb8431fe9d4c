package processor

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Input is one raw record of the task's partition.
type Input struct {
	Key, Value []byte
	// Type and ContentType come from the headers (Topic.TypeFromHeader).
	Type, ContentType string
	Offset            int64
}

// A Sink takes what a task gives out, in order.
type Sink interface {
	// Emit takes an output of the processor. m is valid until it returns.
	Emit(m schemas.Message)
	// Undo takes back the last n emissions: the call that made them was discarded.
	Undo(n int)
	// Forward takes an input Tick of a stage, after what the Tick closed.
	Forward(t *schemas.Tick)
	// Reject takes a record that cannot be processed.
	Reject(p Poison)
}

// Poison says why a record went to the dead letters.
type Poison struct {
	Input
	// Reason is "undecodable", "invalid", "type", "key", "future", "panic" or "output_too_large".
	Reason string
	Detail string
	// Instance is the key whose call was discarded; empty otherwise.
	Instance string
	Stack    []byte
}

// TimePolicy bounds disorder in event time.
type TimePolicy struct {
	// Lateness is how far behind its source's last Tick a record may be without being late.
	Lateness time.Duration
	// Future is how far after it a record may lie; what lies further is a dead letter.
	Future time.Duration
	// Silence is how far behind its furthest source an instance's time may be held by another one.
	Silence time.Duration
}

// DefaultTimePolicy is the policy of DESIGN section 5.
func DefaultTimePolicy() TimePolicy {
	return TimePolicy{Lateness: 0, Future: time.Minute, Silence: time.Minute}
}

// Stats counts what a task did since it was made.
type Stats struct {
	Records, Ticks, Gaps, Late, Duplicates, Rejected, Emitted, Steps uint64
	// Run is the number of rejected records in a row, up to now.
	Run uint64
}

// Since returns what was counted after earlier counts of the same task; Run is that of now.
func (s Stats) Since(before Stats) Stats {
	return Stats{
		Records: s.Records - before.Records, Ticks: s.Ticks - before.Ticks, Gaps: s.Gaps - before.Gaps, Late: s.Late - before.Late,
		Duplicates: s.Duplicates - before.Duplicates, Rejected: s.Rejected - before.Rejected, Emitted: s.Emitted - before.Emitted,
		Steps: s.Steps - before.Steps, Run: s.Run,
	}
}

// History reads the task's input again, offsets from..to (exclusive), and hands each record to fn. A task asks for it only
// after a panic.
type History func(from, to int64, fn func(Input)) error

// A Task runs one partition of a processor's input: it decodes and validates, keeps the instances and their event time, calls
// them in log order, and makes and restores snapshots. It does no I/O of its own and is not for concurrent use.
type Task struct {
	bound     *Bound
	partition int32
	policy    TimePolicy
	sink      Sink
	history   History
	dec       schemas.Decoder

	instances map[string]*instance
	clocks    map[string]*clock
	dirty     []*instance
	stats     Stats
	ticked    schemas.Time
	began     int64 // offset of the first record, when there was no state
	since     int64 // offset from which on bound is in force

	offset  int64 // of the record in hand
	emitted int   // outputs of the call in hand

	base base // where a rebuild starts
	skip map[poisonAt]bool
}

// NewTask makes the task of one partition that starts reading at offset start.
func NewTask(b *Bound, partition int32, start int64, policy TimePolicy, sink Sink, history History) *Task {
	return &Task{
		bound: b, began: start, since: start, partition: partition, policy: policy, sink: sink, history: history,
		instances: map[string]*instance{}, clocks: map[string]*clock{}, skip: map[poisonAt]bool{},
		base: base{next: start, states: map[string][]byte{}},
	}
}

// SchemaTypes sets how values in registry framing are resolved.
func (t *Task) SchemaTypes(resolve func(id uint32, index []int) (string, error)) {
	t.dec.SchemaType = resolve
}

// SetSink changes where outputs go: a restore drops them until it has caught up.
func (t *Task) SetSink(s Sink) { t.sink = s }

// Stats returns the counts so far.
func (t *Task) Stats() Stats { return t.stats }

// Ticked returns the latest time that a Tick has told since the task was made, 0 before the first.
func (t *Task) Ticked() schemas.Time { return t.ticked }

// Instances returns how many keys the task holds.
func (t *Task) Instances() int { return len(t.instances) }

// Process takes the next record. It never fails: what cannot be processed goes to the sink's Reject.
func (t *Task) Process(in Input) {
	t.stats.Records++
	t.offset = in.Offset
	msg, err := t.dec.Decode(in.Type, in.ContentType, in.Value)
	if err != nil {
		t.reject(in, "undecodable", err)
		return
	}
	if err := schemas.Validate(msg); err != nil {
		t.reject(in, "invalid", err)
		return
	}
	switch m := msg.(type) {
	case *schemas.Tick:
		t.tick(in, m)
		return
	case *schemas.Gap:
		t.stats.Gaps++
	}
	if reason, err := t.misplaced(in, msg); err != nil {
		t.reject(in, reason, err)
		return
	}
	rec := schemas.Record{Message: msg, Time: schemas.TimeOf(msg), Partition: t.partition, Offset: in.Offset}
	source := schemas.SourceOf(msg)
	inst := t.instances[string(in.Key)]
	c := inst.clockOf(source)
	linked := c != nil
	if !linked {
		c = t.clocks[source]
	}
	if c != nil && c.high > 0 {
		if rec.Time > c.high.Add(t.policy.Future) {
			t.reject(in, "future", fmt.Errorf("event time %v lies %v after the last tick of %s, more than %v allowed",
				rec.Time, rec.Time.Sub(c.high), source, t.policy.Future))
			return
		}
		if c.time > 0 && rec.Time <= c.time.Add(-t.policy.Lateness) {
			rec.Late = true
			t.stats.Late++
		}
	}
	t.stats.Run = 0
	if len(t.skip) > 0 && t.skip[poisonAt{in.Offset, string(in.Key)}] {
		return
	}
	if inst == nil {
		inst = t.newInstance(string(in.Key))
		t.instances[inst.key.text] = inst
		inst.stepped = rec.Time.Floor(t.bound.Step)
	}
	if !linked && source != "" {
		t.link(inst, t.clockOf(source))
	}
	t.touch(inst)
	if d := t.onRecord(inst, rec); d != nil {
		t.poisoned(in, inst, d)
		return
	}
	if inst.dedup != nil {
		n := inst.dedup.Duplicates()
		t.stats.Duplicates += n - inst.duplicates
		inst.duplicates = n
	}
}

// misplaced finds records that do not belong on the topic or under their key.
func (t *Task) misplaced(in Input, msg schemas.Message) (string, error) {
	if !t.bound.Input.Carries(msg) {
		return "type", fmt.Errorf("%s on %s: it must be one of %v", schemas.TypeOf(msg), t.bound.Input.Name, t.bound.Input.Types)
	}
	if !t.bound.Input.KeyMatches(in.Key, msg) {
		return "key", fmt.Errorf("record key %q: it must be %q as the record itself says", in.Key, t.bound.Input.KeyOf(msg))
	}
	return "", nil
}

func (t *Task) reject(in Input, reason string, err error) {
	t.stats.Rejected++
	t.stats.Run++
	t.sink.Reject(Poison{Input: in, Reason: reason, Detail: err.Error()})
}

// tick moves its source's time, and calls the source's instances at each step that their time crosses, in key order.
func (t *Task) tick(in Input, tick *schemas.Tick) {
	t.stats.Ticks++
	t.ticked = max(t.ticked, schemas.Time(tick.Time))
	t.stats.Run = 0
	c := t.clockOf(tick.Source)
	if c.advance(tick) {
		for i := 0; i < len(c.instances); i++ {
			t.step(in, c.instances[i])
		}
	}
	if t.bound.Kind == Stage {
		t.sink.Forward(tick)
	}
}

func (t *Task) step(in Input, inst *instance) {
	step := t.bound.Step
	now := inst.reached(t.policy.Silence).Add(-t.policy.Lateness).Floor(step)
	if now <= inst.stepped {
		return
	}
	next := max(inst.stepped.Add(step), now.Add(-(MaxSteps-1)*step))
	t.touch(inst)
	if t.skip[poisonAt{in.Offset, inst.key.text}] {
		inst.stepped = now
		return
	}
	if d := t.onTime(inst, next, now); d != nil {
		t.poisoned(in, inst, d)
		if again := t.instances[inst.key.text]; again != nil {
			again.stepped = now
		}
	}
}

// discarded is a call of a processor of which nothing is to remain.
type discarded struct {
	reason, detail string
	stack          []byte
}

// onRecord hands the instance a record.
func (t *Task) onRecord(inst *instance, rec schemas.Record) (d *discarded) {
	t.emitted = 0
	defer t.recovered(&d)
	inst.proc.OnRecord(rec, inst.emit)
	return nil
}

// onTime calls the instance at each step from next to last.
func (t *Task) onTime(inst *instance, next, last schemas.Time) (d *discarded) {
	t.emitted = 0
	defer t.recovered(&d)
	for ; next <= last; next = next.Add(t.bound.Step) {
		t.stats.Steps++
		inst.stepped = next
		inst.proc.OnTime(next, inst.emit)
	}
	return nil
}

// recovered ends a call of a processor. One that panicked, or emitted more than a record may hold, takes its outputs back.
func (t *Task) recovered(d **discarded) {
	v := recover()
	if v == nil {
		return
	}
	if *d, _ = v.(*discarded); *d == nil {
		*d = &discarded{"panic", fmt.Sprintf("%s panicked: %v", t.bound.Name, v), debug.Stack()}
	}
	t.sink.Undo(t.emitted)
	t.stats.Emitted -= uint64(t.emitted)
}

// fit ends the call in hand when an output is larger than a record may be: the broker would refuse it, the transaction
// abort, and the same input make it again for ever.
func (t *Task) fit(m schemas.Message) {
	if size := schemas.OutputSize(t.bound.Output, m); size > schemas.MaxOutputBytes {
		panic(&discarded{reason: "output_too_large", detail: fmt.Sprintf("%s emitted a %s of %d bytes for %s: it must be at most %d",
			t.bound.Name, schemas.TypeOf(m), size, t.bound.Output.Name, schemas.MaxOutputBytes)})
	}
}
