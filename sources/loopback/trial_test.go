package loopback

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// plan is what a run is to be like, and what it must give.
type plan struct {
	faults []Fault
	// known is the frame behind which the loss is known: the market stands still there until it was told and is mended. 0 is none.
	known  int
	losses []loss
	// reconnects must have been counted at the end; -1 is any number.
	reconnects int
	silent     stream
	change     func(s *venue.Spec, c *venue.Config)
	// holds is asked ahead of every frame; the market stands still until it once says nothing.
	holds func(tr *trial, next int) string
	// also holds the run to what only this fault has.
	also func(tr *trial) []string
	// patience bounds every wait, so that a run that goes wrong says where it stands; 0 is plenty.
	patience time.Duration
}

// day is the age at which venues end a connection.
const day = 24 * time.Hour

// plenty is long enough on any machine.
const plenty = time.Minute

// trial is one run of a connector against the loopback venue. The market goes as fast as both can, in step: where it matters
// it stands still until the connector has taken all that was sent, and has its books. So a run hangs on no clock, and what it
// gives is the same every time.
type trial struct {
	o       *oracle
	p       plan
	server  *Server
	spec    *venue.Spec
	source  *venue.Source
	metrics *sources.Metrics
	out     *witness

	taken, answers atomic.Int64    // messages and answers that the connector decoded
	due            map[string]bool // books that the connector must have by now
	forgiven       int64           // messages that were on their way when the connector closed a session
	ended          int             // sessions, when that was counted

	aged atomic.Bool    // the sessions of the beginning have reached the age of a day
	old  chan time.Time // closed then
}

// counting counts what a decoder is given. The machine takes one frame behind the other: what is counted was preceded by all
// before it.
type counting struct {
	venue.Decoder

	tr *trial
}

func (c counting) Message(raw []byte) ([]venue.Event, error) {
	c.tr.taken.Add(1)
	return c.Decoder.Message(raw)
}

func (c counting) Answer(url string, body []byte) ([]venue.Event, error) {
	c.tr.answers.Add(1)
	return c.Decoder.Answer(url, body)
}

func newTrial(t testing.TB, o *oracle, p plan, frontURL func(*Server) string) *trial {
	t.Helper()
	if p.patience == 0 {
		p.patience = plenty
	}
	tr := &trial{o: o, p: p, due: map[string]bool{}, metrics: sources.NewMetrics(nil), old: make(chan time.Time)}
	tr.out = &witness{lost: map[string]time.Time{}, up: map[string]bool{}}
	server, err := New(Options{Spec: o.market.spec(), Frames: o.frames, Faults: p.faults, Seed: 1, Ping: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	url := frontURL(server)
	cfg := venue.Defaults(o.symbols, o.market.channels)
	cfg.StreamURL, cfg.RestURL = "ws"+strings.TrimPrefix(url, "http"), url
	cfg.BackoffMax, cfg.RequestsPerMinute, cfg.BookInterval = 50*time.Millisecond, 1200, 0
	spec, err := o.market.make(cfg).Spec()
	if err != nil {
		t.Fatal(err)
	}
	if o.market.amend != nil {
		o.market.amend(spec)
	}
	decoder := spec.NewDecoder
	spec.Grace = plenty // the first message may be a while in coming
	spec.NewDecoder = func() venue.Decoder { return counting{decoder(), tr} }
	server.opt.Begin = len(spec.Gets)
	for _, c := range spec.Connections {
		server.opt.Begin += max(len(c.Send), 1)
	}
	if p.change != nil {
		p.change(spec, &cfg)
	}
	server.hold, server.after = tr.hold, tr.after
	tr.server, tr.spec, tr.source = server, spec, venue.NewSource(spec, cfg, nil, tr.metrics)
	return tr
}

// run has the connector read the venue until the market is at its end and what came out is right, and says what is wrong.
func run(t testing.TB, o *oracle, p plan) (tr *trial, wrong []string) {
	t.Helper()
	var front *httptest.Server
	tr = newTrial(t, o, p, func(s *Server) string {
		front = httptest.NewServer(s)
		return front.URL
	})
	defer front.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- tr.server.Run(ctx) }()
	go func() { ended <- tr.source.Run(ctx, tr.out) }()
	open := 2
	select {
	case <-tr.server.Played():
	case err := <-ended:
		open--
		wrong = append(wrong, fmt.Sprintf("a part ends with %v", err))
	}
	known, expected := -1, map[string][]string{}
	for end := time.Now().Add(tr.p.patience); open == 2; time.Sleep(50 * time.Millisecond) {
		if missed := tr.server.Missed(); len(missed) != known {
			expected, known = o.without(t, missed), len(missed)
		}
		tr.out.mu.Lock()
		back := slices.Clone(tr.out.back)
		tr.out.mu.Unlock()
		got, late := tr.out.Entries(), time.Now().After(end)
		wrong = append(o.judgeHealth(got, p.losses, p.silent, p.reconnects), tr.struck()...)
		if p.also != nil {
			wrong = append(wrong, p.also(tr)...)
		}
		if len(wrong) == 0 || late { // the judge is dear, and health comes last
			wrong = append(wrong, o.judge(got, expected, back, p.losses)...)
		}
		if len(wrong) == 0 || late {
			break
		}
	}
	cancel()
	for range open {
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("a part ends with %v", err)
			}
		case <-time.After(plenty):
			t.Fatal("a part has not ended though it was stopped")
		}
	}
	return tr, wrong
}

