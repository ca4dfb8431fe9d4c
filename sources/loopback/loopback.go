// Package loopback plays a capture as the venue itself: it speaks the venue's own protocol of subscription, sends what was
// recorded to who asked for it, gives a fresh snapshot of a book to who subscribes anew, and goes wrong to order.
//
// There is one market, which goes on whether anybody listens or not: who is away misses what is sent meanwhile, as with a
// venue. The server follows the recording with the connector's own state machine, to know the book at each moment;
// requests are read, and frames told apart, by a dialect that shares nothing with the connector.
package loopback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Options describe a server.
type Options struct {
	// Spec is the market, without symbols and addresses of its own: it takes what the recording has.
	Spec *venue.Spec
	// Frames are the recording. They are not changed.
	Frames []capture.Frame
	// Faults are what goes wrong.
	Faults []Fault
	// Seed places the digit of a corrupt frame.
	Seed uint64
	// Speed is the pace: 1 as recorded, 10 ten times that, 0 as fast as it goes.
	Speed float64
	// Begin is how many requests (a subscription, a GET) open the market; 0 opens it when there were some and then none for a
	// moment.
	Begin int
	// Ping is how often a client that there is nothing for is pinged; 0 means 15 s.
	Ping time.Duration
}

// Server is a venue. It serves HTTP; Run keeps its market.
type Server struct {
	opt     Options
	dialect *dialect
	frames  []message
	answers []capture.Frame                           // what was recorded of HTTP
	begun   schemas.Time                              // of the first message
	stopped chan struct{}                             // closed when Run returns: sessions end
	played  chan struct{}                             // closed behind the last frame
	hold    func(ctx context.Context, next int) error // holds the market ahead of a frame; nil does not
	after   func(time.Duration) <-chan time.Time      // the clock of ages

	mu       sync.Mutex // guards what follows
	truth    *venue.Machine
	pump     *feed.Pump
	at       schemas.Time // of the frame played last
	sessions []*session
	opened   int
	wanted   map[string]bool // streams that anybody ever subscribed to
	requests int
	asked    time.Time
	written  int // messages that went out, and answers to GETs
	answered int
	rules    []*rule
	next     int // frames[:next] were played
}

// message is one frame of the recording.
type message struct {
	capture.Frame
	keys []string // streams it belongs to
	// missed: somebody had subscribed, and nobody was sent it as it is.
	missed bool
}

// quiet is how long no request must have come before the market opens, when nobody says how many there will be.
const quiet = 500 * time.Millisecond

// New makes a server. An error says that the venue is not spoken, or that a fault is not what it can have.
func New(o Options) (*Server, error) {
	d, ok := dialects[o.Spec.SourceName()]
	if !ok {
		return nil, fmt.Errorf("source %s is not spoken: it must be one of %s", o.Spec.SourceName(), strings.Join(Spoken(), ", "))
	}
	if o.Ping == 0 {
		o.Ping = defaultPing
	}
	s := &Server{opt: o, dialect: d, stopped: make(chan struct{}), played: make(chan struct{}), after: time.After, wanted: map[string]bool{}}
	for _, f := range o.Faults {
		if err := f.check(d); err != nil {
			return nil, err
		}
		s.rules = append(s.rules, &rule{Fault: f})
	}
	m, err := venue.NewMachine(o.Spec, venue.Defaults(nil, nil), nowhere{}, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		return nil, err
	}
	s.truth, s.pump = m, feed.NewPump(m)
	frames := o.Frames
	if d.translate != nil {
		frames = d.translate(o.Spec, frames)
	}
	// Converted recordings have their connections one after the other.
	frames = slices.Clone(frames)
	slices.SortStableFunc(frames, func(a, b capture.Frame) int { return cmp.Compare(a.At, b.At) })
	var parser fastjson.Parser
	for _, f := range frames {
		if !m.Owns(f) {
			continue
		}
		p := message{Frame: f}
		if f.Kind == capture.HTTP {
			s.answers = append(s.answers, f)
		}
		if f.Kind == capture.Receive {
			if s.begun == 0 {
				s.begun = f.At // what was asked for before is there at once
			}
			if v, err := parser.ParseBytes(f.Data); err == nil {
				p.keys = d.keys(v)
			}
		}
		s.frames = append(s.frames, p)
	}
	if !slices.ContainsFunc(s.frames, func(m message) bool { return len(m.keys) > 0 }) {
		return nil, fmt.Errorf("the recording has no frame of %s", o.Spec.SourceName())
	}
	return s, nil
}

// Spoken names the sources whose venues can be played.
func Spoken() []string {
	var names []string
	for name := range dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// nowhere takes what the server's own machine publishes.
type nowhere struct{}

func (nowhere) Publish(schemas.Topic, schemas.Message) error      { return nil }
func (nowhere) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }
func (nowhere) Flush(context.Context) error                       { return nil }

