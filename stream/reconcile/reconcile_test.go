package reconcile

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writer begins a transaction and writes one event of a detector in it.
func writer(t *testing.T, c cluster.Config, detector string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(c.Options(nil), kgo.TransactionalID(detector), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	e := event(detector+"-1", "x", 1)
	e.Detector = detector
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, schemas.Events, e)
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: c.Topic(schemas.Events.Name), Key: []byte("x"), Value: value, Headers: []kgo.RecordHeader{{Key: "ce_type", Value: []byte(schemas.TypeOf(e))}}}
	if err := client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return client
}

// A committed event behind another detector's open transaction is no missing one: it is read once that ends.
func TestEventsBehindAnOpenTransaction(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "r.events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Config{Brokers: k.ListenAddrs(), Prefix: "r."}
	other := writer(t, c, "other")
	own := writer(t, c, "own")
	if err := own.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { ended <- other.EndTransaction(t.Context(), kgo.TryAbort) })
	b := &processor.Bound{Definition: &processor.Definition{Name: "own", Output: schemas.Events}}
	events, _, err := Events(t.Context(), c, kadm.NewClient(own), b, nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || events[0].Id != "own-1" {
		t.Errorf("events %v: they must be own-1 alone", events)
	}
}
