package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
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
	// live sources shed quotes and books when the producer is behind; others wait.
	live bool
	make func(p *process) (sources.Source, error)
}

func sourceMakers() []sourceMaker {
	return []sourceMaker{
		{"simulator", false, func(p *process) (sources.Source, error) { return simulator.New(p.app.settings.Simulator, time.Now) }},
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
	shown.set(&attached{Source: first, process: p, live: m.live, seen: seen})
	p.add(shown)
	g.Go(func() error {
		err := supervise(ctx, p.app.settings.Supervision, p.log, "source "+name, func(ctx context.Context) error {
			part := shown.take()
			if part == nil {
				again, err := m.make(p)
				if err != nil {
					return err
				}
				shown.set(&attached{Source: again, process: p, live: m.live, seen: seen})
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
	live    bool
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
	if s.live {
		pub = producer.Live()
	}
	if s.seen != nil {
		pub = &counted{pub, s.seen}
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
}

func (c *counted) Publish(topic schemas.Topic, m schemas.Message) error {
	err := c.Publisher.Publish(topic, m)
	if err == nil {
		c.seen.count(1, schemas.TimeOf(m))
	}
	return err
}

// ingestFlags are the flags of ingest.
type ingestFlags struct {
	once bool
}

func newIngest(a *app) *cobra.Command {
	var f ingestFlags
	cmd := &cobra.Command{
		Use: "ingest [SOURCE...]", Short: "Read market data into the topics", ValidArgs: sourceNames(), Args: someArgs(0, -1),
		Long:    "Runs the named sources, or those of sources.use. Each has a producer of its own: idempotent, bounded in memory.\nWithout --once the process goes on when its sources have ended.",
		Example: "tapewatch ingest simulator --once -s simulator.duration=10s -s simulator.speed=0",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			names := args
			if len(names) == 0 {
				names = a.settings.Sources.Use
			}
			if len(names) == 0 {
				return usage("no source: name one of %s, or set sources.use", strings.Join(sourceNames(), ", "))
			}
			return a.ingest(cmd.Context(), names, f)
		},
	}
	cmd.Flags().BoolVar(&f.once, "once", false, "end when every source has come to its end")
	slotFlags(cmd)
	return cmd
}

func (a *app) ingest(ctx context.Context, names []string, f ingestFlags) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	seen := startProgress(a, "ingest", -1)
	defer seen.done()
	open := make(chan struct{}, len(names))
	for range names {
		open <- struct{}{}
	}
	left := func() {
		<-open
		if f.once && len(open) == 0 {
			end()
		}
	}
	return a.runParts(ctx, func(ctx context.Context, p *process, g *errgroup.Group) error {
		for _, name := range names {
			if err := p.source(ctx, g, name, seen, left); err != nil {
				return err
			}
		}
		return nil
	})
}
