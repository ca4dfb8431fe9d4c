package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// process is one running tapewatch: its parts, what they say of themselves, and its metrics.
type process struct {
	app      *app
	log      *slog.Logger
	registry *prometheus.Registry
	started  time.Time
	metrics  metrics
	// served says that the API serves probes and metrics; set before anything runs.
	served bool
	// pollClient asks services for all polling sources; made by the first.
	pollClient func() *poll.Client
	// finished says that the process came to its end by itself.
	finished atomic.Bool

	mu    sync.Mutex // guards parts
	parts []component
}

// component is a part that says how it is.
type component interface{ Component() *schemas.Component }

func newProcess(a *app) *process {
	p := &process{app: a, log: a.log, registry: prometheus.NewRegistry(), started: time.Now()}
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.metrics = newMetrics(p.registry)
	registerBuild(p.registry)
	p.pollClient = sync.OnceValue(func() *poll.Client { return poll.NewClient(a.settings.Poll, p.metrics.poll) })
	p.limit()
	return p
}

// registerBuild adds the metric that says what this process is.
func registerBuild(r prometheus.Registerer) {
	b := thisBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapewatch_build_info", Help: "Always 1; the labels say what this process is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	info.Set(1)
	r.MustRegister(info)
}

// limit applies the limits of memory and processors.
func (p *process) limit() {
	c := p.app.settings.Process
	if c.CPULimit > 0 {
		runtime.GOMAXPROCS(max(1, int(math.Ceil(c.CPULimit))))
	}
	if c.MemoryLimitMB > 0 {
		debug.SetMemoryLimit(int64(c.MemoryLimitMB) << 20)
		return
	}
	_, err := memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil && !errors.Is(err, memlimit.ErrNoLimit) {
		p.log.Debug("no memory limit", slog.Any("error", err))
	}
}

// add takes a part into the heartbeats and the readiness.
func (p *process) add(c component) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts = append(p.parts, c)
}

// components asks every part.
func (p *process) components() []*schemas.Component {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*schemas.Component, 0, len(p.parts))
	for _, c := range p.parts {
		out = append(out, c.Component())
	}
	return out
}

// shownState is what /readyz says.
type shownState struct {
	Ready bool       `json:"ready"`
	Parts []partLine `json:"parts"`
}

type partLine struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// state is ready when no part is starting or unhealthy.
func (p *process) state() shownState {
	s := shownState{Ready: true, Parts: []partLine{}}
	for _, c := range p.components() {
		s.Ready = s.Ready && c.State != "starting" && c.State != "unhealthy"
		s.Parts = append(s.Parts, partLine{c.Kind, c.Name, c.State, c.Reason})
	}
	return s
}

// group starts a processor's group in g. What it cannot heal by itself ends the process.
func (p *process) group(ctx context.Context, g *errgroup.Group, b *processor.Bound, leave bool) error {
	s := p.app.settings
	encoder, err := p.app.encoder(ctx)
	if err != nil {
		return err
	}
	types, err := p.app.schemaTypes(ctx)
	if err != nil {
		return err
	}
	group, err := stream.NewGroup(stream.GroupOptions{
		Bound: b, Cluster: s.Kafka, Config: s.Stream, Slot: s.Process.slot(), Leave: leave, Encoder: encoder, SchemaTypes: types,
		Log: p.log, Metrics: p.metrics.stream,
	})
	if err != nil {
		return fmt.Errorf("making the group of %s: %w", b.Name, err)
	}
	p.add(group)
	g.Go(func() error { return group.Run(ctx) })
	return nil
}

// background starts what every process has: heartbeats, and the admin port where one is configured.
func (p *process) background(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return p.heartbeats(ctx) })
	if c := p.app.settings.Admin; c.Port > 0 && !p.served {
		g.Go(func() error { return p.admin(ctx, c) })
	}
}
