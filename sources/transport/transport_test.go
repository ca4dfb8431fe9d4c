package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/sources/capture"
)

// serve runs a WebSocket server and the connection against it, and returns the frames of the first while that are enough.
func serve(t *testing.T, opt Options, enough func([]capture.Frame) bool, handle func(session int32, c *websocket.Conn, ctx context.Context)) []capture.Frame {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	var sessions atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := sessions.Add(1)
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		handle(n, c, r.Context())
	}))
	t.Cleanup(server.Close)
	opt.Slot, opt.URL = "test", "ws"+strings.TrimPrefix(server.URL, "http")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	frames := make(chan capture.Frame)
	done := make(chan error, 1)
	go func() { done <- Dial(ctx, opt, frames) }()
	var got []capture.Frame
	for !enough(got) {
		select {
		case f := <-frames:
			got = append(got, f)
		case <-ctx.Done():
			t.Fatalf("not enough after 20 s: %d frames", len(got))
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Dial ends with %v", err)
	}
	return got
}

func count(frames []capture.Frame, kind capture.Kind) (n int) {
	for _, f := range frames {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// A half-open connection, which stands and says nothing, is given up after the bound and dialled again; what is subscribed
// is sent each time.
func TestSilenceEndsASession(t *testing.T) {
	opt := Options{Send: [][]byte{[]byte("subscribe")}, Silence: 100 * time.Millisecond, MaxAge: time.Hour, BackoffMax: 10 * time.Millisecond}
	frames := serve(t, opt, func(f []capture.Frame) bool { return count(f, capture.Close) == 2 }, func(_ int32, c *websocket.Conn, ctx context.Context) {
		if _, request, err := c.Read(ctx); err != nil || string(request) != "subscribe" {
			t.Errorf("request %q, %v", request, err)
		}
		_, _, _ = c.Read(ctx) // until the other side gives up
	})
	if count(frames, capture.Connect) < 2 || count(frames, capture.Send) < 2 {
		t.Errorf("frames %v", frames)
	}
	for _, f := range frames {
		if f.Kind == capture.Close && !strings.Contains(string(f.Data), errSilent.Error()) {
			t.Errorf("closed for %q, want silence", f.Data)
		}
	}
	if frames[0].Conn != "test/1" || frames[len(frames)-1].Conn != "test/2" {
		t.Errorf("sessions %s and %s, want test/1 and test/2", frames[0].Conn, frames[len(frames)-1].Conn)
	}
}

// A venue that wants pings of the protocol closes a connection without them: Kraken's futures after a minute. One that does not
// answer them is no reason to end a session.
func TestPingsOfTheProtocol(t *testing.T) {
	var pings atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
			return pings.Add(1) > 2 // the first two have no answer
		}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		<-c.CloseRead(r.Context()).Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	frames, done := make(chan capture.Frame, 100), make(chan error, 1)
	opt := Options{
		Slot: "test", URL: "ws" + strings.TrimPrefix(server.URL, "http"), PingEvery: 20 * time.Millisecond, Silence: time.Minute, MaxAge: time.Hour,
	}
	go func() { done <- Dial(ctx, opt, frames) }()
	for pings.Load() < 5 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(frames)
	var kinds []capture.Kind
	for f := range frames {
		kinds = append(kinds, f.Kind)
	}
	if n := pings.Load(); n < 5 || len(kinds) == 0 || kinds[0] != capture.Connect || len(kinds) > 2 {
		t.Errorf("%d pings and frames %v, want 5 pings on one session", n, kinds)
	}
}

// At its age a session is renewed: the next one carries data before the old one ends.
func TestRenewalMakesBeforeItBreaks(t *testing.T) {
	opt := Options{Silence: time.Minute, MaxAge: 200 * time.Millisecond, BackoffMax: time.Millisecond}
	frames := serve(t, opt, func(f []capture.Frame) bool { return count(f, capture.Close) == 1 }, func(_ int32, c *websocket.Conn, ctx context.Context) {
		ctx = c.CloseRead(ctx)
		for c.Write(ctx, websocket.MessageText, []byte("data")) == nil {
			time.Sleep(5 * time.Millisecond)
		}
	})
	second := false
	for _, f := range frames {
		second = second || (f.Kind == capture.Receive && f.Conn == "test/2")
		if f.Kind == capture.Close && (!second || f.Conn != "test/1") {
			t.Errorf("%s closed before the second session had data", f.Conn)
		}
	}
}

// A session that is to be replaced stands until the next one is said to have all that it needs, and requests go out on the
// next one from its first data on.
func TestRenewalWaitsForWord(t *testing.T) {
	settled, requests := make(chan struct{}, 1), make(chan []byte, 1)
	settled <- struct{}{} // of a renewal long ago
	opt := Options{
		Silence: time.Minute, MaxAge: 200 * time.Millisecond, BackoffMax: time.Millisecond, Settled: settled, Requests: requests,
		IsData: func(raw []byte) bool { return string(raw) == "data" },
	}
	var asked atomic.Int32
	second := 0
	enough := func(f []capture.Frame) bool {
		if n := len(f); n > 0 && f[n-1].Kind == capture.Receive && f[n-1].Conn == "test/2" {
			second++
		}
		switch second {
		case 100: // 500 ms, more than the age
			if len(requests) == 0 && asked.Load() == 0 {
				requests <- []byte("request")
			}
		case 200:
			if len(settled) == 0 && count(f, capture.Close) == 0 {
				settled <- struct{}{}
			}
		}
		return count(f, capture.Close) == 1
	}
	frames := serve(t, opt, enough, func(session int32, c *websocket.Conn, ctx context.Context) {
		go func() {
			if _, raw, err := c.Read(ctx); err == nil && string(raw) == "request" {
				asked.Store(session)
			}
		}()
		for c.Write(ctx, websocket.MessageText, []byte("data")) == nil {
			time.Sleep(5 * time.Millisecond)
		}
	})
	if second < 200 || asked.Load() != 2 {
		t.Errorf("the first session ended after %d messages of the second, the request came by session %d: want 200, and 2", second, asked.Load())
	}
	if last := frames[len(frames)-1]; last.Conn != "test/1" {
		t.Errorf("%s was closed, want test/1", last.Conn)
	}
}

// A next session that ends while both stand costs nothing: the one at hand goes on, with its requests.
func TestRenewalThatDoesNotLast(t *testing.T) {
	requests := make(chan []byte, 1)
	opt := Options{Silence: time.Minute, MaxAge: 200 * time.Millisecond, BackoffMax: time.Millisecond, Requests: requests, Settled: make(chan struct{})}
	var asked atomic.Int32
	closed := 0
	frames := serve(t, opt, func(f []capture.Frame) bool {
		if n := count(f, capture.Close); n == 1 && closed == 0 {
			closed = len(f)
			requests <- []byte("request")
		}
		return closed > 0 && len(f) > closed+20 && asked.Load() != 0
	}, func(session int32, c *websocket.Conn, ctx context.Context) {
		if session == 2 {
			_ = c.Write(ctx, websocket.MessageText, []byte("data"))
			return
		}
		go func() {
			if _, raw, err := c.Read(ctx); err == nil && string(raw) == "request" {
				asked.Store(session)
			}
		}()
		for c.Write(ctx, websocket.MessageText, []byte("data")) == nil {
			time.Sleep(5 * time.Millisecond)
		}
	})
	if frames[closed-1].Conn != "test/2" || frames[len(frames)-1].Conn != "test/1" || asked.Load() != 1 {
		t.Errorf("%s was closed, %s goes on, the request came by session %d: want test/2, test/1 and 1",
			frames[closed-1].Conn, frames[len(frames)-1].Conn, asked.Load())
	}
}

func TestBackoffIsCappedAndJittered(t *testing.T) {
	b := backoff{cap: 4 * time.Second}
	bounds := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second}
	for i, bound := range bounds {
		if d := b.next(); d < 0 || d >= bound || b.bound != bound {
			t.Errorf("wait %d is %v with bound %v, want less than %v", i, d, b.bound, bound)
		}
	}
	b.reset()
	if b.next(); b.bound != bounds[0] {
		t.Errorf("bound %v after data, want %v", b.bound, bounds[0])
	}
}

