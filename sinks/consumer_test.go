package sinks_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// picky is a system that refuses one event and takes all others.
type picky struct {
	refuses string
	at      map[sinks.Partition]int64
}

func (p *picky) Positions(_ context.Context, start map[sinks.Partition]int64) (map[sinks.Partition]int64, error) {
	p.at = maps.Clone(start)
	return start, nil
}

func (*picky) Check(*schemas.Event) error { return nil }

func (p *picky) Write(_ context.Context, b sinks.Batch) (sinks.Result, error) {
	for _, e := range b.Entries {
		if e.Event.Id == p.refuses {
			return sinks.Result{}, &sinks.DataError{Err: errors.New("it does not fit")}
		}
	}
	return sinks.Result{Written: len(b.Entries)}, nil
}

// What the system behind a sink refuses becomes a letter of the record as it was: bytes, headers, and how often it was sent back.
func TestARefusedEventIsALetterOfItsRecord(t *testing.T) {
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	sinktest.Produce(t, cl, 0, 10)
	bad := sinktest.Event(10)
	text, err := schemas.MarshalJSON(bad)
	if err != nil {
		t.Fatal(err)
	}
	want := &kgo.Record{Topic: schemas.Events.Name, Key: []byte(bad.Key), Value: text, Headers: []kgo.RecordHeader{
		{Key: "ce_type", Value: []byte("tapewatch.v1.Event")},
		{Key: "content-type", Value: []byte(schemas.ContentJSON)},
		{Key: "traceparent", Value: []byte("00-1")},
		{Key: "dlq_redrives", Value: []byte("2")},
	}}
	if err := cl.ProduceSync(t.Context(), want).FirstErr(); err != nil {
		t.Fatal(err)
	}
	sinktest.Produce(t, cl, 11, 20)
	sink, err := sinks.New(sinks.Options{Name: "picky", Cluster: c, Config: sinks.Defaults(), Writer: &picky{refuses: bad.Id}})
	if err != nil {
		t.Fatal(err)
	}
	sinktest.Run(t, sink.Run)
	sinktest.Eventually(t, 10*time.Second, func() bool { return sinktest.Ends(t, cl, schemas.DeadLetters.Name) == 1 }, "there is no dead letter")
	found, err := deadletter.List(t.Context(), c, nil, deadletter.Filter{})
	if err != nil || len(found.Letters) != 1 {
		t.Fatalf("%d letters, %v", len(found.Letters), err)
	}
	l := found.Letters[0]
	if d := cmp.Diff(want.Headers[:3], l.Headers); d != "" {
		t.Errorf("the headers differ: %s", d)
	}
	if string(l.Key) != bad.Key || !bytes.Equal(l.Value, text) {
		t.Errorf("the letter holds %q: %q, want the record's own bytes", l.Key, l.Value)
	}
	if l.Redrives != 2 || l.Partition != want.Partition || l.Offset != want.Offset || l.Processor != "sink.picky" {
		t.Errorf("the letter is of %s, %d/%d, sent back %d times, want sink.picky, %d/%d, twice", l.Processor, l.Partition, l.Offset, l.Redrives, want.Partition, want.Offset)
	}
}
