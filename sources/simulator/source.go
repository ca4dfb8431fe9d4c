package simulator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// Source publishes a Market.
type Source struct {
	cfg     Config
	now     func() time.Time
	empty   func(context.Context, []schemas.Topic) (bool, error)
	reached atomic.Int64 // market time
	done    atomic.Bool
}

var _ sources.Source = (*Source)(nil)

// New makes the source. now is the wall clock, which paces a market with a speed and says when "now" is; empty says whether
// topics hold nothing yet, which decides on a backfill: a second one would be late by all that the first one made.
func New(cfg Config, now func() time.Time, empty func(context.Context, []schemas.Topic) (bool, error)) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, now: now, empty: empty}, nil
}

// Name is the source's name.
func (s *Source) Name() string { return s.cfg.Venue + ".simulator" }

// Component says how far the market is.
func (s *Source) Component() *schemas.Component {
	c := &schemas.Component{Kind: "source", Name: s.Name(), State: "healthy"}
	switch {
	case s.done.Load():
		c.Reason = "the simulated market has ended"
	case s.reached.Load() == 0:
		c.State = "starting"
	}
	c.Measures = []*schemas.Measure{{Name: "market_time", Value: float64(s.reached.Load()) / 1e9, Unit: "seconds"}}
	return c
}

// Run publishes until the configured duration has passed or ctx is done: the past of the slow kinds, a Tick, and then second
// after second with a Tick behind each.
func (s *Source) Run(ctx context.Context, p sources.Publisher) (err error) {
	topics := s.cfg.topics()
	if s.cfg.Backfill > 0 {
		fresh, err := s.empty(ctx, topics)
		if err != nil {
			return fmt.Errorf("looking whether there is something to backfill: %w", err)
		}
		if !fresh {
			s.cfg.Backfill = 0
		}
	}
	begun := s.now()
	start := schemas.Time(begun.Add(-s.cfg.Backfill).UnixNano())
	if s.cfg.Start != "now" {
		at, err := time.Parse(time.RFC3339, s.cfg.Start)
		if err != nil {
			return fmt.Errorf("reading simulator.start: %w", err)
		}
		start = schemas.Time(at.UnixNano())
	}
	labels, err := openLabels(s.cfg.Labels)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, labels.close()) }()
	m := NewMarket(s.cfg, start, labels.write)
	first := m.Now()
	tick := func() error {
		s.reached.Store(int64(m.Now()))
		return p.Tick(m.Source(), m.Now(), topics...)
	}
	paced := first
	put := func(topic schemas.Topic, msg schemas.Message) error {
		if at := schemas.TimeOf(msg); s.cfg.Speed > 0 && at >= paced {
			if !s.wait(ctx, begun, at.Sub(first)) {
				return errStopped
			}
			paced = at.Add(time.Duration(s.cfg.Speed * float64(pace)))
		}
		if err := p.Publish(topic, msg); err != nil && !errors.Is(err, sources.ErrShed) {
			return err
		}
		return nil
	}
	if err := m.History(put); err != nil {
		return err
	}
	if err := tick(); err != nil {
		return err
	}
	for ctx.Err() == nil && (s.cfg.Duration == 0 || m.Now().Sub(first) < s.cfg.Duration) {
		if err := m.Second(put); errors.Is(err, errStopped) {
			break
		} else if err != nil {
			return err
		}
		if s.cfg.Speed > 0 && !s.wait(ctx, begun, m.Now().Sub(first)) {
			break
		}
		if err := tick(); err != nil {
			return err
		}
	}
	s.done.Store(ctx.Err() == nil)
	return nil
}

// pace is how often a market with a speed waits for the wall clock: records come in bunches of so long.
const pace = 10 * time.Millisecond

// errStopped says that the context ended in the middle of a second.
var errStopped = errors.New("stopped")

// wait sleeps until the wall clock has reached the market's time, which counts from the end of the backfill; false when ctx ended.
func (s *Source) wait(ctx context.Context, begun time.Time, market time.Duration) bool {
	due := begun.Add(time.Duration(float64(market-s.cfg.Backfill) / s.cfg.Speed))
	d := due.Sub(s.now())
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
