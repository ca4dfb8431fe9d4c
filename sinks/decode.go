package sinks

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// poisoned is one record that this sink cannot use.
type poisoned struct {
	record *kgo.Record
	cause  error
}

// decode sorts what was fetched into a batch and poison. Records below the position, fetched again after a rebalance, are
// dropped.
func (c *Consumer) decode(fetches kgo.Fetches) (Batch, []poisoned) {
	b := Batch{From: map[Partition]int64{}, Next: map[Partition]int64{}}
	var bad []poisoned
	c.mu.Lock()
	defer c.mu.Unlock()
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		at := Partition{fp.Topic, fp.Partition}
		from, ours := c.next[at]
		if !ours || len(fp.Records) == 0 {
			return
		}
		next := from
		for _, r := range fp.Records {
			if r.Offset < from {
				continue
			}
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			e, err := c.event(r)
			switch {
			case err != nil:
				bad = append(bad, poisoned{r, err})
			case e != nil:
				b.Entries = append(b.Entries, Entry{Event: e, At: at, Offset: r.Offset, Published: r.Timestamp, record: r})
			default:
				c.countLocked("tick", 1)
			}
		}
		if next > from {
			b.From[at], b.Next[at] = from, next
		}
	})
	return b, bad
}

// event returns the event of a record, nil for a Tick.
func (c *Consumer) event(r *kgo.Record) (*schemas.Event, error) {
	e, err := DecodeEvent(c.options.Topics, c.options.Cluster.Prefix, c.options.SchemaType, r)
	if err != nil || e == nil {
		return nil, err
	}
	return e, c.options.Writer.Check(e)
}

// DecodeEvent decodes and checks one record of a topic of events; nil without an error means a record of another type,
// such as a Tick. The event is the caller's to keep.
func DecodeEvent(topics []schemas.Topic, prefix string, schemaType func(uint32, []int) (string, error), r *kgo.Record) (*schemas.Event, error) {
	topic := topics[0]
	for _, t := range topics {
		if prefix+t.Name == r.Topic {
			topic = t
		}
	}
	typeName, content := topic.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
	// A decoder uses its messages again, and a batch keeps them: each event gets a decoder of its own.
	d := schemas.Decoder{SchemaType: schemaType}
	m, err := d.Decode(typeName, content, r.Value)
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	if err := schemas.Validate(m); err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *schemas.Event:
		return m, nil
	case *schemas.Tick:
		return nil, nil
	}
	return nil, fmt.Errorf("%w: a %s on %s: it must be one of %v", schemas.ErrInvalid, typeName, topic.Name, topic.Types)
}

// bury puts poison on the dlq topic. This happens before the position moves past it, so a crash in between repeats the
// letter, with the same coordinates, and never loses it.
func (c *Consumer) bury(ctx context.Context, cl *kgo.Client, bad []poisoned) error {
	for _, p := range bad {
		reason := "undecodable"
		if !errors.Is(p.cause, schemas.ErrUndecodable) {
			reason = "invalid"
		}
		letter := deadletter.Encode(c.options.Cluster.Topic(schemas.DeadLetters.Name), p.record, "sink."+c.options.Name,
			processor.Poison{Input: processor.Input{Key: p.record.Key, Value: p.record.Value}, Reason: reason, Detail: p.cause.Error()})
		if err := cl.ProduceSync(ctx, letter).FirstErr(); err != nil {
			return fmt.Errorf("writing a dead letter for %s/%d offset %d: %w", p.record.Topic, p.record.Partition, p.record.Offset, err)
		}
		c.count("dead_letter", 1)
		c.log.Warn("record dead-lettered", "sink", c.options.Name, "topic", p.record.Topic, "partition", p.record.Partition, "offset", p.record.Offset, "error", p.cause)
	}
	return nil
}

// buryEntry dead-letters the one event of a batch that the system behind refused, then moves the position past it.
func (c *Consumer) buryEntry(ctx context.Context, cl *kgo.Client, b Batch, cause error) error {
	if err := c.bury(ctx, cl, []poisoned{{b.Entries[0].record, cause}}); err != nil {
		return err
	}
	return c.write(ctx, cl, Batch{From: b.From, Next: b.Next})
}
