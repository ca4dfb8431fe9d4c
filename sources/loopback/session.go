package loopback

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// session is one connection of a client. Its handler reads, one goroutine writes, one waits for the end; all three end with
// the connection or the server.
type session struct {
	server *Server
	conn   *websocket.Conn
	wake   chan struct{}

	// Guarded by the server's mutex.
	path   string
	subs   map[string]string // streams by key, as the client spelt them
	queue  []parcel
	number uint64 // of the next message, where the venue numbers them
	held   *parcel
	leaves bool // nothing is added any more
}

// parcel is one message on its way to a client.
type parcel struct {
	raw   []byte
	of    *message // what it is of the recording, unless it was changed
	delay time.Duration
	end   ending
}

// ending is what the connection does behind a parcel's place.
type ending uint8

const (
	stays ending = iota
	closes
	stalls
)

// everyone is the stream that needs no subscription.
const everyone = "*"

// defaultPing is how often the server asks whether a client lives that there is nothing for.
const defaultPing = 15 * time.Second

// accept serves one WebSocket until it ends.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	const most = 1 << 20
	conn.SetReadLimit(most)
	ctx, cancel := context.WithCancel(r.Context())
	c := &session{server: s, conn: conn, wake: make(chan struct{}, 1), path: r.URL.Path, subs: map[string]string{}}
	old := s.aging()
	c.open(r)
	var parts sync.WaitGroup
	parts.Go(func() { c.watch(ctx, cancel, old) })
	parts.Go(func() { c.write(ctx, cancel) })
	for {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			break
		}
		if !c.receive(raw) {
			<-ctx.Done() // half open: it is not read any more
			break
		}
	}
	cancel()
	parts.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(o *session) bool { return o == c })
}

// open adds the session and subscribes it to what the address names.
func (c *session) open(r *http.Request) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, c)
	s.opened++
	for _, raw := range s.dialect.greeting {
		c.answer([]byte(raw))
	}
	if s.dialect.asked == nil {
		return
	}
	c.subscribe(s.dialect.asked(r.URL))
	s.request()
}

// receive takes a message of the client; false when the session stalls.
func (c *session) receive(raw []byte) bool {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.leaves {
		return false
	}
	r := s.dialect.request(raw)
	for _, name := range r.leave {
		delete(c.subs, s.dialect.key(name))
	}
	for _, a := range r.answers {
		c.answer(a)
	}
	c.subscribe(r.join)
	if len(r.join)+len(r.leave) > 0 {
		s.request()
	}
	return true
}

// subscribe adds streams; a book that is followed already begins with what it is now.
func (c *session) subscribe(names []string) {
	s := c.server
	for _, name := range names {
		key := s.dialect.key(name)
		c.subs[key] = name
		if !s.dialect.carries(c.path, key) {
			continue // acknowledged, and never sent
		}
		s.wanted[key] = true
		if s.dialect.book == nil {
			continue
		}
		symbol, ok := s.dialect.book(key)
		if !ok {
			continue
		}
		if f, ok := s.fresh(name, symbol); ok && !s.silent(key) {
			c.answer(s.dialect.snapshot(f))
		}
	}
}

// follows says that the session is to have a frame of these streams.
func (c *session) follows(keys []string) bool {
	for _, key := range keys {
		if _, ok := c.subs[key]; key == everyone || ok && c.server.dialect.carries(c.path, key) {
			return true
		}
	}
	return false
}

// answer sends what the recording has not.
func (c *session) answer(raw []byte) { c.push(parcel{raw: c.numbered(raw)}) }

// numbered gives a message its number, where the venue numbers them.
func (c *session) numbered(raw []byte) []byte {
	if c.server.dialect.number == nil {
		return raw
	}
	c.number++
	return c.server.dialect.number(raw, c.number-1, c.server.at)
}

// offer sends a frame of the recording, as the faults have it.
func (c *session) offer(m *message, e effect) {
	if e.silence {
		return
	}
	if e.end != stays {
		c.push(parcel{end: e.end})
		return
	}
	p := parcel{raw: c.numbered(m.Data), of: m, delay: e.delay}
	if e.alter != nil {
		p.raw, p.of = e.alter(p.raw), nil
	}
	switch {
	case e.drop:
	case e.reorder:
		c.held = &p
		return
	case e.twice:
		c.push(p)
		c.push(p)
	default:
		c.push(p)
	}
	if c.held != nil && e.release {
		c.push(*c.held)
		c.held = nil
	}
	if e.announce != nil {
		c.answer(e.announce)
	}
}

func (c *session) push(p parcel) {
	if c.leaves {
		return
	}
	c.queue = append(c.queue, p)
	c.leaves = p.end != stays
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// pop takes the next message.
func (c *session) pop() (parcel, bool) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if len(c.queue) == 0 {
		return parcel{}, false
	}
	p := c.queue[0]
	c.queue = c.queue[1:]
	if p.end == stays {
		c.server.written++
	}
	return p, true
}

// sent notes that a frame went out as it is.
func (c *session) sent(p parcel) {
	if p.of == nil {
		return
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	p.of.missed = false
}

// write sends what waits, until the session ends or stalls.
func (c *session) write(ctx context.Context, end context.CancelFunc) {
	ping := time.NewTicker(c.server.opt.Ping)
	defer ping.Stop()
	for ctx.Err() == nil {
		p, ok := c.pop()
		if !ok {
			select {
			case <-ctx.Done():
			case <-c.wake:
			case <-ping.C:
				if err := c.ping(ctx); err != nil {
					end()
				}
			}
			continue
		}
		switch p.end {
		case closes:
			end()
			return
		case stalls:
			return
		case stays:
		}
		if p.delay > 0 {
			sleep(ctx, p.delay)
		}
		if err := c.conn.Write(ctx, websocket.MessageText, p.raw); err != nil {
			end()
			return
		}
		c.sent(p)
	}
}

func (c *session) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, defaultPing)
	defer cancel()
	return c.conn.Ping(ctx)
}

// watch ends the session with the server, or when it is old.
func (c *session) watch(ctx context.Context, end context.CancelFunc, old <-chan time.Time) {
	defer end()
	defer c.conn.CloseNow()
	select {
	case <-ctx.Done():
	case <-c.server.stopped:
	case <-old:
	}
}

// streamName puts a channel and an instrument together.
func streamName(channel, symbol string) string { return strings.TrimSpace(channel + " " + symbol) }
