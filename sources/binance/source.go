package binance

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/transport"
)

// Source is one market of Binance, live or played from a capture.
type Source struct {
	cfg     Config
	log     *slog.Logger
	metrics *sources.Metrics
	state   atomic.Pointer[schemas.Component]
}

var _ sources.Source = (*Source)(nil)

// venue is the Meta.venue of both markets: their symbols differ.
const venue = "binance"

// New makes a source.
func New(cfg Config, log *slog.Logger, metrics *sources.Metrics) (*Source, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, log: log, metrics: metrics}
	s.report("starting", "no data yet")
	return s, nil
}

// Name returns the source's name, the Meta.source of its records.
func (s *Source) Name() string { return s.cfg.sourceName() }

// Component says how the source is.
func (s *Source) Component() *schemas.Component { return s.state.Load() }

func (s *Source) report(state, reason string, measures ...*schemas.Measure) {
	s.state.Store(&schemas.Component{Kind: "source", Name: s.Name(), State: state, Reason: reason, Measures: measures})
}

// Run reads the venue until ctx is done, or plays the capture to its end.
func (s *Source) Run(ctx context.Context, p sources.Publisher) error {
	if s.cfg.Play != "" {
		return s.play(ctx, p)
	}
	if l, ok := p.(interface{ Live() sources.Publisher }); ok {
		p = l.Live()
	}
	addresses, err := s.cfg.connections()
	if err != nil {
		return err
	}
	frames := make(chan capture.Frame, 4096)
	fetcher := transport.NewFetcher(transport.FetchOptions{
		Conn: s.Name() + ".http", PerMinute: s.cfg.SnapshotsPerMinute, BackoffMax: s.cfg.BackoffMax, Log: s.log,
	}, frames)
	m, err := newMachine(s.cfg, newCore(s.cfg, p, s.metrics, s.log), func(v string) { fetcher.Get(s.cfg.snapshotURL(v)) })
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return fetcher.Run(gctx) })
	for i, address := range addresses {
		group.Go(func() error {
			return transport.Dial(gctx, transport.Options{
				Slot: s.Name() + "." + strconv.Itoa(i), URL: address, IsData: isData,
				Silence: s.cfg.Silence, MaxAge: s.cfg.MaxAge, BackoffMax: s.cfg.BackoffMax, Log: s.log,
			}, frames)
		})
	}
	group.Go(func() error { return s.loop(gctx, m, frames) })
	if err := group.Wait(); ctx.Err() == nil {
		s.report("unhealthy", err.Error())
		return fmt.Errorf("reading %s: %w", s.Name(), err)
	}
	return nil
}

// isData tells data from answers to requests.
func isData(raw []byte) bool {
	return !bytes.HasPrefix(raw, []byte(`{"result"`)) && !bytes.HasPrefix(raw, []byte(`{"error"`)) && !bytes.HasPrefix(raw, []byte(`{"id"`))
}

// loop owns the machine: it hands it the frames and the steps of the clock, and records what it hands over.
func (s *Source) loop(ctx context.Context, m *machine, frames <-chan capture.Frame) error {
	pump := feed.NewPump(m)
	rec, err := s.record()
	if err != nil {
		return err
	}
	defer rec.close(s.log)
	step := time.NewTicker(feed.Step)
	defer step.Stop()
	var latest schemas.Time
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-frames:
			// Sockets race, and a frame may have waited while the clock stepped on: stamps go forward, so that the capture
			// plays back in this order.
			latest = max(latest, f.At, pump.Reached())
			f.At = latest
			if err := rec.write(f); err != nil {
				return err
			}
			if err := pump.Frame(f); err != nil {
				return err
			}
		case at := <-step.C:
			if err := pump.Advance(schemas.Time(at.UnixNano())); err != nil {
				return err
			}
			if n%10 == 0 {
				s.describe(m)
			}
		}
	}
}

// quiet is how long a stream may have no record before the source's state names it.
const quiet = 5 * time.Minute

