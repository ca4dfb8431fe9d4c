package deadletter_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

type noConfig struct{}

func (noConfig) Validate() error { return nil }

// deaf is a processor that does nothing.
type deaf struct{}

func (deaf) OnRecord(schemas.Record, processor.Emit) {}
func (deaf) OnTime(schemas.Time, processor.Emit)     {}
func (deaf) AppendState(dst []byte) []byte           { return append(dst, 1) }
func (deaf) RestoreState([]byte) error               { return nil }

func init() {
	processor.Register(processor.Spec[noConfig]{
		Name: "deaf", Kind: processor.Watchdog, Summary: "Does nothing.", Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Second,
		New: func(noConfig, processor.Key) processor.Processor { return deaf{} },
	})
}

// A letter is larger than its record. A group whose producer refused it would abort, meet the record again, and never get on.
func TestTheLetterOfTheLargestRecordFits(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c := cluster.Config{Brokers: k.ListenAddrs()}
	plan, err := topics.MakePlan(t.Context(), c, topics.Config{Partitions: 1}, nil, topics.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The topic's limit is of the batch: its header and the record's take a few bytes.
	client, err := kgo.NewClient(append(c.Options(nil), kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := bytes.Repeat([]byte{0xff}, 1<<20-200)
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "market.trades", Key: []byte("k"), Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	d, err := processor.Lookup("deaf")
	if err != nil {
		t.Fatal(err)
	}
	bound, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	group, err := stream.NewGroup(stream.GroupOptions{Bound: bound, Cluster: c, Config: stream.Defaults(), Leave: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- group.Run(ctx) }()
	for ctx.Err() == nil {
		found, err := deadletter.List(t.Context(), c, nil, deadletter.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(found.Letters) == 1 && bytes.Equal(found.Letters[0].Value, value) {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no letter came; the group ended with %v", <-ended)
}