// hold lets the market on to its next frame when the connector is where it should be.
func (tr *trial) hold(ctx context.Context, next int) error {
	const stride = 64 // frames that may be on their way
	fresh := false
	if next > 0 {
		for _, symbol := range tr.o.books[next-1] {
			// A book that is asked for is asked for at its first update: as it is then.
			fresh = fresh || tr.spec.Books.Asked && !tr.due[symbol]
			tr.due[symbol] = true
		}
	}
	tr.out.mu.Lock()
	tr.out.at = next - 1
	lost := len(tr.out.lost) > 0
	tr.out.mu.Unlock()
	held := tr.p.holds != nil && (tr.p.known == 0 || tr.p.holds(tr, next) != "")
	if !fresh && !lost && next%stride != 0 && !held && (len(tr.p.faults) == 0 || next < tr.p.known-1 || next > tr.p.known+2) {
		return nil
	}
	for end := time.Now().Add(tr.p.patience); ; time.Sleep(500 * time.Microsecond) {
		why := ""
		if held {
			why = tr.p.holds(tr, next)
			held = why != ""
		}
		if why == "" {
			why = tr.waits(next)
		}
		if why == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("held ahead of frame %d: %s", next, why)
		}
	}
}

// after puts the clock of ages forward by hand: a day does not pass in a test. What is dialled later stays young.
func (tr *trial) after(d time.Duration) <-chan time.Time {
	switch {
	case d < day:
		return time.After(d)
	case tr.aged.Load():
		return nil
	}
	return tr.old
}

// waits says what the connector is behind with, ahead of a frame.
func (tr *trial) waits(next int) string {
	if next == 0 {
		if why := tr.followed(-1, 1); why != "" {
			return why
		}
	}
	if why := tr.inFlight(); why != "" {
		return why
	}
	tr.out.mu.Lock()
	defer tr.out.mu.Unlock()
	if tr.p.known > 0 && next > tr.p.known && tr.out.gaps < len(tr.p.losses) {
		return fmt.Sprintf("%d of %d gaps told", tr.out.gaps, len(tr.p.losses))
	}
	for symbol := range tr.due {
		switch _, lost := tr.out.lost[symbol]; {
		case tr.out.up[symbol]:
		case lost && tr.spec.Books.Asked && tr.restarted():
			// Without an update the connector has no reason to ask.
			if next-1 <= tr.p.known || !slices.Contains(tr.o.books[next-1], symbol) {
				continue
			}
			fallthrough
		default:
			return "no book of " + symbol
		}
	}
	return ""
}

// restarted says that the losses are of connections.
func (tr *trial) restarted() bool {
	return len(tr.p.losses) > 0 && tr.p.losses[0].cause == "disconnect"
}

// inFlight says what the server has sent, or has to send, that the connector has not taken.
func (tr *trial) inFlight() string {
	s := tr.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys := s.away(); len(keys) > 0 {
		return fmt.Sprintf("%q are not followed", keys)
	}
	for _, c := range s.sessions {
		if !c.leaves && len(c.queue) > 0 {
			return "messages wait"
		}
	}
	if a := tr.answers.Load(); a < int64(s.answered) {
		return fmt.Sprintf("%d of %d answers taken", a, s.answered)
	}
	lag := int64(s.written) - tr.forgiven - tr.taken.Load()
	if gone := s.opened - len(s.sessions); lag > 0 && gone > tr.ended {
		// What was on its way to a session that the connector closed is not taken.
		s.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		s.mu.Lock()
		if int64(s.written)-tr.forgiven-tr.taken.Load() == lag {
			tr.forgiven, tr.ended = tr.forgiven+lag, gone
		}
		return "a session ended"
	}
	if lag > 0 {
		return fmt.Sprintf("%d messages not taken", lag)
	}
	return ""
}

// followed says which of the streams that a connection carries is followed by less than so many sessions; -1 is any connection.
func (tr *trial) followed(conn, least int) string {
	s := tr.server
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, by := range tr.o.carried {
		n := 0
		for _, c := range s.sessions {
			if !c.leaves && c.follows([]string{key}) {
				n++
			}
		}
		if n < least && (by == conn || conn < 0) {
			return fmt.Sprintf("%s is followed by %d sessions, not %d", key, n, least)
		}
	}
	return ""
}

// struck says which faults were not struck as often as they were ordered: a run without its fault proves nothing.
func (tr *trial) struck() (wrong []string) {
	tr.server.mu.Lock()
	defer tr.server.mu.Unlock()
	for _, r := range tr.server.rules {
		switch {
		case r.Kind == Age: // what comes of it is up to the connector
		case r.Kind == Silence && r.seen == 0, r.Kind != Silence && r.Count < allStream && r.done != max(r.Count, 1), r.Count == allStream && r.done == 0:
			wrong = append(wrong, fmt.Sprintf("fault %s struck %d times of %d", r.Kind, r.done, r.seen))
		}
	}
	return wrong
}

// standing is how many sessions there are.
func (tr *trial) standing() int {
	tr.server.mu.Lock()
	defer tr.server.mu.Unlock()
	return len(tr.server.sessions)
}

// slowest is the longest time that a book was lost.
func (tr *trial) slowest() (longest time.Duration) {
	for _, b := range tr.out.back {
		longest = max(longest, b.took)
	}
	return longest
}
