package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/binance"
	"github.com/tapewatch/tapewatch/sources/simulator"
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

func sourceMakers() []sourceMaker {
	return []sourceMaker{
		{"simulator", func(p *process) (sources.Source, error) { return simulator.New(p.app.settings.Simulator, time.Now) }},
		{"binance", func(p *process) (sources.Source, error) {
			return binance.New(p.app.settings.Binance, p.log, p.metrics.sources)
		}},
		{"binance_usdm", func(p *process) (sources.Source, error) {
			return binance.New(p.app.settings.BinanceUSDM, p.log, p.metrics.sources)
		}},
	}
}

func sourceNames() []string {
	var names []string
	for _, m := range sourceMakers() {
		names = append(names, m.name)
	}
	return names
}

// source starts a source under supervision, with a producer of its own. A source that has come to its end is not started
// again; left is called then.
func (p *process) source(ctx context.Context, g *errgroup.Group, name string, seen *progress, left func()) error {
	makers := sourceMakers()
	i := slices.IndexFunc(makers, func(m sourceMaker) bool { return m.name == name })
	if i < 0 {
		return usage("source %q is unknown: it must be one of %s", name, strings.Join(sourceNames(), ", "))
	}
	m := makers[i]
	first, err := m.make(p)
	if err != nil {
		return fmt.Errorf("making source %s: %w", name, err)
	}
	shown := &newest{}
	shown.set(&attached{Source: first, process: p, seen: seen})
	p.add(shown)
	g.Go(func() error {
		err := supervise(ctx, p.app.settings.Supervision, p.log, "source "+name, func(ctx context.Context) error {
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
		if err == nil && ctx.Err() == nil {
			p.log.Info("source has come to its end", slog.String("source", name))
			left()
		}
		return err
	})
	return nil
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

// Live is for sources that shed quotes and books when the producer is behind, instead of waiting.
func (c *counted) Live() sources.Publisher { return &counted{c.live(), c.seen, c.live} }
