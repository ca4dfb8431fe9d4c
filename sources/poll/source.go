package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// Options make a source.
type Options struct {
	Config Config
	Client *Client
	// Past finds what the runs before left; nil starts from nothing and saves nothing.
	Past func(ctx context.Context, source string, topics []schemas.Topic) (Past, error)
	// Once ends the run when every job that is due has had its turn.
	Once bool
	// Play is a recording to read in place of the service, as fast as it goes.
	Play    string
	Metrics *Metrics
	Shared  *sources.Metrics
	Log     *slog.Logger
}

// Source asks one service, or plays a recording of it.
type Source struct {
	poller Poller
	opt    Options
	state  atomic.Pointer[schemas.Component]
}

var _ sources.Source = (*Source)(nil)

// New makes a source.
func New(p Poller, opt Options) (*Source, error) {
	if err := opt.Config.Validate(); err != nil {
		return nil, err
	}
	s := &Source{poller: p, opt: opt}
	s.report("starting", "no answer yet")
	return s, nil
}

// Name is the poller's.
func (s *Source) Name() string { return s.poller.Name() }

// Component says how the source is.
func (s *Source) Component() *schemas.Component { return s.state.Load() }

func (s *Source) report(state, reason string, measures ...*schemas.Measure) {
	s.state.Store(&schemas.Component{Kind: "source", Name: s.Name(), State: state, Reason: reason, Measures: measures})
}

// message carries a job's frame to the loop, and brings the verdict back. A message without a frame asks for the job's first
// request.
type message struct {
	job   string
	frame *capture.Frame
	reply chan verdict
}

// run is one live run.
type run struct {
	*Source
	machine  *machine
	out      sources.Publisher
	recorder *capture.Recorder
	messages chan message
	latest   schemas.Time

	mu     sync.Mutex       // guards failed
	failed map[string]error // by job, with Once: why its turn came to nothing
}

// Unanswered says which jobs of a run with Once came to nothing, and why. What the others gave is published.
type Unanswered struct {
	Jobs map[string]error
	// Asked is how many jobs were due.
	Asked int
}

// Unwrap gives the reasons.
func (u *Unanswered) Unwrap() []error { return slices.Collect(maps.Values(u.Jobs)) }

// Error names the jobs in order; of many the first few.
func (u *Unanswered) Error() string {
	const most = 5
	names := slices.Sorted(maps.Keys(u.Jobs))
	var why []string
	for _, name := range names[:min(len(names), most)] {
		why = append(why, name+": "+u.Jobs[name].Error())
	}
	if more := len(names) - most; more > 0 {
		why = append(why, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%d of %d jobs came to nothing: %s", len(names), u.Asked, strings.Join(why, "; "))
}

// Run asks until ctx is done, or plays the recording to its end. With Once it ends with an Unanswered when a job that was due
// came to nothing.
func (s *Source) Run(ctx context.Context, p sources.Publisher) error {
	if s.opt.Play != "" {
		return s.play(ctx, p)
	}
	err := s.live(ctx, p)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // stopping is no failure
	}
	if err != nil {
		if _, part := errors.AsType[*Unanswered](err); !part { // else describe has said how the source is
			s.report("unhealthy", err.Error())
		}
		return fmt.Errorf("polling %s: %w", s.Name(), err)
	}
	return nil
}

func (s *Source) live(ctx context.Context, p sources.Publisher) (err error) {
	var past Past
	if s.opt.Past != nil {
		if past, err = s.opt.Past(ctx, s.Name(), s.poller.Topics()); err != nil {
			return fmt.Errorf("finding out where the last run ended: %w", err)
		}
	}
	r := &run{
		Source: s, out: p, messages: make(chan message), failed: map[string]error{},
		machine: newMachine(s.poller, p, s.opt.Metrics, s.opt.Shared, s.opt.Log),
	}
	if r.recorder, err = capture.Record(s.opt.Config.Capture, s.Name(), capture.DefaultRotation(), 0); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.recorder.Close()) }()
	at := now()
	due, waits := s.due(at, past)
	open, err := openingFrame(s.Name(), at, due, past)
	if err != nil {
		return err
	}
	if _, err := r.take(open); err != nil {
		return err
	}
	return r.loop(ctx, waits)
}

