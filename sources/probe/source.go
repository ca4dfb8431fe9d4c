package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// name is the source's, and the venue of its own health: that is not the health of a venue.
const name = "probe"

// Options make a source.
type Options struct {
	Config Config
	// UserAgent names us to the venues.
	UserAgent string
	// Once ends the run after one round.
	Once    bool
	Metrics *sources.Metrics
	Log     *slog.Logger
}

// Source probes venues round by round.
type Source struct {
	opt     Options
	targets []target
	client  *http.Client
	state   atomic.Pointer[schemas.Component]

	out    sources.Publisher
	clock  schemas.Time // of what was published last
	ticked schemas.Time
	rounds uint32       // since the last health record
	heard  schemas.Time // when a venue was last well
	fails  uint32       // times that none was any more
	blind  bool         // none was in the last round
}

var _ sources.Source = (*Source)(nil)

// New makes the source.
func New(o Options) (*Source, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // a connection that stands would hide that no new one comes about
	s := &Source{opt: o, client: &http.Client{Timeout: o.Config.Timeout, Transport: transport}}
	for _, n := range o.Config.Targets {
		s.targets = append(s.targets, o.Config.target(n))
	}
	s.report("starting", "no round yet")
	return s, nil
}

// Name is "probe".
func (s *Source) Name() string { return name }

// Component says how the source is.
func (s *Source) Component() *schemas.Component { return s.state.Load() }

func (s *Source) report(state, reason string) {
	s.state.Store(&schemas.Component{Kind: "source", Name: name, State: state, Reason: reason})
}

// Why a round says nothing of the venues, or of one.
var (
	errBlind   = errors.New("no venue answers as it should: the fault is on our side")
	errRefused = errors.New("the venue does not want to be asked by us")
)

// Run probes until ctx is done, or once.
func (s *Source) Run(ctx context.Context, p sources.Publisher) error {
	s.out = p
	step := time.NewTicker(time.Second)
	defer step.Stop()
	found := make(chan []finding, 1)
	var rounds sync.WaitGroup
	defer rounds.Wait()
	due := now()
	for asking := false; ; {
		if at := now(); !asking && at >= due {
			asking, due = true, at.Add(s.opt.Config.Every)
			rounds.Go(func() { found <- s.round(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-step.C:
			if err := s.second(now().Floor(time.Second)); err != nil {
				return err
			}
		case round := <-found:
			asking = false
			if ctx.Err() != nil {
				return nil // what came of calls that were cut off says nothing
			}
			if err := s.tell(round, now()); err != nil {
				return err
			}
			if s.opt.Once {
				return errors.Join(s.second(s.clock.Floor(time.Second).Add(time.Second)), s.seen())
			}
		}
	}
}

// seen is an error when the only round has seen nothing.
func (s *Source) seen() error {
	if s.blind {
		return fmt.Errorf("probing venues: %w", errBlind)
	}
	return nil
}

// round asks all venues at once.
func (s *Source) round(ctx context.Context) []finding {
	defer s.client.CloseIdleConnections()
	out := make([]finding, len(s.targets))
	var calls sync.WaitGroup
	for i, t := range s.targets {
		calls.Go(func() { out[i] = ask(ctx, s.client, s.opt.UserAgent, t) })
	}
	calls.Wait()
	return out
}

// tell publishes what a round says of the venues; of one that none answers it says nothing of them, and of ourselves in health.
func (s *Source) tell(round []finding, at schemas.Time) error {
	at = max(at, s.clock+1, s.ticked+1)
	if err := s.tick((at - 1).Floor(time.Second)); err != nil {
		return err
	}
	s.clock = at
	s.rounds++
	if ours(round) {
		if !s.blind {
			s.fails++
			s.warn(errBlind, &round[0])
		}
		s.blind = true
		s.report("blind", errBlind.Error())
		return nil
	}
	s.blind, s.heard = false, at
	s.report("healthy", "")
	for i := range round {
		f := &round[i]
		if f.refuses() {
			s.warn(errRefused, f)
			continue
		}
		v := &schemas.VenueStatus{Meta: &schemas.Meta{
			Source: name, Venue: f.venue, Symbol: "ALL", Id: name + "/" + f.scope + "/" + at.String(),
			EventTime: int64(at), ReceiveTime: int64(at), TimeSource: schemas.TimeSource_TIME_SOURCE_RECEIPT, SequenceKind: schemas.SequenceKind_SEQUENCE_KIND_NONE,
		}}
		f.said(v)
		if err := s.out.Publish(schemas.VenuesStatus, v); err != nil && !errors.Is(err, sources.ErrShed) {
			return fmt.Errorf("publishing what a probe found: %w", err)
		}
	}
	return nil
}

// warn logs what is wrong about a round, with an example.
func (s *Source) warn(what error, f *finding) {
	if s.opt.Log != nil {
		s.opt.Log.Warn("a probe says nothing", slog.Any("reason", what), slog.String("venue", f.venue), slog.Int("status", f.status), slog.Any("error", f.err))
	}
}

// second publishes our own health, and the source's time.
func (s *Source) second(at schemas.Time) error {
	if at <= s.ticked {
		return nil
	}
	if s.ticked == 0 { // a Tick goes ahead of the first record
		if err := s.tick(at.Add(-time.Second)); err != nil {
			return err
		}
	}
	h := &schemas.FeedHealth{
		Meta: &schemas.Meta{
			Source: name, Venue: name, Symbol: "all", Id: "rounds/" + at.String(), EventTime: int64(at), ReceiveTime: int64(at),
			TimeSource: schemas.TimeSource_TIME_SOURCE_RECEIPT, SequenceKind: schemas.SequenceKind_SEQUENCE_KIND_NONE,
		},
		Channel: "rounds", Records: s.rounds, Connected: !s.blind && s.heard != 0, Reconnects: s.fails, OthersAlive: s.opt.Metrics.Pulse.Others(name, at),
	}
	if s.heard != 0 {
		h.SilentNs = new(uint64(max(at.Sub(s.heard), 0)))
	}
	if err := s.out.Publish(schemas.VenuesStatus, h); err != nil && !errors.Is(err, sources.ErrShed) {
		return fmt.Errorf("publishing the health of the probe: %w", err)
	}
	s.rounds = 0
	return s.tick(at)
}

func (s *Source) tick(at schemas.Time) error {
	if at <= s.ticked {
		return nil
	}
	s.ticked = at
	return s.out.Tick(name, at, schemas.VenuesStatus)
}

// now reads the receipt clock.
func now() schemas.Time {
	return schemas.Time(time.Now().UnixNano()) //nolint:forbidigo // the receipt clock; everything else gets it from here
}

// A Call is one that a configuration makes.
type Call struct{ Venue, Scope, Address string }

// Calls lists what a configuration asks, in its order.
func (c Config) Calls() []Call {
	var out []Call
	for _, n := range c.Targets {
		t := c.target(n)
		out = append(out, Call{t.venue, t.scope, t.address + t.path})
	}
	return out
}

// target is what is asked, at the address of the configuration.
func (c Config) target(n string) target {
	t := targets[n]
	if own := c.Addresses[n]; own != "" {
		t.address = own
	}
	return t
}
