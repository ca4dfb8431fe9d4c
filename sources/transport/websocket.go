// Package transport is the only step of a connector that touches the network: it dials, subscribes, keeps a connection
// alive and dials it again, and turns what comes into frames. It understands nothing of what the frames say.
//
// Wall time is the point here: it stamps receipts. Nothing behind the frames reads a clock.
package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// Options describe one connection that is to stand for good.
type Options struct {
	// Slot names it; its sessions are "slot/1", "slot/2", ...
	Slot, URL string
	// Send goes out after each dial: subscriptions.
	Send [][]byte
	// Ping goes out as a message every PingEvery; where it is empty, a ping of the protocol does. 0 sends none.
	Ping      []byte
	PingEvery time.Duration
	// Requests go out as they come, a few a second, on the newest session that has data; may be nil.
	Requests <-chan []byte
	// Renew opens the next session now; may be nil.
	Renew <-chan struct{}
	// Settled says that the next session has all that it needs of its own: the one before may end. nil when nobody says so.
	Settled <-chan struct{}
	// IsData tells data from acknowledgements; nil takes all for data.
	IsData func([]byte) bool
	// Silence without a message or a ping ends a session.
	Silence time.Duration
	// MaxAge renews a session: the next one carries data before the old one ends.
	MaxAge time.Duration
	// BackoffMax caps the wait before a dial.
	BackoffMax time.Duration
	Log        *slog.Logger
}

const (
	dialTimeout = 15 * time.Second
	firstWait   = 500 * time.Millisecond
	readLimit   = 16 << 20
	// steady is how long a connection must have given data to set the waits back; venues bear one dial in so long.
	steady = 10 * time.Second
	// overlap bounds how long two sessions of a slot run side by side, settle is how long they do so at least: subscriptions
	// are answered one by one.
	overlap = 30 * time.Second
	settle  = 2 * time.Second
	// paced is the least time between two requests: venues cut who sends more than five a second.
	paced = 250 * time.Millisecond
)

// now is the receipt clock.
func now() schemas.Time { return schemas.Time(time.Now().UnixNano()) } //nolint:forbidigo // receipts are wall time

// Dial keeps the connection and sends its frames until ctx is done. It returns when all its goroutines have ended.
func Dial(ctx context.Context, opt Options, frames chan<- capture.Frame) error {
	d := &dialer{opt: opt, frames: frames, aimed: make(chan struct{}, 1)}
	var router sync.WaitGroup
	defer router.Wait()
	router.Go(func() { d.route(ctx) })
	wait := backoff{cap: opt.BackoffMax}
	for ctx.Err() == nil {
		last, since := d.stand(ctx)
		if since != 0 && now().Sub(since) >= min(steady, opt.BackoffMax) {
			// Only data that last show that the venue serves us: a handshake does not, nor a first message, after which it may end each connection.
			wait.reset()
		}
		pause := max(wait.next(), last.retryAfter)
		if ctx.Err() == nil && opt.Log != nil {
			opt.Log.Warn("connection lost", "slot", opt.Slot, "error", last.err, "again_in", pause)
		}
		sleep(ctx, pause)
	}
	return ctx.Err()
}

type dialer struct {
	opt      Options
	frames   chan<- capture.Frame
	sessions int
	target   atomic.Pointer[session] // that requests go out on
	aimed    chan struct{}           // says that there is another one
}

// session is one dialled connection.
type session struct {
	cancel     context.CancelFunc
	requests   chan []byte
	alive      chan struct{} // closed at the first data
	done       chan struct{} // closed at the end; the fields below may be read then
	served     atomic.Int64  // receipt of the first data; 0 without
	retryAfter time.Duration
	err        error
}

