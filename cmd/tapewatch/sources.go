package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/files"
	"github.com/tapewatch/tapewatch/sources/probe"
	"github.com/tapewatch/tapewatch/sources/simulator"
	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// sourcesConfig says which sources run.
type sourcesConfig struct {
	Use []string `koanf:"use" doc:"Sources that up, and ingest without arguments, run."`
}

// Validate checks the settings.
func (c sourcesConfig) Validate() error {
	for _, name := range c.Use {
		if !slices.Contains(sourceNames(), name) {
			return fmt.Errorf("sources.use has %q: each must be one of %s", name, strings.Join(sourceNames(), ", "))
		}
	}
	return nil
}

// sourceMaker makes a source from the settings.
type sourceMaker struct {
	name string
	make func(p *process) (sources.Source, error)
}

// probeName is the source that asks venues whether they answer.
const probeName = "probe"

func sourceMakers() []sourceMaker {
	makers := []sourceMaker{
		{"simulator", func(p *process) (sources.Source, error) {
			return simulator.New(p.app.settings.Simulator, time.Now, p.emptyTopics)
		}},
		{"file", func(p *process) (sources.Source, error) {
			return p.played(func(path string) (sources.Source, error) {
				c := p.app.settings.File
				if path != "" {
					c.Path = path
				}
				return files.New(c, p.log, p.metrics.sources)
			})
		}},
	}
	venues := venuesDefaults()
	for _, v := range venues.connectors() {
		makers = append(makers, sourceMaker{v.name, func(p *process) (sources.Source, error) {
			c, _ := p.app.settings.Venues.connector(v.name)
			return c.source(p)
		}})
	}
	return append(append(makers, pollSources()...), sourceMaker{probeName, func(p *process) (sources.Source, error) {
		s := p.app.settings
		return probe.New(probe.Options{Config: s.Probe, UserAgent: s.Poll.UserAgent, Once: s.pollOnce, Metrics: p.metrics.sources, Log: p.log})
	}})
}

// emptyTopics reports whether topics hold nothing.
func (p *process) emptyTopics(ctx context.Context, all []schemas.Topic) (bool, error) {
	rows, err := topics.List(ctx, p.app.settings.Kafka, p.log, all)
	return !slices.ContainsFunc(rows, func(r topics.Row) bool { return r.Offsets > 0 }), err
}

// played makes one source for each file of --from, to be read one after the other; without any, the one that the settings
// describe.
func (p *process) played(open func(path string) (sources.Source, error)) (sources.Source, error) {
	if len(p.app.settings.playlist) == 0 {
		return open("")
	}
	var chain playlist
	for _, path := range p.app.settings.playlist {
		s, err := open(path)
		if err != nil {
			return nil, err
		}
		chain.files = append(chain.files, s)
	}
	return &chain, nil
}

// playlist reads several files as one source.
type playlist struct {
	files []sources.Source
	at    atomic.Int32
}

// Name is that of the file in hand.
func (l *playlist) Name() string { return l.files[l.at.Load()].Name() }

// Component is that of the file in hand.
func (l *playlist) Component() *schemas.Component { return l.files[l.at.Load()].Component() }

// Run reads the files one after the other.
func (l *playlist) Run(ctx context.Context, p sources.Publisher) error {
	for i, f := range l.files {
		l.at.Store(int32(i))
		if err := f.Run(ctx, p); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func sourceNames() []string {
	var names []string
	for _, m := range sourceMakers() {
		names = append(names, m.name)
	}
	return names
}

// source starts a source under supervision, with a producer of its own. A source that has come to its end is not started
// again, nor is one that failed too often: left is called then, and says whether that ends the process.
func (p *process) source(ctx context.Context, g *errgroup.Group, name string, seen *progress, left func(error) error) error {
	makers := sourceMakers()
	i := slices.IndexFunc(makers, func(m sourceMaker) bool { return m.name == name })
	if i < 0 {
		return usage("source %q is unknown: it must be one of %s", name, strings.Join(sourceNames(), ", "))
	}
	m := makers[i]
	first, err := m.make(p)
	if err != nil {
		return usage("making source %s: %w", name, err)
	}
	shown := &newest{}
	shown.set(&attached{Source: first, process: p, seen: seen})
	p.add(shown)
	g.Go(func() error {
		err := supervise(ctx, p.restarts(name), p.log, "source "+name, func(ctx context.Context) error {
			part := shown.take()
			if part == nil {
				again, err := m.make(p)
				if err != nil {
					return err
				}
				shown.set(&attached{Source: again, process: p, seen: seen})
				part = shown.take()
			}
			return part.Run(ctx)
		})
		if ctx.Err() != nil {
			return err
		}
		if err == nil {
			p.log.Info("source has come to its end", slog.String("source", name))
		}
		return left(err)
	})
	return nil
}

// restarts says how often a source that fails is started again: a venue goes on with what comes, but a file, a capture or
// the simulator would begin from its start and write its records a second time. With --once nothing is done twice.
func (p *process) restarts(name string) supervisionConfig {
	s := p.app.settings
	c := s.Supervision
	v, venue := s.Venues.connector(name)
	live := polls(name) || name == probeName || venue && v.common.Play == ""
	if !live || len(s.playlist) > 0 || s.pollOnce {
		c.RetryAttempts = 0
	}
	return c
}

// attached is a source with its way to Kafka.
type attached struct {
	sources.Source
	process *process
	seen    *progress
}

// Run runs the source with a producer of its own and flushes what it published, also when it is stopped.
func (s *attached) Run(ctx context.Context) error {
	set := s.process.app.settings
	encoder, err := s.process.app.encoder(ctx)
	if err != nil {
		return err
	}
	producer, err := sources.NewProducer(set.Kafka, set.Producer, encoder, s.process.log, s.process.metrics.sources)
	if err != nil {
		return err
	}
	defer producer.Close()
	var pub sources.Publisher = producer
	if s.seen != nil {
		pub = &counted{producer, s.seen, producer.Live}
	}
	err = s.Source.Run(ctx, pub)
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), set.Process.DrainTimeout)
	defer cancel()
	return errors.Join(err, producer.Flush(flushing))
}

var _ sources.Burier = (*counted)(nil)

// counted counts what passes.
type counted struct {
	sources.Publisher
	seen *progress
	live func() sources.Publisher
}

// Publish counts what was accepted.
func (c *counted) Publish(topic schemas.Topic, m schemas.Message) error {
	err := c.Publisher.Publish(topic, m)
	if err == nil {
		c.seen.count(1, schemas.TimeOf(m))
	}
	return err
}

// Bury hands a frame that could not be read to the publisher, if that has somewhere to put it.
func (c *counted) Bury(f deadletter.Frame) bool {
	to, ok := c.Publisher.(sources.Burier)
	return ok && to.Bury(f)
}

// Live is for sources that shed quotes and books when the producer is behind, instead of waiting.
func (c *counted) Live() sources.Publisher { return &counted{c.live(), c.seen, c.live} }
