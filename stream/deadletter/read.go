package deadletter

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// span is the part of one partition that is read, [from, to).
type span struct{ from, to int64 }

// bounds asks for the span of every partition of the dlq topic. The end is that of the committed records: what an open
// transaction is writing does not count yet.
func bounds(ctx context.Context, c cluster.Config, log *slog.Logger) (map[int32]span, error) {
	topic := c.Topic(schemas.DeadLetters.Name)
	client, err := kgo.NewClient(c.Options(log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the start offsets of %s: %w", topic, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the end offsets of %s: %w", topic, err)
	}
	out := map[int32]span{}
	starts.Each(func(o kadm.ListedOffset) {
		end, _ := ends.Lookup(o.Topic, o.Partition)
		out[o.Partition] = span{o.Offset, end.Offset}
	})
	return out, nil
}

// readAll hands every committed record of the dlq topic to fn.
func readAll(ctx context.Context, c cluster.Config, log *slog.Logger, fn func(*kgo.Record)) error {
	spans, err := bounds(ctx, c, log)
	if err != nil {
		return err
	}
	return read(ctx, c, log, spans, fn)
}

// readOne returns the record at id, nil when there is none.
func readOne(ctx context.Context, c cluster.Config, log *slog.Logger, id ID) (*kgo.Record, error) {
	spans, err := bounds(ctx, c, log)
	if err != nil {
		return nil, err
	}
	s, ok := spans[id.Partition]
	if !ok || id.Offset < s.from || id.Offset >= s.to {
		return nil, nil //nolint:nilnil // absence is no error here: the caller names the id
	}
	var found *kgo.Record
	err = read(ctx, c, log, map[int32]span{id.Partition: {id.Offset, id.Offset + 1}}, func(r *kgo.Record) { found = r })
	return found, err
}

// read consumes the spans without a group. Its end is told by position: control records are kept, so that the last offset
// of a span is seen whatever lies there.
func read(ctx context.Context, c cluster.Config, log *slog.Logger, spans map[int32]span, fn func(*kgo.Record)) error {
	topic := c.Topic(schemas.DeadLetters.Name)
	from := map[int32]kgo.Offset{}
	for p, s := range spans {
		if s.from < s.to {
			from[p] = kgo.NewOffset().At(s.from)
		}
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(c.Options(log),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	for open := len(from); open > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", topic, err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			s := spans[p.Partition]
			for _, r := range p.Records {
				if r.Offset < s.to && !r.Attrs.IsControl() {
					fn(r)
				}
			}
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset >= s.to-1 && s.from < s.to {
				open--
				spans[p.Partition] = span{s.to, s.to}
				client.PauseFetchPartitions(map[string][]int32{topic: {p.Partition}})
			}
		})
	}
	return nil
}
