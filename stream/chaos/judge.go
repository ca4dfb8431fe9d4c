package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/reconcile"
)

// A Verdict compares what the group has committed with a single-threaded run of the same tasks over the committed input.
type Verdict struct {
	Processor string
	// Input is the number of committed input records, Expected and Committed that of outputs.
	Input, Expected, Committed int
	// Missing outputs are in the model only, Extra ones in the topic only, Duplicate ones more than once in the topic.
	// Disordered counts outputs of one input partition that come out of their order.
	Missing, Extra, Duplicate, Disordered int
	// Aborted outputs are visible to read_uncommitted only: the faults hit open transactions.
	Aborted int
	// StateKeys were compared with the last snapshot, StateWrong of them differ from the model's at the snapshot's offset.
	StateKeys, StateWrong int
	// Replayed is the committed input behind the last snapshots, which a restart would replay. A graceful stop leaves none
	// but where a rebalance was under way.
	Replayed int64
	// Unfinished input was not committed: the group had not caught up.
	Unfinished int64
}

// Clean reports whether the output and the state are exactly the model's, over all of the input.
func (v Verdict) Clean() bool {
	return v.Missing+v.Extra+v.Duplicate+v.Disordered+v.StateWrong == 0 && v.Unfinished == 0 && v.Expected > 0 && v.StateKeys > 0
}

// String prints the figures.
func (v Verdict) String() string {
	return fmt.Sprintf("%s: input %d, outputs expected %d, committed %d; missing %d, extra %d, duplicate %d, out of order %d; "+
		"aborted outputs visible to read_uncommitted %d; state of %d keys, %d wrong, %d records to replay on it; input not committed %d",
		v.Processor, v.Input, v.Expected, v.Committed, v.Missing, v.Extra, v.Duplicate, v.Disordered, v.Aborted, v.StateKeys, v.StateWrong, v.Replayed, v.Unfinished)
}

