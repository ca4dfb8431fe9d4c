package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// Options are what a Consumer is made from.
type Options struct {
	// Name of the sink, "postgres" say: its group is sink.<name>.
	Name    string
	Cluster cluster.Config
	Config  Config
	Writer  Writer
	// Topics default to events.
	Topics []schemas.Topic
	// SchemaType resolves the schema ids of registry framing; nil where there is no registry.
	SchemaType func(id uint32, index []int) (string, error)
	Log        *slog.Logger
	Metrics    *Metrics
}

// Consumer moves the events of its topics into a Writer.
type Consumer struct {
	options Options
	config  Config
	log     *slog.Logger
	breaker *gobreaker.CircuitBreaker[Result]

	// mu guards what the poll loop, the group's goroutine and Component share.
	mu       sync.Mutex
	next     map[Partition]int64
	figures  figures
	lastErr  error
	assigned bool
}

// New makes a Consumer; Run starts it.
func New(o Options) (*Consumer, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("checking the settings of sink %s: %w", o.Name, err)
	}
	if len(o.Topics) == 0 {
		o.Topics = []schemas.Topic{schemas.Events}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	c := &Consumer{options: o, config: o.Config, log: o.Log, next: map[Partition]int64{}}
	c.breaker = c.newBreaker()
	return c, nil
}

// Group is the name of the sink's consumer group.
func (c *Consumer) Group() string { return c.options.Cluster.Group("sink." + c.options.Name) }

// Run consumes until ctx is done, which is no error, or until something stands in the way that needs a person.
func (c *Consumer) Run(ctx context.Context) error {
	for {
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a stop is no failure, whatever it interrupted
		}
		if !errors.Is(err, ErrMoved) {
			return fmt.Errorf("running sink %s: %w", c.options.Name, err)
		}
		c.options.Metrics.moved.WithLabelValues(c.options.Name).Inc()
		c.log.Warn("position moved, joining again", "sink", c.options.Name, "reason", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.config.RetryMin.D()):
		}
	}
}

