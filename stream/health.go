package stream

import (
	"fmt"
	"sync"

	"github.com/tapewatch/tapewatch/schemas"
)

// States of a component.
const (
	starting  = "starting"
	healthy   = "healthy"
	unhealthy = "unhealthy"
)

// health is what a group says of itself. Run writes it, the health pages read it.
type health struct {
	mu     sync.Mutex // guards all below
	state  string
	reason string
	parts  int
	ready  int
	keys   int
}

func (h *health) set(state, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state, h.reason = state, reason
}

func (h *health) progress(parts, ready, keys int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parts, h.ready, h.keys = parts, ready, keys
}

// Component says how the group is, for heartbeats and health pages.
func (g *Group) Component() *schemas.Component {
	h := &g.health
	h.mu.Lock()
	defer h.mu.Unlock()
	return &schemas.Component{
		Kind: string(g.bound.Kind), Name: g.bound.Name, State: h.state, Reason: h.reason,
		Measures: []*schemas.Measure{
			{Name: "partitions", Value: float64(h.parts)},
			{Name: "partitions_ready", Value: float64(h.ready)},
			{Name: "keys", Value: float64(h.keys)},
		},
	}
}

// assess derives the group's state from its partitions.
func (s *session) assess() {
	g := s.group
	parts, ready, keys := 0, 0, 0
	state, reason := healthy, ""
	s.each(func(p *part) {
		parts++
		if p.state != partReady {
			return
		}
		ready++
		keys += p.task.Instances()
		if run := p.task.Stats().Run; run >= uint64(g.config.PoisonThreshold) {
			state, reason = unhealthy, fmt.Sprintf("the last %d records of partition %d were dead letters", run, p.num)
		}
	})
	s.mu.Lock()
	joined := s.joined
	s.mu.Unlock()
	if parts == 0 && !joined {
		state, reason = starting, "joining the group"
	}
	if state == healthy && ready < parts {
		state, reason = starting, fmt.Sprintf("%d of %d partitions are restored", ready, parts)
	}
	if state == healthy && s.trouble != "" {
		state, reason = unhealthy, s.trouble
	}
	g.health.progress(parts, ready, keys)
	g.health.set(state, reason)
	g.meter.health(state)
}
