package bench_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/bench"
	_ "github.com/tapewatch/tapewatch/detectors"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

const (
	partitions  = 8
	instruments = 64
	detector    = "price_anomaly"
)

// asked skips unless `make bench` runs.
func asked(t *testing.T) {
	t.Helper()
	if os.Getenv("TAPEWATCH_BENCH") == "" {
		t.Skip("SKIPPED, nothing was measured: a benchmark of minutes; make bench runs it (TAPEWATCH_BENCH=1)")
	}
}

// records is how many trades a run takes: TAPEWATCH_BENCH_RECORDS, default 5,000,000.
func records(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TAPEWATCH_BENCH_RECORDS")
	if text == "" {
		return 5_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// rig is a Kafka with the pipeline's topics.
type rig struct {
	c   cluster.Config
	adm *kadm.Client
}

func newRig(t *testing.T, names ...string) *rig {
	t.Helper()
	kafka := testservices.KafkaCluster(t, 1)
	r := &rig{c: cluster.Defaults()}
	r.c.Brokers = strings.Split(kafka.Bootstrap, ",")
	cl, err := kgo.NewClient(r.c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	r.adm = kadm.NewClient(cl)
	all := []schemas.Topic{schemas.MarketTrades, schemas.Events, schemas.DeadLetters}
	for _, name := range names {
		all = append(all, schemas.StateTopic(name), schemas.CheckpointTopic(name, schemas.MarketTrades))
	}
	r.create(t, all...)
	return r
}

func (r *rig) create(t *testing.T, all ...schemas.Topic) {
	t.Helper()
	if err := topics.Make(t.Context(), r.c, partitions, all...); err != nil {
		t.Fatal(err)
	}
}

// ends returns the end of every input partition.
func (r *rig) ends(t *testing.T) (map[int32]int64, int64) {
	t.Helper()
	listed, err := r.adm.ListEndOffsets(t.Context(), schemas.MarketTrades.Name)
	if err != nil {
		t.Fatal(err)
	}
	out, total := map[int32]int64{}, int64(0)
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset; total += o.Offset })
	return out, total
}

func (r *rig) committed(t *testing.T, group string) int64 {
	t.Helper()
	offsets, err := r.adm.FetchOffsets(t.Context(), group)
	if err != nil {
		return 0 // the group does not exist yet
	}
	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
	return sum
}

// figure is one run.
type figure struct {
	records   int64
	wall, cpu time.Duration
}

func (f figure) perCore() float64 { return float64(f.records) / f.cpu.Seconds() }

func (f figure) log(t *testing.T, what string) {
	t.Helper()
	t.Logf("%-42s %9d records in %6.2f s, %6.2f s of client CPU: %8.0f/s, %8.0f per client-core-second",
		what, f.records, f.wall.Seconds(), f.cpu.Seconds(), float64(f.records)/f.wall.Seconds(), f.perCore())
}

// TestThroughput compares the price_anomaly group, exactly once, with a bare poll loop over the same topic.
func TestThroughput(t *testing.T) {
	asked(t)
	r := newRig(t, detector)
	n := records(t)
	producer, err := sources.NewProducer(r.c, sources.Defaults(), schemas.Encoder{}, slog.New(slog.DiscardHandler), sources.NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := errors.Join(bench.NewMarket(instruments, 5000, 1).Write(producer, n), producer.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	producer.Close()
	_, total := r.ends(t)
	t.Logf("wrote %d trades of %d instruments (%d records with ticks) in %v", n, instruments, total, time.Since(began).Round(time.Millisecond))
	r.bare(t, "warm-up", total)

	var bare, group []float64
	for round := range 3 {
		f := r.bare(t, "bare-"+strconv.Itoa(round), total)
		f.log(t, "bare franz-go poll loop, read_committed:")
		bare = append(bare, f.perCore())
		f = r.group(t, total)
		f.log(t, detector+" group, exactly once:")
		group = append(group, f.perCore())
	}
	slices.Sort(bare)
	slices.Sort(group)
	t.Logf("median: bare loop %.2f M, group %.2f M records per client-core-second; ratio %.2f (target 0.5, goal 0.6); Kafka Streams did 0.18 M: %.1f times that",
		bare[1]/1e6, group[1]/1e6, group[1]/bare[1], group[1]/0.18e6)
	if group[1]/bare[1] < 0.5 {
		t.Errorf("the group keeps %.2f of the bare loop, the target is 0.5", group[1]/bare[1])
	}
}

// bare polls everything once. As for a group, the clock begins when the first records are there: they count on neither side.
func (r *rig) bare(t *testing.T, group string, total int64) figure {
	t.Helper()
	cl, err := kgo.NewClient(append(r.c.Options(nil), kgo.ConsumerGroup(group), kgo.ConsumeTopics(schemas.MarketTrades.Name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	f := figure{}
	began, cpu, first := time.Time{}, time.Duration(0), int64(0)
	for f.records < total {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(*kgo.Record) { f.records++ })
		if began.IsZero() && f.records > 0 {
			began, cpu, first = time.Now(), bench.CPU(), f.records
		}
	}
	f.records, f.wall, f.cpu = f.records-first, time.Since(began), bench.CPU()-cpu
	return f
}

// group runs the detector over everything once, from an empty state.
func (r *rig) group(t *testing.T, total int64) figure {
	t.Helper()
	name := r.c.Group(detector)
	_, _ = r.adm.DeleteGroups(t.Context(), name)
	state := schemas.StateTopic(detector)
	if _, err := r.adm.DeleteTopics(t.Context(), state.Name); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // deletion is not synchronous
	r.create(t, state)
	d, err := processor.Lookup(detector)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	g, err := stream.NewGroup(stream.GroupOptions{Bound: b, Cluster: r.c, Config: stream.Defaults(), Leave: true, Metrics: stream.NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	f := figure{}
	began, cpu, first := time.Time{}, time.Duration(0), int64(0)
	stopProfile := func() {}
	for {
		at := r.committed(t, name)
		if began.IsZero() && at > 0 {
			began, cpu, first = time.Now(), bench.CPU(), at
			if path := os.Getenv("TAPEWATCH_BENCH_PROFILE"); path != "" {
				stopProfile = profile(t, path)
			}
		}
		if at >= total {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the group ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stopProfile()
	f.records, f.wall, f.cpu = total-first, time.Since(began), bench.CPU()-cpu
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	summary(t, reg)
	return f
}

// profile writes a CPU profile from now until the returned function is called.
func profile(t *testing.T, path string) func() {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		t.Fatal(err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

// summary prints the stages of the transactions.
func summary(t *testing.T, reg *prometheus.Registry) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "tapewatch_transaction_seconds":
			for _, m := range f.GetMetric() {
				h := m.GetHistogram()
				if h.GetSampleCount() > 0 {
					t.Logf("  %-9s %6d times, %7.2f ms on average", m.GetLabel()[1].GetValue(), h.GetSampleCount(), 1000*h.GetSampleSum()/float64(h.GetSampleCount()))
				}
			}
		case "watchdog_events_total", "tapewatch_transactions_total", "tapewatch_snapshot_bytes_total":
			for _, m := range f.GetMetric() {
				t.Logf("  %s %v: %.0f", f.GetName(), m.GetLabel(), m.GetCounter().GetValue())
			}
		}
	}
}
