package stream

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stop ends a session gracefully. What was polled is committed already; what is left is a last snapshot, so that the
// restart replays nothing and another version may take over.
func (s *session) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.group.config.StopDeadline)
	defer cancel()
	s.mu.Lock()
	revoked := s.revoked
	s.mu.Unlock()
	if revoked {
		// A transaction would abort. The owner of the partitions, or our restart, replays from the last snapshot.
		return nil
	}
	positions := map[int32]int64{}
	s.each(func(p *part) {
		if p.state == partReady && p.snappedAt != p.next && p.sinceSnap > 0 {
			positions[p.num] = p.next
		}
	})
	if len(positions) == 0 {
		return nil
	}
	if s.transact != nil {
		if err := s.transact.Begin(); err != nil {
			return s.classify(fmt.Errorf("beginning the last transaction: %w", err))
		}
	}
	promise := kgo.AbortingFirstErrPromise(s.client)
	err := s.snapshot(ctx, promise, func(p *part) bool { _, ok := positions[p.num]; return ok })
	if err == nil {
		err = s.client.Flush(ctx)
	}
	if err == nil {
		err = promise.Err()
	}
	commit := err == nil
	if s.transact == nil {
		return err
	}
	fenced, ferr := s.fence(ctx, positions)
	if ferr != nil {
		fenced, commit, err = ctx, false, ferr
	}
	committed, eerr := s.transact.End(fenced, kgo.TransactionEndTry(commit))
	switch {
	case eerr != nil:
		return s.classify(fmt.Errorf("ending the last transaction: %w", eerr))
	case err != nil:
		return fmt.Errorf("taking the last snapshot: %w", err)
	case !committed:
		s.group.log.Warn("the last snapshot was not committed; the restart replays from the one before")
	default:
		s.committed()
	}
	return nil
}

// fence makes a transaction that polled nothing commit the offsets of its partitions again: only an offset commit is
// checked against the group's generation, and without one a zombie could write a snapshot over its successor's.
func (s *session) fence(ctx context.Context, positions map[int32]int64) (context.Context, error) {
	md := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = new(s.route.inputName)
	md.Topics = append(md.Topics, mt)
	resp, err := md.RequestWith(ctx, s.side)
	if err != nil || len(resp.Topics) != 1 {
		return nil, fmt.Errorf("looking up the id of %s: %w", s.route.inputName, err)
	}
	id := resp.Topics[0].TopicID
	return kgo.PreTxnCommitFnContext(ctx, func(req *kmsg.TxnOffsetCommitRequest) error {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic, t.TopicID = s.route.inputName, id
		for n, at := range positions {
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = n, at, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
		return nil
	}), nil
}
