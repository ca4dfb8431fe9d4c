package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stop ends a session gracefully. What was polled is committed already; what is left is a last snapshot, so that the
// restart replays nothing and another version may take over.
func (s *session) stop(ctx context.Context) error {
	return s.quiesce(ctx, func(p *part) bool { return p.snappedAt != p.next && p.sinceSnap > 0 })
}

// idle snapshots what no transaction takes along, as the input has run dry. Otherwise the input since the last snapshot
// would get older than its topic keeps it, and state that only it rebuilds would be lost in a crash.
func (s *session) idle(ctx context.Context) error {
	now, c := wallClock(), s.group.config
	return s.quiesce(ctx, func(p *part) bool { return p.due(now, c.SnapshotInterval, c.SnapshotRecords) })
}

// quiesce snapshots the ready parts that pick chooses, in a transaction that polled nothing.
func (s *session) quiesce(ctx context.Context, pick func(*part) bool) error {
	s.mu.Lock()
	revoked := s.revoked
	s.mu.Unlock()
	if revoked {
		// A transaction would abort. The owner of the partitions, or our restart, replays from the last snapshot.
		return nil
	}
	positions := map[int32]int64{}
	s.each(func(p *part) {
		if p.state == partReady && pick(p) {
			positions[p.num] = p.next
		}
	})
	if len(positions) == 0 {
		return nil
	}
	began := wallClock()
	if s.transact != nil {
		if err := s.transact.Begin(); err != nil {
			return s.classify(fmt.Errorf("beginning a transaction: %w", err))
		}
	}
	s.recommit = positions
	defer func() { s.recommit = nil }()
	promise := kgo.AbortingFirstErrPromise(s.client)
	chosen := func(p *part) bool { _, ok := positions[p.num]; return ok }
	return s.end(ctx, promise, began, s.snapshot(context.WithoutCancel(ctx), promise, chosen))
}

// drains returns a context that outlives ctx by StopDeadline: all that a stop still does ends by then, the transaction in hand too.
func drains(ctx context.Context, deadline time.Duration) (context.Context, context.CancelFunc) {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() { time.AfterFunc(deadline, cancel) })
	return drain, func() {
		forget()
		cancel()
	}
}

// patience bounds the end of a transaction. A stop alone does not cut it short, as cancelling End leaves the client in no known state.
func (s *session) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.drain, s.group.config.Transaction+10*time.Second)
}

// cutShort says so where an error comes of a stop that could not wait for the broker any longer.
func (s *session) cutShort(err error) error {
	if err == nil || s.drain.Err() == nil {
		return err
	}
	// Its text alone: a cancelled context is how a stop with nothing in hand ends.
	return fmt.Errorf("stream.stop_deadline (%v) is over and the broker has not ended the last transaction; the next start goes on from what is committed: %s",
		s.group.config.StopDeadline, err.Error())
}

// beforeCommit has a transaction that polled nothing commit the offsets of its partitions again: only an offset commit is
// checked against the group's generation, and without one a zombie could write a snapshot over its successor's.
func (s *session) beforeCommit(req *kmsg.TxnOffsetCommitRequest) error {
	s.group.crash.reach(beforeCommit)
	if len(s.recommit) == 0 {
		return nil
	}
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID = s.route.inputName, s.route.inputID
	for n, at := range s.recommit {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = n, at, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return nil
}
