package websocket

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

// slowResume is a client in the middle of a resume from the topic that is longer than the sockets hold.
func slowResume(t *testing.T, expires time.Time) (*stand, *peer) {
	t.Helper()
	s := newStand(t, 0, func(c *Config) { c.Feed.MaxEvents, c.Queue = 4, 4 }, hash(testToken)+"@"+expires.UTC().Format(time.RFC3339Nano))
	dial := func() *peer {
		return s.dial(&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken}}})
	}
	p := dial()
	p.say(`{"type":"subscribe","id":"a"}`)
	since := p.expect("subscribed").Since
	_ = p.ws.CloseNow()
	for i := range longResume {
		e := sinktest.Event(i)
		e.Description = strings.Repeat("long ", 20_000)
		s.client.Produce(t.Context(), sinktest.Record(t, e), nil)
	}
	if err := s.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	sinktest.Eventually(t, 10*time.Second, func() bool { head, _ := s.server.feed.Head(); return head == longResume }, "the feed has not come to the end")
	p = dial()
	p.say(`{"type":"subscribe","id":"b","since":%q}`, since)
	p.expect("subscribed")
	p.events(1)
	time.Sleep(300 * time.Millisecond) // the sockets fill up
	return s, p
}

const longResume = 400

// rest reads to the end of the connection.
func (p *peer) rest() websocket.StatusCode {
	for {
		m, err := p.read()
		if err != nil {
			return websocket.CloseStatus(err)
		}
		p.seq += uint64(len(m.Events))
	}
}

// A stop does not wait for a resume, however slowly it is read.
func TestAStopEndsAResume(t *testing.T) {
	s, p := slowResume(t, time.Now().Add(time.Hour))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	time.Sleep(300 * time.Millisecond)
	if code := p.rest(); code != websocket.StatusGoingAway || p.seq >= longResume {
		t.Errorf("%d of %d events came, then code %d: it must be 1001 before the last", p.seq, longResume, code)
	}
	<-stopped
}

// A resume does not outlive the token.
func TestATokenThatExpiresInAResume(t *testing.T) {
	expires := time.Now().Add(3 * time.Second)
	_, p := slowResume(t, expires)
	if time.Now().After(expires) {
		t.Fatal("NOT RUN: the token has expired before the resume")
	}
	time.Sleep(time.Until(expires) + 100*time.Millisecond)
	if code := p.rest(); code != websocket.StatusPolicyViolation || p.seq >= longResume {
		t.Errorf("%d of %d events came, then code %d: it must be 1008 before the last", p.seq, longResume, code)
	}
}
