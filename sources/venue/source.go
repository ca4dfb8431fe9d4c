package venue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Source is one market of a venue, live or played from a capture.
type Source struct {
	spec    *Spec
	cfg     Config
	log     *slog.Logger
	metrics *sources.Metrics
	state   atomic.Pointer[schemas.Component]
}

var _ sources.Source = (*Source)(nil)

// Settings are a connector's configuration.
type Settings interface {
	Validate() error
	// Spec describes the market as it is configured.
	Spec() (*Spec, error)
	// Common is the part that every connector has.
	Common() Config
}

// New makes a market's source.
func New(settings Settings, log *slog.Logger, metrics *sources.Metrics) (*Source, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	spec, err := settings.Spec()
	if err != nil {
		return nil, err
	}
	return NewSource(spec, settings.Common(), log, metrics), nil
}

// NewSource makes a source of a spec, from settings that were validated.
func NewSource(spec *Spec, cfg Config, log *slog.Logger, metrics *sources.Metrics) *Source {
	if cfg.Name == "" {
		cfg.Name = spec.SourceName()
	}
	s := &Source{spec: spec, cfg: cfg, log: log, metrics: metrics}
	s.report("starting", "no data yet")
	return s
}

// Name returns the source's name, the Meta.source of its records.
func (s *Source) Name() string { return s.cfg.Name }

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
	frames := make(chan capture.Frame, 4096)
	lines := s.dial(frames)
	m, err := NewMachine(s.spec, s.cfg, p, s.metrics, s.log, lines.hands(s.spec))
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	lines.run(gctx, group, s.spec, frames)
	group.Go(func() error { return s.loop(gctx, m, frames) })
	if err := group.Wait(); ctx.Err() == nil {
		s.report("unhealthy", err.Error())
		return fmt.Errorf("reading %s: %w", s.Name(), err)
	}
	return nil
}

// lines are the ways to a venue.
type lines struct {
	fetcher *transport.Fetcher
	options []transport.Options
	listed  chan struct{} // closed when it is known what contracts count
	bySlot  map[string]slot
	log     *slog.Logger
}

// slot is what a machine can ask of a connection.
type slot struct {
	requests       chan []byte
	renew, settled chan struct{}
}

// outbox bounds the requests that wait for a connection.
const outbox = 256

func (s *Source) dial(frames chan<- capture.Frame) *lines {
	l := &lines{bySlot: map[string]slot{}, listed: make(chan struct{}), log: s.log}
	l.fetcher = transport.NewFetcher(transport.FetchOptions{
		Conn: s.Name() + ".http", PerMinute: s.cfg.RequestsPerMinute, BackoffMax: s.cfg.BackoffMax, Log: s.log,
	}, frames)
	for i, c := range s.spec.Connections {
		at := slot{make(chan []byte, outbox), make(chan struct{}, 1), make(chan struct{}, 1)}
		o := transport.Options{
			Slot: s.Name() + "." + strconv.Itoa(i), URL: c.URL, Send: c.Send, Ping: c.Ping, PingEvery: c.PingEvery, IsData: s.spec.IsData,
			Requests: at.requests, Renew: at.renew, Settled: at.settled,
			Silence: s.cfg.Silence, MaxAge: s.cfg.MaxAge, BackoffMax: s.cfg.BackoffMax, Log: s.log,
		}
		l.options = append(l.options, o)
		l.bySlot[o.Slot] = at
	}
	return l
}

// hands are what the machine can do. They do not wait: they are called from the loop that owns it.
func (l *lines) hands(spec *Spec) Hands {
	return Hands{
		Recover: func(slot, venueSymbol string) {
			r := spec.Recover(venueSymbol)
			if r.Get != "" {
				l.fetcher.Get(r.Get)
			}
			for _, request := range r.Send {
				select {
				case l.bySlot[slot].requests <- request:
				default:
					// The machine asks again when no snapshot comes.
					if l.log != nil {
						l.log.Warn("request not sent: too many wait", "slot", slot, "symbol", venueSymbol)
					}
				}
			}
		},
		Get:     l.fetcher.Get,
		Listed:  func() { close(l.listed) },
		Renew:   func(slot string) { signal(l.bySlot[slot].renew) },
		Settled: func(slot string) { signal(l.bySlot[slot].settled) },
	}
}

