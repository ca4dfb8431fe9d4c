// Package health knows how the whole system is, from the heartbeats that every process writes to the topic health.
//
// A process says of each of its parts how it is: healthy, starting, blind (running without valid input) or unhealthy. What it
// cannot say of itself is that it is gone: a process whose heartbeat is older than three of its own intervals is stale, and
// its parts with it.
package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// The states of parts, processes and the system.
const (
	Healthy   = "healthy"
	Starting  = "starting"
	Blind     = "blind"
	Stale     = "stale"
	Unhealthy = "unhealthy"
	Unknown   = "unknown"
)

// staleAfter is how many of its own intervals a process may be silent.
const staleAfter = 3

// Config says what silence means.
type Config struct {
	Interval    time.Duration `koanf:"interval" doc:"Time between heartbeats of a process of which only one was heard; otherwise its own interval counts."`
	ForgetAfter time.Duration `koanf:"forget_after" doc:"A process silent for so long is no longer shown."`
}

// Defaults fit the heartbeats' own default.
func Defaults() Config { return Config{Interval: 15 * time.Second, ForgetAfter: time.Hour} }

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Interval < time.Second {
		return fmt.Errorf("interval is %s: it must be at least 1s", c.Interval)
	}
	if c.ForgetAfter < staleAfter*c.Interval {
		return fmt.Errorf("forget_after is %s: it must be at least %d intervals (%s)", c.ForgetAfter, staleAfter, staleAfter*c.Interval)
	}
	return nil
}

// Options are what a Board is made from.
type Options struct {
	Cluster cluster.Config
	Config  Config
	Log     *slog.Logger
	// Now is the wall clock that ages are counted by; heartbeats carry the wall clocks of their own processes.
	Now func() time.Time
}

// Board keeps the last heartbeat of every process.
type Board struct {
	options Options

	// mu guards the processes, by instance.
	mu        sync.Mutex
	processes map[string]*process
}

type process struct {
	beat     *schemas.Heartbeat
	interval time.Duration
}

