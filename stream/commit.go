package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// abortsAllowed is how many transactions in a row may fail before the client is given up.
const abortsAllowed = 20

// end commits the transaction, or aborts it and restores. failed says why it must not commit.
func (s *session) end(ctx context.Context, promise *kgo.FirstErrPromise, began time.Time, failed error) (err error) {
	m := s.group.meter
	bounded, cancel := s.patience()
	defer cancel()
	defer func() { err = s.cutShort(err) }()
	if failed == nil && s.transact == nil {
		// Without a transaction a snapshot counts by itself, and what it covers is not made again: the outputs come first.
		failed = s.flush(bounded, promise)
	}
	if failed == nil {
		failed = s.snapshotDue(bounded, promise)
	}
	if failed == nil {
		failed = s.flush(bounded, promise)
		s.group.crash.reach(afterFlush)
		if s.wrote {
			s.group.crash.reach(afterOutputs)
		}
	}
	if failed == nil && !s.produced && s.transact != nil {
		s.calm(bounded)
	}
	s.produced = false
	at := wallClock()
	committed, err := s.finish(bounded, failed == nil)
	s.ended = wallClock()
	m.end.Observe(s.ended.Sub(at).Seconds())
	if err != nil {
		m.transaction("failed", reasonOf(err))
		return s.endError(err, began)
	}
	if fatal := s.fatal(failed); fatal != nil {
		m.transaction("aborted", reasonOf(failed))
		return fatal
	}
	if !committed {
		return s.aborted(ctx, bounded, failed)
	}
	s.group.crash.reach(afterEnd)
	m.transaction("committed", "")
	s.committed()
	return nil
}

// flush waits until the broker has taken, or refused, what was produced.
func (s *session) flush(ctx context.Context, promise *kgo.FirstErrPromise) error {
	at := wallClock()
	defer func() { s.group.meter.flush.Observe(wallClock().Sub(at).Seconds()) }()
	if err := s.client.Flush(ctx); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	if err := promise.Err(); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	return nil
}

// calmWithin is how long after an End the broker may still be at it: from then on a refusal and an abort are better than a group that
// stands still.
const calmWithin = 5 * time.Second

