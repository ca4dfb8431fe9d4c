package poll

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// What goes wrong at a service, and what is published of it: everything once it answers, nothing invented before. The first
// case is the control: without a fault one request publishes both items.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name      string
		turns     []http.HandlerFunc
		published string
		requests  int
		outcome   string
		state     string
	}{
		{"no fault", []http.HandlerFunc{says(items("a", "b"))}, "a b", 1, "ok", "healthy"},
		{"429 with Retry-After, then an answer", []http.HandlerFunc{fails(429, "Retry-After", "1"), says(items("a"))}, "a", 2, "throttled", "healthy"},
		{"429 that asks for an hour", []http.HandlerFunc{fails(429, "Retry-After", "3600"), says(items("a"))}, "", 1, "throttled", "blind"},
		{"403, as the SEC blocks", []http.HandlerFunc{fails(403), says(items("a"))}, "", 1, "blocked", "blind"},
		{"404", []http.HandlerFunc{fails(404), says(items("a"))}, "", 1, "refused", "blind"},
		{"5xx, then recovery", []http.HandlerFunc{fails(500), fails(503), says(items("a"))}, "a", 3, "error", "healthy"},
		{"5xx throughout", []http.HandlerFunc{fails(502)}, "", 3, "error", "blind"},
		{"cut off, then whole", []http.HandlerFunc{cutOff(items("a")), says(items("a"))}, "a", 2, "truncated", "healthy"},
		{"empty", []http.HandlerFunc{says("")}, "", 3, "truncated", "blind"},
		{"too slow, then in time", []http.HandlerFunc{slow(1500 * time.Millisecond), says(items("a"))}, "a", 2, "network", "healthy"},
		{"200 that refuses", []http.HandlerFunc{says(`{"refused":"limit"}`), says(items("a"))}, "", 1, "throttled", "blind"},
		{"another shape", []http.HandlerFunc{says(`{"entries":[]}`)}, "", 1, "ok", "blind"},
		{"not JSON", []http.HandlerFunc{says("<html>")}, "", 1, "ok", "blind"},
		{"one bad entry", []http.HandlerFunc{says(`{"items":[{"id":"a","at":1704067200,"value":"x"},{"id":"b","at":1704067200,"value":"2"}]}`)}, "b", 1, "ok", "healthy"},
		{"a decoder that panics", []http.HandlerFunc{says(items("a", "panic"))}, "", 1, "ok", "blind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.on("job", c.turns...)
			o := options()
			out := &sourcetest.Memory{}
			src := runOnce(t, &fake{name: "fake", url: s.URL, jobs: []string{"job"}}, o, out)
			if got := ids(out); got != c.published || s.count("job") != c.requests {
				t.Errorf("%q published in %d requests; want %q in %d", got, s.count("job"), c.published, c.requests)
			}
			host := strings.TrimPrefix(s.URL, "http://")
			if n := testutil.ToFloat64(o.Metrics.Requests.WithLabelValues("fake", host, c.outcome)); n == 0 {
				t.Errorf("no request is counted as %s", c.outcome)
			}
			if got := src.Component().State; got != c.state {
				t.Errorf("state %s (%s), want %s", got, src.Component().Reason, c.state)
			}
			health := sourcetest.Of[*schemas.FeedHealth](out)
			if len(health) == 0 || health[len(health)-1].Connected != (c.state == "healthy") || (health[len(health)-1].SilentNs != nil) != (c.state == "healthy") {
				t.Errorf("health %v, want connected: %v", health, c.state == "healthy")
			}
		})
	}
}

// A run with Once says which jobs came to nothing and why, and publishes what the others gave; the control is the same run
// with a service that answers.
func TestOnceNamesWhatFailed(t *testing.T) {
	for _, broken := range []bool{true, false} {
		s := serve(t)
		s.on("good", says(items("a")))
		s.on("gone", fails(404))
		s.on("odd", says(`{"entries":[]}`))
		if !broken {
			s.on("gone", says(items("b")))
			s.on("odd", says(items("c")))
		}
		src, err := New(&fake{name: "fake", url: s.URL, jobs: []string{"good", "gone", "odd"}}, options())
		if err != nil {
			t.Fatal(err)
		}
		out := &sourcetest.Memory{}
		err = src.Run(t.Context(), out)
		u, failed := errors.AsType[*Unanswered](err)
		switch {
		case failed != broken:
			t.Errorf("broken %v: the run ends with %v", broken, err)
		case broken && (len(u.Jobs) != 2 || u.Asked != 3 || !strings.Contains(err.Error(), "gone: requesting: the service answers 404 Not Found; odd: unexpected shape")):
			t.Errorf("%v must name gone and odd, and why", err)
		}
		if want := map[bool]string{true: "a", false: "b a c"}[broken]; ids(out) != want {
			t.Errorf("broken %v: %q published, want %q", broken, ids(out), want)
		}
	}
}

