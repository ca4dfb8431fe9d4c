package files

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// Source reads one file.
type Source struct {
	cfg     Config
	log     *slog.Logger
	metrics *sources.Metrics

	rows, bad atomic.Uint64
	state     atomic.Pointer[schemas.Component]
}

var _ sources.Source = (*Source)(nil)

// New makes a source of a file.
func New(cfg Config, log *slog.Logger, metrics *sources.Metrics) (*Source, error) {
	if cfg.Name == "" {
		cfg.Name = "file"
	}
	if cfg.Format == "" {
		cfg.Format = Tape
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, log: log, metrics: metrics}
	s.report("starting", "")
	return s, nil
}

// Name returns the configured name.
func (s *Source) Name() string { return s.cfg.Name }

// Component says how far the source is.
func (s *Source) Component() *schemas.Component {
	c := s.state.Load()
	return &schemas.Component{
		Kind: c.Kind, Name: c.Name, State: c.State, Reason: c.Reason,
		Measures: []*schemas.Measure{{Name: "rows", Value: float64(s.rows.Load())}, {Name: "bad_rows", Value: float64(s.bad.Load())}},
	}
}

func (s *Source) report(state, reason string) {
	s.state.Store(&schemas.Component{Kind: "source", Name: s.cfg.Name, State: state, Reason: reason})
}

// Run reads the file to its end.
func (s *Source) Run(ctx context.Context, p sources.Publisher) error {
	s.report("healthy", "reading "+s.cfg.Path)
	read := s.csv
	if s.cfg.Format == Tape {
		read = s.tape
	}
	err := read(ctx, p)
	if ctx.Err() != nil {
		s.report("healthy", "stopped")
		return nil //nolint:nilerr // stopping is no failure
	}
	if err != nil {
		s.report("unhealthy", err.Error())
		return fmt.Errorf("reading %s: %w", s.cfg.Path, err)
	}
	s.report("healthy", "read to the end")
	if s.log != nil {
		s.log.Info("file read", "path", s.cfg.Path, "rows", s.rows.Load(), "bad_rows", s.bad.Load())
	}
	return nil
}

// count adds rows that were read.
func (s *Source) count(n int) uint64 {
	const every = 1024
	total := s.rows.Add(uint64(n))
	if total%every == 0 {
		s.metrics.Frames.WithLabelValues(s.cfg.Name).Add(every)
	}
	return total
}

// skip counts a row that cannot be read, and names the first of them; where are the attributes that say which it is.
func (s *Source) skip(err error, where ...any) {
	const shown = 10
	s.metrics.Rejected.WithLabelValues(s.cfg.Name, "row").Inc()
	if n := s.bad.Add(1); n <= shown && s.log != nil {
		s.log.With(where...).Warn("row skipped", "path", s.cfg.Path, "error", err, "count", n)
	}
}
