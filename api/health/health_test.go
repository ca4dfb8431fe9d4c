package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 9, 21, 12, 0, 0, 0, time.UTC)

// bench is a board with a clock to turn.
type bench struct {
	*Board
	t   *testing.T
	now time.Time
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, now: start}
	board, err := New(Options{Config: Defaults(), Cluster: cluster.Defaults(), Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.Board = board
	return b
}

// beat lets an instance say what its parts are: "watchdog price_anomaly healthy".
func (b *bench) beat(instance string, parts ...string) {
	b.t.Helper()
	h := &schemas.Heartbeat{Instance: instance, Time: b.now.UnixNano(), Started: start.UnixNano(), Version: "v1"}
	for _, p := range parts {
		f := strings.Fields(p)
		h.Components = append(h.Components, &schemas.Component{Kind: f[0], Name: f[1], State: f[2]})
	}
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, schemas.Health, h)
	if err != nil {
		b.t.Fatal(err)
	}
	b.take(&kgo.Record{Key: []byte(instance), Value: value})
}

func TestStatesOfTheSystem(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{[]string{"watchdog a healthy", "sink p healthy"}, "healthy"},
		{[]string{"watchdog a healthy", "watchdog b blind"}, "degraded"},
		{[]string{"watchdog a healthy", "sink p starting"}, "degraded"},
		{[]string{"watchdog a blind", "sink p unhealthy"}, "unhealthy"},
	} {
		b := newBench(t)
		if got := b.System().Status; got != Unknown {
			t.Errorf("without a heartbeat the system is %s, want unknown", got)
		}
		b.beat("one", c.parts...)
		if got := b.System().Status; got != c.want {
			t.Errorf("%v: the system is %s, want %s", c.parts, got, c.want)
		}
	}
}

func TestSilenceIsStaleAfterThreeOfItsOwnIntervals(t *testing.T) {
	b := newBench(t)
	b.beat("quick", "watchdog a healthy")
	b.now = b.now.Add(2 * time.Second)
	b.beat("quick", "watchdog a healthy") // every 2 s
	b.beat("slow", "watchdog b healthy")  // heard once: the default of 15 s
	for _, c := range []struct {
		after       time.Duration
		quick, slow string
	}{{6 * time.Second, Healthy, Healthy}, {7 * time.Second, Stale, Healthy}, {45 * time.Second, Stale, Healthy}, {46 * time.Second, Stale, Stale}} {
		now := b.now
		b.now = now.Add(c.after)
		got := b.System()
		b.now = now
		if got.Processes[0].State != c.quick || got.Processes[1].State != c.slow {
			t.Errorf("after %s quick is %s and slow %s, want %s and %s", c.after, got.Processes[0].State, got.Processes[1].State, c.quick, c.slow)
		}
		if part := got.Processes[0].Parts[0]; part.State != c.quick || (c.quick == Stale) != strings.HasPrefix(part.Reason, "no heartbeat for") {
			t.Errorf("after %s the part is %+v", c.after, part)
		}
	}
	b.now = b.now.Add(2 * time.Hour)
	if got := b.System(); len(got.Processes) != 0 || got.Status != Unknown {
		t.Errorf("two hours later the board still shows %+v", got)
	}
}

func TestANameIsStaleOnlyWhenNobodyRunsIt(t *testing.T) {
	b := newBench(t)
	b.beat("old", "watchdog a healthy", "watchdog b healthy")
	b.now = b.now.Add(time.Minute)
	b.beat("new", "watchdog a healthy", "watchdog c unhealthy", "worker w healthy")
	got := b.Kind("watchdog")
	if diff := cmp.Diff([]string{"b"}, got.Stale) + cmp.Diff([]string{"c"}, got.Unhealthy); diff != "" || got.Status != Unhealthy {
		t.Errorf("status %s, differences: %s", got.Status, diff)
	}
	if want := map[string]int{Healthy: 1, Stale: 1, Unhealthy: 1}; cmp.Diff(want, got.Counts) != "" {
		t.Errorf("counts are %v, want %v", got.Counts, want)
	}
	if got := b.Kind("worker"); got.Status != Healthy {
		t.Errorf("workers are %s, want healthy", got.Status)
	}
	if got := b.Kind("source"); got.Status != Unknown {
		t.Errorf("sources are %s, want unknown: there are none", got.Status)
	}
}

func TestTombstonesAndRubbish(t *testing.T) {
	b := newBench(t)
	b.beat("one", "watchdog a healthy")
	b.take(&kgo.Record{Key: []byte("two"), Value: []byte{0xff}})
	b.take(&kgo.Record{Key: []byte("one")})
	if got := b.System(); len(got.Processes) != 0 {
		t.Errorf("the board shows %+v, want nothing", got)
	}
}