// Run opens the market once there are requests and plays it. It returns when ctx is done, and all sessions end then.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.stopped)
	if err := s.await(ctx); err != nil {
		return err
	}
	opened := wall()
	for i := range s.frames {
		due := time.Duration(0)
		if s.opt.Speed > 0 {
			due = time.Duration(float64(s.frames[i].At.Sub(s.begun)) / s.opt.Speed)
		}
		if wait := due - wall().Sub(opened); wait > 0 {
			sleep(ctx, wait)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.hold != nil {
			if err := s.hold(ctx, i); err != nil {
				return err
			}
		}
		if err := s.play(i); err != nil {
			return err
		}
	}
	close(s.played)
	<-ctx.Done()
	return ctx.Err()
}

// Played is closed when the last frame was sent.
func (s *Server) Played() <-chan struct{} { return s.played }

// await waits for the requests that open the market.
func (s *Server) await(ctx context.Context) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		ready := s.requests >= max(s.opt.Begin, 1) && (s.opt.Begin > 0 || wall().Sub(s.asked) >= quiet)
		s.mu.Unlock()
		if ready {
			return nil
		}
		sleep(ctx, quiet/100)
	}
	return ctx.Err()
}

// play moves the market on by one frame.
func (s *Server) play(i int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.frames[i]
	s.at, s.next = max(s.at, m.At), i+1
	if err := s.pump.Frame(m.Frame); err != nil {
		return fmt.Errorf("following frame %d of the recording: %w", i, err)
	}
	if len(m.keys) == 0 {
		return nil
	}
	e := s.effect(m)
	for _, key := range m.keys {
		m.missed = m.missed || s.wanted[key]
	}
	for _, c := range slices.Clone(s.sessions) {
		if c.follows(m.keys) {
			c.offer(m, e)
		}
	}
	return nil
}

// Missed returns the frames that somebody had subscribed to and that were not sent to anybody as they are.
func (s *Server) Missed() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out [][]byte
	for _, m := range s.frames[:s.next] {
		if m.missed {
			out = append(out, m.Data)
		}
	}
	return out
}

// Sessions returns how many connections were ever accepted.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// away lists the streams that were wanted and that no session follows now.
func (s *Server) away() (keys []string) {
	for key := range s.wanted {
		follows := func(c *session) bool { return !c.leaves && c.follows([]string{key}) }
		if !slices.ContainsFunc(s.sessions, follows) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Contents plays the whole recording and says what each instrument has.
func (s *Server) Contents() ([]venue.Figures, error) {
	m, err := venue.NewMachine(s.opt.Spec, venue.Defaults(nil, nil), nowhere{}, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		return nil, err
	}
	pump := feed.NewPump(m)
	for i, f := range s.frames {
		if err := pump.Frame(f.Frame); err != nil {
			return nil, fmt.Errorf("reading frame %d: %w", i, err)
		}
	}
	return m.Figures(), nil
}

// request notes that somebody asked for something.
func (s *Server) request() {
	s.requests++
	s.asked = wall()
}

// ServeHTTP answers a GET, or takes a WebSocket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.refused(w, r) {
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.accept(w, r)
		return
	}
	s.mu.Lock()
	body, err := s.answer(r.URL)
	s.request()
	if err == nil {
		s.answered++
	}
	s.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who asked is gone: nothing to do
}

var errUnrecorded = errors.New("the recording has no answer to this")

// answer makes the body of a GET: a book as it is now, else what was recorded.
func (s *Server) answer(u *url.URL) ([]byte, error) {
	if s.dialect.depth != nil {
		if symbol, limit, ok := s.dialect.depth(u); ok {
			if f, ok := s.fresh("", symbol); ok {
				return s.dialect.answer(f, limit), nil
			}
		}
	}
	var found []byte
	for _, f := range s.answers {
		// The latest that was recorded by now, else the first.
		if sameRequest(u, f.URL) && (found == nil || f.At <= s.at) {
			found = f.Data
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %s", errUnrecorded, u)
	}
	return found, nil
}

// sameRequest says that a recorded address is of the same path, and says nothing else in the parameters that both have.
func sameRequest(u *url.URL, recorded string) bool {
	other, err := url.Parse(recorded)
	if err != nil || other.Path != u.Path {
		return false
	}
	ours, theirs := u.Query(), other.Query()
	for name := range theirs {
		if ours.Has(name) && name != "limit" && ours.Get(name) != theirs.Get(name) {
			return false
		}
	}
	return theirs.Get("symbol") == ours.Get("symbol")
}

// fresh is the book of an instrument as it is now; false while there is none.
func (s *Server) fresh(stream, symbol string) (snapshot, bool) {
	name, err := s.opt.Spec.Canonical(symbol)
	if err != nil {
		return snapshot{}, false
	}
	b, last, at := s.truth.Book(name)
	if b == nil {
		return snapshot{}, false
	}
	f := snapshot{stream: stream, symbol: symbol, book: b, last: last, at: at}
	if s.opt.Spec.Books.Checksum != nil {
		f.checksum = s.opt.Spec.Books.Checksum(b)
	}
	return f, true
}

// Read reads a whole capture file.
func Read(path string) ([]capture.Frame, error) {
	r, err := capture.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	var frames []capture.Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		f.Data = slices.Clone(f.Data)
		frames = append(frames, f)
	}
}

// wall is the clock of pace and of faults; it reaches no record.
func wall() time.Time { return time.Now() } //nolint:forbidigo // a server on real sockets

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
