package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

// A slow restore is not death: with a session of 0.5 s and a rebalance of 1 s, a restore of several seconds stands for one of
// a minute under the defaults of 6 s and 10 s. A second process comes in its middle: partitions move, the others go on.
func TestASlowRestoreWithARebalanceInItsMiddle(t *testing.T) {
	w := newQuickWorld(t)
	w.load(chaos.Load{Records: 8000})
	r := w.start(stream.GroupOptions{Config: quickConfig(), Leave: true})
	w.caughtUp()
	r.end()
	// Without a snapshot all of the log is replayed, at 2 ms and more a record: four partitions of about 2000.
	w.empty(schemas.StateTopic(chaos.Name).Name)
	chaos.Brake.Store(int64(2 * time.Millisecond))
	t.Cleanup(func() { chaos.Brake.Store(0) })

	began := time.Now()
	var ready [2]time.Duration
	first, second := prometheus.NewRegistry(), prometheus.NewRegistry()
	a := w.start(stream.GroupOptions{Config: quickConfig(), Leave: true, Metrics: stream.NewMetrics(first)})
	time.Sleep(2 * time.Second)
	b := w.start(stream.GroupOptions{Config: quickConfig(), Slot: 1, Leave: true, Metrics: stream.NewMetrics(second)})
	for n, r := range []*running{a, b} {
		for r.group.Component().State != "healthy" || time.Since(began) < 3*time.Second {
			if time.Since(began) > 40*time.Second {
				t.Fatalf("process %d is %v after %v", n, r.group.Component(), time.Since(began))
			}
			time.Sleep(10 * time.Millisecond)
		}
		ready[n] = time.Since(began)
	}
	chaos.Brake.Store(0)
	w.load(chaos.Load{Records: 4000, First: 8000})
	w.caughtUp()
	a.end()
	b.end()
	w.clean(nil)

	cancelled := restores(t, first, "cancelled")
	t.Logf("restored in %v and %v; %d restores were cancelled by the rebalance, %d and %d done",
		ready[0], ready[1], cancelled, restores(t, first, "done"), restores(t, second, "done"))
	if took := ready[0]; took < 4*time.Second || cancelled == 0 || restores(t, second, "done") == 0 {
		t.Errorf("NOT RUN: the restore took %v, %d were cancelled and %d done by the second process", took, cancelled, restores(t, second, "done"))
	}
	for n, reg := range []*prometheus.Registry{first, second} {
		if failed := restores(t, reg, "failed"); failed > 0 {
			t.Errorf("%d restores of process %d failed: slowness was taken for a fault", failed, n)
		}
	}
}

// restores reads tapewatch_restores_total of an outcome.
func restores(t *testing.T, reg *prometheus.Registry, outcome string) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tapewatch_restores_total" && hasLabel(m, "outcome", outcome) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func hasLabel(m *dto.Metric, name, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == name && l.GetValue() == value {
			return true
		}
	}
	return false
}

// quickConfig scales the timeouts down by ten and more.
func quickConfig() stream.Config {
	c := testConfig()
	c.SessionTimeout, c.Heartbeat, c.Rebalance, c.Transaction = 500*time.Millisecond, 50*time.Millisecond, time.Second, 3*time.Second
	return c
}

// An error of the group that has passed is not told for ever: a quiet input commits nothing that would show that all is well.
func TestPastTroubleOfAQuietGroupIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 1000})
	r := w.start(stream.GroupOptions{Leave: true})
	w.caughtUp()
	r.end()
	fault := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.UnknownServerError})
	config := testConfig()
	config.SnapshotInterval = 2 * time.Second // how long trouble is told
	r = w.start(stream.GroupOptions{Config: config, Leave: true})
	began := time.Now()
	seen := false
	for c := r.group.Component(); c.State != "healthy" || c.Measures[1].Value < partitions; c = r.group.Component() { // partitions_ready
		seen = seen || c.State == "unhealthy" && strings.Contains(c.Reason, "UNKNOWN_SERVER_ERROR")
		if c.State == "healthy" && c.Measures[0].Value == 0 { // partitions
			t.Fatal("a group that has not joined yet calls itself healthy")
		}
		if time.Since(began) > 40*time.Second {
			t.Fatalf("the group is %v", c)
		}
		time.Sleep(time.Millisecond)
	}
	r.end()
	if fault.Hits() == 0 || !seen {
		t.Errorf("NOT RUN: %d answers failed, and trouble was seen: %v", fault.Hits(), seen)
	}
}

// One process more than there are partitions gets none: it is a spare, and well.
func TestASpareProcessIsHealthy(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 1000})
	var all []*running
	for slot := range partitions + 1 {
		all = append(all, w.start(stream.GroupOptions{Slot: slot, Leave: true}))
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		well, spare := 0, 0
		for _, r := range all {
			c := r.group.Component()
			if c.State == "healthy" && c.Measures[0].Value == c.Measures[1].Value { // partitions, ready
				well++
			}
			if c.Measures[0].Value == 0 {
				spare++
			}
		}
		if well == len(all) && spare == 1 {
			break
		}
		if time.Since(began) > 40*time.Second {
			t.Fatalf("%d of %d processes are well, %d have no partition", well, len(all), spare)
		}
	}
	for _, r := range all {
		r.end()
	}
}
