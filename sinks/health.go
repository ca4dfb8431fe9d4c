package sinks

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sony/gobreaker/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// figures are the counts that Component shows.
type figures struct {
	outcomes map[string]uint64
	lag      map[Partition]int64
}

func (c *Consumer) count(outcome string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLocked(outcome, n)
}

// countLocked adds to an outcome; the caller holds mu.
func (c *Consumer) countLocked(outcome string, n int) {
	if n == 0 {
		return
	}
	if c.figures.outcomes == nil {
		c.figures.outcomes = map[string]uint64{}
	}
	c.figures.outcomes[outcome] += uint64(n)
	c.options.Metrics.records.WithLabelValues(c.options.Name, outcome).Add(float64(n))
}

func (c *Consumer) noteError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return // the error that opened it says more
	}
	c.lastErr = err
}

func (c *Consumer) noteWritten(b Batch, r Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLocked("written", r.Written)
	c.countLocked("duplicate", r.Duplicates)
	c.countLocked("expired", r.Expired)
	for p, next := range b.Next {
		if _, ours := c.next[p]; ours {
			c.next[p] = next
		}
	}
}

func (c *Consumer) noteLag(fetches kgo.Fetches) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.figures.lag == nil {
		c.figures.lag = map[Partition]int64{}
	}
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		p := Partition{fp.Topic, fp.Partition}
		if next, ours := c.next[p]; ours && fp.HighWatermark >= next {
			c.figures.lag[p] = fp.HighWatermark - next
			c.options.Metrics.lag.WithLabelValues(c.options.Name, fp.Topic, strconv.Itoa(int(fp.Partition))).Set(float64(fp.HighWatermark - next))
		}
	})
}

// Component says how the sink is: starting until it has partitions, unhealthy while writes fail.
func (c *Consumer) Component() *schemas.Component {
	state := c.breaker.State()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &schemas.Component{Kind: "sink", Name: c.options.Name, State: "healthy"}
	switch {
	case state == gobreaker.StateOpen:
		out.State, out.Reason = "unhealthy", fmt.Sprintf("breaker open: %v", c.lastErr)
	case c.lastErr != nil:
		out.State, out.Reason = "unhealthy", c.lastErr.Error()
	case !c.assigned:
		out.State, out.Reason = "starting", "no partition assigned yet"
	}
	var lag int64
	for p := range c.next {
		lag += c.figures.lag[p]
	}
	add := func(name string, v float64, unit string) {
		out.Measures = append(out.Measures, &schemas.Measure{Name: name, Value: v, Unit: unit})
	}
	for _, outcome := range []string{"written", "duplicate", "expired", "dead_letter"} {
		add(outcome, float64(c.figures.outcomes[outcome]), "records")
	}
	add("lag", float64(lag), "records")
	add("partitions", float64(len(c.next)), "")
	add("breaker_state", float64(state), "")
	return out
}
