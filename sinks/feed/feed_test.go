package feed

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A first reading that failed is made up for by the next Run: the positions alone do not say that the memory is filled.
func TestReadyAfterAFirstReadingThatFailed(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(sinktest.Partitions, schemas.Events.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := cluster.Defaults()
	c.Brokers = fake.ListenAddrs()
	sinktest.Produce(t, sinktest.Client(t, c), 0, 20)
	f, err := New(Options{Cluster: c, Config: Defaults()})
	if err != nil {
		t.Fatal(err)
	}
	fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed})
	if err := f.Run(t.Context()); err == nil || fault.Hits() == 0 || f.Ready() {
		t.Fatalf("NOT RUN: the first reading gave %v after %d faults", err, fault.Hits())
	}
	sinktest.Run(t, f.Run)
	sinktest.Eventually(t, 10*time.Second, f.Ready, "the feed is not ready")
	if entries, _, _ := f.Read(0, 100); len(entries) != 20 {
		t.Errorf("the memory holds %d events, want each of 20 once", len(entries))
	}
}
