package replay

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/streamtest"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// live runs a processor's group until it has committed all of its input.
func live(t *testing.T, c cluster.Config, b *processor.Bound) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := streamtest.CatchUp(ctx, c, b); err != nil {
		t.Fatal(err)
	}
}

// TestChainIsWhatTheLiveGroupsDo runs bars, baskets and unusual_volume as groups on a broker, and as a chain over a tape.
func TestChainIsWhatTheLiveGroupsDo(t *testing.T) {
	const partitions = 3
	bounds := chained(t)
	in := volumes(t, 8, partitions, 40)
	c := fake(t)
	plan, err := topics.MakePlan(t.Context(), c, topics.Config{Partitions: partitions}, nil, topics.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, p := range in {
		client.Produce(t.Context(), record(c, p), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*processor.Bound{bounds[1], bounds[2], bounds[0]} {
		live(t, c, b)
	}
	_, want, _ := runChain(t, save(t, "a.tape.zst", in), bounds)
	got := committedEvents(t, c, partitions)
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || len(want) < 10 {
		t.Errorf("%d events of the chain, %d live: %.2000s", len(want), len(got), d)
	}
}

// record is a record as sources write it.
func record(c cluster.Config, p placed) *kgo.Record {
	r := &kgo.Record{Topic: c.Topic("market.trades"), Partition: p.partition, Key: p.Key, Value: p.Value}
	if p.Type != "Trade" {
		r.Headers = []kgo.RecordHeader{{Key: "ce_type", Value: []byte("tapewatch.v1." + p.Type)}}
	}
	return r
}

// committedEvents reads the events topic, without positions.
func committedEvents(t *testing.T, c cluster.Config, partitions int32) (out []string) {
	t.Helper()
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), c.Topic("events"))
	if err != nil {
		t.Fatal(err)
	}
	var dec schemas.Decoder
	for p := range partitions {
		end, _ := ends.Lookup(c.Topic("events"), p)
		err := stream.ReadRange(t.Context(), c, c.Topic("events"), p, 0, end.Offset, func(r *kgo.Record) error {
			m, err := dec.Decode("Event", "", r.Value)
			if err != nil {
				return err
			}
			m.(*schemas.Event).Position = nil
			out = append(out, text(t, m))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
