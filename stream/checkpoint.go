package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A checkpoint is the whole state of one partition: a KeyState of every key, then the Marker, in one transaction with the
// outputs up to the marker's offset. Its topic is not compacted: a replay begins at the newest checkpoint before what it wants,
// and learns from later ones where the configuration changed. One is written with the snapshot
//   - of the first transaction, and of the first one under another configuration or version,
//   - when event time has come into another day (UTC) than that of the last one.

const checkpointEvery = 24 * time.Hour

// newDay reports whether event time has left the day of the last checkpoint. The first day is that of the first snapshot.
func (p *part) newDay() bool {
	return p.checkpointed > 0 && p.task.Ticked().Floor(checkpointEvery) > p.checkpointed.Floor(checkpointEvery)
}

// checkpoint adds the records of a checkpoint to those of the snapshot, which has just been made and ends with the marker.
func (p *part) checkpoint(topic string) {
	marker := p.snapshots[len(p.snapshots)-1]
	p.task.Checkpoint(func(key string, state []byte) {
		p.snapshots = append(p.snapshots, &kgo.Record{Topic: topic, Partition: p.num, Key: []byte(key), Value: state})
	})
	p.snapshots = append(p.snapshots, &kgo.Record{Topic: topic, Partition: p.num, Key: marker.Key, Value: marker.Value, Headers: marker.Headers})
}

// A Checkpoint is the whole state of one partition as it stood at Marker.NextOffset.
type Checkpoint struct {
	Marker *schemas.Marker
	// States are marshalled schemas.KeyState by key.
	States map[string][]byte
}

// ReadCheckpoints reads what a processor's group has recorded of one partition: the markers of all checkpoints, by input offset, and
// whole the last one of which better, which compares it with the one held so far (nil at first), says so; nil when it never does.
// A group that was rebuilt from an earlier offset began a new history; what came before it is left out. A cluster without the
// topic has no checkpoints.
func ReadCheckpoints(ctx context.Context, c cluster.Config, processorName string, input schemas.Topic, partition int32, better func(held, m *schemas.Marker) bool) (*Checkpoint, []*schemas.Marker, error) {
	cl, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to read the checkpoints of %s: %w", processorName, err)
	}
	defer cl.Close()
	topic := c.Topic(schemas.CheckpointTopic(processorName, input).Name)
	all, err := logBounds(ctx, kadm.NewClient(cl), topic)
	if err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, nil, nil
		}
		return nil, nil, err
	}
	held := &Checkpoint{}
	var markers []*schemas.Marker
	states := map[string][]byte{}
	err = (&rangeReader{client: cl, stall: stallAfter}).read(ctx, topic, partition, all[partition].start, all[partition].end, func(r *kgo.Record) error {
		if string(r.Key) != markerKey {
			states[string(r.Key)] = r.Value
			return nil
		}
		m := &schemas.Marker{}
		if err := proto.Unmarshal(r.Value, m); err != nil {
			return fmt.Errorf("%w: the marker at offset %d of %s/%d: %w", errState, r.Offset, r.Topic, r.Partition, err)
		}
		if n := len(markers); n > 0 && m.NextOffset < markers[n-1].NextOffset {
			markers, held = nil, &Checkpoint{}
		}
		markers = append(markers, m)
		if better(held.Marker, m) {
			held = &Checkpoint{Marker: m, States: states}
		}
		states = map[string][]byte{}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the checkpoints of partition %d: %w", partition, err)
	}
	if held.Marker == nil {
		return nil, markers, nil
	}
	return held, markers, nil
}