func cutOff(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write([]byte(body))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func slow(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
}

func TestTooLarge(t *testing.T) {
	s := serve(t)
	s.on("job", says(strings.Repeat(" ", 1<<20)+items("a")))
	o := options()
	o.Config.MaxBodyMB = 1
	o.Client = NewClient(o.Config, o.Metrics)
	if out := once(t, &fake{name: "fake", url: s.URL, jobs: []string{"job"}}, o); ids(out) != "" || s.count("job") != 1 {
		t.Errorf("%q published in %d requests; want nothing in one", ids(out), s.count("job"))
	}
}

// The breaker opens after five failures in a row, lets nothing through while open, one request when half open, and closes
// when that is answered. Another host is not touched.
func TestBreaker(t *testing.T) {
	bad, good := serve(t), serve(t)
	bad.on("job", fails(500))
	good.on("job", says(items("a")))
	o := options()
	o.Config.Attempts = 1
	o.Client = NewClient(o.Config, o.Metrics)
	o.Client.halfOpen = 300 * time.Millisecond
	check := func(*service) func([]byte) error { return func([]byte) error { return nil } }
	do := func(s *service) error {
		_, _, err := o.Client.do(t.Context(), "fake", Request{Ref: s.URL + "/job", PerMinute: 60_000}, validators{}, check(s))
		return err
	}
	state := func(s *service) float64 {
		return testutil.ToFloat64(o.Metrics.Breaker.WithLabelValues(strings.TrimPrefix(s.URL, "http://")))
	}
	for range openAfter {
		if do(bad) == nil {
			t.Fatal("a 500 is no error")
		}
	}
	if state(bad) != 2 || do(bad) == nil || bad.count("job") != openAfter {
		t.Errorf("state %v after %d failures, %d requests; want open, and nothing let through", state(bad), openAfter, bad.count("job"))
	}
	if err := do(good); err != nil || state(good) != 0 {
		t.Errorf("the other host: %v, state %v", err, state(good))
	}
	time.Sleep(o.Client.halfOpen + 50*time.Millisecond)
	if do(bad) == nil || state(bad) != 2 || bad.count("job") != openAfter+1 {
		t.Errorf("half open: state %v, %d requests; want one more, and open again", state(bad), bad.count("job"))
	}
	time.Sleep(o.Client.halfOpen + 50*time.Millisecond)
	bad.on("job", says(items("a")))
	if err := do(bad); err != nil || state(bad) != 0 {
		t.Errorf("after recovery: %v, state %v; want closed", err, state(bad))
	}
}

// A host that asks for an hour is left alone by all its jobs, and none of them waits for it in its turn.
func TestLongPauseHoldsForTheHost(t *testing.T) {
	s := serve(t)
	for _, job := range []string{"a", "b", "c"} {
		s.on(job, fails(429, "Retry-After", "3600"))
	}
	o := options()
	began := time.Now()
	once(t, &fake{name: "fake", url: s.URL, jobs: []string{"a", "b", "c"}}, o)
	if _, after, err := o.Client.do(t.Context(), "fake", Request{Ref: s.URL + "/a"}, validators{}, func([]byte) error { return nil }); err == nil || after < 59*time.Minute {
		t.Errorf("the next request: %v, again after %v; want an hour", err, after)
	}
	if took := time.Since(began); took > 5*time.Second || s.count("a")+s.count("b")+s.count("c") > 3 {
		t.Errorf("took %v and %d requests", took, s.count("a")+s.count("b")+s.count("c"))
	}
}

// Requests that are at fault themselves do not open the breaker for the others of the host.
func TestRefusedRequestsLeaveTheBreakerClosed(t *testing.T) {
	s := serve(t)
	o := options()
	for range 2 * openAfter {
		if _, _, err := o.Client.do(t.Context(), "fake", Request{Ref: s.URL + "/nothing", PerMinute: 60_000}, validators{}, func([]byte) error { return nil }); err == nil {
			t.Fatal("a 404 is no error")
		}
	}
	s.on("job", says(items("a")))
	if out := once(t, &fake{name: "fake", url: s.URL, jobs: []string{"job"}}, o); ids(out) != "a" {
		t.Errorf("%q published, want a", ids(out))
	}
}

// One job that fails does not keep the others of its source waiting, nor another source.
func TestOthersAreUntouched(t *testing.T) {
	s, other := serve(t), serve(t)
	s.on("bad", fails(500))
	s.on("good", says(items("a")))
	other.on("job", says(items("b")))
	o := options()
	if got := ids(once(t, &fake{name: "one", url: s.URL, jobs: []string{"bad", "good"}}, o)); got != "a" {
		t.Errorf("%q published, want a", got)
	}
	if got := ids(once(t, &fake{name: "two", url: other.URL, jobs: []string{"job"}}, o)); got != "b" {
		t.Errorf("%q published, want b", got)
	}
}

// An unchanged answer comes as 304 and is a sign of life. Conditions are those of the last answer that could be read.
func TestConditionalRequests(t *testing.T) {
	t.Run("ETag", func(t *testing.T) { conditional(t, "ETag", "If-None-Match", `"1"`, `"2"`) })
	t.Run("Last-Modified", func(t *testing.T) {
		conditional(t, "Last-Modified", "If-Modified-Since", "Mon, 02 Mar 2026 11:00:00 GMT", "Mon, 02 Mar 2026 12:00:00 GMT")
	})
}

// conditional runs a service that says by a header how new an answer is, and is asked by another.
func conditional(t *testing.T, says, asks, one, two string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		etag := func(body, tag string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(asks) == tag {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				w.Header().Set(says, tag)
				_, _ = w.Write([]byte(body))
			}
		}
		turns := []http.HandlerFunc{
			etag(items("a"), one), etag(items("a"), one), etag(`{"other":1}`, two), etag(items("a", "b"), two), etag(items("a", "b"), two),
		}
		var conditions []string
		o := options()
		o.Once = false
		o.Client.http.Transport = answering(func(r *http.Request) http.HandlerFunc {
			conditions = append(conditions, r.Header.Get(asks))
			turn := turns[0]
			if len(turns) > 1 {
				turns = turns[1:]
			}
			return turn
		})
		out := &sourcetest.Memory{}
		src, err := New(&fake{name: "fake", url: "http://fake.test", jobs: []string{"job"}}, o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour)
		defer cancel()
		if err := src.Run(ctx, out); err != nil {
			t.Fatal(err)
		}
		want := []string{"", one, one, "", two}
		if len(conditions) < 5 || !slices.Equal(conditions[:5], want) {
			t.Errorf("conditions %q, want %q: the unreadable answer is not one to refer to", conditions, want)
		}
		if got := ids(out); got != "a b" {
			t.Errorf("%q published, want a b", got)
		}
		if late := out.Late(); len(late) > 0 {
			t.Errorf("late: %v", late[0])
		}
	})
}