// due lists the jobs whose turn has come, and says how long each job waits for its first.
func (s *Source) due(at schemas.Time, past Past) (due []string, waits map[string]time.Duration) {
	waits = map[string]time.Duration{}
	for _, j := range s.poller.Jobs() {
		wait := time.Duration(0)
		for _, st := range past.States {
			if st.GetJob() == j.Name {
				wait = max(schemas.Time(st.GetPolled()).Add(j.Every).Sub(at), 0)
			}
		}
		waits[j.Name] = wait
		if wait == 0 {
			due = append(due, j.Name)
		}
	}
	return due, waits
}

// loop owns the machine. Every job runs in a goroutine of its own and hands its frames over here.
func (r *run) loop(ctx context.Context, waits map[string]time.Duration) error {
	jobs, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	asked := 0
	for _, j := range r.poller.Jobs() {
		if r.opt.Once && waits[j.Name] > 0 {
			continue
		}
		asked++
		wg.Go(func() { (&asker{run: r, job: j, known: map[string]validators{}}).loop(jobs, waits[j.Name]) })
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	step := time.NewTicker(min(r.poller.Tick(), time.Second))
	defer step.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			if _, err := r.take(capture.Frame{Kind: capture.Close, Conn: r.Name(), At: now()}); err != nil {
				return err
			}
			return cmp.Or(errors.Join(r.machine.Finish(), r.save(ctx)), r.unanswered(asked))
		case <-step.C:
			if err := r.machine.Advance(now()); err != nil {
				return err
			}
			r.describe()
		case msg := <-r.messages:
			v, err := r.handle(ctx, msg)
			if err != nil {
				return err
			}
			msg.reply <- v
		}
	}
}

// unanswered is an error when a job came to nothing.
func (r *run) unanswered(asked int) error {
	if len(r.failed) == 0 {
		return nil
	}
	return &Unanswered{r.failed, asked}
}

// handle answers one message of a job.
func (r *run) handle(ctx context.Context, msg message) (verdict, error) {
	if msg.frame != nil {
		v, err := r.take(*msg.frame)
		if err != nil {
			return v, err
		}
		r.describe()
		return v, r.save(ctx)
	}
	j := r.machine.job(msg.job)
	req, err := r.poller.Ask(j.Job, j.cursor, now())
	if err != nil {
		return verdict{}, fmt.Errorf("asking for %s: %w", j.Name, err)
	}
	return verdict{next: []Request{req}, ok: true}, nil
}

// take stamps, records and hands over a frame. Stamps go forward, so that the recording plays back in this order.
func (r *run) take(f capture.Frame) (verdict, error) {
	r.latest = max(r.latest+1, f.At, r.machine.clock)
	f.At = r.latest
	if err := r.recorder.Write(f); err != nil {
		return verdict{}, err
	}
	return r.machine.Frame(f)
}

// save writes the state of the jobs that changed, once what they published is safe. A crash in between is mended by Past,
// which finds what was published after the state.
func (r *run) save(ctx context.Context) error {
	if r.opt.Past == nil || len(r.machine.first) > 0 {
		return nil
	}
	var dirty []*schemas.PollState
	for _, j := range r.machine.jobs {
		if j.dirty && j.open == 0 {
			j.dirty = false
			dirty = append(dirty, r.machine.state(j))
		}
	}
	if len(dirty) == 0 {
		return nil
	}
	if err := r.out.Flush(ctx); err != nil {
		return err
	}
	slices.SortFunc(dirty, stateOrder)
	for _, s := range dirty {
		if err := r.out.Publish(schemas.SourcesState, s); err != nil {
			return err
		}
	}
	return nil
}

// describe brings the component up to date.
func (r *run) describe() {
	m := r.machine
	measures := []*schemas.Measure{
		{Name: "jobs", Value: float64(len(m.jobs))},
		{Name: "rejected", Value: float64(m.rejected)},
		{Name: "time", Value: float64(m.ticked) / 1e9, Unit: "seconds"},
	}
	failing := m.health.failing()
	switch {
	case len(failing) == 0:
		r.report("healthy", "", measures...)
	case len(m.first) > 0:
		r.report("starting", fmt.Sprintf("%d jobs have had no answer yet", len(m.first)), measures...)
	case len(failing) == len(m.health.streams):
		r.report("blind", fmt.Sprintf("no stream is answered: %q", failing), measures...)
	default:
		r.report("stale", fmt.Sprintf("streams without an answer: %q", failing), measures...)
	}
}