// Only data that last set the waits back: a venue that takes every connection and its subscription and then ends it, be it after a first
// message, is asked less and less often. The control has data for the longest wait each time.
func TestOnlyLastingDataResetTheBackoff(t *testing.T) {
	const most = 2 * firstWait // below steady, which it caps
	for name, c := range map[string]struct {
		says   string
		lasts  time.Duration
		resets bool
	}{
		"acknowledged":              {"acknowledged", most, false},
		"cut after its first data":  {"data", 0, false},
		"data for the longest wait": {"data", most, true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // guards longest
			var longest time.Duration
			log := slog.New(slog.NewJSONHandler(&bytes.Buffer{}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == "again_in" {
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, a.Value.Duration())
				}
				return a
			}}))
			opt := Options{
				Silence: time.Minute, MaxAge: time.Hour, BackoffMax: most, Log: log, IsData: func(raw []byte) bool { return string(raw) == "data" },
			}
			serve(t, opt, func(f []capture.Frame) bool {
				mu.Lock()
				defer mu.Unlock()
				return longest > firstWait || c.resets && count(f, capture.Close) > 6
			}, func(_ int32, conn *websocket.Conn, ctx context.Context) {
				_ = conn.Write(ctx, websocket.MessageText, []byte(c.says))
				sleep(conn.CloseRead(ctx), c.lasts+50*time.Millisecond)
			})
			if (longest > firstWait) == c.resets {
				t.Errorf("the longest wait was %v: want more than the first bound of %v: %v", longest, firstWait, !c.resets)
			}
		})
	}
}

