package websocket

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/sinks/feed"
)

// Bounds of one message of events.
const (
	maxEventsPerMessage = 256
	maxBytesPerMessage  = 256 << 10
)

// closed ends a connection with a code and a reason.
type closed struct {
	code   websocket.StatusCode
	reason string
}

func (c *closed) Error() string { return c.reason }

var (
	errStopping = &closed{websocket.StatusGoingAway, "the server is stopping"}
	errExpired  = &closed{websocket.StatusPolicyViolation, "the token has expired"}
)

// conn is one client. All but ws, limit and commands is owned by the goroutine of serve.
type conn struct {
	server   *Server
	identity auth.Identity
	ws       *websocket.Conn
	limit    *rate.Limiter
	commands chan command

	waiting       []command // that came while a ping was out
	subscriptions map[string]*feed.Filter
	index         int64 // next event of the feed to look at
	seq           uint64
	lags          []time.Time
	expired       <-chan time.Time // nil without an end of the token
}

func newConn(s *Server, id auth.Identity) *conn {
	perSecond := s.config.MessagesPerSec
	return &conn{
		server: s, identity: id, limit: rate.NewLimiter(rate.Limit(perSecond), max(1, int(10*perSecond))),
		commands: make(chan command, 4), subscriptions: map[string]*feed.Filter{},
	}
}

// admit counts a message or ping against the client's rate; it runs on the reading goroutine.
func (c *conn) admit() bool { return c.limit.Allow() }

// run serves the connection to its end and returns the close code.
func (c *conn) run(ctx context.Context) websocket.StatusCode {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.ws.SetReadLimit(c.server.config.MaxMessageBytes)
	served := make(chan error, 1)
	go func() {
		err := c.serve(ctx)
		served <- err
		if end, ok := errors.AsType[*closed](err); ok {
			_ = c.ws.Close(end.code, end.reason) // ends the read below
		} else {
			_ = c.ws.CloseNow()
		}
		cancel(err)
	}()
	readErr := c.read(ctx)
	if end, ok := errors.AsType[*closed](readErr); ok {
		_ = c.ws.Close(end.code, end.reason)
	}
	cancel(readErr)
	err := <-served
	_ = c.ws.CloseNow()
	return codeOf(err, readErr)
}

// codeOf is the close code for the figures: ours where we closed, else the client's, else 1006.
func codeOf(served, read error) websocket.StatusCode {
	var end *closed
	if errors.As(served, &end) || errors.As(read, &end) {
		return end.code
	}
	if code := websocket.CloseStatus(read); code != -1 {
		return code
	}
	if errors.Is(read, websocket.ErrMessageTooBig) {
		return websocket.StatusMessageTooBig
	}
	return websocket.StatusAbnormalClosure
}

// codeLabel is a close code as a label. A client may choose any code from 3000 on (RFC 6455, 7.4.2): they share one, or it chose how many
// series there are.
func codeLabel(code websocket.StatusCode) string {
	if code >= 3000 {
		return "private"
	}
	return strconv.Itoa(int(code))
}

