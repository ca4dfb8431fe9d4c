package sinks_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

func newPicky(t *testing.T, c cluster.Config) *sinks.Consumer {
	t.Helper()
	s, err := sinks.New(sinks.Options{Name: "picky", Cluster: c, Config: sinks.Defaults(), Writer: &picky{}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// measure is a figure of what a sink says of itself.
func measure(t *testing.T, s *sinks.Consumer, name string) float64 {
	t.Helper()
	for _, m := range s.Component().Measures {
		if m.Name == name {
			return m.Value
		}
	}
	t.Fatalf("a sink has no measure %s", name)
	return 0
}

// A process that the group has let go of, after a long pause say, joins again and goes on.
func TestASinkJoinsAgain(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"the group does not know the member any more", kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1}},
		{"the coordinator has an error of its own", kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.UnknownServerError, Count: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fake, c := sinktest.Fake(t)
			fault := fake.Fault(tc.fault)
			s := newPicky(t, c)
			sinktest.Run(t, s.Run)
			sinktest.Eventually(t, 10*time.Second, func() bool { return fault.Hits() > 0 }, "NOT RUN: the fault was never met")
			sinktest.Produce(t, sinktest.Client(t, c), 0, 100)
			sinktest.Eventually(t, 10*time.Second, func() bool {
				return s.Component().State == "healthy" && measure(t, s, "partitions") == sinktest.Partitions && measure(t, s, "written") >= 100
			}, "the sink does not go on: %v", s.Component())
		})
	}
}

// One process more than there are partitions gets none: it is a spare, and well.
func TestASpareSinkIsHealthy(t *testing.T) {
	c := sinktest.Broker(t)
	var all []*sinks.Consumer
	for range sinktest.Partitions + 1 {
		s := newPicky(t, c)
		sinktest.Run(t, s.Run)
		all = append(all, s)
	}
	sinktest.Eventually(t, 30*time.Second, func() bool {
		well, spare := 0, 0
		for _, s := range all {
			if s.Component().State == "healthy" {
				well++
			}
			if measure(t, s, "partitions") == 0 {
				spare++
			}
		}
		return well == len(all) && spare == 1
	}, "not every process is well, one of them without partitions")
}

// A broker that does not answer for a dead letter holds no stop up.
func TestAStopWaitsForNoDeadLetter(t *testing.T) {
	fake, c := sinktest.Fake(t)
	cl := sinktest.Client(t, c)
	broken := &kgo.Record{Topic: schemas.Events.Name, Value: []byte{0xff, 0xff, 1}}
	if err := cl.ProduceSync(t.Context(), broken).FirstErr(); err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan struct{}), make(chan struct{})
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(asked)
		fake.SleepControl(func() { <-release })
		return nil, nil, false
	})
	defer close(release)
	stop := sinktest.Run(t, newPicky(t, c).Run)
	<-asked
	stop()
}
