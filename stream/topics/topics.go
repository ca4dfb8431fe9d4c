// Package topics makes the cluster's topics what the catalogue says: it compares, prints the difference as a plan, and
// applies the plan. It adds and sets; it never deletes a topic and never changes a partition count, because the partition of
// a key, and with it the order of its records, would change.
package topics

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Config says how topics are made.
type Config struct {
	Replication int16 `koanf:"replication_factor" doc:"Copies of each partition; 0 leaves it to the brokers' default."`
	MinInsync   int   `koanf:"min_insync_replicas" doc:"Copies that must have a record before it counts as written; 0 means 2 where the replication factor is 3 or more, else the brokers' default."`
	Partitions  int32 `koanf:"partitions" doc:"Partitions of new keyed topics, instead of the catalogue's; 0 keeps the catalogue's."`
}

// Defaults leaves everything to the catalogue and the brokers.
func Defaults() Config { return Config{} }

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.Replication < 0:
		return fmt.Errorf("topics.replication_factor is %d: it must be at least 0", c.Replication)
	case c.MinInsync < 0:
		return fmt.Errorf("topics.min_insync_replicas is %d: it must be at least 0", c.MinInsync)
	case c.Replication > 0 && c.MinInsync > int(c.Replication):
		return fmt.Errorf("topics.min_insync_replicas is %d: it must not exceed topics.replication_factor (%d)", c.MinInsync, c.Replication)
	case c.Partitions < 0 || c.Partitions > 1<<16:
		return fmt.Errorf("topics.partitions is %d: it must be from 0 to 65536", c.Partitions)
	}
	return nil
}

// minInsync returns what is set; 0 for the brokers' default.
func (c Config) minInsync() int {
	if c.MinInsync == 0 && c.Replication >= 3 {
		return 2
	}
	return c.MinInsync
}

// StateRetention is how long a compacted topic keeps tombstones and transaction markers: compaction can lose the markers
// when a replica is away for longer, and aborted state would then read as committed.
const StateRetention = 7 * 24 * time.Hour

// All returns every topic that tapewatch uses: the catalogue, and the state and checkpoint topics of each registered processor, with as many
// partitions as its input.
func All() []schemas.Topic {
	all := schemas.Catalogue()
	for _, d := range processor.All() {
		state, checkpoints := schemas.StateTopic(d.Name), schemas.CheckpointTopic(d.Name, d.Input)
		if in, err := schemas.TopicByName(d.Input.Name); err == nil {
			state.Partitions, checkpoints.Partitions = in.Partitions, in.Partitions
		}
		all = append(all, state, checkpoints)
	}
	return all
}

// setting is one topic setting, in the order in which plans print them.
type setting struct{ key, value string }

// BatchBytes is the largest batch of a topic, Kafka's own default: its dead letter must fit deadletter.BatchBytes.
const BatchBytes = 1<<20 + 12

// settings returns what a topic must have. Dead letters and states may be larger than a usual record.
func (c Config) settings(t schemas.Topic) []setting {
	var out []setting
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	switch {
	case t.Compacted:
		out = append(out, setting{"cleanup.policy", "compact"}, setting{"delete.retention.ms", ms(StateRetention)})
	case t.Retention > 0:
		out = append(out, setting{"cleanup.policy", "delete"}, setting{"retention.ms", ms(t.Retention)})
	}
	largest := BatchBytes
	if t.Name == schemas.DeadLetters.Name || ownerOf(t) != nil {
		largest = deadletter.MaxRecordBytes
	}
	out = append(out, setting{"max.message.bytes", strconv.Itoa(largest)})
	if n := c.minInsync(); n > 0 {
		out = append(out, setting{"min.insync.replicas", strconv.Itoa(n)})
	}
	return out
}

// ownerOf returns the processor whose snapshots or checkpoints a topic holds; nil for other topics. The topic shares the
// partition count of the processor's input.
func ownerOf(t schemas.Topic) *processor.Definition {
	for _, d := range processor.All() {
		if t.Name == schemas.StateTopic(d.Name).Name || t.Name == schemas.CheckpointTopic(d.Name, d.Input).Name {
			return d
		}
	}
	return nil
}

// ErrRefused is wrapped when a plan has steps that must not be done.
var ErrRefused = errors.New("the plan is refused")