// calm waits until the broker is done with the transaction before, where this one has produced nothing. The commit of its offsets is then
// the first that the broker hears of it, and while the markers of the last one are being written it is refused with
// CONCURRENT_TRANSACTIONS, which costs an abort and a restore; a batch is delayed and tried again instead. A broker that cannot be
// asked is not waited for. How long the markers take cannot be told from how long they took before (docs/proofs.md).
func (s *session) calm(ctx context.Context) {
	if wallClock().Sub(s.ended) > calmWithin {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, calmWithin)
	defer cancel()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{s.group.instanceID()}
	for {
		resp, err := req.RequestWith(ctx, s.side)
		if err != nil || len(resp.TransactionStates) != 1 || !strings.HasPrefix(resp.TransactionStates[0].State, "Prepare") {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// finish ends the transaction, or at least once commits the offsets of what was flushed.
func (s *session) finish(ctx context.Context, commit bool) (bool, error) {
	if s.transact != nil {
		return s.transact.End(kgo.PreTxnCommitFnContext(ctx, s.beforeCommit), kgo.TransactionEndTry(commit))
	}
	if !commit {
		return false, nil
	}
	s.group.crash.reach(beforeCommit)
	var failed error
	s.client.CommitOffsetsSync(ctx, s.client.UncommittedOffsets(), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	if failed != nil {
		s.group.log.Warn("committing offsets failed; resuming from the last snapshot", "error", failed)
	}
	return failed == nil, nil
}

// endError explains the errors of End, after which the client is dead.
func (s *session) endError(err error, began time.Time) error {
	err = s.classify(fmt.Errorf("ending a transaction: %w", err))
	fenced := s.group.meter.m.fenced.WithLabelValues(s.group.bound.Name)
	if age := wallClock().Sub(began); age >= s.group.config.Transaction {
		fenced.Inc()
		return fmt.Errorf("fenced: the transaction was open for %v and the broker ends it at %v (this process hung, or the broker was away): %w",
			age.Round(time.Millisecond), s.group.config.Transaction, err)
	}
	if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
		fenced.Inc()
		return s.group.takenOver(err)
	}
	return err
}

// fatal returns the reasons of an abort that a retry does not heal.
func (s *session) fatal(failed error) error {
	switch {
	case errors.Is(failed, ErrRefused), errors.Is(failed, kgo.ErrClientClosed):
		return failed
	case errors.Is(failed, kerr.ProducerFenced), errors.Is(failed, kerr.InvalidProducerEpoch):
		return s.group.takenOver(failed)
	}
	return nil
}

// committed takes note of a commit.
func (s *session) committed() {
	s.commits++
	s.aborts, s.trouble = 0, ""
	now := wallClock()
	s.each(func(p *part) {
		if !p.touched {
			return
		}
		p.committed = p.next
		s.group.meter.committed(p)
		s.group.meter.position(p, now)
		p.clearTransaction()
	})
	s.assess()
}

// aborted puts every part that the transaction touched back to what the broker, not the client, says is committed: an
// answer that was lost may have been a commit.
func (s *session) aborted(ctx, bounded context.Context, failed error) error {
	reason := "rebalance"
	if failed != nil {
		reason = reasonOf(failed)
	}
	s.group.meter.transaction("aborted", reason)
	level := slog.LevelInfo
	if failed == nil {
		level = slog.LevelDebug // each rebalance ends those of some members: nothing is wrong
	}
	s.group.log.Log(ctx, level, "transaction aborted", "reason", reason, "error", failed)
	if s.aborts++; s.aborts > abortsAllowed {
		return fmt.Errorf("%d transactions in a row were aborted: %w", s.aborts, errors.Join(failed, errors.New(reason)))
	}
	var nums []int32
	s.mu.Lock()
	for n, p := range s.parts {
		if p.touched && p.state == partReady {
			s.group.meter.behind(p) // the next attempt tells how much has come since
			nums = append(nums, n)
		}
	}
	s.mu.Unlock()
	if len(nums) > 0 {
		if err := s.rewind(ctx, bounded, nums); err != nil {
			return err
		}
	}
	nap(ctx, s.aborts)
	return nil
}

// rewind pauses partitions, sets them to the stable committed offsets and restores them.
func (s *session) rewind(ctx, bounded context.Context, nums []int32) error {
	topic := s.route.inputName
	s.client.PauseFetchPartitions(map[string][]int32{topic: nums})
	stable, err := stableOffsets(bounded, s.side, s.group.groupName(), topic, nums)
	if err != nil {
		return s.classify(err)
	}
	set := map[int32]int64{}
	s.mu.Lock()
	for _, n := range nums {
		old := s.parts[n]
		if old == nil || old.state != partReady {
			continue // revoked meanwhile, or assigned anew and restoring already
		}
		old.drop()
		p := newPart(n)
		s.parts[n] = p
		at, had := stable[n], stable[n] >= 0
		if !had {
			at = old.committed
		}
		set[n] = at
		s.restore(ctx, p, at, had)
	}
	s.mu.Unlock()
	// The client's own locks are never taken under ours, as its callbacks take them the other way round.
	s.client.SetOffsets(epochOffsets(topic, set))
	return nil
}

// snapshotDue produces the snapshots that are due.
func (s *session) snapshotDue(ctx context.Context, promise *kgo.FirstErrPromise) error {
	now := wallClock()
	c := s.group.config
	return s.snapshot(ctx, promise, func(p *part) bool { return p.touched && p.due(now, c.SnapshotInterval, c.SnapshotRecords) })
}

// snapshot produces the snapshots of the ready parts that pick chooses.
func (s *session) snapshot(ctx context.Context, promise *kgo.FirstErrPromise, pick func(*part) bool) error {
	var chosen []*part
	s.each(func(p *part) {
		if p.state == partReady && pick(p) {
			chosen = append(chosen, p)
		}
	})
	if len(chosen) == 0 {
		return nil
	}
	began := wallClock()
	var wg sync.WaitGroup
	for _, p := range chosen {
		p.touched = true
		wg.Go(func() { p.err = p.snapshot(s.route) })
	}
	wg.Wait()
	for _, p := range chosen {
		if p.err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, p.err)
		}
		size := 0
		for _, r := range p.snapshots {
			size += len(r.Key) + len(r.Value)
			s.client.Produce(ctx, r, promise.Promise())
		}
		s.produced = true
		p.snapped, p.snappedAt, p.sinceSnap, p.snapshotted = began, p.next, 0, true
		m := s.group.meter
		m.m.snapshotBytes.WithLabelValues(m.name).Add(float64(size))
		if p.whole {
			m.m.checkpoints.WithLabelValues(m.name).Inc()
		}
	}
	s.group.meter.snapshot.Observe(wallClock().Sub(began).Seconds())
	return nil
}

// reasonOf is the metric label of an error: few values, whatever the text.
func reasonOf(err error) string {
	var ke *kerr.Error
	switch {
	case errors.As(err, &ke):
		return ke.Message
	case errors.Is(err, errNotReady):
		return "not_ready"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrAborting):
		return "produce"
	}
	return "other"
}
