package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream/cluster"
)

const (
	// stallAfter is how long a bounded read waits for progress: longer than any transaction may hold the last stable
	// offset back (TransactionTimeout and the broker's scan for expired ones).
	stallAfter = 45 * time.Second
	// fetchBytes bounds one fetch of one partition.
	fetchBytes = 4 << 20
	fetchWait  = 250 * time.Millisecond
	retryPause = 50 * time.Millisecond
)

// StallError says that a bounded read made no progress: something holds committed data back, or the log was cut.
type StallError struct {
	Topic                               string
	Partition                           int32
	Position, Target                    int64
	LogStart, LastStable, HighWatermark int64
	Last                                error
}

// Error tells a cut log from a hanging transaction and from a broker that does not answer.
func (e *StallError) Error() string {
	why := "the broker sends nothing"
	switch {
	case e.Last != nil:
		why = "the last error was: " + e.Last.Error()
	case e.HighWatermark < e.Target:
		why = "the log ends before the target: it was truncated"
	case e.LastStable <= e.Position:
		why = "an open transaction holds the last stable offset back"
	}
	return fmt.Sprintf("reading %s/%d: no progress at offset %d of %d (log start %d, last stable %d, high watermark %d): %s",
		e.Topic, e.Partition, e.Position, e.Target, e.LogStart, e.LastStable, e.HighWatermark, why)
}

// Unwrap returns the last error of a fetch.
func (e *StallError) Unwrap() error { return e.Last }

// ReadRange hands the committed records of offsets from <= offset < to of one partition to fn, in order, and returns when
// the read position has reached to: by position, because the last offsets may be control records, aborted or compacted
// away. topic is the name on the cluster. It uses no group. Records and what they hold may be kept. An error of fn ends the
// read and is returned as it is; offsets below the log start are an error, never skipped.
func ReadRange(ctx context.Context, c cluster.Config, topic string, partition int32, from, to int64, fn func(*kgo.Record) error) error {
	if from >= to {
		return nil
	}
	cl, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		return fmt.Errorf("connecting to read %s/%d: %w", topic, partition, err)
	}
	defer cl.Close()
	r := &rangeReader{client: cl, stall: stallAfter}
	return r.read(ctx, topic, partition, from, to, fn)
}

// rangeReader reads bounded ranges with fetch requests of its own: the consumer of franz-go does not tell its position.
type rangeReader struct {
	client *kgo.Client
	stall  time.Duration
}