// read takes messages until the connection ends. When serve is busy, reading waits, and so does the client.
func (c *conn) read(ctx context.Context) error {
	for {
		kind, text, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		if !c.admit() {
			return &closed{websocket.StatusPolicyViolation, "too many messages"}
		}
		if kind != websocket.MessageText {
			return &closed{websocket.StatusUnsupportedData, "messages must be JSON texts"}
		}
		if !utf8.Valid(text) {
			return &closed{websocket.StatusInvalidFramePayloadData, "texts must be UTF-8"}
		}
		cmd, err := parseCommand(text)
		if err != nil {
			cmd = command{refused: err}
		}
		select {
		case c.commands <- cmd:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve sends everything that the client gets.
func (c *conn) serve(ctx context.Context) error {
	cfg := c.server.config
	here := c.server.feed.Here()
	c.index = here.Index
	if err := c.send(ctx, c.hello(here)); err != nil {
		return err
	}
	heartbeat := time.NewTicker(cfg.Heartbeat)
	defer heartbeat.Stop()
	c.expired = c.expiry()
	flush := time.NewTimer(0)
	defer flush.Stop()
	mayFlush := false
	for {
		if len(c.waiting) > 0 {
			cmd := c.waiting[0]
			c.waiting = c.waiting[1:]
			if err := c.ended(); err != nil {
				return err
			}
			if err := c.handle(ctx, cmd); err != nil {
				return err
			}
			continue
		}
		_, came := c.server.feed.Head()
		behind := c.behind()
		if behind && mayFlush {
			if err := c.deliver(ctx); err != nil {
				return err
			}
			mayFlush = false
			flush.Reset(cfg.FlushInterval)
			continue
		}
		if behind {
			came = nil // the timer is what to wait for
		}
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.server.closing:
			return errStopping
		case <-c.expired:
			return errExpired
		case <-flush.C:
			mayFlush = true
		case <-came:
		case cmd := <-c.commands:
			err = c.handle(ctx, cmd)
		case <-heartbeat.C:
			err = c.beat(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// behind reports whether there is something to look at; without a subscription the client simply stays at the front.
func (c *conn) behind() bool {
	head, _ := c.server.feed.Head()
	if len(c.subscriptions) == 0 {
		c.index = head
	}
	return c.index < head
}

// expiry is a timer for the end of the client's token; nil when it has none.
func (c *conn) expiry() <-chan time.Time {
	if c.identity.Expires.IsZero() {
		return nil
	}
	return time.After(c.identity.Expires.Sub(c.server.deps.Now()))
}

// ended says why the connection must end now; nil when it may go on.
func (c *conn) ended() error {
	select {
	case <-c.server.closing:
		return errStopping
	case <-c.expired:
		return errExpired
	default:
		return nil
	}
}

// beat sends a heartbeat, and a ping that must be answered before the next one: a half-open connection ends here.
func (c *conn) beat(ctx context.Context) error {
	here := c.server.feed.Here()
	err := c.send(ctx, map[string]any{"type": "heartbeat", "time": c.timestamp(), "seq": c.seq, "since": c.sinceNow(here)})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.server.config.WriteTimeout)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- c.ws.Ping(limited) }()
	for {
		select {
		case err := <-answered:
			return err
		case cmd := <-c.commands: // the answer may lie behind it
			c.waiting = append(c.waiting, cmd)
		}
	}
}

// sinceNow is the token behind what the client has seen: the front only when it is there.
func (c *conn) sinceNow(here feed.Mark) any {
	if c.index >= here.Index {
		return here.Since
	}
	return nil
}

func (c *conn) timestamp() string { return c.server.deps.Now().UTC().Format(time.RFC3339Nano) }

// deliver sends one message of events, or says that the client lags.
func (c *conn) deliver(ctx context.Context) error {
	head, _ := c.server.feed.Head()
	if head-c.index > c.server.config.Queue {
		return c.lag(ctx, head)
	}
	entries, next, missed := c.server.feed.Read(c.index, maxEventsPerMessage)
	if missed > 0 {
		return c.lag(ctx, head)
	}
	b := newBuilder(c.seq+1, nil)
	for i, e := range entries {
		if c.wants(e) {
			b.add(e)
		}
		if b.size() > maxBytesPerMessage {
			entries, next = entries[:i+1], c.index+int64(i)+1
			break
		}
	}
	c.index = next
	if b.count == 0 {
		b.release()
		return nil
	}
	return c.sendEvents(ctx, b, entries[len(entries)-1].Since())
}

func (c *conn) wants(e *feed.Entry) bool {
	for _, f := range c.subscriptions {
		if f.Matches(e.Event) {
			return true
		}
	}
	return false
}

// lag puts a client that is too far behind to the front and tells it so, or closes it when that happens again and again.
func (c *conn) lag(ctx context.Context, head int64) error {
	now := c.server.deps.Now()
	c.lags = append(slices.DeleteFunc(c.lags, func(at time.Time) bool { return now.Sub(at) >= time.Minute }), now)
	c.server.metrics.lagged.Inc()
	message := map[string]any{"type": "lagged", "missed": head - c.index}
	if before, _, missed := c.server.feed.Read(c.index-1, 1); len(before) == 1 && missed == 0 && c.index > 0 {
		message["since"] = before[0].Since()
	}
	c.index = head
	if err := c.send(ctx, message); err != nil {
		return err
	}
	if len(c.lags) >= c.server.config.MaxLags {
		return &closed{websocket.StatusTryAgainLater, "too slow"}
	}
	return nil
}

// send writes one message within the time allowed.
func (c *conn) send(ctx context.Context, message map[string]any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return c.write(ctx, text)
}

func (c *conn) write(ctx context.Context, text []byte) error {
	limited, cancel := context.WithTimeout(ctx, c.server.config.WriteTimeout)
	defer cancel()
	err := c.ws.Write(limited, websocket.MessageText, text)
	if errors.Is(limited.Err(), context.DeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		// The socket is full: a close frame would not go out either, but the figures name the reason.
		return &closed{websocket.StatusTryAgainLater, "too slow"}
	}
	return err
}

func (c *conn) sendEvents(ctx context.Context, b *builder, since string) error {
	text := b.finish(since)
	defer b.release()
	if err := c.write(ctx, text); err != nil {
		return err
	}
	c.seq += uint64(b.count)
	c.server.metrics.messages.Inc()
	c.server.metrics.events.Add(float64(b.count))
	return nil
}

// builders are used again: a thousand clients need as many as write at the same moment.
var builders = sync.Pool{New: func() any { return new(builder) }}