// describe brings the state up to date.
func (s *Source) describe(m *machine) {
	core := m.core
	skew, timed := core.Clock.Skew()
	unknown, rejected := core.Counts()
	measures := []*schemas.Measure{
		{Name: "reconnects", Value: float64(core.Health.Reconnects())},
		{Name: "unknown_messages", Value: float64(unknown)},
		{Name: "rejected", Value: float64(rejected)},
	}
	if timed {
		measures = append(measures, &schemas.Measure{Name: "skew", Value: skew.Seconds(), Unit: "seconds"})
	}
	silent, all := core.Health.Silent(core.Clock.Now(), quiet)
	switch {
	case !core.Health.Connected():
		s.report("unhealthy", "no connection", measures...)
	case len(silent) == 0:
		s.report("healthy", "", measures...)
	case len(silent) == all:
		s.report("blind", "no stream has data", measures...)
	default:
		const most = 5
		s.report("stale", fmt.Sprintf("%d of %d streams silent: %q", len(silent), all, silent[:min(len(silent), most)]), measures...)
	}
}

// play runs the capture file.
func (s *Source) play(ctx context.Context, p sources.Publisher) error {
	r, err := capture.Open(s.cfg.Play)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	m, err := newMachine(s.cfg, newCore(s.cfg, p, s.metrics, s.log), nil)
	if err != nil {
		return err
	}
	s.report("healthy", "playing "+s.cfg.Play)
	frames, err := feed.Play(ctx, r, m, s.cfg.Speed)
	if ctx.Err() != nil {
		s.report("healthy", "stopped")
		return nil
	}
	if err != nil {
		s.report("unhealthy", err.Error())
		return fmt.Errorf("playing %s: %w", s.cfg.Play, err)
	}
	bad, last := r.Bad()
	s.report("healthy", fmt.Sprintf("played %d frames", frames))
	if s.log != nil {
		s.log.Info("capture played", "file", s.cfg.Play, "frames", frames, "unreadable_lines", bad, "last_unreadable", last)
	}
	return nil
}

// recorder writes the capture of a run, if there is to be one.
type recorder struct {
	out     *capture.Writer
	flushed schemas.Time
}

// record opens a new capture file, named for the source and the moment.
func (s *Source) record() (*recorder, error) {
	if s.cfg.Capture == "" {
		return &recorder{}, nil
	}
	started := time.Now().UTC() //nolint:forbidigo // names the file; reaches no record
	path := filepath.Join(s.cfg.Capture, s.Name()+"-"+started.Format("20060102T150405.000000")+".jsonl.zst")
	out, err := capture.Create(path, s.Name(), schemas.Time(started.UnixNano()))
	if err != nil {
		return nil, err
	}
	return &recorder{out: out}, nil
}

func (r *recorder) write(f capture.Frame) error {
	if r.out == nil {
		return nil
	}
	if err := r.out.Write(f); err != nil {
		return err
	}
	const every = 5 * time.Second
	if f.At.Sub(r.flushed) < every {
		return nil
	}
	r.flushed = f.At
	return r.out.Flush()
}

func (r *recorder) close(log *slog.Logger) {
	if r.out == nil {
		return
	}
	if err := r.out.Close(); err != nil && log != nil {
		log.Error("capture not closed", "error", err)
	}
}

// sourceName is the configured name, or that of the market.
func (c Config) sourceName() string {
	if c.Name != "" {
		return c.Name
	}
	return venue + "." + c.Market
}

// topics are those that the source's keys live on.
func (c Config) topics() []schemas.Topic {
	topics := []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks}
	if c.Market == USDM {
		topics = append(topics, schemas.MarketDerivatives)
	}
	return append(topics, schemas.VenuesStatus)
}

func newCore(c Config, p sources.Publisher, metrics *sources.Metrics, log *slog.Logger) *feed.Core {
	clock := feed.DefaultClock()
	clock.Delay = c.TickDelay
	return feed.NewCore(feed.Options{
		Source: c.sourceName(), Venue: venue, Clock: clock, Topics: c.topics(), Publisher: p, Metrics: metrics, Log: log,
	})
}
