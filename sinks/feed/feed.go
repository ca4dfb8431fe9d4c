// Package feed follows the events topic for readers inside the process: WebSocket clients and the API.
//
// A Feed reads without a group, so that every replica sees every event. It holds the last events in a ring, each with its
// JSON, made once for all readers; a reader keeps an index into it, so that a slow one costs no memory and slows nobody.
// Where the ring does not reach back far enough, Replay reads from the topic.
//
// Goroutines: Run reads and is the only one that writes to the ring; readers may be any number. Lock order: ring.mu alone.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Config says how much of the past is held.
type Config struct {
	MaxEvents int `koanf:"max_events" doc:"Events held in memory, for the API and for clients that resume."`
	Backlog   int `koanf:"backlog" doc:"Records per partition that are read back at start to fill the memory."`
}

// Defaults hold 1,000 events.
func Defaults() Config { return Config{MaxEvents: 1000, Backlog: 10_000} }

// Validate checks the settings.
func (c Config) Validate() error {
	if c.MaxEvents < 1 || c.MaxEvents > 1_000_000 {
		return fmt.Errorf("max_events is %d: it must lie in 1..1000000", c.MaxEvents)
	}
	if c.Backlog < 0 {
		return fmt.Errorf("backlog is %d: it must not be negative", c.Backlog)
	}
	return nil
}

// Options are what a Feed is made from.
type Options struct {
	Cluster cluster.Config
	Config  Config
	// SchemaType resolves the schema ids of registry framing; nil where there is no registry.
	SchemaType func(id uint32, index []int) (string, error)
	Log        *slog.Logger
	// Registerer takes the figures; nil gives figures that nobody sees.
	Registerer prometheus.Registerer
}

// Feed is the last events, and all to come.
type Feed struct {
	options Options
	topic   string
	ring    *ring
	poison  prometheus.Counter
}

// New makes a Feed; Run fills it.
func New(o Options) (*Feed, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("checking the settings of the feed: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Feed{options: o, topic: o.Cluster.Topic(schemas.Events.Name), ring: newRing(o.Config.MaxEvents)}
	f.poison = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "feed_poison_total", Help: "Records of the events topic that the feed could not decode; the sinks dead-letter them.",
	})
	if o.Registerer != nil {
		o.Registerer.MustRegister(f.poison)
	}
	return f, nil
}

// Run follows the topic until ctx is done, which is no error. It may be called again after it failed.
func (f *Feed) Run(ctx context.Context) error {
	cl, err := kgo.NewClient(f.options.Cluster.Options(f.options.Log)...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	err = f.load(ctx, kadm.NewClient(cl))
	if err == nil {
		err = f.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("following %s: %w", f.topic, err)
}

// load fills the ring with the end of the topic; after a Run that failed later it only finds that the topic is still the same.
func (f *Feed) load(ctx context.Context, admin *kadm.Client) error {
	metadata, err := admin.Metadata(ctx, f.topic)
	if err != nil {
		return fmt.Errorf("looking up the topic: %w", err)
	}
	topic := metadata.Topics[f.topic]
	if topic.Err != nil {
		return fmt.Errorf("looking up the topic: %w", topic.Err)
	}
	if id, position := f.where(); f.Ready() && len(position) == len(topic.Partitions) && id == topic.ID {
		return nil
	}
	starts, err := admin.ListStartOffsets(ctx, f.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("listing the start of the topic: %w", err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, f.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("listing the end of the topic: %w", err)
	}
	low, end := make([]int64, len(topic.Partitions)), map[int32]int64{}
	for p := range low {
		start, _ := starts.Lookup(f.topic, int32(p))
		last, _ := ends.Lookup(f.topic, int32(p))
		low[p], end[int32(p)] = max(start.Offset, last.Offset-int64(f.options.Config.Backlog)), last.Offset
	}
	f.ring.reset(topic.ID, low)
	entries, err := f.readAll(ctx, low, end)
	if err != nil {
		return err
	}
	f.ring.add(entries, end)
	f.ring.mu.Lock()
	f.ring.ready = true
	f.ring.mu.Unlock()
	return nil
}

// readAll reads the partitions at the same time and merges them by the time of publication, keeping each one's order.
func (f *Feed) readAll(ctx context.Context, low []int64, end map[int32]int64) ([]*Entry, error) {
	lists := make([][]*Entry, len(low))
	times := make([][]time.Time, len(low))
	errs := make([]error, len(low))
	var wait sync.WaitGroup
	for p := range low {
		wait.Go(func() {
			errs[p] = stream.ReadRange(ctx, f.options.Cluster, f.topic, int32(p), low[p], end[int32(p)], func(r *kgo.Record) error {
				if e := f.entry(r); e != nil {
					lists[p], times[p] = append(lists[p], e), append(times[p], r.Timestamp)
				}
				return nil
			})
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading the end of the topic: %w", err)
	}
	var out []*Entry
	at := make([]int, len(lists))
	for {
		first := -1
		for p := range lists {
			if at[p] < len(lists[p]) && (first < 0 || times[p][at[p]].Before(times[first][at[first]])) {
				first = p
			}
		}
		if first < 0 {
			return out, nil
		}
		out = append(out, lists[first][at[first]])
		at[first]++
	}
}

// follow reads what comes from the ring's positions on.
func (f *Feed) follow(ctx context.Context) error {
	_, position := f.where()
	from := map[int32]kgo.Offset{}
	for p, at := range position {
		from[int32(p)] = kgo.NewOffset().At(at)
	}
	cl, err := kgo.NewClient(append(f.options.Cluster.Options(f.options.Log),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMaxBytes(8<<20))...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(_ string, p int32, err error) { failed = fmt.Errorf("fetching partition %d: %w", p, err) })
		if failed != nil {
			return failed
		}
		var entries []*Entry
		next := map[int32]int64{}
		fetches.EachRecord(func(r *kgo.Record) {
			next[r.Partition] = r.Offset + 1
			if e := f.entry(r); e != nil {
				entries = append(entries, e)
			}
		})
		f.ring.add(entries, next)
	}
}

// entry decodes one record; nil for a Tick, and for poison, which is counted.
func (f *Feed) entry(r *kgo.Record) *Entry {
	event, err := sinks.DecodeEvent([]schemas.Topic{schemas.Events}, f.options.Cluster.Prefix, f.options.SchemaType, r)
	var text []byte
	if err == nil && event != nil {
		text, err = schemas.MarshalJSON(event)
	}
	if err != nil {
		f.poison.Inc()
		f.options.Log.Warn("record left out of the feed", "partition", r.Partition, "offset", r.Offset, "error", err)
		return nil
	}
	if event == nil {
		return nil
	}
	return &Entry{Event: event, JSON: text, Partition: r.Partition, Offset: r.Offset}
}

func (f *Feed) where() (topic [16]byte, position []int64) {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	return f.ring.topic, slices.Clone(f.ring.position)
}

// Ready reports whether the end of the topic has been read.
func (f *Feed) Ready() bool {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	return f.ring.ready
}

// Component says how the feed is.
func (f *Feed) Component() *schemas.Component {
	f.ring.mu.RLock()
	defer f.ring.mu.RUnlock()
	c := &schemas.Component{Kind: "sink", Name: "websocket", State: "healthy", Measures: []*schemas.Measure{
		{Name: "events", Value: float64(f.ring.head), Unit: "events"},
	}}
	if !f.ring.ready {
		c.State, c.Reason = "starting", "the end of the events topic is not read yet"
	}
	return c
}
