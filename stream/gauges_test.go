package stream_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

// gauges are the values of a gauge by partition, and their sum.
func gauges(t *testing.T, reg *prometheus.Registry, name string) (labels []string, sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "partition" {
					labels = append(labels, l.GetValue())
					sum += m.GetGauge().GetValue()
				}
			}
		}
	}
	return labels, sum
}

// within waits until ok.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("%s: not after %v", what, limit)
		}
	}
}

// A partition that has moved to another process leaves no lag and no age of a snapshot behind: they would stand, and grow, for ever.
func TestAPartitionThatHasMovedTakesItsGaugesAlong(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 2000})
	first, second := prometheus.NewRegistry(), prometheus.NewRegistry()
	a := w.start(stream.GroupOptions{Leave: true, Metrics: stream.NewMetrics(first)})
	w.caughtUp()
	b := w.start(stream.GroupOptions{Slot: 1, Leave: true, Metrics: stream.NewMetrics(second)})
	within(t, 40*time.Second, "two partitions each", func() bool {
		x, y := a.group.Component(), b.group.Component()
		return x.State == "healthy" && y.State == "healthy" && x.Measures[1].Value == 2 && y.Measures[1].Value == 2
	})
	w.load(chaos.Load{Records: 2000, First: 2000})
	w.caughtUp()
	for _, name := range []string{"tapewatch_lag_records", "tapewatch_lag_event_seconds", "tapewatch_snapshot_time_seconds"} {
		var x, y []string
		within(t, 5*time.Second, name+" of each partition once", func() bool {
			x, _ = gauges(t, first, name)
			y, _ = gauges(t, second, name)
			all := slices.Sorted(slices.Values(slices.Concat(x, y)))
			return slices.Equal(all, []string{"0", "1", "2", "3"})
		})
	}
	a.end()
	b.end()
}

// A client that comes back to fewer partitions leaves no gauges of the others behind.
func TestANewClientWithFewerPartitionsTakesTheirGaugesAway(t *testing.T) {
	w := newQuickWorld(t)
	w.load(chaos.Load{Records: 2000})
	reg := prometheus.NewRegistry()
	a := w.start(stream.GroupOptions{Config: quickConfig(), Metrics: stream.NewMetrics(reg)})
	w.caughtUp()
	if labels, _ := gauges(t, reg, "tapewatch_lag_records"); len(labels) != partitions {
		t.Fatalf("NOT RUN: gauges of %v", labels)
	}
	w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.InvalidTxnState, Count: 1})
	held := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, Count: -1, When: func(r kmsg.Request) bool {
		q, ok := r.(*kmsg.InitProducerIDRequest)
		return ok && q.TransactionalID != nil && *q.TransactionalID == chaos.Name+"-0"
	}})
	w.load(chaos.Load{Records: 100, First: 2000})
	within(t, 10*time.Second, "the client failed", func() bool { return a.group.Component().State != "healthy" })
	b := w.start(stream.GroupOptions{Config: quickConfig(), Slot: 1})
	within(t, 20*time.Second, "all partitions with the other", func() bool { return b.group.Component().Measures[1].Value >= 2 })
	held.Remove()
	within(t, 20*time.Second, "two partitions each", func() bool {
		x, y := a.group.Component(), b.group.Component()
		return x.State == "healthy" && y.State == "healthy" && x.Measures[1].Value == 2 && y.Measures[1].Value == 2
	})
	w.load(chaos.Load{Records: 2000, First: 2100})
	w.caughtUp()
	for _, name := range []string{"tapewatch_lag_records", "tapewatch_lag_event_seconds", "tapewatch_snapshot_time_seconds"} {
		within(t, 5*time.Second, name+" of two partitions", func() bool {
			labels, _ := gauges(t, reg, name)
			return len(labels) == 2
		})
	}
	a.end()
	b.end()
}

// A group that commits nothing tells how far it falls behind: the alert on it asks for the lag.
func TestTheLagGrowsWhileNothingCommits(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 1000})
	reg := prometheus.NewRegistry()
	r := w.start(stream.GroupOptions{Leave: true, Metrics: stream.NewMetrics(reg)})
	w.caughtUp()
	fault := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.ConcurrentTransactions, Count: -1})
	w.load(chaos.Load{Records: 3000, First: 1000})
	within(t, 20*time.Second, "a lag of 3000 records", func() bool {
		_, lag := gauges(t, reg, "tapewatch_lag_records")
		return lag >= 3000
	})
	fault.Remove()
	w.caughtUp()
	r.end()
}
