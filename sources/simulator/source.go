package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// Source publishes a Market.
type Source struct {
	cfg     Config
	now     func() time.Time
	reached atomic.Int64 // market time
	done    atomic.Bool
}

var _ sources.Source = (*Source)(nil)

// New makes the source. now is the wall clock, which paces a market with a speed and says when "now" is.
func New(cfg Config, now func() time.Time) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, now: now}, nil
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

// Run publishes until the configured duration has passed or ctx is done. A Tick stands before the first record and after
// every second.
func (s *Source) Run(ctx context.Context, p sources.Publisher) (err error) {
	begun := s.now()
	start := schemas.Time(begun.UnixNano())
	if s.cfg.Start != "now" {
		at, err := time.Parse(time.RFC3339, s.cfg.Start)
		if err != nil {
			return fmt.Errorf("reading simulator.start: %w", err)
		}
		start = schemas.Time(at.UnixNano())
	}
	labels, err := openLabels(s.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, labels.close()) }()
	m := NewMarket(s.cfg, start)
	first := m.Now()
	tick := func() error {
		s.reached.Store(int64(m.Now()))
		if s.cfg.BookInterval > 0 {
			return p.Tick(m.Source(), m.Now(), schemas.MarketTrades, schemas.MarketBooks)
		}
		return p.Tick(m.Source(), m.Now(), schemas.MarketTrades)
	}
	if err := tick(); err != nil {
		return err
	}
	put := func(topic schemas.Topic, msg schemas.Message) error {
		if err := p.Publish(topic, msg); err != nil && !errors.Is(err, sources.ErrShed) {
			return err
		}
		return nil
	}
	for ctx.Err() == nil && (s.cfg.Duration == 0 || m.Now().Sub(first) < s.cfg.Duration) {
		if s.cfg.Speed > 0 && !s.wait(ctx, begun, m.Now().Add(time.Second).Sub(first)) {
			break
		}
		if err := m.Second(put, labels.write); err != nil {
			return err
		}
		if err := tick(); err != nil {
			return err
		}
	}
	s.done.Store(ctx.Err() == nil)
	return nil
}

// wait sleeps until the wall clock has reached the market's time; false when ctx ended.
func (s *Source) wait(ctx context.Context, begun time.Time, market time.Duration) bool {
	due := begun.Add(time.Duration(float64(market) / s.cfg.Speed))
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

// labelFile writes labels as JSON lines; without a path it drops them.
type labelFile struct {
	venue string
	file  *os.File
	err   error
}

func openLabels(cfg Config) (*labelFile, error) {
	l := &labelFile{venue: cfg.Venue}
	if cfg.Labels == "" {
		return l, nil
	}
	f, err := os.Create(cfg.Labels)
	if err != nil {
		return nil, fmt.Errorf("creating the file of labels: %w", err)
	}
	l.file = f
	return l, nil
}

func (l *labelFile) write(label Label) {
	if l.file == nil || l.err != nil {
		return
	}
	label.Venue = l.venue
	line, err := json.Marshal(label)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	l.err = err
}

func (l *labelFile) close() error {
	if l.file == nil {
		return nil
	}
	if err := errors.Join(l.err, l.file.Close()); err != nil {
		return fmt.Errorf("writing labels: %w", err)
	}
	return nil
}
