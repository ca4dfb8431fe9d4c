package sources

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// A route is what the producer knows of one topic: how many partitions it has and where each key lives.
type route struct {
	topic      schemas.Topic
	name       string // on the cluster
	partitions int
	pick       kgo.TopicPartitioner
	targets    map[string]target
	scratch    []byte
	counters   counters
}

// target is where the records of one key go.
type target struct {
	key       []byte
	partition int32
}

// maxTargets bounds the memory for keys; the map starts anew beyond it.
const maxTargets = 1 << 16

// lookupTimeout bounds the one metadata request of a topic.
const lookupTimeout = 30 * time.Second

// route returns the topic's route; the first time it asks the cluster for the partition count, which is fixed for good.
func (p *Producer) route(topic schemas.Topic) (*route, error) {
	if r := p.routes[topic.Name]; r != nil {
		return r, nil
	}
	name := p.cluster.Topic(topic.Name)
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout) //nolint:forbidigo // once per topic, bounded; Close ends it too
	defer cancel()
	detail, err := p.lookup(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("looking up the partitions of %s: %w", name, err)
	}
	if detail.Err != nil {
		return nil, fmt.Errorf("looking up the partitions of %s: the topic must exist, run `tapewatch topics apply`: %w", name, detail.Err)
	}
	r := newRoute(topic, name, len(detail.Partitions), p.metrics)
	p.routes[topic.Name] = r
	return r, nil
}

// lookup asks for a topic's partitions, for a while also when there is no such topic: brokers learn of a new one a little
// after its creator does.
func (p *Producer) lookup(ctx context.Context, name string) (kadm.TopicDetail, error) {
	const attempts, pause = 15, 200 * time.Millisecond
	for n := 1; ; n++ {
		found, err := kadm.NewClient(p.client).ListTopics(ctx, name)
		if err != nil {
			return kadm.TopicDetail{}, err
		}
		detail := found[name]
		if detail.Err == nil && len(detail.Partitions) == 0 {
			detail.Err = kerr.UnknownTopicOrPartition
		}
		if !kerr.IsRetriable(detail.Err) || n == attempts {
			return detail, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return detail, ctx.Err()
		case <-timer.C:
		}
	}
}

func newRoute(topic schemas.Topic, name string, partitions int, m *Metrics) *route {
	return &route{
		topic: topic, name: name, partitions: partitions,
		pick:     kgo.StickyKeyPartitioner(nil).ForTopic(name),
		targets:  map[string]target{},
		counters: counters{vec: m.Records, name: topic.Name, of: map[string]prometheus.Counter{}},
	}
}

// target returns key and partition of a message. The key of instruments is built without allocation once known.
func (r *route) target(m schemas.Message) target {
	if r.topic.Key == schemas.KeyVenueSymbol {
		meta := schemas.MetaOf(m)
		r.scratch = append(append(append(r.scratch[:0], meta.GetVenue()...), ':'), meta.GetSymbol()...)
	} else {
		r.scratch = append(r.scratch[:0], r.topic.KeyOf(m)...)
	}
	if t, ok := r.targets[string(r.scratch)]; ok {
		return t
	}
	key := append([]byte(nil), r.scratch...)
	t := target{key: key, partition: int32(r.pick.Partition(&kgo.Record{Key: key}, r.partitions))}
	if len(r.targets) >= maxTargets {
		clear(r.targets)
	}
	r.targets[string(key)] = t
	return t
}

// count returns the counter of the message's type.
func (r *route) count(m schemas.Message) prometheus.Counter {
	name := schemas.TypeOf(m)
	c := r.counters.of[name]
	if c == nil {
		c = r.counters.vec.WithLabelValues(r.counters.name, name)
		r.counters.of[name] = c
	}
	return c
}

// An arena hands out records and value bytes from slabs: two large allocations for some hundred records, which live until
// the last of them is acknowledged.
type arena struct {
	bytes   []byte
	records []kgo.Record
}

const (
	slabBytes   = 64 << 10
	slabRecords = 256
)

func (a *arena) record() *kgo.Record {
	if len(a.records) == 0 {
		a.records = make([]kgo.Record, slabRecords)
	}
	r := &a.records[0]
	a.records = a.records[1:]
	return r
}

// encode appends the value to the slab in hand, or to a new one when it is nearly full.
func (a *arena) encode(enc *schemas.Encoder, topic schemas.Topic, m schemas.Message) ([]byte, error) {
	if cap(a.bytes)-len(a.bytes) < slabBytes/16 {
		a.bytes = make([]byte, 0, slabBytes)
	}
	from := len(a.bytes)
	out, err := enc.AppendValue(a.bytes, topic, m)
	if err != nil {
		return nil, err
	}
	if cap(out) != cap(a.bytes) { // larger than the slab: it has memory of its own
		return out[from:], nil
	}
	a.bytes = out
	return out[from:len(out):len(out)], nil
}

// counters are the record counters of one topic by message type.
type counters struct {
	vec  *prometheus.CounterVec
	name string
	of   map[string]prometheus.Counter
}
