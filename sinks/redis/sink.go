package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Deps are what the sink gets from the process.
type Deps struct {
	Cluster cluster.Config
	// SchemaType resolves the schema ids of registry framing; nil where there is no registry.
	SchemaType func(id uint32, index []int) (string, error)
	Log        *slog.Logger
	Metrics    *sinks.Metrics
}

// Sink writes the events topic into Redis.
type Sink struct {
	*sinks.Consumer
	writer *writer
}

// New makes the sink. It does not connect yet: a Redis that is down at start is waited for.
func New(c Config, d Deps) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	w, err := newWriter(c, d.Log)
	if err != nil {
		return nil, err
	}
	consumer, err := sinks.New(sinks.Options{
		Name: "redis", Cluster: d.Cluster, Config: c.Sink, Writer: w, Topics: []schemas.Topic{schemas.Events},
		SchemaType: d.SchemaType, Log: d.Log, Metrics: d.Metrics,
	})
	if err != nil {
		return nil, err
	}
	return &Sink{Consumer: consumer, writer: w}, nil
}

// Run consumes until ctx is done, then closes the connections. It can be called once.
func (s *Sink) Run(ctx context.Context) error {
	err := errors.Join(s.Consumer.Run(ctx), s.writer.client.Close())
	if err != nil {
		return fmt.Errorf("writing events to Redis: %w", err)
	}
	return nil
}

// Rebuild makes the sink, running in this process or another, build everything again from the start of the topic. It takes
// effect with the next event, or at the next start.
func (s *Sink) Rebuild(ctx context.Context) error {
	if err := s.writer.rebuild(ctx); err != nil {
		return fmt.Errorf("rebuilding Redis: %w", err)
	}
	return nil
}