// New makes a Board; Run fills it.
func New(o Options) (*Board, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("checking the settings of health: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Board{options: o, processes: map[string]*process{}}, nil
}

// Run follows the topic from its start until ctx is done, which is no error. It may be called again after it failed.
func (b *Board) Run(ctx context.Context) error {
	cl, err := kgo.NewClient(append(b.options.Cluster.Options(b.options.Log),
		kgo.ConsumeTopics(b.options.Cluster.Topic(schemas.Health.Name)), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(topic string, _ int32, err error) { failed = fmt.Errorf("following %s: %w", topic, err) })
		if failed != nil {
			return failed
		}
		fetches.EachRecord(b.take)
	}
}

// take reads one heartbeat; a tombstone removes a process.
func (b *Board) take(r *kgo.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(r.Value) == 0 {
		delete(b.processes, string(r.Key))
		return
	}
	var d schemas.Decoder
	m, err := d.Decode("Heartbeat", "", r.Value)
	beat, ok := m.(*schemas.Heartbeat)
	if err != nil || !ok || beat.GetInstance() == "" {
		b.options.Log.Warn("heartbeat left out", "offset", r.Offset, "error", err)
		return
	}
	p := &process{beat: beat, interval: b.options.Config.Interval}
	if before := b.processes[beat.GetInstance()]; before != nil && before.beat.GetStarted() == beat.GetStarted() {
		if beat.GetTime() < before.beat.GetTime() {
			return
		}
		if gap := time.Duration(beat.GetTime() - before.beat.GetTime()); gap >= time.Second && gap <= b.options.Config.ForgetAfter/staleAfter {
			p.interval = gap
		}
	}
	b.processes[beat.GetInstance()] = p
}

// Part is one part of one process.
type Part struct {
	Kind     string             `json:"kind" doc:"worker, watchdog, stage, source or sink"`
	Name     string             `json:"name"`
	Instance string             `json:"instance" doc:"The process that it runs in"`
	State    string             `json:"state" enum:"healthy,starting,blind,stale,unhealthy"`
	Reason   string             `json:"reason,omitempty" doc:"Why, when not healthy"`
	Measures map[string]float64 `json:"measures,omitempty" doc:"Its own figures"`
}

// Process is one process and its parts.
type Process struct {
	Instance   string  `json:"instance"`
	State      string  `json:"state" enum:"healthy,stale"`
	Version    string  `json:"version"`
	Started    string  `json:"started" format:"date-time"`
	LastSeen   string  `json:"last_seen" format:"date-time" doc:"Time of the last heartbeat, by the process's own clock"`
	AgeSeconds float64 `json:"age_seconds" doc:"Age of the last heartbeat"`
	Parts      []Part  `json:"parts"`
}

// System is how everything is.
type System struct {
	Status    string         `json:"status" enum:"healthy,degraded,unhealthy,unknown" doc:"unhealthy: a part is unhealthy or stale; degraded: one is blind or starting; unknown: no heartbeat was heard"`
	Counts    map[string]int `json:"counts" doc:"Parts by state"`
	Processes []Process      `json:"processes"`
}

// System returns the present state of everything.
func (b *Board) System() System {
	now := b.options.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := System{Counts: map[string]int{}, Processes: []Process{}}
	for _, p := range b.processes {
		age := max(0, now.Sub(schemas.Time(p.beat.GetTime()).UTC()))
		if age > b.options.Config.ForgetAfter {
			continue
		}
		out.Processes = append(out.Processes, p.describe(age))
	}
	slices.SortFunc(out.Processes, func(a, b Process) int { return cmp.Compare(a.Instance, b.Instance) })
	for _, p := range out.Processes {
		for _, part := range p.Parts {
			out.Counts[part.State]++
		}
	}
	switch {
	case len(out.Processes) == 0:
		out.Status = Unknown
	case out.Counts[Unhealthy]+out.Counts[Stale] > 0:
		out.Status = Unhealthy
	case out.Counts[Blind]+out.Counts[Starting] > 0:
		out.Status = "degraded"
	default:
		out.Status = Healthy
	}
	return out
}

func (p *process) describe(age time.Duration) Process {
	out := Process{
		Instance: p.beat.GetInstance(), State: Healthy, Version: p.beat.GetVersion(), Started: schemas.Time(p.beat.GetStarted()).String(),
		LastSeen: schemas.Time(p.beat.GetTime()).String(), AgeSeconds: age.Seconds(), Parts: []Part{},
	}
	if age > staleAfter*p.interval {
		out.State = Stale
	}
	for _, c := range p.beat.GetComponents() {
		part := Part{Kind: c.GetKind(), Name: c.GetName(), Instance: out.Instance, State: c.GetState(), Reason: c.GetReason(), Measures: map[string]float64{}}
		for _, m := range c.GetMeasures() {
			part.Measures[m.GetName()] = m.GetValue()
		}
		if out.State == Stale {
			part.State, part.Reason = Stale, fmt.Sprintf("no heartbeat for %s, expected every %s", age.Round(time.Second), p.interval.Round(time.Second))
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

// Kind is all parts of one kind.
type Kind struct {
	Status    string         `json:"status" enum:"healthy,degraded,unhealthy,unknown"`
	Counts    map[string]int `json:"counts" doc:"Names by state"`
	Unhealthy []string       `json:"unhealthy" doc:"Names that are unhealthy"`
	Stale     []string       `json:"stale" doc:"Names of which no living process is heard"`
	Parts     []Part         `json:"parts"`
}

// Kind returns the parts of a kind. A name counts as stale only when no other process runs it.
func (b *Board) Kind(kind string) Kind {
	out := Kind{Counts: map[string]int{}, Unhealthy: []string{}, Stale: []string{}, Parts: []Part{}}
	states := map[string]string{}
	for _, p := range b.System().Processes {
		for _, part := range p.Parts {
			if part.Kind != kind {
				continue
			}
			out.Parts = append(out.Parts, part)
			if state, seen := states[part.Name]; !seen || worse(part.State, state) {
				states[part.Name] = part.State
			}
		}
	}
	for name, state := range states {
		out.Counts[state]++
		switch state {
		case Unhealthy:
			out.Unhealthy = append(out.Unhealthy, name)
		case Stale:
			out.Stale = append(out.Stale, name)
		}
	}
	slices.Sort(out.Unhealthy)
	slices.Sort(out.Stale)
	slices.SortFunc(out.Parts, func(a, b Part) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance)) })
	switch {
	case len(states) == 0:
		out.Status = Unknown
	case len(out.Unhealthy)+len(out.Stale) > 0:
		out.Status = Unhealthy
	case out.Counts[Healthy] < len(states):
		out.Status = "degraded"
	default:
		out.Status = Healthy
	}
	return out
}

// worse orders the states of one name in several processes: what lives outweighs what is gone, then the worst counts.
func worse(a, b string) bool {
	rank := func(s string) int { return slices.Index([]string{Stale, Healthy, Starting, Blind, Unhealthy}, s) }
	return rank(a) > rank(b)
}
