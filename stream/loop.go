package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// inlineBelow is the number of records under which starting goroutines costs more than it gives.
const inlineBelow = 64

// run polls and processes until ctx ends (nil) or the client fails.
func (s *session) run(ctx context.Context) error {
	s.group.health.set(starting, "joining the group")
	if err := s.identify(ctx); err != nil {
		return err
	}
	for {
		// The context comes first: what arrives after settle looked finds it and wakes the poll.
		pollCtx := s.pollContext(ctx)
		if ctx.Err() != nil {
			return s.stop(ctx)
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		began := wallClock()
		trouble := s.trouble
		s.trouble = ""
		fetches := s.client.PollFetches(pollCtx)
		if err := s.pollErrors(fetches); err != nil {
			return err
		}
		switch {
		case trouble == "" || s.trouble != "":
		case errors.Is(pollCtx.Err(), context.DeadlineExceeded):
			// A whole interval passed without an error. On a quiet input nothing else would say that it is over.
			s.assess()
		default:
			s.trouble = trouble // a poll that was woken early proves nothing
		}
		if fetches.Empty() {
			if err := s.idle(ctx); err != nil {
				return err
			}
			continue
		}
		s.group.meter.poll.Observe(wallClock().Sub(began).Seconds())
		if err := s.transaction(ctx, fetches); err != nil {
			return err
		}
	}
}

// pollContext is cancelled by wake-ups and by ctx, and ends when a quiet input may be due for a snapshot.
func (s *session) pollContext(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
	ctx, s.cancel = context.WithTimeout(ctx, s.group.config.SnapshotInterval)
	return ctx
}

// pollErrors looks at every error of a poll: under NoResetOffset that is how lost data shows.
func (s *session) pollErrors(fetches kgo.Fetches) error {
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		if fatal != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return
		}
		var lost *kgo.ErrDataLoss
		switch {
		case errors.As(err, &lost), errors.Is(err, kerr.OffsetOutOfRange):
			fatal = fmt.Errorf("%w: polling %s/%d: data that was not read yet is lost: %w: look at the topic's retention, then reset the group's offsets and rebuild by replay",
				ErrRefused, topic, partition, err)
		case errors.Is(err, kgo.ErrClientClosed):
			fatal = fmt.Errorf("polling: %w", err)
		default:
			if e := s.classify(fmt.Errorf("polling %s/%d: %w", topic, partition, err)); errors.Is(e, ErrFenced) || errors.Is(e, ErrRefused) {
				fatal = e
				return
			}
			s.trouble = err.Error()
			s.group.log.Warn("poll reports an error", "topic", topic, "partition", partition, "error", err)
		}
	})
	return fatal
}

// classify marks the errors that no new client heals.
func (s *session) classify(err error) error {
	switch {
	case errors.Is(err, kerr.FencedInstanceID):
		s.group.meter.m.fenced.WithLabelValues(s.group.bound.Name).Inc()
		return s.group.takenOver(err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed),
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// process hands every record of the poll to its task, the partitions in parallel, and produces what came out. It returns
// the number of records and outputs; an error means that the transaction must not commit.
func (s *session) process(fetches kgo.Fetches, promise *kgo.FirstErrPromise) (records, emitted int, err error) {
	s.working = s.working[:0]
	fetches.EachPartition(func(t kgo.FetchTopicPartition) {
		if len(t.Records) == 0 {
			return
		}
		p := s.readyPart(t.Partition)
		if p == nil {
			err = fmt.Errorf("%w %d", errNotReady, t.Partition)
			return
		}
		records += len(t.Records)
		p.stable = t.LastStableOffset
		p.batches = append(p.batches, t.Records)
		if len(p.batches) == 1 {
			s.working = append(s.working, p)
		}
		p.touched = true
	})
	began := wallClock()
	if len(s.working) == 1 || records < inlineBelow {
		for _, p := range s.working {
			s.work(p)
		}
	} else {
		var wg sync.WaitGroup
		for _, p := range s.working {
			wg.Go(func() { s.work(p) })
		}
		wg.Wait()
	}
	s.group.meter.process.Observe(wallClock().Sub(began).Seconds())
	for _, p := range s.working {
		if p.err != nil {
			return records, emitted, p.err
		}
	}
	s.group.crash.reach(afterProcess)
	if err != nil {
		return records, emitted, err
	}
	for _, p := range s.working {
		recs, n := p.out.take()
		emitted += n
		s.produced = s.produced || len(recs) > 0
		for _, r := range recs {
			s.client.Produce(context.Background(), r, promise.Promise()) //nolint:forbidigo // End bounds it by Flush
		}
	}
	return records, emitted, nil
}

var errNotReady = errors.New("records of a partition that is not ready")

// work runs one part's batches.
func (s *session) work(p *part) {
	m := s.group.meter
	m.work(1)
	began := wallClock()
	p.run(&s.route.input)
	m.batch(wallClock().Sub(began))
	m.work(-1)
}

func (s *session) readyPart(n int32) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[n]; p != nil && p.state == partReady {
		return p
	}
	return nil
}

// transaction processes the poll, and further ones while the commit policy lets it, and ends.
func (s *session) transaction(ctx context.Context, fetches kgo.Fetches) error {
	c := s.group.config
	if s.transact != nil {
		if err := s.transact.Begin(); err != nil {
			return s.classify(fmt.Errorf("beginning a transaction: %w", err))
		}
	}
	began := wallClock()
	promise := kgo.AbortingFirstErrPromise(s.client)
	defer func() { s.wrote = false }()
	records, failed := 0, error(nil)
	for last := false; ; {
		n, emitted, err := s.process(fetches, promise)
		records += n
		s.wrote = s.wrote || emitted > 0
		if err != nil {
			failed = err
			break
		}
		full := records >= c.CommitRecords || wallClock().Sub(began) >= c.CommitInterval
		if last || full || ctx.Err() != nil {
			break
		}
		last = emitted > 0
		if !last && s.behind() {
			// The broker has more: a poll that waits for it is cheaper than a transaction for each fetch.
			if fetches, failed = s.pollFor(ctx, c.CommitInterval-wallClock().Sub(began)); failed != nil || fetches.Empty() {
				break
			}
			continue
		}
		if last || s.client.BufferedFetchRecords() == 0 {
			// A record that came while the last poll was in hand would wait for two whole cycles: take it along.
			if fetches, failed = s.pollFor(ctx, c.SecondPoll); failed != nil || fetches.Empty() {
				break
			}
			continue
		}
		// What is buffered may be of a partition that is paused or taken away by now, and then there is nothing to come.
		if fetches, failed = s.pollFor(ctx, c.CommitInterval-wallClock().Sub(began)); failed != nil || fetches.Empty() {
			break
		}
	}
	return s.end(ctx, promise, began, failed)
}

// behindRecords is the lag of a partition from which a group catches up rather than follows.
const behindRecords = 2000

// behind reports whether the broker had more records of a partition of the last poll than were fetched.
func (s *session) behind() bool {
	for _, p := range s.working {
		if p.stable-p.next > behindRecords {
			return true
		}
	}
	return false
}

// pollFor waits at most d for more records.
func (s *session) pollFor(ctx context.Context, d time.Duration) (kgo.Fetches, error) {
	if d <= 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	fetches := s.client.PollFetches(ctx)
	return fetches, s.pollErrors(fetches)
}

// nap waits a moment after transactions that did not commit.
func nap(ctx context.Context, aborts int) {
	select {
	case <-ctx.Done():
	case <-time.After(min(time.Duration(aborts)*20*time.Millisecond, time.Second)):
	}
}