// read fetches one chunk ahead of fn.
func (r *rangeReader) read(ctx context.Context, topic string, partition int32, from, to int64, fn func(*kgo.Record) error) error {
	if from >= to {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks := make(chan []*kgo.Record, 1)
	done := make(chan error, 1)
	go func() {
		done <- r.fetchAll(ctx, topic, partition, from, to, chunks)
		close(chunks)
	}()
	var failed error
	for chunk := range chunks {
		for _, rec := range chunk {
			if failed = fn(rec); failed != nil {
				cancel()
				break
			}
		}
		if failed != nil {
			break
		}
	}
	for range chunks { // drained, so that the goroutine ends
	}
	if failed != nil {
		return failed
	}
	return <-done
}

// fetchAll sends the range in chunks.
func (r *rangeReader) fetchAll(ctx context.Context, topic string, partition int32, from, to int64, chunks chan<- []*kgo.Record) error {
	stalled := time.NewTimer(r.stall)
	defer stalled.Stop()
	at := StallError{Topic: topic, Partition: partition, Position: from, Target: to, LogStart: -1, LastStable: -1, HighWatermark: -1}
	var lead leader
	decompress := kgo.DefaultDecompressor()
	for at.Position < to {
		var fp kgo.FetchPartition
		var next int64
		err := ctx.Err()
		if err == nil && lead.broker == nil {
			lead, err = r.lookUp(ctx, topic, partition)
		}
		if err == nil {
			fp, next, err = r.fetch(ctx, lead, topic, partition, at.Position, decompress)
		}
		if err != nil {
			if fatal := classify(ctx, err, &at, fp); fatal != nil {
				return fatal
			}
			lead = leader{}
			at.Last = err
		} else {
			at.Last, at.LogStart, at.LastStable, at.HighWatermark = nil, fp.LogStartOffset, fp.LastStableOffset, fp.HighWatermark
		}
		if next > at.Position {
			at.Position = next
			if !send(ctx, chunks, below(fp.Records, to)) {
				return ctx.Err()
			}
			stalled.Reset(r.stall) // the caller may have kept us waiting: that is no stall
			continue
		}
		if err := pauseOr(ctx, stalled, err != nil, &at); err != nil {
			return err
		}
	}
	return nil
}

// pauseOr waits a moment after an error, and reports a stall.
func pauseOr(ctx context.Context, stalled *time.Timer, failed bool, at *StallError) error {
	pause := time.Duration(0)
	if failed {
		pause = retryPause
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-stalled.C:
		return at
	case <-time.After(pause):
		return nil
	}
}

func send(ctx context.Context, chunks chan<- []*kgo.Record, recs []*kgo.Record) bool {
	if len(recs) == 0 {
		return true
	}
	select {
	case chunks <- recs:
		return true
	case <-ctx.Done():
		return false
	}
}

func below(recs []*kgo.Record, to int64) []*kgo.Record {
	n := len(recs)
	for n > 0 && recs[n-1].Offset >= to {
		n--
	}
	return recs[:n]
}

// classify returns nil for what a new try may heal.
func classify(ctx context.Context, err error, at *StallError, fp kgo.FetchPartition) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("reading %s/%d from offset %d: the log now starts at %d and ends at %d: %w",
			at.Topic, at.Partition, at.Position, fp.LogStartOffset, fp.HighWatermark, err)
	}
	var ke *kerr.Error
	if errors.As(err, &ke) && !ke.Retriable {
		return fmt.Errorf("reading %s/%d at offset %d: %w", at.Topic, at.Partition, at.Position, err)
	}
	return nil
}

// leader is where a partition is read from.
type leader struct {
	broker *kgo.Broker
	id     [16]byte
}

func (r *rangeReader) lookUp(ctx context.Context, topic string, partition int32) (leader, error) {
	md, err := kadm.NewClient(r.client).Metadata(ctx, topic)
	if err != nil {
		return leader{}, fmt.Errorf("looking up the leader of %s/%d: %w", topic, partition, err)
	}
	t := md.Topics[topic]
	if t.Err != nil {
		return leader{}, fmt.Errorf("looking up the leader of %s/%d: %w", topic, partition, t.Err)
	}
	p, ok := t.Partitions[partition]
	switch {
	case !ok:
		return leader{}, fmt.Errorf("looking up the leader of %s/%d: the topic has %d partitions: %w", topic, partition, len(t.Partitions), kerr.InvalidPartitions)
	case p.Leader < 0:
		return leader{}, fmt.Errorf("looking up the leader of %s/%d: %w", topic, partition, kerr.LeaderNotAvailable)
	}
	return leader{broker: r.client.Broker(int(p.Leader)), id: t.ID}, nil
}

// fetch asks the leader once and returns what came and the next position, which also moves over control records, aborted
// batches and holes.
func (r *rangeReader) fetch(ctx context.Context, lead leader, topic string, partition int32, at int64, d kgo.Decompressor) (kgo.FetchPartition, int64, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = int32(fetchWait.Milliseconds()), 1, fetchBytes, 1
	req.SessionEpoch = -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, at, fetchBytes, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, lead.id, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = append(req.Topics, t)
	kresp, err := lead.broker.Request(ctx, req)
	if err != nil {
		return kgo.FetchPartition{}, at, fmt.Errorf("fetching: %w", err)
	}
	resp, ok := kresp.(*kmsg.FetchResponse)
	if !ok {
		return kgo.FetchPartition{}, at, fmt.Errorf("fetching: the broker answered a %T", kresp)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kgo.FetchPartition{}, at, fmt.Errorf("fetching: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return kgo.FetchPartition{}, at, nil
	}
	part := &resp.Topics[0].Partitions[0]
	opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: partition}
	fp, next := kgo.ProcessFetchPartition(opts, part, d, nil)
	if fp.Err != nil {
		return fp, next, fmt.Errorf("fetching: %w", fp.Err)
	}
	return fp, next, nil
}