// A key does not follow a redirect to another host, and no error names it.
func TestKeysStayOnTheirHost(t *testing.T) {
	thief, s := serve(t), serve(t)
	thief.on("job", says(items("stolen")))
	s.on("job", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL+"/job", http.StatusFound) })
	o := options()
	o.Config.Attempts = 1
	o.Client = NewClient(o.Config, o.Metrics)
	req := Request{Ref: s.URL + "/job", PerMinute: 60_000}
	if _, _, err := o.Client.do(t.Context(), "fake", req, validators{}, func([]byte) error { return nil }); err != nil {
		t.Errorf("without a key: %v", err)
	}
	req.URL = secret.New("http://" + "127.0.0.1:1" + "/job?key=hunter2") // nobody listens
	_, _, err := o.Client.do(t.Context(), "fake", req, validators{}, func([]byte) error { return nil })
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v must not hold the key", err)
	}
	asked := thief.count("job")
	req.URL = secret.Secret{}
	req.Header = map[string]secret.Secret{"X-Key": secret.New("hunter2")}
	if _, _, err := o.Client.do(t.Context(), "fake", req, validators{}, func([]byte) error { return nil }); err == nil || thief.count("job") != asked {
		t.Errorf("with a key: %v, %d requests reached the other host", err, thief.count("job")-asked)
	}
}

// A recording plays back to the records that were published live, failures and restarts included.
func TestPlaybackEqualsLive(t *testing.T) {
	s := serve(t)
	s.on("one", says(`{"items":[{"id":"a","at":1704067200,"value":"1"},{"id":"c","at":1704240000,"value":"1"}],"next":"more"}`))
	s.on("more", fails(500), says(items("m", "b")))
	s.on("two", fails(404))
	s.on("three", says(`{"entries":1}`), says(items("z")))
	p := &fake{name: "fake", url: s.URL, jobs: []string{"one", "two", "three"}}
	o := options()
	o.Config.Capture = t.TempDir()
	live := once(t, p, o)
	if got := ids(live); got != "a m b c" {
		t.Fatalf("%q published live, want a m b c in the order of what they say", got)
	}
	files, err := filepath.Glob(filepath.Join(o.Config.Capture, "fake-*.jsonl.zst"))
	if err != nil || len(files) != 1 {
		t.Fatalf("recordings %v, %v", files, err)
	}
	o.Play = files[0]
	played := once(t, p, o)
	if live.Digest(nil) != played.Digest(nil) {
		t.Errorf("playback differs: live %d records, played %d", len(live.Entries()), len(played.Entries()))
	}
}
