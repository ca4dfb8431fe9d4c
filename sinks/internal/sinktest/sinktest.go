// Package sinktest gives the tests of the sinks a broker in the process and events to put on it.
package sinktest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Partitions of the events topic in tests.
const Partitions = 4

// Broker starts a broker with the topics of the sinks.
func Broker(t testing.TB) cluster.Config {
	t.Helper()
	_, c := Fake(t)
	return c
}

// Fake starts such a broker for a test that harms it.
func Fake(t testing.TB) (*kfake.Cluster, cluster.Config) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(Partitions, "events", "dlq"), kfake.SeedTopics(1, "health"),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := cluster.Defaults()
	c.Brokers = fake.ListenAddrs()
	return fake, c
}

// Client makes a client that ends with the test.
func Client(t testing.TB, c cluster.Config, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(c.Options(nil), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Start is the event time of event 0.
const Start = schemas.Time(1_790_000_000_000_000_000) // 2026-09-21

// Event makes the i-th of a series of distinct events: 16 keys, four severities, two detectors, one second apart.
func Event(i int) *schemas.Event {
	value := float64(i) / 8
	e := &schemas.Event{
		Detector: [...]string{"price_anomaly", "unusual_volume"}[i%2], DetectorVersion: 1,
		Type:     [...]string{"price_anomaly", "unusual_volume"}[i%2],
		Severity: [...]string{"low", "medium", "high", "critical"}[i%4],
		Status:   [...]string{"open", "update", "resolved"}[i%3],
		Key:      fmt.Sprintf("binance:S%02d-USDT", i%16), Venue: "binance", Symbol: fmt.Sprintf("S%02d-USDT", i%16),
		Assets: []string{fmt.Sprintf("S%02d", i%16), "USDT"}, EventTime: int64(Start.Add(time.Duration(i)*time.Second)) + 1,
		Description: fmt.Sprintf("Event %d: the price rose by %g %% in a minute.", i, value),
		Evidence: &schemas.Evidence{
			Value: &value, SampleSize: uint64(i), ThresholdOrigin: "histogram", Legs: []string{"jump"},
			Measures: []*schemas.Measure{{Name: "change_pct", Value: value, Unit: "percent"}, {Name: "current_price", Value: 100 + value, Unit: "USDT"}},
		},
		Position:   &schemas.Position{Topic: "market.trades", Partition: int32(i % 8), Offset: int64(i)},
		ConfigHash: "0123456789abcdef", Source: "binance.spot",
	}
	e.Id = schemas.EventID(e, 0)
	e.DedupKey = schemas.DedupKey(e.Detector, 1, e.Key, schemas.Time(e.EventTime))
	return e
}

// Record encodes an event for the events topic.
func Record(t testing.TB, e *schemas.Event) *kgo.Record {
	t.Helper()
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, schemas.Events, e)
	if err != nil {
		t.Fatal(err)
	}
	r := &kgo.Record{Topic: schemas.Events.Name, Key: []byte(e.GetKey()), Value: value}
	for _, h := range enc.Headers(schemas.Events, e) {
		r.Headers = append(r.Headers, kgo.RecordHeader(h))
	}
	return r
}

// Produce writes events from..to-1 of the series.
func Produce(t testing.TB, cl *kgo.Client, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, Record(t, Event(i)))
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// Run starts f and returns a function that stops it and waits; f must return nil when its context is done.
func Run(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not return within 20 s of being stopped")
		}
	}
	t.Cleanup(stop)
	return stop
}

// Eventually waits until ok, and fails the test with what after the deadline.
func Eventually(t testing.TB, within time.Duration, ok func() bool, what string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s: "+what, append([]any{within}, args...)...)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Ends returns the high watermarks of a topic, summed.
func Ends(t testing.TB, cl *kgo.Client, topic string) (sum int64) {
	t.Helper()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}
