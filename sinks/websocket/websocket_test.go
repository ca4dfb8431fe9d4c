package websocket

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/sinks/feed"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const testToken = "correct-horse"

// stand is a server on a real socket with a broker behind it.
type stand struct {
	t       testing.TB
	server  *Server
	http    *httptest.Server
	cluster cluster.Config
	client  *kgo.Client
	auth    *auth.Authenticator
	stop    func()
	stopped atomic.Pointer[time.Time] // where the server's clock stands still; nil when it goes
}

func newStand(t testing.TB, before int, change func(*Config), tokens ...string) *stand {
	t.Helper()
	return newStandOn(t, sinktest.Broker(t), before, change, tokens...)
}

func newStandOn(t testing.TB, c cluster.Config, before int, change func(*Config), tokens ...string) *stand {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	s := &stand{t: t, cluster: c, client: sinktest.Client(t, c)}
	var err error
	if s.auth, err = auth.New(auth.Config{Tokens: tokens, TicketLifetime: time.Minute}, s.now); err != nil {
		t.Fatal(err)
	}
	if before > 0 {
		sinktest.Produce(t, s.client, 0, before)
	}
	if s.server, err = New(cfg, Deps{Cluster: c, Auth: s.auth, Now: s.now}); err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewServer(s.server)
	t.Cleanup(s.http.Close)
	s.stop = sinktest.Run(t, s.server.Run)
	sinktest.Eventually(t, 10*time.Second, s.server.feed.Ready, "the feed is not ready")
	return s
}

func hash(token string) string { return fmt.Sprintf("me=sha256:%x", sha256.Sum256([]byte(token))) }

func (s *stand) url() string {
	return "ws" + strings.TrimPrefix(s.http.URL, "http") + "/api/v1/events/ws"
}

// peer is a client that checks the sequence numbers of all it gets.
type peer struct {
	t   testing.TB
	ws  *websocket.Conn
	seq uint64
}

type message struct {
	Type, ID, Code, Message, Since, Time string
	Seq                                  uint64
	Missed                               int64
	Replay                               bool
	Events                               []struct{ ID, Symbol, Severity, Type, Detector string }
}

