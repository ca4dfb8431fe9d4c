package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A session is one life of the group's client.
type session struct {
	group  *Group
	route  *route
	client *kgo.Client
	// transact is nil at least once.
	transact *kgo.GroupTransactSession
	// side is a second client, without the group: restores and administration. The group's client only ever stands at
	// committed offsets, because seeking it back would move the commit back.
	side *kgo.Client

	mu      sync.Mutex // guards the fields below and the state and cancel of every part
	parts   map[int32]*part
	joined  bool // the group has said what this member gets, be it nothing, and has taken nothing away since
	changed bool // joined is to be assessed anew
	revoked bool // partitions were taken away since the last End
	closing bool
	done    []finished
	cancel  context.CancelFunc // of the poll in hand

	restores sync.WaitGroup

	// Owned by Run.
	commits int
	aborts  int  // in a row
	wrote   bool // the open transaction has outputs
	// produced says that it has records of any kind: outputs, ticks, dead letters, snapshots. ended is when the one before did.
	produced bool
	ended    time.Time
	trouble  string
	working  []*part
	recommit map[int32]int64 // what a transaction that polled nothing commits again

	drain   context.Context //nolint:containedctx // the session's, ends StopDeadline after the group's
	drained context.CancelFunc
}

// finished is a restore that has ended.
type finished struct {
	part *part
	r    *restore
	err  error
}

func newSession(ctx context.Context, g *Group) (*session, error) {
	s := &session{group: g, parts: map[int32]*part{}, cancel: func() {}}
	var err error
	if s.side, err = kgo.NewClient(append(g.cluster.Options(nil), kgo.WithLogger(quiet{g.log}))...); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s.drain, s.drained = drains(ctx, g.config.StopDeadline)
	check, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if s.route, err = g.makeRoute(check, s.side); err == nil {
		err = g.checkSettings(check, s.side, s.route)
	}
	if err == nil && g.config.Transactions {
		err = g.checkTransactions(check, s.side)
	}
	if err == nil {
		err = s.connect(ctx)
	}
	if err != nil {
		s.drained()
		s.side.Close()
		return nil, err
	}
	return s, nil
}

// connect joins the group. The settings and their reasons are in docs/adr and in the comments of Config.
func (s *session) connect(ctx context.Context) error {
	g, c := s.group, s.group.config
	// The group's goroutine may call back before the constructor below has returned.
	joined := make(chan struct{})
	defer close(joined)
	opts := append(g.cluster.Options(nil),
		kgo.WithLogger(quiet{g.log}),
		kgo.ConsumerGroup(g.groupName()), kgo.ConsumeTopics(s.route.inputName),
		kgo.InstanceID(g.instanceID()), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(c.SessionTimeout), kgo.HeartbeatInterval(c.Heartbeat), kgo.RebalanceTimeout(c.Rebalance),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.DisableAutoCommit(), kgo.WithPools(&recordPool{}),
		kgo.KeepControlRecords(), // so that the commit passes the markers behind the last record: the lag at rest is 0
		kgo.FetchMaxWait(c.FetchWait), kgo.FetchMaxBytes(int32(c.FetchBytes)), kgo.FetchMaxPartitionBytes(int32(c.FetchBytes/4)),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1_000_000), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytesFn(s.route.batchBytes),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, m map[string][]int32) { s.assigned(cl, m[s.route.inputName]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.lost(m[s.route.inputName]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.lost(m[s.route.inputName]) }),
		kgo.AdjustFetchOffsetsFn(func(fctx context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			<-joined
			return s.adjust(ctx, fctx, m)
		}),
	)
	if !c.Transactions {
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			return fmt.Errorf("joining group %s: %w", g.groupName(), err)
		}
		s.client = cl
		return nil
	}
	tr, err := kgo.NewGroupTransactSession(append(opts,
		kgo.TransactionalID(g.instanceID()), kgo.TransactionTimeout(c.Transaction),
		kgo.ConcurrentTransactionsBackoff(time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("joining group %s: %w", g.groupName(), err)
	}
	s.transact, s.client = tr, tr.Client()
	return nil
}

// identify takes the transactional id. Taking it now, not at the first output, aborts at once what the last life of this slot left
// open: until then the broker gives no stable offsets, and the restart would wait for the transaction's timeout.
func (s *session) identify(ctx context.Context) error {
	if s.transact == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.group.config.Transaction)
	defer cancel()
	if _, _, err := s.client.ProducerID(bounded); err != nil {
		return s.classify(fmt.Errorf("taking the transactional id %s: %w", s.group.instanceID(), err))
	}
	return nil
}

// close ends both clients. A static member stays in the group: its restart takes the same partitions without a rebalance.
func (s *session) close() {
	s.mu.Lock()
	s.closing = true // the next session may have the same partitions
	s.mu.Unlock()
	s.each((*part).drop)
	s.drained()
	s.restores.Wait()
	s.client.Close()
	s.side.Close()
}

