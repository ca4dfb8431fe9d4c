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
	s.stopping = true
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

// patience bounds the end of a transaction. A stop does not cut it short: cancelling End leaves the client in no known state.
func (s *session) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.group.config.Transaction + 10*time.Second
	if s.stopping {
		limit = s.group.config.StopDeadline
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
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
