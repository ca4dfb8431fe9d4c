package bench_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/bench"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	rate   = 10_000
	warmUp = 20 * time.Second // a broker that has just started is several times slower
	// sourceLinger is what a latency-minded source waits for a batch to fill.
	sourceLinger = 2 * time.Millisecond
)

// TestLatency is an open loop: 10,000 records a second leave at their intended times whatever comes back, the processor emits
// for every tenth, and the time from the intended send to a read_committed consumer counts.
func TestLatency(t *testing.T) {
	asked(t)
	measured := 20 * time.Second
	if n, err := strconv.Atoi(os.Getenv("TAPEWATCH_BENCH_SECONDS")); err == nil {
		measured = time.Duration(n) * time.Second
	}
	r := newRig(t, chaos.Name)
	reg := prometheus.NewRegistry()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := r.echo(ctx, t, reg)
	from := time.Now().Add(2 * time.Second)
	reader := &reader{from: from.Add(warmUp)}
	read := make(chan error, 1)
	go func() { read <- reader.run(ctx, r) }()
	sender := &sender{from: from, count: from.Add(warmUp)}
	if err := sender.run(ctx, r, warmUp+measured); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if want := int(measured.Seconds()) * rate / 10; len(reader.all) < want*95/100 {
		t.Errorf("%d events were read, about %d were due", len(reader.all), want)
	}
	t.Logf("%d records/s for %v, %d events; milliseconds p50 / p90 / p99 / max:", rate, measured, len(reader.all))
	total := show(t, "intended send -> read_committed reader", reader.all)
	show(t, "  intended send -> source acknowledged", sender.acks)
	show(t, "  intended send -> event produced (ack, poll, process)", reader.produced)
	show(t, "  event produced -> read (flush, End, markers, fetch)", reader.after)
	stages(t, reg)
	if total > 60*time.Millisecond {
		t.Errorf("p99 is %v, the target is 60 ms", total)
	}
}

// echo runs the processor that emits every tenth record.
func (r *rig) echo(ctx context.Context, t *testing.T, reg *prometheus.Registry) <-chan error {
	t.Helper()
	d, err := processor.Lookup(chaos.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := stream.NewGroup(stream.GroupOptions{Bound: b, Cluster: r.c, Config: stream.Defaults(), Leave: true, Metrics: stream.NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return done
}

// sender writes trades whose event time is their intended send time.
type sender struct {
	from, count time.Time

	mu   sync.Mutex // guards acks
	acks []time.Duration
}

func (s *sender) run(ctx context.Context, r *rig, length time.Duration) error {
	cl, err := kgo.NewClient(append(r.c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(sourceLinger),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	market, hash := bench.NewMarket(instruments, rate, 2), kgo.StickyKeyPartitioner(nil).ForTopic(schemas.MarketTrades.Name)
	var enc schemas.Encoder
	for n := range int(length.Seconds() * rate) {
		due := s.from.Add(time.Duration(n) * time.Second / rate)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		if n%rate == 0 {
			s.tick(ctx, cl, &enc, due)
		}
		trade, _ := market.Next()
		trade.Meta.EventTime = due.UnixNano()
		value, err := enc.AppendValue(nil, schemas.MarketTrades, trade)
		if err != nil {
			return err
		}
		rec := &kgo.Record{Topic: schemas.MarketTrades.Name, Key: []byte(schemas.MarketTrades.KeyOf(trade)), Value: value}
		rec.Partition = int32(hash.Partition(rec, partitions))
		cl.Produce(ctx, rec, func(_ *kgo.Record, err error) {
			if err == nil && due.After(s.count) {
				s.mu.Lock()
				s.acks = append(s.acks, time.Since(due))
				s.mu.Unlock()
			}
		})
	}
	return cl.Flush(ctx)
}

func (s *sender) tick(ctx context.Context, cl *kgo.Client, enc *schemas.Encoder, at time.Time) {
	m := &schemas.Tick{Source: bench.Source, Time: at.Add(-time.Second).UnixNano()}
	value, err := enc.AppendValue(nil, schemas.MarketTrades, m)
	if err != nil {
		panic(err) // a tick of ours can be encoded
	}
	for p := range int32(partitions) {
		rec := &kgo.Record{Topic: schemas.MarketTrades.Name, Partition: p, Value: value}
		for _, h := range enc.Headers(schemas.MarketTrades, m) {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		cl.Produce(ctx, rec, nil)
	}
}

// reader reads events as a sink does.
type reader struct {
	from                 time.Time
	all, produced, after []time.Duration
}

func (r *reader) run(ctx context.Context, rig *rig) error {
	cl, err := kgo.NewClient(append(rig.c.Options(nil), kgo.ConsumeTopics(schemas.Events.Name), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		fetches.EachRecord(func(rec *kgo.Record) {
			var e schemas.Event
			if proto.Unmarshal(rec.Value, &e) != nil {
				return
			}
			sent := time.Unix(0, e.EventTime)
			if sent.Before(r.from) {
				return
			}
			r.all = append(r.all, now.Sub(sent))
			r.produced = append(r.produced, max(rec.Timestamp.Sub(sent), 0)) // Kafka's timestamps are in milliseconds
			r.after = append(r.after, now.Sub(rec.Timestamp))
		})
	}
	return nil
}

// show prints percentiles and returns the 99th.
func show(t *testing.T, what string, all []time.Duration) time.Duration {
	t.Helper()
	if len(all) == 0 {
		t.Errorf("%s: nothing was measured", what)
		return 0
	}
	slices.Sort(all)
	ms := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000 }
	t.Logf("  %-55s %7.1f %7.1f %7.1f %7.1f", what, ms(0.5), ms(0.9), ms(0.99), ms(1))
	return all[int(0.99*float64(len(all)-1))]
}

// stages prints the stages of the transactions, warm-up included, from the runtime's own histograms.
func stages(t *testing.T, reg *prometheus.Registry) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tapewatch_transaction_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			h := m.GetHistogram()
			if h.GetSampleCount() > 0 {
				t.Logf("  stage %-9s %6d times; at most %.1f / %.1f / %.1f ms (p50 / p90 / p99, upper bounds of buckets)", m.GetLabel()[1].GetValue(),
					h.GetSampleCount(), upper(h, 0.5), upper(h, 0.9), upper(h, 0.99))
			}
		}
	}
}

func upper(h *dto.Histogram, q float64) float64 {
	for _, b := range h.GetBucket() {
		if float64(b.GetCumulativeCount()) >= q*float64(h.GetSampleCount()) {
			return b.GetUpperBound() * 1000
		}
	}
	return -1
}