// session is one membership of the group. Leaving and joining again is the one way to read anything twice: the positions
// are then asked for anew, whatever made the old ones wrong.
func (c *Consumer) session(ctx context.Context) error {
	var names []string
	for _, t := range c.options.Topics {
		names = append(names, c.options.Cluster.Topic(t.Name))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The group may be joined, and place called, before NewClient has returned.
	var cl *kgo.Client
	made := make(chan struct{})
	opts := append(c.options.Cluster.Options(c.log),
		kgo.ConsumerGroup(c.Group()), kgo.ConsumeTopics(names...),
		kgo.DisableAutoCommit(), kgo.ProducerBatchMaxBytes(deadletter.BatchBytes),
		kgo.AllowIdempotentProduceCancellation(), // so that a stop waits for no broker: a letter may come twice
		kgo.KeepControlRecords(),                 // so that the commit passes the markers behind the last record: the lag at rest is 0
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.SessionTimeout(c.config.SessionTimeout.D()), kgo.HeartbeatInterval(c.config.SessionTimeout.D()/6),
		kgo.RebalanceTimeout(2*c.config.SessionTimeout.D()),
		kgo.FetchMaxWait(250*time.Millisecond), kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(2<<20),
		kgo.AdjustFetchOffsetsFn(func(fctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			<-made
			placed, err := c.place(fctx, kadm.NewClient(cl), offsets)
			if err != nil && fctx.Err() == nil {
				cancel(err) // franz-go would try again for ever; this one needs a person
			}
			return placed, err
		}),
		kgo.OnPartitionsAssigned(c.spared), kgo.OnPartitionsRevoked(c.revoked), kgo.OnPartitionsLost(c.lost),
	)
	cl, err := kgo.NewClient(opts...)
	close(made)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	return c.poll(ctx, cl)
}

// place tells the group where each new partition starts: where the Writer says. It runs beside the heartbeats, so it may
// wait for a system that is down; fctx ends when the partitions are taken away.
func (c *Consumer) place(fctx context.Context, admin *kadm.Client, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	start, err := c.logStart(fctx, admin, offsets)
	if err != nil {
		return nil, err
	}
	var known map[Partition]int64
	_, err = c.persist(fctx, func(wctx context.Context) (Result, error) {
		at, err := c.options.Writer.Positions(wctx, start)
		known = at
		return Result{}, err
	})
	if err != nil {
		return nil, err
	}
	for p, from := range start {
		if known[p] < from {
			return nil, fmt.Errorf("%s/%d now starts at offset %d, sink %s stands at %d: %d records are gone unread. "+
				"Remove the sink's position of this partition to go on without them",
				p.Topic, p.Number, from, c.options.Name, known[p], from-known[p])
		}
		offsets[p.Topic][p.Number] = kgo.NewOffset().At(known[p])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.next, known)
	c.assigned = true
	return offsets, nil
}

// logStart returns the first offset of each partition; it asks until Kafka answers or fctx ends.
func (c *Consumer) logStart(fctx context.Context, admin *kadm.Client, offsets map[string]map[int32]kgo.Offset) (map[Partition]int64, error) {
	var names []string
	for topic := range offsets {
		names = append(names, topic)
	}
	for {
		listed, err := admin.ListStartOffsets(fctx, names...)
		if err == nil {
			err = listed.Error()
		}
		if err == nil {
			start := map[Partition]int64{}
			for topic, partitions := range offsets {
				for p := range partitions {
					at, _ := listed.Lookup(topic, p)
					start[Partition{topic, p}] = at.Offset
				}
			}
			return start, nil
		}
		c.log.Warn("listing the start of the log failed, trying again", "sink", c.options.Name, "error", err)
		select {
		case <-fctx.Done():
			return nil, fctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (c *Consumer) revoked(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, partitions := range gone {
		for _, p := range partitions {
			delete(c.next, Partition{topic, p})
			c.options.Metrics.lag.DeleteLabelValues(c.options.Name, topic, strconv.Itoa(int(p)))
		}
	}
}

// spared notes that the group has said what this process gets where that is nothing; else place does.
func (c *Consumer) spared(_ context.Context, _ *kgo.Client, got map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assigned = c.assigned || len(got) == 0
}

// lost is called when the group has let this process go: franz-go joins again by itself.
func (c *Consumer) lost(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	c.revoked(ctx, cl, gone)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assigned = false
}

// poll is the loop: fetch, decode, write, commit for the monitors.
func (c *Consumer) poll(ctx context.Context, cl *kgo.Client) error {
	for {
		fetches := cl.PollRecords(ctx, c.config.BatchSize)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.fatal(fetches); err != nil {
			return err
		}
		batch, poison := c.decode(fetches)
		if err := c.bury(ctx, cl, poison); err != nil {
			return err
		}
		if len(batch.Next) > 0 {
			if err := c.write(ctx, cl, batch); err != nil {
				return err
			}
			c.commit(ctx, cl, batch.Next)
		}
		c.noteLag(fetches)
	}
}

// fatal returns the first fetch error: franz-go tries again by itself what can heal. It joins the group again, too, but says so.
func (c *Consumer) fatal(fetches kgo.Fetches) error {
	var first error
	fetches.EachError(func(topic string, partition int32, err error) {
		if first != nil || errors.Is(err, context.Canceled) {
			return
		}
		if group, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
			if !errors.Is(err, kerr.GroupAuthorizationFailed) && !errors.Is(err, kerr.TopicAuthorizationFailed) {
				c.log.Warn("out of the group, joining again", "sink", c.options.Name, "error", group.Err)
				return
			}
		}
		first = fmt.Errorf("fetching %s/%d: %w", topic, partition, err)
	})
	return first
}

// commit tells Kafka the positions, for lag monitors. Nothing depends on it, so nothing waits for it.
func (c *Consumer) commit(ctx context.Context, cl *kgo.Client, next map[Partition]int64) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for p, at := range next {
		if offsets[p.Topic] == nil {
			offsets[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[p.Topic][p.Number] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	cl.CommitOffsets(ctx, offsets, nil)
}

// write stores a batch, alone or, where the system refuses some of its data, in ever smaller pieces until the bad event is
// alone and goes to dlq.
func (c *Consumer) write(ctx context.Context, cl *kgo.Client, b Batch) error {
	result, err := c.persist(ctx, func(wctx context.Context) (Result, error) {
		timer := prometheus.NewTimer(c.options.Metrics.batch.WithLabelValues(c.options.Name))
		defer timer.ObserveDuration()
		return c.options.Writer.Write(wctx, b)
	})
	var data *DataError
	switch {
	case errors.As(err, &data) && len(b.Entries) > 1:
		first, second := b.halves()
		if err := c.write(ctx, cl, first); err != nil {
			return err
		}
		return c.write(ctx, cl, second)
	case errors.As(err, &data) && len(b.Entries) == 1:
		return c.buryEntry(ctx, cl, b, data)
	case err != nil:
		return err
	}
	c.noteWritten(b, result)
	return nil
}
