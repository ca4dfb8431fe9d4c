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
	// FromTime and ToTime (exclusive) are times of publication; 0 means no bound. They go before offsets.
	FromTime, ToTime schemas.Time
}

// part is one partition's bounds, [from, to).
type part struct {
	partition int32
	from, to  int64
}

// batchRecords is how many fetched records make a batch.
const batchRecords = 2048

// feed reads the partitions, Parallel at a time, lowest first.
func (t TopicRange) feed(ctx context.Context, r *run) error {
	parts, err := t.parts(ctx, r)
	if err != nil {
		return err
	}
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
	l := r.lane(p.partition, p.from)
	topic := r.Bound.Input
	b := &tape.Batch{Topic: topic.Name, Partition: p.partition}
	err := stream.ReadRange(ctx, t.Cluster, t.Cluster.Topic(topic.Name), p.partition, p.from, p.to, func(rec *kgo.Record) error {
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

// parts resolves the bounds of every partition, and notes what makes the replay inexact.
func (t TopicRange) parts(ctx context.Context, r *run) ([]part, error) {
	topic := t.Cluster.Topic(r.Bound.Input.Name)
	client, err := kgo.NewClient(t.Cluster.Options(t.Log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ask := func(what string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]kadm.ListedOffset, error) {
		listed, err := list(ctx, topic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("listing the %s of %s: %w", what, topic, err)
		}
		return listed[topic], nil
	}
	after := func(at schemas.Time) func(context.Context, ...string) (kadm.ListedOffsets, error) {
		return func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return admin.ListOffsetsAfterMilli(ctx, (int64(at)+999_999)/1_000_000, topics...)
		}
	}
	starts, err := ask("start offsets", admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := ask("committed offsets", admin.ListCommittedOffsets)
	if err != nil {
		return nil, err
	}
	var fromTime, toTime map[int32]kadm.ListedOffset
	if t.FromTime > 0 {
		if fromTime, err = ask("offsets of a time", after(t.FromTime)); err != nil {
			return nil, err
		}
	}
	if t.ToTime > 0 {
		if toTime, err = ask("offsets of a time", after(t.ToTime)); err != nil {
			return nil, err
		}
	}
	var parts []part
	for _, n := range sortedKeys(starts) {
		if len(t.Partitions) > 0 && !slices.Contains(t.Partitions, n) {
			continue
		}
		p := part{n, max(starts[n].Offset, t.FromOffset), ends[n].Offset}
		if t.FromTime > 0 {
			p.from = max(starts[n].Offset, fromTime[n].Offset)
		}
		if t.ToOffset > 0 {
			p.to = min(p.to, t.ToOffset)
		}
		if t.ToTime > 0 {
			p.to = min(ends[n].Offset, toTime[n].Offset)
		}
		if p.from > 0 {
			r.inexact = append(r.inexact, fmt.Sprintf("partition %d starts at offset %d (the log at %d)", n, p.from, starts[n].Offset))
		}
		parts = append(parts, p)
	}
	if missing := len(t.Partitions) - len(parts); missing > 0 {
		return nil, fmt.Errorf("%s has partitions 0 to %d: %v were asked for", topic, len(starts)-1, t.Partitions)
	}
	return parts, nil
}
