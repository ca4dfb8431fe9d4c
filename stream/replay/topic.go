package replay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// TopicRange is a stretch of the processor's input topic. Its zero bounds are the start of the log and the last offset that
// is committed now.
type TopicRange struct {
	Cluster cluster.Config
	Log     *slog.Logger
	// Partitions to replay; none means all.
	Partitions []int32
	// FromOffset and ToOffset (exclusive) apply to every partition; 0 means no bound.
	FromOffset, ToOffset int64
	// Until is where each partition ends (exclusive), beside the other bounds; a partition that it does not name is left out. Nil is no bound.
	Until map[int32]int64
	// FromTime and ToTime (exclusive) are times of publication; 0 means no bound. They go before offsets.
	FromTime, ToTime schemas.Time
	// Recorded makes the outputs those of the group itself: each partition begins with the state of the newest checkpoint before the
	// range, and goes through the configurations that the group ran under. Without it, and where the group has recorded nothing, a
	// partition begins at the range with no state.
	Recorded bool
}

// part is one partition's bounds, [from, to), in a log that begins at start, and what its group has recorded.
type part struct {
	partition       int32
	start, from, to int64
	past            *past
}

// batchRecords is how many fetched records make a batch.
const batchRecords = 2048

// feed reads the partitions, Parallel at a time, lowest first.
func (t TopicRange) feed(ctx context.Context, r *run) error {
	parts, err := t.parts(ctx, r.Bound.Input)
	if err != nil {
		return err
	}
	if t.Recorded {
		if err := t.recall(ctx, r, parts); err != nil {
			return err
		}
	}
	r.remark(parts)
	order := make([]int32, 0, len(parts))
	for _, p := range parts {
		order = append(order, p.partition)
	}
	r.out.expect(order)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Parallel)
	for _, p := range parts {
		group.Go(func() error {
			if err := t.read(ctx, r, p); err != nil {
				return fmt.Errorf("replaying partition %d: %w", p.partition, err)
			}
			return r.out.finish(p.partition)
		})
	}
	return group.Wait()
}

// read runs one partition through its lane.
func (t TopicRange) read(ctx context.Context, r *run, p part) error {
	begin := p.from
	if p.past != nil {
		begin = p.past.begin
	}
	l, err := r.laneOf(p.partition, p.from, p.past)
	if err != nil || p.from >= p.to {
		return err
	}
	topic := r.Bound.Input
	b := &tape.Batch{Topic: topic.Name, Partition: p.partition}
	err = stream.ReadRange(ctx, t.Cluster, t.Cluster.Topic(topic.Name), p.partition, begin, p.to, func(rec *kgo.Record) error {
		b.Records = append(b.Records, convert(topic, rec))
		if len(b.Records) < batchRecords {
			return nil
		}
		full := b
		b = &tape.Batch{Topic: topic.Name, Partition: p.partition, Records: make([]tape.Record, 0, batchRecords)}
		return l.process(full)
	})
	if err != nil {
		return err
	}
	if err := l.process(b); err != nil {
		return err
	}
	l.next = max(l.next, p.to)
	return nil
}

// convert takes a fetched record as it is, and its type from the headers.
func convert(topic schemas.Topic, rec *kgo.Record) tape.Record {
	typ, content := topic.TypeFromHeader(len(rec.Headers), func(i int) (string, []byte) { return rec.Headers[i].Key, rec.Headers[i].Value })
	return tape.Record{Offset: rec.Offset, Key: rec.Key, Value: rec.Value, Type: typ, ContentType: content}
}

// recall reads what the group has recorded of each partition. The range begins no earlier than that can be told exactly.
func (t TopicRange) recall(ctx context.Context, r *run, parts []part) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Parallel)
	for i := range parts {
		group.Go(func() error {
			h, err := t.recorded(ctx, r.Bound, parts[i])
			parts[i].past = h
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("looking for the checkpoints of %s: %w", r.Bound.Name, err)
	}
	return nil
}

// remark moves beginnings forward to where outputs are exact, and says what a reader must know of each partition.
func (r *run) remark(parts []part) {
	other := false
	for i := range parts {
		p := &parts[i]
		switch {
		case p.past == nil && p.from > 0:
			r.inexact = append(r.inexact, fmt.Sprintf("partition %d starts at offset %d (the log at %d)", p.partition, p.from, p.start))
		case p.past != nil:
			if p.past.begin > p.from {
				r.notes = append(r.notes, fmt.Sprintf("partition %d: begins at offset %d, not %d: the state of the group before that is not known (the log begins at %d)", p.partition, p.past.begin, p.from, p.start))
				p.from = p.past.begin
			}
			r.inexact = append(r.inexact, p.past.inexact...)
			other = other || p.past.last().ConfigHash != r.Bound.ConfigHash
		}
	}
	if other {
		r.notes = append(r.notes, "follows the configurations that the group recorded, of which the last is another than that of this process")
	}
}

// parts resolves the bounds of every partition.
func (t TopicRange) parts(ctx context.Context, topic schemas.Topic) (parts []part, err error) {
	client, err := kgo.NewClient(t.Cluster.Options(t.Log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	k := known{topic: t.Cluster.Topic(topic.Name), admin: kadm.NewClient(client)}
	if err := k.ask(ctx, t); err != nil {
		return nil, err
	}
	for _, n := range sortedKeys(k.starts) {
		if len(t.Partitions) > 0 && !slices.Contains(t.Partitions, n) {
			continue
		}
		start, end := k.starts[n].Offset, k.ends[n].Offset
		p := part{partition: n, start: start, from: max(start, t.FromOffset), to: end}
		if t.FromTime > 0 {
			p.from = max(start, k.fromTime[n].Offset)
		}
		if t.ToOffset > 0 {
			p.to = min(p.to, t.ToOffset)
		}
		if t.ToTime > 0 {
			p.to = min(end, k.toTime[n].Offset)
		}
		if t.Until != nil {
			p.to = min(p.to, t.Until[n])
		}
		parts = append(parts, p)
	}
	if len(parts) < len(t.Partitions) {
		return nil, fmt.Errorf("%s has partitions 0 to %d: %v were asked for", k.topic, len(k.starts)-1, t.Partitions)
	}
	return parts, nil
}

// known is what the brokers say of a topic's offsets, by partition.
type known struct {
	topic                          string
	admin                          *kadm.Client
	starts, ends, fromTime, toTime map[int32]kadm.ListedOffset
}

// ask asks for what the range needs. The end is that of the committed records: what an open transaction is writing does not
// count yet.
func (k *known) ask(ctx context.Context, t TopicRange) (err error) {
	if k.starts, err = k.list(ctx, k.admin.ListStartOffsets); err != nil {
		return err
	}
	if k.ends, err = k.list(ctx, k.admin.ListCommittedOffsets); err != nil {
		return err
	}
	if k.fromTime, err = k.after(ctx, t.FromTime); err != nil {
		return err
	}
	k.toTime, err = k.after(ctx, t.ToTime)
	return err
}

// after returns the first offsets published at a time or later; nothing for no time.
func (k *known) after(ctx context.Context, at schemas.Time) (map[int32]kadm.ListedOffset, error) {
	if at == 0 {
		return nil, nil //nolint:nilnil // no bound, no offsets
	}
	return k.list(ctx, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return k.admin.ListOffsetsAfterMilli(ctx, (int64(at)+999_999)/1_000_000, topics...)
	})
}

func (k *known) list(ctx context.Context, how func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]kadm.ListedOffset, error) {
	listed, err := how(ctx, k.topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing offsets of %s: %w", k.topic, err)
	}
	return listed[k.topic], nil
}
