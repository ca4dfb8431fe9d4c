package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A snapshot on a state topic is one KeyState record for each key touched since the last one, then one Marker, all on the
// partition that has the number of the input partition. Within a partition the order holds: keys that no marker follows
// belong to no snapshot.

// markerKey is the record key of markers. No catalogue topic has a key that begins with a zero byte.
const markerKey = "\x00marker"

const (
	typeHeader = "ce_type"
	markerType = "tapewatch.v1.Marker"
)

// snapshot makes the records of the part's snapshot at its position, and those of a checkpoint when one is due.
func (p *part) snapshot(r *route) error {
	topic := r.stateName
	p.snapshots = p.snapshots[:0]
	p.whole = p.snappedAt < 0 || p.newDay()
	if p.whole || p.checkpointed == 0 {
		p.checkpointed = max(p.checkpointed, p.task.Ticked())
	}
	m, err := p.task.Snapshot(p.next, func(key string, state []byte) {
		p.snapshots = append(p.snapshots, &kgo.Record{Topic: topic, Partition: p.num, Key: []byte(key), Value: state})
	})
	if err != nil {
		return fmt.Errorf("snapshotting partition %d: %w", p.num, err)
	}
	m.Checkpointed = int64(p.checkpointed)
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("snapshotting partition %d: %w", p.num, err)
	}
	p.snapshots = append(p.snapshots, &kgo.Record{
		Topic: topic, Partition: p.num, Key: []byte(markerKey), Value: value,
		Headers: []kgo.RecordHeader{{Key: typeHeader, Value: []byte(markerType)}},
	})
	if p.whole {
		p.checkpoint(r.checkpointName)
	}
	return nil
}

// due reports whether the part should be snapshotted: the first transaction of a partition without a marker always is,
// so that a committed offset without a marker means that the state was lost.
func (p *part) due(now time.Time, every time.Duration, records int) bool {
	if p.sinceSnap == 0 {
		return false
	}
	return p.snappedAt < 0 || p.sinceSnap >= records || now.Sub(p.snapped) >= every || p.newDay()
}

// loaded is what a state partition holds.
type loaded struct {
	marker *schemas.Marker
	states map[string][]byte
	// staged are keys read since the last marker.
	staged  map[string][]byte
	records int
}

var errState = errors.New("broken state topic")

// take reads the next record of the state partition.
func (l *loaded) take(r *kgo.Record) error {
	l.records++
	if string(r.Key) != markerKey {
		l.staged[string(r.Key)] = r.Value
		return nil
	}
	m := &schemas.Marker{}
	if err := proto.Unmarshal(r.Value, m); err != nil {
		return fmt.Errorf("%w: the marker at offset %d of %s/%d: %w", errState, r.Offset, r.Topic, r.Partition, err)
	}
	for k, v := range l.staged {
		if v == nil {
			delete(l.states, k)
			continue
		}
		l.states[k] = v
	}
	clear(l.staged)
	l.marker = m
	return nil
}

// ReadState reads the last committed snapshot of one partition of a processor: its marker, nil when there is none, and the
// state of every key (a marshalled schemas.KeyState).
func ReadState(ctx context.Context, c cluster.Config, processorName string, partition int32) (*schemas.Marker, map[string][]byte, error) {
	cl, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to read the state of %s: %w", processorName, err)
	}
	defer cl.Close()
	l, err := loadState(ctx, &rangeReader{client: cl, stall: stallAfter}, c.Topic(schemas.StateTopic(processorName).Name), partition)
	if err != nil {
		return nil, nil, err
	}
	return l.marker, l.states, nil
}

// loadState reads a state partition up to its end, whoever wrote it.
func loadState(ctx context.Context, rd *rangeReader, topic string, partition int32) (*loaded, error) {
	all, err := logBounds(ctx, kadm.NewClient(rd.client), topic)
	if err != nil {
		return nil, err
	}
	at := all[partition]
	l := &loaded{states: map[string][]byte{}, staged: map[string][]byte{}}
	if err := rd.read(ctx, topic, partition, at.start, at.end, l.take); err != nil {
		return nil, fmt.Errorf("loading the state of partition %d: %w", partition, err)
	}
	return l, nil
}
