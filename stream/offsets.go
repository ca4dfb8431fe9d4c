package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bounds are the log start and the high watermark of a partition.
type bounds struct{ start, end int64 }

// logBounds looks the bounds of partitions of a topic up. The end is the high watermark, never the last stable offset:
// transaction markers reach topics one by one, so a load that is bounded by the last stable offset under-reads.
func logBounds(ctx context.Context, adm *kadm.Client, topic string) (map[int32]bounds, error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the start of %s: %w", topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the end of %s: %w", topic, err)
	}
	out := map[int32]bounds{}
	starts.Each(func(o kadm.ListedOffset) {
		if end, ok := ends.Lookup(topic, o.Partition); ok {
			out[o.Partition] = bounds{start: o.Offset, end: end.Offset}
		}
	})
	return out, nil
}

// stableOffsets asks the broker, not the client, what is committed; it waits while a transaction that may still commit is
// open. -1 stands for no commit.
func stableOffsets(ctx context.Context, cl *kgo.Client, group, topic string, partitions []int32) (map[int32]int64, error) {
	for {
		out, err := fetchStable(ctx, cl, group, topic, partitions)
		if err == nil || !kerr.IsRetriable(err) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fetching the committed offsets of %s: %w (last: %w)", group, ctx.Err(), err)
		case <-time.After(retryPause):
		}
	}
}

func fetchStable(ctx context.Context, cl *kgo.Client, group, topic string, partitions []int32) (map[int32]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = group, true
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("fetching the committed offsets of %s: %w", group, err)
	}
	out := map[int32]int64{}
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
				err = e
			}
			out[p.Partition] = p.Offset
		}
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the committed offsets of %s: %w", group, err)
	}
	if len(out) != len(partitions) {
		return nil, fmt.Errorf("fetching the committed offsets of %s: %d of %d partitions were answered: %w", group, len(out), len(partitions), kerr.UnknownServerError)
	}
	return out, nil
}

// epochOffsets puts offsets into the form that the client takes.
func epochOffsets(topic string, offsets map[int32]int64) map[string]map[int32]kgo.EpochOffset {
	m := make(map[int32]kgo.EpochOffset, len(offsets))
	for p, o := range offsets {
		m[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
	}
	return map[string]map[int32]kgo.EpochOffset{topic: m}
}