// Judge reads everything back and compares. Only events of the processor count, so several may share the topic.
func Judge(ctx context.Context, c cluster.Config, b *processor.Bound, policy processor.TimePolicy) (Verdict, error) {
	v := Verdict{Processor: b.Name}
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.FetchIsolationLevel(kgo.ReadUncommitted()))...)
	if err != nil {
		return v, fmt.Errorf("connecting: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	want, err := v.model(ctx, c, adm, b, policy)
	if err != nil {
		return v, err
	}
	committed, ends, err := reconcile.Events(ctx, c, adm, b, nil)
	if err != nil {
		return v, err
	}
	v.compare(want, committed)
	total, err := countUncommitted(ctx, c, b, ends)
	v.Aborted = total - v.Committed
	return v, err
}

// collector keeps outputs as (id, bytes).
type collector struct {
	processor.Discard
	events []*schemas.Event
}

func (c *collector) Emit(m schemas.Message) {
	if e, ok := proto.Clone(m).(*schemas.Event); ok {
		c.events = append(c.events, e)
	}
}

// Undo takes the last n back.
func (c *collector) Undo(n int) { c.events = c.events[:len(c.events)-n] }

// model runs one task per partition up to the group's committed offset, and compares its state with the last snapshot where
// that was taken.
func (v *Verdict) model(ctx context.Context, c cluster.Config, adm *kadm.Client, b *processor.Bound, policy processor.TimePolicy) ([]*schemas.Event, error) {
	topic := c.Topic(b.Input.Name)
	offsets, err := adm.FetchOffsets(ctx, c.Group(b.Name))
	if err != nil {
		return nil, fmt.Errorf("fetching committed offsets: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", topic, err)
	}
	var want []*schemas.Event
	for p, end := range ends[topic] {
		at := int64(0)
		if o, ok := offsets.Lookup(topic, p); ok {
			at = o.At
		}
		v.Unfinished += end.Offset - at
		sink := &collector{}
		history := func(from, to int64, fn func(processor.Input)) error {
			return stream.ReadRange(ctx, c, topic, p, from, to, func(r *kgo.Record) error { fn(input(b, r)); return nil })
		}
		task := processor.NewTask(b, p, 0, policy, sink, history)
		run := func(from, to int64) error {
			return stream.ReadRange(ctx, c, topic, p, from, to, func(r *kgo.Record) error {
				v.Input++
				task.Process(input(b, r))
				return nil
			})
		}
		marker, have, err := stream.ReadState(ctx, c, b.Name, p)
		if err != nil {
			return nil, err
		}
		snapped := min(marker.GetNextOffset(), at)
		if err := run(0, snapped); err != nil {
			return nil, fmt.Errorf("running the model: %w", err)
		}
		if marker.GetNextOffset() > at {
			have = nil // ahead of the commit: all of it is wrong
		}
		if err := v.state(have, task); err != nil {
			return nil, err
		}
		v.Replayed += at - snapped
		if err := run(snapped, at); err != nil {
			return nil, fmt.Errorf("running the model: %w", err)
		}
		want = append(want, sink.events...)
	}
	return want, nil
}

func input(b *processor.Bound, r *kgo.Record) processor.Input {
	in := processor.Input{Key: r.Key, Value: r.Value, Offset: r.Offset}
	in.Type, in.ContentType = b.Input.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
	return in
}

// state compares a snapshot with the state of the model, which stands at the snapshot's offset.
func (v *Verdict) state(have map[string][]byte, model *processor.Task) error {
	want, err := model.StateBytes(0)
	if err != nil {
		return fmt.Errorf("writing the model's state: %w", err)
	}
	v.StateKeys += len(want)
	for k, w := range want {
		if !bytesEqual(have[k], w) {
			v.StateWrong++
		}
		delete(have, k)
	}
	v.StateWrong += len(have)
	return nil
}

// bytesEqual compares two key states but for the offset of the snapshot that they were written in.
func bytesEqual(have, want []byte) bool {
	var a, b schemas.KeyState
	if proto.Unmarshal(have, &a) != nil || proto.Unmarshal(want, &b) != nil {
		return false
	}
	a.NextOffset, b.NextOffset = 0, 0
	return proto.Equal(&a, &b)
}

// compare counts the differences by kind.
func (v *Verdict) compare(want, have []*schemas.Event) {
	v.Expected, v.Committed = len(want), len(have)
	reconcile.Compare(want, have, func(d reconcile.Difference) {
		switch d.Kind {
		case reconcile.Missing:
			v.Missing++
		case reconcile.Extra, reconcile.Different:
			v.Extra++
		case reconcile.Twice:
			v.Duplicate++
		case reconcile.Disordered:
			v.Disordered++
		}
	})
}

// countUncommitted counts the processor's outputs as read_uncommitted shows them: aborted ones are among them.
func countUncommitted(ctx context.Context, c cluster.Config, b *processor.Bound, ends map[int32]int64) (int, error) {
	topic := c.Topic(b.Output.Name)
	starts := map[int32]kgo.Offset{}
	left := 0
	for p, end := range ends {
		if end > 0 {
			starts[p] = kgo.NewOffset().At(0)
			left++
		}
	}
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))...)
	if err != nil {
		return 0, fmt.Errorf("connecting: %w", err)
	}
	defer cl.Close()
	n := 0
	name := "tapewatch.v1.Event"
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return n, fmt.Errorf("reading uncommitted outputs: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() && isEvent(r, name, b.Name) {
				n++
			}
		})
	}
	return n, nil
}

func isEvent(r *kgo.Record, typ, detector string) bool {
	for _, h := range r.Headers {
		if h.Key == "ce_type" && !strings.HasSuffix(string(h.Value), typ) {
			return false
		}
	}
	e := &schemas.Event{}
	return proto.Unmarshal(r.Value, e) == nil && e.Detector == detector
}