// assigned is called before the offsets of new partitions are fetched: they stay paused until they are restored.
func (s *session) assigned(cl *kgo.Client, nums []int32) {
	if len(nums) > 0 {
		cl.PauseFetchPartitions(map[string][]int32{s.route.inputName: nums})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined, s.changed = true, true
	if len(nums) == 0 {
		s.cancel() // no restore will wake the poll
	}
	for _, n := range nums {
		if old := s.parts[n]; old != nil {
			old.drop()
		}
		s.parts[n] = newPart(n)
	}
}

// lost is called when partitions are revoked or lost. Run lets go of them when it comes by; a transaction that they are in
// cannot commit any more.
func (s *session) lost(nums []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked, s.joined = true, false
	for _, n := range nums {
		if p := s.parts[n]; p != nil {
			s.remove(p)
		}
	}
	s.cancel()
}

// remove lets go of a part that is no longer ours. The caller holds mu.
func (s *session) remove(p *part) {
	p.drop()
	delete(s.parts, p.num)
	if !s.closing {
		s.group.meter.forget(p.label)
	}
}

// drop ends what goes on for the part. The caller holds mu.
func (p *part) drop() {
	p.gone.Store(true)
	if p.cancel != nil {
		p.cancel()
	}
}

// adjust learns the committed offsets of new partitions and starts their restores. It returns them as they are; only where
// nothing is committed it names the log start, so that an abort rewinds to an offset that exists.
func (s *session) adjust(ctx, fetch context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	offsets := m[s.route.inputName]
	if len(offsets) == 0 {
		return m, nil
	}
	at, err := logBounds(fetch, kadm.NewClient(s.side), s.route.inputName)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, o := range offsets {
		committed := o.EpochOffset().Offset
		had := committed >= 0
		if !had {
			committed = at[n].start
			offsets[n] = kgo.NewOffset().At(committed)
		}
		p := s.parts[n]
		if p == nil {
			p = newPart(n)
			s.parts[n] = p
		}
		if p.state != partAssigned {
			p.drop() // offsets were fetched anew: begin again
			p = newPart(n)
			s.parts[n] = p
			s.client.PauseFetchPartitions(map[string][]int32{s.route.inputName: {n}})
		}
		s.restore(ctx, p, committed, had)
	}
	return m, nil
}

// restore starts the goroutine that rebuilds a part's task at a committed offset. The caller holds mu.
func (s *session) restore(ctx context.Context, p *part, committed int64, had bool) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.state, p.committed, p.hadCommit = partRestoring, committed, had
	r := &restore{
		group: s.group, route: s.route, client: s.side, drain: s.drain, partition: p.num, committed: committed, hadCommit: had, fault: &fault{},
	}
	s.restores.Go(func() {
		err := r.run(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done = append(s.done, finished{p, r, err})
		s.cancel()
	})
}

// each calls fn for every part.
func (s *session) each(fn func(*part)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		fn(p)
	}
}

// settle takes in what callbacks and restores have left. It runs between transactions only.
func (s *session) settle(ctx context.Context) error {
	s.mu.Lock()
	revoked, done, changed := s.revoked, s.done, s.changed
	s.revoked, s.done, s.changed = false, nil, false
	s.mu.Unlock()
	if revoked {
		if err := s.clearRevoked(ctx); err != nil {
			return err
		}
		s.prune()
	}
	if changed {
		s.forgetOthers()
	}
	for _, f := range done {
		if err := s.ready(f); err != nil {
			return err
		}
	}
	if revoked || changed || len(done) > 0 {
		s.assess()
	}
	return nil
}

// clearRevoked ends an empty transaction: a revocation between transactions would otherwise poison the next one, as only
// End clears its mark. The broker hears nothing of it.
func (s *session) clearRevoked(ctx context.Context) error {
	if s.transact == nil {
		return nil
	}
	if err := s.transact.Begin(); err != nil {
		return s.classify(fmt.Errorf("beginning a transaction: %w", err))
	}
	if _, err := s.transact.End(context.WithoutCancel(ctx), kgo.TryAbort); err != nil {
		return s.classify(fmt.Errorf("ending an empty transaction: %w", err))
	}
	return nil
}

// prune drops parts that the client no longer holds: a second revocation before an End is not reported.
func (s *session) prune() {
	held := s.client.CommittedOffsets()[s.route.inputName]
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, p := range s.parts {
		if _, ok := held[n]; !ok && p.state == partReady {
			s.remove(p)
		}
	}
}

// forgetOthers takes away what the client before this one showed of partitions that this one did not get.
func (s *session) forgetOthers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.route.inputs {
		if s.parts[n] == nil {
			s.group.meter.forget(strconv.Itoa(int(n)))
		}
	}
}

// ready puts a restored task to work and lets its partition be fetched.
func (s *session) ready(f finished) error {
	p, r := f.part, f.r
	name := s.group.bound.Name
	outcome := func(o string) { s.group.meter.m.restores.WithLabelValues(name, o).Inc() }
	switch {
	case p.gone.Load():
		outcome("cancelled")
		return nil
	case errors.Is(f.err, ErrRefused):
		outcome("refused")
		return f.err
	case f.err != nil:
		outcome("failed")
		return fmt.Errorf("restoring partition %d: %w", p.num, f.err)
	}
	outcome("done")
	p.task, p.next, p.snappedAt, p.checkpointed, p.fault = r.task, r.next, r.snapped, r.checkpointed, r.fault
	p.snapped, p.sinceSnap, p.committed = wallClock(), 0, r.next
	if r.snapped != r.next && r.snapped >= 0 {
		// What was read again must not be read once more: without a snapshot at once, aborts that come faster than snapshots would
		// make each restore longer than the one before.
		p.snapped, p.sinceSnap = time.Time{}, int(r.next-r.snapped)
	}
	p.reported = p.task.Stats()
	p.out.bind(s.route, p)
	p.task.SetSink(&p.out)
	if s.transact == nil {
		s.client.SetOffsets(epochOffsets(s.route.inputName, map[int32]int64{p.num: r.next}))
	}
	s.mu.Lock()
	p.state = partReady
	s.mu.Unlock()
	// The position is the committed offset already; only now the partition may be fetched.
	s.client.ResumeFetchPartitions(map[string][]int32{s.route.inputName: {p.num}})
	s.group.log.Debug("partition is restored", "partition", p.num, "offset", p.next, "snapshot", r.snapped, "keys", p.task.Instances())
	return nil
}
