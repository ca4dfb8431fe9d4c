package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/replay"
)

// Options of Run.
type Options struct {
	Cluster cluster.Config
	Log     *slog.Logger
	// Bound is the processor with its configuration; its output must be events.
	Bound *processor.Bound
	// Range bounds the input: its partitions, offsets and times; its zero is all that the group has committed. Cluster, Log and Until
	// are not read.
	Range replay.TopicRange
	// Parallel is how many partitions are replayed at a time; 0 means one per core.
	Parallel int
	// Policy must be the live runtime's.
	Policy processor.TimePolicy
	// SchemaTypes resolves registry framing; nil refuses it.
	SchemaTypes func(id uint32, index []int) (string, error)
	// Tell takes every difference.
	Tell func(Difference)
}

// A Report says what was compared.
type Report struct {
	Processor string
	// Input is the number of records that the group has committed and the replay has read, ticks aside; Replayed and Committed are
	// the events of either side.
	Input               uint64
	Replayed, Committed int
	Differences         int
	// Inexact says why differences need not be faults; Notes what else a reader should know.
	Inexact, Notes []string
}

// ErrIdle is wrapped when the group has committed nothing.
var ErrIdle = errors.New("there is nothing to compare")

// Run replays what the group has committed, and compares. The group may be running: what it commits meanwhile is left out.
func Run(ctx context.Context, o Options) (Report, error) {
	r := Report{Processor: o.Bound.Name}
	if o.Bound.Output.Name != schemas.Events.Name {
		return r, fmt.Errorf("reconciling %s: it writes %s: it must be a processor that writes events", o.Bound.Name, o.Bound.Output.Name)
	}
	client, err := kgo.NewClient(o.Cluster.Options(o.Log)...)
	if err != nil {
		return r, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	until, err := committedInput(ctx, o, admin)
	if err != nil {
		return r, err
	}
	o.Range.Cluster, o.Range.Log, o.Range.Until = o.Cluster, o.Log, until
	var replayed []*schemas.Event
	summary, err := replay.Run(ctx, replay.Options{
		Bound: o.Bound, Parallel: o.Parallel, Policy: o.Policy, SchemaTypes: o.SchemaTypes,
		From: o.Range,
		Out: func(out replay.Output) error {
			if e, ok := out.Message.(*schemas.Event); ok {
				replayed = append(replayed, e)
			}
			return nil
		},
	})
	if err != nil {
		return r, fmt.Errorf("reconciling %s: %w", o.Bound.Name, err)
	}
	events, _, err := Events(ctx, o.Cluster, admin, o.Bound, o.SchemaTypes)
	if err != nil {
		return r, err
	}
	ran := map[int32]replay.PartitionSummary{}
	for _, p := range summary.Partitions {
		ran[p.Partition] = p
	}
	events = slices.DeleteFunc(events, func(e *schemas.Event) bool {
		p, at := ran[e.Position.GetPartition()], e.Position.GetOffset()
		return at < p.First || at >= p.Next
	})
	r.Input, r.Replayed, r.Committed = summary.Total.Records, len(replayed), len(events)
	r.Inexact, r.Notes = slices.Concat(summary.Inexact, configurations(o.Bound.Version, summary.Ran, events)), summary.Notes
	Compare(replayed, events, func(d Difference) {
		r.Differences++
		o.Tell(d)
	})
	return r, nil
}

// committedInput returns how far the group has committed each partition of its input.
func committedInput(ctx context.Context, o Options, admin *kadm.Client) (map[int32]int64, error) {
	group, topic := o.Cluster.Group(o.Bound.Name), o.Cluster.Topic(o.Bound.Input.Name)
	offsets, err := admin.FetchOffsets(ctx, group)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("fetching the offsets of group %s: %w", group, err)
	}
	until := map[int32]int64{}
	for p, at := range offsets[topic] {
		until[p] = max(at.At, 0)
	}
	if len(until) == 0 {
		return nil, fmt.Errorf("%w: group %s has committed nothing of %s: it must have run: start it with `tapewatch detect %s`", ErrIdle, group, topic, o.Bound.Name)
	}
	return until, nil
}

// Events reads the committed events of a processor, partition by partition, and where each partition of the topic ended. It
// waits for transactions that are open at the call: other processors share the topic, and one that is older than a committed
// event hides it.
func Events(ctx context.Context, c cluster.Config, admin *kadm.Client, b *processor.Bound, types func(uint32, []int) (string, error)) (events []*schemas.Event, ends map[int32]int64, err error) {
	topic := c.Topic(b.Output.Name)
	listed, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
	}
	dec := schemas.Decoder{SchemaType: types}
	ends = map[int32]int64{}
	for p := range int32(len(listed[topic])) {
		ends[p] = listed[topic][p].Offset
		err := stream.ReadRange(ctx, c, topic, p, starts[topic][p].Offset, ends[p], func(rec *kgo.Record) error {
			typ, content := b.Output.TypeFromHeader(len(rec.Headers), func(i int) (string, []byte) { return rec.Headers[i].Key, rec.Headers[i].Value })
			m, err := dec.Decode(typ, content, rec.Value)
			if err != nil {
				return fmt.Errorf("reading the event at %s/%d@%d: %w", topic, p, rec.Offset, err)
			}
			if e, ok := m.(*schemas.Event); ok && e.Detector == b.Name {
				events = append(events, proto.CloneOf(e)) // the decoder uses its messages again
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("reading %s: %w", topic, err)
		}
	}
	return events, ends, nil
}

// configurations says which events were made by another version or configuration than those that the replay ran.
func configurations(version uint32, ran []string, events []*schemas.Event) []string {
	n := 0
	for _, e := range events {
		if e.DetectorVersion != version || !slices.Contains(ran, e.ConfigHash) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d events were made by another configuration or version than the replay ran (%s, version %d)", n, strings.Join(ran, ", "), version)}
}