// stand keeps a session, renews it at its age, and returns the one that was lost, with the receipt of the first data of it and those that it renewed; 0 without.
func (d *dialer) stand(ctx context.Context) (last *session, since schemas.Time) {
	current := d.start(ctx)
	d.aim(current)
	renew := time.NewTimer(jittered(d.opt.MaxAge))
	defer renew.Stop()
	for {
		select {
		case <-current.done:
			return current, cmp.Or(since, schemas.Time(current.served.Load()))
		case <-renew.C:
		case <-d.opt.Renew:
		}
		select {
		case <-d.opt.Settled: // word of the renewal before
		default:
		}
		next := d.start(ctx)
		late := time.NewTimer(overlap)
		select {
		case <-next.alive:
		case <-late.C:
		case <-next.done:
		case <-current.done:
		}
		late.Stop()
		if next.served.Load() == 0 && !current.ended() {
			// The venue does not serve a second one now: keep the first, try again.
			next.end()
			renew.Reset(jittered(overlap))
			continue
		}
		d.aim(next)
		if !current.ended() {
			d.settle(current, next)
		}
		if next.ended() && !current.ended() {
			// It did not last: keep the first, try again.
			d.aim(current)
			renew.Reset(jittered(overlap))
			continue
		}
		current.end()
		since = cmp.Or(since, schemas.Time(current.served.Load()))
		current = next
		renew.Reset(jittered(d.opt.MaxAge))
	}
}

func (d *dialer) start(ctx context.Context) *session {
	d.sessions++
	inner, cancel := context.WithCancel(ctx)
	s := &session{cancel: cancel, requests: make(chan []byte), alive: make(chan struct{}), done: make(chan struct{})}
	name := d.opt.Slot + "/" + strconv.Itoa(d.sessions)
	go func() {
		defer close(s.done)
		defer cancel()
		s.err = d.serve(ctx, inner, s, name)
	}()
	return s
}

// aim has requests go out on a session.
func (d *dialer) aim(s *session) {
	d.target.Store(s)
	select {
	case d.aimed <- struct{}{}:
	default:
	}
}

// route hands requests to the session that they are to go out on. When that has ended they wait for the next.
func (d *dialer) route(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-d.opt.Requests:
			d.hand(ctx, request)
		}
	}
}

func (d *dialer) hand(ctx context.Context, request []byte) {
	for ctx.Err() == nil {
		if s := d.target.Load(); s != nil {
			select {
			case s.requests <- request:
				return
			case <-s.done:
			case <-ctx.Done():
			}
		}
		select {
		case <-d.aimed:
		case <-ctx.Done():
		}
	}
}

// settle lets two sessions run side by side until the next one has all that it needs, and for a while at least.
func (d *dialer) settle(current, next *session) {
	least, most := time.NewTimer(min(settle, d.opt.MaxAge/2)), time.NewTimer(overlap)
	defer least.Stop()
	defer most.Stop()
	settled := d.opt.Settled
	for waits := true; waits || settled != nil; {
		select {
		case <-least.C:
			waits = false
		case <-settled:
			settled = nil
		case <-most.C:
			return
		case <-current.done:
			return
		case <-next.done:
			return
		}
	}
}

// end closes a session and waits for it.
func (s *session) end() {
	s.cancel()
	<-s.done
}

func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// serve dials and reads until the session ends. outer is the life of the connection, ctx that of the session.
func (d *dialer) serve(outer, ctx context.Context, s *session, name string) error {
	var pinged atomic.Int64
	conn, err := d.dial(ctx, s, &pinged)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(readLimit)
	if err := d.emit(outer, capture.Frame{Kind: capture.Connect, Conn: name, At: now(), URL: d.opt.URL}); err != nil {
		return err
	}
	err = d.read(outer, ctx, s, conn, name, &pinged)
	reason := []byte("stopped")
	if err != nil {
		reason = []byte(err.Error())
	}
	if cerr := d.emit(outer, capture.Frame{Kind: capture.Close, Conn: name, At: now(), Data: reason}); cerr != nil {
		return cerr
	}
	return err
}