// signal leaves word for who reads c, unless there is some already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps every connection and works off the requests until ctx is done.
func (l *lines) run(ctx context.Context, group *errgroup.Group, spec *Spec, frames chan<- capture.Frame) {
	group.Go(func() error { return l.fetcher.Run(ctx) })
	for i, o := range l.options {
		group.Go(func() error {
			if spec.Connections[i].Counts {
				select {
				case <-l.listed:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return transport.Dial(ctx, o, frames)
		})
	}
	for _, g := range spec.Gets {
		l.fetcher.Get(g.URL)
		if g.Every == 0 {
			continue
		}
		group.Go(func() error {
			every := time.NewTicker(g.Every)
			defer every.Stop()
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-every.C:
					l.fetcher.Get(g.URL)
				}
			}
		})
	}
}

// loop owns the machine: it hands it the frames and the steps of the clock, and records what it hands over.
func (s *Source) loop(ctx context.Context, m *Machine, frames <-chan capture.Frame) (err error) {
	pump := feed.NewPump(m)
	const flush = 5 * time.Second
	rotation := capture.DefaultRotation()
	rotation.Every = s.cfg.CaptureEvery
	rec, err := capture.Record(s.cfg.Capture, s.Name(), rotation, flush)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.Close()) }()
	step := time.NewTicker(feed.Step)
	defer step.Stop()
	var latest schemas.Time
	take := func(f capture.Frame) error {
		// Sockets race, and a frame may have waited while the clock stepped on: stamps go forward, so that the capture plays
		// back in this order.
		latest = max(latest, f.At, pump.Reached())
		f.At = latest
		if err := rec.Write(f); err != nil {
			return err
		}
		return pump.Frame(f)
	}
	peers := false
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-frames:
			if f.Kind == capture.Receive && s.spec.IsData(f.Data) {
				s.metrics.Pulse.Beat(s.Name(), f.At)
			}
			if err := take(f); err != nil {
				return err
			}
		case at := <-step.C:
			if alive := s.metrics.Pulse.Others(s.Name(), schemas.Time(at.UnixNano())); alive != peers {
				peers = alive
				if err := take(peersFrame(s.Name(), at, alive)); err != nil {
					return err
				}
			}
			if err := pump.Advance(schemas.Time(at.UnixNano())); err != nil {
				return err
			}
			if n%10 == 0 {
				s.describe(m)
			}
		}
	}
}

// peersFrame says whether other sources of the process receive data. It is a frame, so that a capture plays back alike.
func peersFrame(source string, at time.Time, alive bool) capture.Frame {
	f := capture.Frame{Kind: capture.Peers, Conn: source, At: schemas.Time(at.UnixNano()), Data: []byte("0")}
	if alive {
		f.Data = []byte("1")
	}
	return f
}

// quiet is how long a stream may have no record before the source's state names it.
const quiet = 5 * time.Minute

// describe brings the state up to date.
func (s *Source) describe(m *Machine) {
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
	case len(m.unlisted) > 0:
		s.report("stale", "contracts wait for the list of what they count", measures...)
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
	m, err := NewMachine(s.spec, s.cfg, p, s.metrics, s.log, Hands{})
	if err != nil {
		return err
	}
	s.report("healthy", "playing "+s.cfg.Play)
	frames, err := feed.Play(ctx, r, m, s.cfg.Speed)
	if ctx.Err() != nil {
		s.report("healthy", "stopped")
		return nil
	}
	if err == nil {
		err = r.Judge(frames)
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
