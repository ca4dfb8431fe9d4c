package websocket

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tapewatch/tapewatch/api/auth"
)

func TestOriginsAndHandshakes(t *testing.T) {
	s := newStand(t, 0, func(c *Config) { c.Origins = []string{"https://example.com"} })
	host := strings.TrimPrefix(s.http.URL, "http://")
	for name, c := range map[string]struct {
		origin string
		want   int
	}{
		"own host": {"http://" + host, 101}, "listed": {"https://example.com", 101}, "none": {"", 101},
		"look-alike before": {"https://evil-example.com", 403}, "look-alike behind": {"https://example.com.evil.org", 403},
		"other scheme": {"http://example.com", 403}, "other port": {"https://example.com:8443", 403}, "null": {"null", 403},
		"user part": {"https://example.com@evil.org", 403}, "upper case": {"https://EXAMPLE.com", 403},
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		ws, resp, err := websocket.Dial(t.Context(), s.url(), &websocket.DialOptions{HTTPHeader: h})
		if resp == nil || resp.StatusCode != c.want {
			t.Errorf("%s: got %v, error %v, want %d", name, resp, err, c.want)
		}
		if ws != nil {
			_ = ws.CloseNow()
		}
	}
	strict := newStandOn(t, s.cluster, 0, func(c *Config) { c.RequireOrigin = true })
	if _, resp, err := websocket.Dial(t.Context(), strict.url(), nil); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("require_origin let a client without Origin in: %v", resp)
	}
}

func TestAuthentication(t *testing.T) {
	s := newStand(t, 0, nil, hash(testToken))
	ticket, _, err := s.auth.Issue(auth.Identity{Name: "me"})
	if err != nil {
		t.Fatal(err)
	}
	header := func(values ...string) *websocket.DialOptions {
		return &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": values}}
	}
	for _, c := range []struct {
		name, query string
		options     *websocket.DialOptions
		want        int
	}{
		{"nothing", "", nil, 401},
		{"header", "", header("Bearer " + testToken), 101},
		{"wrong header", "", header("Bearer wrong"), 401},
		{"two headers", "", header("Bearer "+testToken, "Bearer "+testToken), 401},
		{"basic", "", header("Basic " + testToken), 401},
		{"subprotocol", "", &websocket.DialOptions{Subprotocols: []string{Subprotocol, "bearer." + testToken}}, 101},
		{"wrong subprotocol", "", &websocket.DialOptions{Subprotocols: []string{Subprotocol, "bearer.wrong"}}, 401},
		{"ticket", "?ticket=" + url.QueryEscape(ticket), nil, 101},
		{"ticket again", "?ticket=" + url.QueryEscape(ticket), nil, 401},
		{"token in the URL", "?ticket=" + testToken, nil, 401},
		{"huge token", "", header("Bearer " + strings.Repeat("x", 600)), 401},
	} {
		ws, resp, err := websocket.Dial(t.Context(), s.url()+c.query, c.options)
		if resp == nil || resp.StatusCode != c.want {
			t.Errorf("%s: got %v, error %v, want %d", c.name, resp, err, c.want)
		}
		if ws != nil {
			if p := ws.Subprotocol(); strings.Contains(p, testToken) {
				t.Errorf("%s: the server repeated the token in the subprotocol %q", c.name, p)
			}
			_ = ws.CloseNow()
		}
	}
}

// expiring is a token that is good for an hour, and its end, for leave.
func expiring() (token string, end time.Time) {
	end = time.Now().Add(time.Hour).UTC()
	return hash(testToken) + "@" + end.Format(time.RFC3339Nano), end
}

// leave stops the server's clock at this much before the end of a token: whoever connects from now on has so long, however slow the machine is.
func (s *stand) leave(d time.Duration, end time.Time) {
	at := end.Add(-d)
	s.stopped.Store(&at)
}

// now is what the server takes for the time: the wall clock, unless a test has stopped it.
func (s *stand) now() time.Time {
	if at := s.stopped.Load(); at != nil {
		return *at
	}
	return time.Now()
}

func TestTokenThatExpiresWhileConnected(t *testing.T) {
	token, end := expiring()
	s := newStand(t, 0, nil, token)
	s.leave(time.Second, end)
	p := s.dial(&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken}}})
	if _, err := p.read(); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Fatalf("got %v, want close 1008", err)
	}
}

func TestConnectionLimits(t *testing.T) {
	s := newStand(t, 0, func(c *Config) { c.MaxConnections = 3 })
	for range 3 {
		s.dial(nil)
	}
	_, resp, err := websocket.Dial(t.Context(), s.url(), nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("the fourth connection got %v, want 503 with Retry-After", resp)
	}
}