func (d *dialer) dial(ctx context.Context, s *session, pinged *atomic.Int64) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, d.opt.URL, &websocket.DialOptions{
		CompressionMode: websocket.CompressionContextTakeover,
		OnPingReceived: func(context.Context, []byte) bool {
			pinged.Store(int64(now()))
			return true
		},
	})
	if err != nil {
		if resp != nil {
			s.retryAfter = retryAfter(resp)
		}
		return nil, fmt.Errorf("dialling %s: %w", d.opt.Slot, err)
	}
	return conn, nil
}

func (d *dialer) read(outer, ctx context.Context, s *session, conn *websocket.Conn, name string, pinged *atomic.Int64) error {
	for _, request := range d.opt.Send {
		if err := conn.Write(ctx, websocket.MessageText, request); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		if err := d.emit(outer, capture.Frame{Kind: capture.Send, Conn: name, At: now(), Data: request}); err != nil {
			return err
		}
	}
	heard := atomic.Int64{}
	heard.Store(int64(now()))
	watch, stop := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer stop(nil)
	watcher.Go(func() { d.watch(watch, stop, &heard, pinged) })
	watcher.Go(func() {
		if err := d.write(outer, watch, s, conn, name); err != nil {
			stop(err)
		}
	})
	if d.opt.PingEvery > 0 && len(d.opt.Ping) == 0 {
		watcher.Go(func() { d.ping(watch, conn) })
	}
	for {
		_, raw, err := conn.Read(watch)
		if err != nil {
			if cause := context.Cause(watch); cause != nil && !errors.Is(cause, context.Canceled) {
				return cause
			}
			return fmt.Errorf("reading: %w", err)
		}
		at := now()
		heard.Store(int64(at))
		if s.served.Load() == 0 && (d.opt.IsData == nil || d.opt.IsData(raw)) {
			s.served.Store(int64(at))
			close(s.alive)
		}
		if err := d.emit(outer, capture.Frame{Kind: capture.Receive, Conn: name, At: at, Data: raw}); err != nil {
			return err
		}
	}
}

// write sends pings and requests until the session ends. Pings are not recorded: they ask for nothing.
func (d *dialer) write(outer, ctx context.Context, s *session, conn *websocket.Conn, name string) error {
	var pings <-chan time.Time
	if len(d.opt.Ping) > 0 {
		every := time.NewTicker(d.opt.PingEvery)
		defer every.Stop()
		pings = every.C
	}
	for {
		request := d.opt.Ping
		select {
		case <-ctx.Done():
			return nil
		case <-pings:
		case request = <-s.requests:
			if err := d.emit(outer, capture.Frame{Kind: capture.Send, Conn: name, At: now(), Data: request}); err != nil {
				return nil // the whole source ends
			}
			sleep(ctx, jittered(paced))
		}
		if err := conn.Write(ctx, websocket.MessageText, request); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
}

// ping sends pings of the protocol until the session ends. One that is not answered ends nothing: messages show whether the
// venue lives.
func (d *dialer) ping(ctx context.Context, conn *websocket.Conn) {
	every := time.NewTicker(d.opt.PingEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			wait, cancel := context.WithTimeout(ctx, d.opt.PingEvery)
			_ = conn.Ping(wait)
			cancel()
		}
	}
}

var errSilent = errors.New("no message and no ping for too long")

// watch ends a half-open session: one that stands and says nothing.
func (d *dialer) watch(ctx context.Context, stop context.CancelCauseFunc, heard, pinged *atomic.Int64) {
	tick := time.NewTicker(max(d.opt.Silence/10, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			last := schemas.Time(max(heard.Load(), pinged.Load()))
			if now().Sub(last) > d.opt.Silence {
				stop(errSilent)
				return
			}
		}
	}
}

func (d *dialer) emit(ctx context.Context, f capture.Frame) error {
	select {
	case d.frames <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter is how long the venue wants to be left alone after a refusal: 429, 418 and 503 say so, or mean ten seconds.
func retryAfter(r *http.Response) time.Duration {
	if r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusTeapot && r.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	if d, ok := RetryAfter(r.Header, now(), time.Hour); ok {
		return d
	}
	return 10 * time.Second
}