// The venue says how long it wants to be left alone.
func TestRetryAfter(t *testing.T) {
	within := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		status int
		header string
		want   time.Duration
	}{
		{http.StatusTooManyRequests, "7", 7 * time.Second},
		{http.StatusTeapot, "120", 2 * time.Minute},
		{http.StatusTooManyRequests, "", 10 * time.Second},
		{http.StatusTooManyRequests, "-7", 10 * time.Second},
		{http.StatusTooManyRequests, "soon", 10 * time.Second},
		{http.StatusTooManyRequests, "999999", time.Hour},
		{http.StatusTooManyRequests, "9223372036854775807", time.Hour},
		{http.StatusServiceUnavailable, within(5 * time.Minute), 5 * time.Minute},
		{http.StatusServiceUnavailable, within(-5 * time.Minute), 0},
		{http.StatusServiceUnavailable, within(100 * time.Hour), time.Hour},
		{http.StatusBadGateway, "7", 0},
	} {
		r := &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.header}}}
		slack := time.Duration(0)
		if strings.HasSuffix(c.header, "GMT") {
			slack = 30 * time.Second // dates are in whole seconds, and time passes
		}
		if got := retryAfter(r); got > c.want || got < c.want-slack {
			t.Errorf("%d %q: %v, want %v", c.status, c.header, got, c.want)
		}
	}
}

// fetched gets addresses of a server until the wanted ones have answered, and returns the order of the answers.
func fetched(t *testing.T, opt FetchOptions, handle http.HandlerFunc, wanted int, paths ...string) []string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	frames := make(chan capture.Frame)
	f := NewFetcher(opt, frames)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	for _, p := range paths {
		f.Get(server.URL + p)
		f.Get(server.URL + p) // it is being asked for: nothing more
	}
	var got []string
	for len(got) < wanted {
		select {
		case frame := <-frames:
			got = append(got, strings.TrimPrefix(frame.URL, server.URL))
		case <-ctx.Done():
			t.Fatalf("only %q came in 20 s", got)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ends with %v", err)
	}
	return got
}

// An address that fails, or never answers, does not hold up the others, and is asked again until it comes. The control is
// the address that answers at once.
func TestOneAddressDoesNotHoldUpTheOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  http.HandlerFunc
	}{
		{"503", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"none", func(http.ResponseWriter, *http.Request) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			others, tried := make(chan struct{}), make(chan struct{})
			var answered, bad atomic.Int32
			handle := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/bad" {
					if bad.Add(1) == 1 {
						close(tried)
					}
					select {
					case <-others: // well again once all others have had theirs
					default:
						c.bad(w, r)
					}
					return
				}
				if r.URL.Path == "/1" {
					<-tried
				}
				if answered.Add(1) == 6 {
					close(others)
				}
			}
			wanted := []string{"/bad", "/1", "/2", "/3", "/4", "/5", "/6"}
			n := len(wanted)
			if c.name == "slow" { // it never comes
				n--
			}
			fetched(t, FetchOptions{PerMinute: 60_000, BackoffMax: 50 * time.Millisecond}, handle, n, wanted...)
			switch {
			case answered.Load() != 6:
				t.Errorf("%d of 6 others were asked once each", answered.Load())
			case c.name == "503" && bad.Load() < 2:
				t.Errorf("%d tries of the address that fails: it must come after another", bad.Load())
			}
		})
	}
}

// A venue that wants to be left alone is asked nothing else meanwhile.
func TestFetcherLeavesTheVenueAlone(t *testing.T) {
	var refusals, early atomic.Int32
	var until atomic.Int64
	fetched(t, FetchOptions{PerMinute: 60_000, BackoffMax: 10 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		if refusals.Add(1) == 1 {
			until.Store(int64(now().Add(900 * time.Millisecond)))
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if int64(now()) < until.Load() {
			early.Add(1)
		}
	}, 12, "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10", "/11", "/12")
	// What was under way when the refusal came may still arrive.
	if n := early.Load(); n >= inFlight {
		t.Errorf("%d requests while the venue wanted to be left alone, want fewer than %d", n, inFlight)
	}
}

// The budget holds for all addresses together.
func TestFetcherKeepsItsBudget(t *testing.T) {
	began := time.Now()
	const perMinute = 600 // a burst of 50, then 10 a second
	paths := make([]string, 56)
	for i := range paths {
		paths[i] = "/" + strconv.Itoa(i)
	}
	fetched(t, FetchOptions{PerMinute: perMinute, BackoffMax: time.Millisecond}, func(http.ResponseWriter, *http.Request) {}, len(paths), paths...)
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("%d requests in %v at %d a minute", len(paths), took, perMinute)
	}
}
