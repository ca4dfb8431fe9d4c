package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

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
	// Now is the wall clock, by which months are made ahead and retention counts: time.Now where nil.
	Now func() time.Time
}

// Sink writes the events topic into PostgreSQL.
type Sink struct {
	*sinks.Consumer
	writer *writer
}

// New makes the sink. It does not connect yet: a database that is down at start is waited for.
func New(c Config, d Deps) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now //nolint:forbidigo // months are made ahead, and dropped, by the wall clock
	}
	pool, err := newPool(c)
	if err != nil {
		return nil, err
	}
	w := &writer{config: c, pool: pool, log: d.Log, now: d.Now}
	consumer, err := sinks.New(sinks.Options{
		Name: "postgres", Cluster: d.Cluster, Config: c.Sink, Writer: w, Topics: []schemas.Topic{schemas.Events},
		SchemaType: d.SchemaType, Log: d.Log, Metrics: d.Metrics,
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Sink{Consumer: consumer, writer: w}, nil
}

// Run consumes until ctx is done, then closes the connections. It can be called once.
func (s *Sink) Run(ctx context.Context) error {
	defer s.writer.pool.Close()
	if err := s.Consumer.Run(ctx); err != nil {
		return fmt.Errorf("writing events to PostgreSQL: %w", err)
	}
	return nil
}
