package reconcile_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/reconcile"
	"github.com/tapewatch/tapewatch/stream/replay"
	"github.com/tapewatch/tapewatch/stream/streamtest"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// told is what a run tells, by kind, as ids.
func told(t *testing.T, c cluster.Config, b *processor.Bound, r replay.TopicRange) (map[string][]string, reconcile.Report) {
	t.Helper()
	out := map[string][]string{}
	report, err := reconcile.Run(t.Context(), reconcile.Options{
		Cluster: c, Bound: b, Range: r, Policy: processor.DefaultTimePolicy(),
		Tell: func(d reconcile.Difference) { out[d.Kind] = append(out[d.Kind], d.Event.Id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ids := range out {
		slices.Sort(ids)
	}
	return out, report
}

// Every way in which a topic can be wrong is told, and nothing else: one event is taken out, one is doubled, one altered and one
// made up, and two of a key change places.
func TestATopicThatWasTamperedWith(t *testing.T) {
	const partitions = 2
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Config{Brokers: k.ListenAddrs(), Prefix: "r."}
	d, err := processor.Lookup(chaos.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := topics.Make(t.Context(), c, partitions, topics.All()...); err != nil {
		t.Fatal(err)
	}
	if _, err := reconcile.Run(t.Context(), reconcile.Options{Cluster: c, Bound: b}); !errors.Is(err, reconcile.ErrIdle) {
		t.Errorf("before the group ran the error is %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := (chaos.Load{Records: 3000, Keys: 11, PerSecond: 1000}).Run(ctx, c, partitions); err != nil {
		t.Fatal(err)
	}
	if err := streamtest.CatchUp(ctx, c, b); err != nil {
		t.Fatal(err)
	}
	recorded := replay.TopicRange{Recorded: true}
	if found, report := told(t, c, b, recorded); len(found) != 0 || report.Committed < 100 || report.Replayed != report.Committed || len(report.Inexact) != 0 {
		t.Fatalf("the topic as the group wrote it: %v, %+v", found, report)
	}

	client, err := kgo.NewClient(append(c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	events, decoded := raw(t, client, c)
	want := tamper(t, &events, decoded)
	adm := kadm.NewClient(client)
	topic := c.Topic(schemas.Events.Name)
	if _, err := adm.DeleteTopics(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopics(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	client.PurgeTopicsFromClient(topic)
	if err := client.ProduceSync(t.Context(), events...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	found, report := told(t, c, b, recorded)
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("(-want +told):\n%s", d)
	}
	if report.Differences != 6 {
		t.Errorf("%d differences: they must be 6", report.Differences)
	}
	// Outside of the stretch nothing is compared.
	if found, report := told(t, c, b, replay.TopicRange{ToOffset: 1, Recorded: true}); len(found) != 0 || report.Committed != 0 {
		t.Errorf("a stretch of one record: %v, %+v", found, report)
	}
}

// raw reads the events as they lie.
func raw(t *testing.T, client *kgo.Client, c cluster.Config) (records []*kgo.Record, events []*schemas.Event) {
	t.Helper()
	topic := c.Topic(schemas.Events.Name)
	ends, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var dec schemas.Decoder
	for _, p := range slices.Sorted(maps.Keys(ends[topic])) {
		err := stream.ReadRange(t.Context(), c, topic, p, 0, ends[topic][p].Offset, func(r *kgo.Record) error {
			m, err := dec.Decode("Event", "", r.Value)
			if err != nil {
				return err
			}
			e, _ := m.(*schemas.Event)
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Key: r.Key, Value: r.Value, Headers: r.Headers})
			events = append(events, proto.CloneOf(e))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return records, events
}

// tamper changes the records and returns what is then to be told.
func tamper(t *testing.T, records *[]*kgo.Record, events []*schemas.Event) map[string][]string {
	t.Helper()
	all := *records
	with := func(i int, change func(*schemas.Event)) *kgo.Record {
		e := proto.CloneOf(events[i])
		change(e)
		var enc schemas.Encoder
		value, err := enc.AppendValue(nil, schemas.Events, e)
		if err != nil {
			t.Fatal(err)
		}
		r := *all[i]
		r.Value = value
		return &r
	}
	const gone, altered, doubled, invented = 3, 17, 29, 41
	// Two events of one key and partition, the later one of a later input.
	first := 50
	second := first + 1 + slices.IndexFunc(events[first+1:], func(e *schemas.Event) bool {
		return e.Key == events[first].Key && e.Position.Offset > events[first].Position.Offset
	})
	out := slices.Clone(all)
	out[altered] = with(altered, func(e *schemas.Event) { e.Severity = schemas.Critical })
	out[first], out[second] = all[second], all[first]
	again, forged := *all[doubled], with(invented, func(e *schemas.Event) { e.Id = "forged" })
	*records = append(slices.Delete(out, gone, gone+1), &again, forged)
	return map[string][]string{
		reconcile.Missing: {events[gone].Id}, reconcile.Different: {events[altered].Id}, reconcile.Twice: {events[doubled].Id}, reconcile.Extra: {"forged"}, reconcile.Disordered: {events[first].Id, "forged"}, // that one stands at the end
	}
}
