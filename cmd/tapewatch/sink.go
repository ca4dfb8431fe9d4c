package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/sinks/postgres"
	"github.com/tapewatch/tapewatch/sinks/redis"
)

// sinksConfig switches all sinks.
type sinksConfig struct {
	Enabled bool `koanf:"enabled" doc:"Whether up runs any sink; events are on their topic in any case."`
}

// switchConfig switches one sink.
type switchConfig struct {
	Enabled bool `koanf:"enabled" doc:"Whether up runs it; it must be configured too."`
}

// running is a part with a life of its own.
type running interface {
	component
	Run(ctx context.Context) error
}

// sinkNames are the sinks that run as consumer groups of their own; the WebSocket belongs to the API.
var sinkNames = []string{"postgres", "redis"}

// makeSink makes a sink by name.
func (p *process) makeSink(ctx context.Context, name string) (running, error) {
	s := p.app.settings
	types, err := p.app.schemaTypes(ctx)
	if err != nil {
		return nil, err
	}
	switch name {
	case "postgres":
		return postgres.New(s.Postgres, postgres.Deps{Cluster: s.Kafka, SchemaType: types, Log: p.log, Metrics: p.metrics.sinks})
	case "redis":
		return redis.New(s.Redis, redis.Deps{Cluster: s.Kafka, SchemaType: types, Log: p.log, Metrics: p.metrics.sinks})
	}
	return nil, usage("sink %q is unknown: it must be one of %s", name, strings.Join(sinkNames, ", "))
}

// sink starts a sink under supervision. A sink can run once, so each start makes a new one; the heartbeats show the newest.
func (p *process) sink(ctx context.Context, g *errgroup.Group, name string) error {
	first, err := p.makeSink(ctx, name)
	if err != nil {
		return err
	}
	shown := &newest{}
	shown.set(first)
	p.add(shown)
	g.Go(func() error {
		defer shown.close(ctx)
		return supervise(ctx, p.app.settings.Supervision, p.log, "sink "+name, func(ctx context.Context) error {
			sink := shown.take()
			if sink == nil {
				again, err := p.makeSink(ctx, name)
				if err != nil {
					return err
				}
				shown.set(again)
				sink = shown.take()
			}
			return sink.Run(ctx)
		})
	})
	return nil
}

func newSink(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sink NAME...", Short: "Write events to Postgres or Redis", Args: someArgs(1, -1), ValidArgs: sinkNames,
		Long: "Runs each named sink (postgres, redis) as its own consumer group of the events topic. While the system behind a sink is\ndown its group waits and loses nothing; each event is written exactly once.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			for _, name := range args {
				if err := a.settings.sinkConfigured(name); err != nil {
					return err
				}
			}
			return a.runParts(cmd.Context(), func(ctx context.Context, p *process, g *errgroup.Group) error {
				for _, name := range args {
					if err := p.sink(ctx, g, name); err != nil {
						return err
					}
					a.log.Info("sink is starting", slog.String("sink", name))
				}
				return nil
			})
		},
	}
	slotFlags(cmd)
	return cmd
}

// sinkConfigured says why a sink cannot run.
func (s *settings) sinkConfigured(name string) error {
	if !slices.Contains(sinkNames, name) {
		return usage("sink %q is unknown: it must be one of %s", name, strings.Join(sinkNames, ", "))
	}
	if (name == "postgres" && s.Postgres.URL.IsZero()) || (name == "redis" && s.Redis.URL.IsZero()) {
		return usage("sink %s is not configured: set sinks.%s.url", name, name)
	}
	return nil
}

// idleSink says why up leaves a sink out; "" when it runs.
func (s *settings) idleSink(name string) string {
	on := map[string]bool{"postgres": s.PostgresSwitch.Enabled, "redis": s.RedisSwitch.Enabled}[name]
	switch {
	case !s.Sinks.Enabled:
		return "sinks.enabled is false"
	case !on:
		return fmt.Sprintf("sinks.%s.enabled is false", name)
	case s.sinkConfigured(name) != nil:
		return fmt.Sprintf("sinks.%s.url is not set", name)
	}
	return ""
}
