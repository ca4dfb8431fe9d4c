package websocket

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

// slowResume is a client in the middle of a resume from the topic that is longer than the sockets hold; its token lives for tokenLeft from its connection.
func slowResume(t *testing.T, tokenLeft time.Duration) (*stand, *peer) {
	t.Helper()
	token, end := expiring()
	s := newStand(t, 0, func(c *Config) { c.Feed.MaxEvents, c.Queue = 4, 4 }, token)
	dial := func() *peer {
		return s.dial(&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken}}})
	}
	p := dial()
	p.say(`{"type":"subscribe","id":"a"}`)
	since := p.expect("subscribed").Since
	_ = p.ws.CloseNow()
	s.longEvents(longResume, 20_000)
	s.leave(tokenLeft, end)
	p = dial()
	p.say(`{"type":"subscribe","id":"b","since":%q}`, since)
	p.expect("subscribed")
	p.events(1)
	time.Sleep(300 * time.Millisecond) // the sockets fill up
	return s, p
}

const longResume = 400

// longEvents has the feed take in events of many words.
func (s *stand) longEvents(n, words int) {
	s.t.Helper()
	for i := range n {
		e := sinktest.Event(i)
		e.Description = strings.Repeat("long ", words)
		s.client.Produce(s.t.Context(), sinktest.Record(s.t, e), nil)
	}
	if err := s.client.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	sinktest.Eventually(s.t, 10*time.Second, func() bool { head, _ := s.server.feed.Head(); return head == int64(n) }, "the feed has not come to the end")
}

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
	s, p := slowResume(t, time.Hour)
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
	const left = 3 * time.Second
	_, p := slowResume(t, left)
	time.Sleep(left)
	if code := p.rest(); code != websocket.StatusPolicyViolation || p.seq >= longResume {
		t.Errorf("%d of %d events came, then code %d: it must be 1008 before the last", p.seq, longResume, code)
	}
}

// A client that has many subscriptions to resume is not cut for a ping whose answer lies behind its own messages.
func TestAHeartbeatInTheMiddleOfResumes(t *testing.T) {
	s := newStand(t, 0, func(c *Config) {
		c.Feed.MaxEvents, c.Queue = 4, 4
		c.Heartbeat, c.WriteTimeout = 100*time.Millisecond, 2*time.Second
	})
	p := s.dial(nil)
	p.say(`{"type":"subscribe","id":"a"}`)
	since := ""
	for since == "" {
		if m := p.next(); m.Type == "subscribed" {
			since = m.Since
		}
	}
	_ = p.ws.CloseNow()
	const events = 60
	s.longEvents(events, 5_000)
	p = s.dial(nil)
	const resumes = 12
	for i := range resumes {
		p.say(`{"type":"subscribe","id":"%d","since":%q}`, i, since)
	}
	got, began := map[string]int{}, time.Now()
	for done := 0; done < resumes; {
		m, err := p.read()
		if err != nil {
			t.Fatalf("after %v and %d of %d resumes: %v", time.Since(began), done, resumes, err)
		}
		if m.Replay {
			if got[m.ID] += len(m.Events); got[m.ID] == events {
				done++
			}
		}
	}
}
