package processor

import (
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// MaxSteps bounds how many OnTime calls one Tick makes for one instance.
const MaxSteps = 3600

// A clock is the event time of one source on one partition. Only Ticks move it, and never back.
type clock struct {
	source string
	// time is what the source has reached: the minimum over parts once every part has ticked.
	time schemas.Time
	// high is what the furthest part has reached: a catching-up stage writes from partitions that lie far apart.
	high schemas.Time
	// parts is one entry per input partition of the stage that wrote this topic; empty when ticks speak for the whole source.
	parts []schemas.Time
	// instances that saw a record of the source, in key order.
	instances []*instance
}

// advance takes a Tick and reports whether the source's time moved.
func (c *clock) advance(t *schemas.Tick) bool {
	at := schemas.Time(t.Time)
	if t.Partitions > 0 {
		if len(c.parts) != int(t.Partitions) {
			c.parts = make([]schemas.Time, t.Partitions)
		}
		c.parts[t.Partition] = max(c.parts[t.Partition], at)
		c.high = max(c.high, at)
		at = slices.Min(c.parts)
	}
	if at <= c.time {
		return false
	}
	c.time, c.high = at, max(c.high, at)
	return true
}

// join adds an instance, keeping key order.
func (c *clock) join(in *instance) {
	i, found := slices.BinarySearchFunc(c.instances, in, byKey)
	if !found {
		c.instances = slices.Insert(c.instances, i, in)
	}
}

func (c *clock) leave(in *instance) {
	if i, found := slices.BinarySearchFunc(c.instances, in, byKey); found {
		c.instances = slices.Delete(c.instances, i, i+1)
	}
}

func byKey(a, b *instance) int { return strings.Compare(a.key.text, b.key.text) }

// clockOf returns the clock of a source, new at time zero when the source is not known yet.
func (t *Task) clockOf(source string) *clock {
	if c := t.clocks[source]; c != nil {
		return c
	}
	c := &clock{source: strings.Clone(source)}
	t.clocks[c.source] = c
	return c
}

// reached is the time of an instance: what all its sources have reached, but at most silence behind the furthest one, so
// that a dead source does not hold the others' windows open for ever.
func (in *instance) reached(silence time.Duration) schemas.Time {
	low, high := in.clocks[0].time, in.clocks[0].time
	for _, c := range in.clocks[1:] {
		low, high = min(low, c.time), max(high, c.time)
	}
	return max(low, high.Add(-silence))
}