func (s *stand) dial(o *websocket.DialOptions) *peer {
	s.t.Helper()
	if o == nil {
		o = &websocket.DialOptions{Subprotocols: []string{Subprotocol}}
	}
	ws, _, err := websocket.Dial(s.t.Context(), s.url(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	s.t.Cleanup(func() { _ = ws.CloseNow() })
	p := &peer{t: s.t, ws: ws}
	if m := p.next(); m.Type != "hello" || m.Since == "" || m.Time == "" {
		s.t.Fatalf("the first message is %+v, want hello with since and time", m)
	}
	return p
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	if err := p.ws.Write(p.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() (message, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	var m message
	_, text, err := p.ws.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

func (p *peer) next() message {
	p.t.Helper()
	m, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	if m.Type == "events" {
		if m.Seq != p.seq+1 {
			p.t.Fatalf("O8: seq is %d after %d: the transcript has a gap", m.Seq, p.seq)
		}
		p.seq += uint64(len(m.Events))
	}
	return m
}

func (p *peer) expect(kind string) message {
	p.t.Helper()
	m := p.next()
	if m.Type != kind {
		p.t.Fatalf("got %+v, want %s", m, kind)
	}
	return m
}

// events reads until n events have come and returns their ids and the last token.
func (p *peer) events(n int) (ids []string, since string) {
	p.t.Helper()
	for len(ids) < n {
		m := p.expect("events")
		for _, e := range m.Events {
			ids = append(ids, e.ID)
		}
		since = m.Since
	}
	return ids, since
}

func wantIDs(t testing.TB, got []string, from, to int, keep func(i int) bool) {
	t.Helper()
	have := map[string]int{}
	for _, id := range got {
		have[id]++
	}
	for i := from; i < to; i++ {
		want := 0
		if keep == nil || keep(i) {
			want = 1
		}
		if id := sinktest.Event(i).Id; have[id] != want {
			t.Fatalf("O8: event %d came %d times, want %d", i, have[id], want)
		}
		delete(have, sinktest.Event(i).Id)
	}
	if len(have) > 0 {
		t.Fatalf("O8: %d events came that were not asked for", len(have))
	}
}

func TestSubscribeFiltersAndUnsubscribe(t *testing.T) {
	s := newStand(t, 0, nil)
	all, some := s.dial(nil), s.dial(nil)
	all.say(`{"type":"subscribe","id":"a"}`)
	all.expect("subscribed")
	some.say(`{"type":"subscribe","id":"crit","filters":{"severities":["critical"],"detectors":["unusual_volume"],"venues":["binance"],"types":["unusual_volume"]}}`)
	some.expect("subscribed")
	some.say(`{"type":"subscribe","id":"s0","filters":{"symbols":["S00-USDT"]}}`)
	some.expect("subscribed")
	sinktest.Produce(t, s.client, 0, 160)
	ids, _ := all.events(160)
	wantIDs(t, ids, 0, 160, nil)
	ids, _ = some.events(50)
	wantIDs(t, ids, 0, 160, func(i int) bool { return i%4 == 3 || i%16 == 0 })
	some.say(`{"type":"unsubscribe","id":"crit"}`)
	some.expect("unsubscribed")
	sinktest.Produce(t, s.client, 160, 192)
	ids, _ = some.events(2)
	wantIDs(t, ids, 160, 192, func(i int) bool { return i%16 == 0 })
	some.say(`{"type":"ping","id":"x"}`)
	if m := some.expect("pong"); m.ID != "x" {
		t.Errorf("pong has the id %q, want x", m.ID)
	}
}

func TestResume(t *testing.T) {
	for _, from := range []string{"memory", "topic"} {
		t.Run(from, func(t *testing.T) {
			s := newStand(t, 0, func(c *Config) {
				if from == "topic" {
					c.Feed.MaxEvents, c.Queue = 50, 50
				}
			})
			p := s.dial(nil)
			p.say(`{"type":"subscribe","id":"a"}`)
			p.expect("subscribed")
			sinktest.Produce(t, s.client, 0, 40)
			first, since := p.events(40)
			_ = p.ws.Close(websocket.StatusNormalClosure, "")
			sinktest.Produce(t, s.client, 40, 240)
			sinktest.Eventually(t, 5*time.Second, func() bool { head, _ := s.server.feed.Head(); return head == 240 }, "the feed is behind")
			// Another replica, which was not there when the token was made, takes it too.
			replica := newStandOn(t, s.cluster, 0, func(c *Config) { *c = s.server.config })
			for _, at := range []*stand{s, replica} {
				q := at.dial(nil)
				q.say(`{"type":"subscribe","id":"a","since":%q}`, since)
				q.expect("subscribed")
				rest, _ := q.events(200)
				wantIDs(t, append(append([]string{}, first...), rest...), 0, 240, nil)
			}
			q := s.dial(nil)
			q.say(`{"type":"subscribe","id":"a","since":%q}`, since)
			q.expect("subscribed")
			again, middle := q.events(200)
			sinktest.Produce(t, s.client, 240, 250)
			live, _ := q.events(10)
			wantIDs(t, append(again, live...), 40, 250, nil)
			r := s.dial(nil)
			r.say(`{"type":"subscribe","id":"a","since":%q}`, middle)
			r.expect("subscribed")
			rest, _ := r.events(10)
			wantIDs(t, rest, 240, 250, nil)
		})
	}
}

func TestForgedSinceIsRefused(t *testing.T) {
	s := newStand(t, 100, func(c *Config) { c.MaxReplay = 50 })
	p := s.dial(nil)
	p.say(`{"type":"subscribe","id":"ok"}`)
	good := p.expect("subscribed").Since
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(change func(body []byte) []byte) string {
		body := change(append([]byte{}, raw[:len(raw)-8]...))
		sum := sha256.Sum256(body)
		return base64.RawURLEncoding.EncodeToString(append(body, sum[:8]...))
	}
	flipped := append([]byte{}, raw...)
	flipped[12] ^= 1
	for name, since := range map[string]string{
		"not base64": "%%%", "empty token": "AA", "a number": "-1", "huge text": strings.Repeat("A", 9000), "flipped bit": base64.RawURLEncoding.EncodeToString(flipped),
		"other topic": seal(func(b []byte) []byte { b[1] ^= 0xff; return b }),
		"beyond end":  seal(func(b []byte) []byte { b[len(b)-1] += 60; return b }),
		"negative": seal(func(b []byte) []byte {
			return append(b[:len(b)-1], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
		}),
		"overlong":      seal(func(b []byte) []byte { return append(b, 1, 2, 3) }),
		"other count":   seal(func(b []byte) []byte { b[9] = 99; return b }),
		"cut":           seal(func(b []byte) []byte { return b[:len(b)-1] }),
		"too far back":  seal(func(b []byte) []byte { return append(b[:10], 0, 0, 0, 0) }),
		"other version": seal(func(b []byte) []byte { b[0] = 9; return b }),
	} {
		p.say(`{"type":"subscribe","id":"bad","since":%q}`, since)
		if m := p.expect("error"); m.Code != "bad_since" || !strings.Contains(m.Message, "since is not valid") {
			t.Errorf("%s: got %+v, want the error bad_since", name, m)
		}
		time.Sleep(20 * time.Millisecond) // stays below the message rate
	}
	sinktest.Produce(t, s.client, 100, 101)
	p.events(1)
}

func FuzzSince(f *testing.F) {
	f.Add("AQAAAAAAAAAABAECAwQFBgcICQoLDA")
	f.Fuzz(func(t *testing.T, token string) {
		fd, err := feed.New(feed.Options{Config: feed.Defaults(), Cluster: cluster.Defaults()})
		if err != nil {
			t.Fatal(err)
		}
		r, err := fd.Since(token, fd.Here())
		if err == nil && r.Records() != 0 {
			t.Fatalf("a token gave %d records of an empty feed", r.Records())
		}
	})
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"type":"subscribe","id":"a","filters":{"types":["x"]},"since":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := parseCommand(text); err == nil && c.Filters.Validate() == nil && len(c.Filters.Symbols) > 50 {
			t.Fatal("an unbounded filter passed")
		}
	})
}

func TestBadMessages(t *testing.T) {
	s := newStand(t, 0, func(c *Config) { c.MaxSubscriptions, c.MessagesPerSec = 2, 100 })
	p := s.dial(nil)
	many, _ := json.Marshal(make([]string, 51))
	for name, c := range map[string]struct{ say, code string }{
		"not JSON":      {`hello`, "bad_message"},
		"two values":    {`{"type":"ping"} {"type":"ping"}`, "bad_message"},
		"unknown field": {`{"type":"subscribe","id":"a","filter":{}}`, "bad_message"},
		"wrong kind":    {`{"type":"subscribe","filters":{"symbols":"BTC"}}`, "bad_message"},
		"long id":       {`{"type":"ping","id":"` + strings.Repeat("x", 65) + `"}`, "bad_message"},
		"unknown type":  {`{"type":"drop"}`, "unknown_type"},
		"wildcard":      {`{"type":"subscribe","filters":{"symbols":["*"]}}`, "bad_filter"},
		"severity":      {`{"type":"subscribe","filters":{"severities":["urgent"]}}`, "bad_filter"},
		"many symbols":  {`{"type":"subscribe","filters":{"symbols":` + string(many) + `}}`, "bad_filter"},
		"unsubscribe":   {`{"type":"unsubscribe","id":"none"}`, "unknown_subscription"},
	} {
		p.say("%s", c.say)
		if m := p.expect("error"); m.Code != c.code || m.Message == "" {
			t.Errorf("%s: got %+v, want the error %s", name, m, c.code)
		}
	}
	for i, want := range []string{"subscribed", "subscribed", "error"} {
		p.say(`{"type":"subscribe","id":"%d"}`, i)
		p.expect(want)
	}
}

func TestLaggingClientIsToldAndOthersAreUnmoved(t *testing.T) {
	s := newStand(t, 0, func(c *Config) {
		c.Feed.MaxEvents, c.Queue, c.MaxLags, c.WriteTimeout, c.Heartbeat, c.FlushInterval = 2000, 50, 2, time.Minute, time.Hour, 0
	})
	slow, quick := s.dial(nil), s.dial(nil)
	for _, p := range []*peer{slow, quick} {
		p.say(`{"type":"subscribe","id":"a"}`)
		p.expect("subscribed")
	}
	// A client that does not read: events with long texts fill its socket, then its queue. The other client takes each one
	// before the next is written, which it could not if the first held anybody up.
	const n = 250
	long := func(i int) {
		t.Helper()
		e := sinktest.Event(i)
		e.Description = strings.Repeat("long ", 20_000)
		if err := s.client.ProduceSync(t.Context(), sinktest.Record(t, e)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		ids, _ := quick.events(1)
		wantIDs(t, ids, i, i+1, nil)
	}
	for i := range n {
		long(i)
	}
	got, lagged, since := 0, int64(0), ""
	for lagged == 0 {
		m := slow.next()
		got += len(m.Events)
		lagged = m.Missed
		since = m.Since
	}
	if got+int(lagged) != n || since == "" {
		t.Fatalf("O8: %d events and %d said to be missed make %d, want %d (since %q)", got, lagged, got+int(lagged), n, since)
	}
	again := s.dial(nil)
	again.say(`{"type":"subscribe","id":"a","since":%q}`, since)
	again.expect("subscribed")
	rest, _ := again.events(int(lagged))
	wantIDs(t, rest, n-int(lagged), n, nil)
	// The second time within a minute is the last.
	for i := n; i < 2*n; i++ {
		long(i)
	}
	for {
		_, err := slow.read()
		if err == nil {
			continue
		}
		if code := websocket.CloseStatus(err); code != websocket.StatusTryAgainLater {
			t.Fatalf("closed with %d (%v), want 1013", code, err)
		}
		return
	}
}

func TestStalledClientIsCut(t *testing.T) {
	s := newStand(t, 0, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	p := s.dial(nil)
	p.say(`{"type":"subscribe","id":"a"}`)
	p.expect("subscribed")
	for i := range 100 {
		e := sinktest.Event(i)
		e.Description = strings.Repeat("long ", 40_000)
		if err := s.client.ProduceSync(t.Context(), sinktest.Record(t, e)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	sinktest.Eventually(t, 10*time.Second, func() bool {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		return s.server.open == 0
	}, "a client that reads nothing is still connected")
}

func TestHeartbeatAndHalfOpen(t *testing.T) {
	s := newStand(t, 0, func(c *Config) { c.Heartbeat, c.WriteTimeout = 50*time.Millisecond, 200*time.Millisecond })
	p := s.dial(nil)
	for range 3 {
		if m := p.expect("heartbeat"); m.Time == "" || m.Since == "" {
			t.Fatalf("heartbeat is %+v, want time and since", m)
		}
	}
	// A client that no longer reads answers no ping.
	sinktest.Eventually(t, 5*time.Second, func() bool {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		return s.server.open == 0
	}, "a half-open connection is still there")
}

// BenchmarkFanOut measures deliveries to 100 clients: b.N events each.
func BenchmarkFanOut(b *testing.B) {
	s := newStand(b, 0, func(c *Config) { c.Feed.MaxEvents, c.Queue = 100_000, 100_000 })
	const clients = 100
	var wait sync.WaitGroup
	n := 2000
	for range clients {
		p := s.dial(nil)
		p.say(`{"type":"subscribe","id":"a"}`)
		p.expect("subscribed")
		wait.Go(func() {
			for got := 0; got < n; {
				_, text, err := p.ws.Read(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				got += strings.Count(string(text), `"dedupKey"`)
			}
		})
	}
	begin := time.Now()
	for b.Loop() {
		sinktest.Produce(b, s.client, 0, n)
		wait.Wait()
	}
	b.ReportMetric(float64(n*clients)/time.Since(begin).Seconds(), "deliveries/s")
}
