package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sinks/postgres"
)

type broken struct{ History }

func TestErrorsTellNoSecrets(t *testing.T) {
	s := newStand(t, nil)
	pg := postgres.Defaults()
	pg.URL = secret.New("postgres://admin:hunter2@127.0.0.1:1/x")
	reader, err := postgres.NewReader(pg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	s.server.deps.History = reader
	if body := s.want(200, "GET", "/api/v1/events"); !strings.Contains(body, `"from":"memory"`) || strings.Contains(body, "hunter2") || strings.Contains(body, "127.0.0.1:1") || strings.Contains(body, "admin") {
		t.Errorf("the error tells too much: %s", body)
	}
	s.server.deps.History = broken{} // panics
	if body := s.want(500, "GET", "/api/v1/events"); strings.Contains(body, "goroutine") || strings.Contains(body, "nil pointer") {
		t.Errorf("the error holds a stack: %s", body)
	}
	s.want(200, "GET", "/livez")
}

func TestHostileQueries(t *testing.T) {
	s := newStand(t, nil)
	s.events(10)
	for _, q := range []string{
		"limit=0", "limit=-1", "limit=1001", "limit=1e9", "limit=x", "cursor=" + url.QueryEscape("' OR 1=1 --"), "cursor=LTEvYQ", "cursor=" + strings.Repeat("A", 300),
		"severity=urgent", "symbol=*", "symbol=" + strings.Repeat("x", 65), "nonsense=1",
	} {
		s.want(422, "GET", "/api/v1/events?"+q)
	}
	for _, q := range []string{"symbol=" + url.QueryEscape("'; DROP TABLE events; --"), "symbol=" + url.QueryEscape("$$;SELECT pg_sleep(9)$$"), "symbol=%0d%0aX-Injected:%201"} {
		if body := s.want(200, "GET", "/api/v1/events?"+q); !strings.Contains(body, `"events":[]`) {
			t.Errorf("%s gave %s", q, body)
		}
	}
	s.want(404, "GET", "/etc/passwd")
	s.want(404, "GET", "/debug/pprof/") // only on the admin port
	s.want(404, "GET", "/docs")         // would load a CDN
	if got := len(s.pages("", 1000)); got != 10 {
		t.Errorf("%d events after the attack, want 10", got)
	}
	if strings.Contains(s.log.String(), "\r\nX-Injected") {
		t.Error("a header was injected into the log")
	}
}

func TestAuthentication(t *testing.T) {
	s := newStand(t, nil, hash(testToken), hash("expired")+"@2020-01-01T00:00:00Z")
	for _, path := range []string{"/livez", "/readyz", "/version", "/openapi.json", "/"} {
		s.want(200, "GET", path)
	}
	for _, path := range []string{"/health", "/health/workers", "/health/watchdogs", "/metrics", "/api/v1/events", "/nothing"} {
		s.want(401, "GET", path)
		s.want(401, "GET", path, "Authorization: Bearer wrong")
		s.want(401, "GET", path, "Authorization: Bearer expired")
		s.want(401, "GET", path, "Authorization: Bearer "+testToken, "Authorization: Bearer "+testToken)
		s.want(401, "GET", path+"?token="+testToken)
	}
	me := "Authorization: Bearer " + testToken
	s.want(200, "GET", "/metrics", me)
	s.want(200, "GET", "/api/v1/events", me)
	s.want(404, "GET", "/nothing", me)
	s.want(401, "POST", "/api/v1/tickets")
	var ticket struct{ Ticket string }
	if err := json.Unmarshal([]byte(s.want(201, "POST", "/api/v1/tickets", me)), &ticket); err != nil {
		t.Fatal(err)
	}
	ws := "ws" + strings.TrimPrefix(s.url, "http") + webSocketPath
	for i, want := range []int{101, 401} {
		conn, resp, err := coder.Dial(t.Context(), ws+"?ticket="+ticket.Ticket, nil)
		if resp == nil || resp.StatusCode != want {
			t.Fatalf("use %d of the ticket gave %v, error %v, want %d", i+1, resp, err, want)
		}
		if conn != nil {
			if _, text, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(text), "hello") {
				t.Fatalf("got %s, error %v, want hello", text, err)
			}
			_ = conn.CloseNow()
		}
	}
	if log := s.log.String(); strings.Contains(log, testToken) || strings.Contains(log, ticket.Ticket) {
		t.Error("a token or ticket is in the log")
	}
}

func TestRefusesToServeStrangers(t *testing.T) {
	for _, host := range []string{"0.0.0.0", "", "::", "192.0.2.1", "example.com"} {
		c := Defaults()
		c.Host = host
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "api.auth.tokens is empty") {
			t.Errorf("host %q without tokens gave %v, want a refusal", host, err)
		}
		c.Auth.Tokens = []string{hash(testToken)}
		if err := c.Validate(); err != nil {
			t.Errorf("host %q with a token gave %v", host, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost", "::1", "127.9.9.9", "::ffff:127.0.0.1"} {
		c := Defaults()
		c.Host = host
		if err := c.Validate(); err != nil {
			t.Errorf("host %q gave %v", host, err)
		}
	}
	c := Defaults()
	c.AdminHost, c.AdminPort = "0.0.0.0", 6060
	if c.Validate() == nil {
		t.Error("pprof on every address was accepted")
	}
	for _, text := range []string{testToken, "me=" + testToken, "me=sha256:abc", "=sha256:" + strings.Repeat("0", 64), hash("x") + "@tomorrow"} {
		_, err := auth.New(auth.Config{Tokens: []string{text}, TicketLifetime: time.Second}, time.Now)
		if err == nil || strings.Contains(err.Error(), testToken) {
			t.Errorf("token %q gave %v, want an error that does not repeat it", text, err)
		}
	}
}

func TestForeignPagesAndHosts(t *testing.T) {
	s := newStand(t, func(c *Config, _ *Deps) { c.TrustedOrigins = []string{"https://desk.example.com"} })
	s.want(201, "POST", "/api/v1/tickets")
	s.want(403, "POST", "/api/v1/tickets", "Origin: https://evil.example.com", "Sec-Fetch-Site: cross-site")
	s.want(201, "POST", "/api/v1/tickets", "Origin: https://desk.example.com", "Sec-Fetch-Site: cross-site")
	s.want(421, "GET", "/health", "Host: evil.example.com") // DNS rebinding
	s.want(200, "GET", "/livez", "Host: localhost:8080")
	s.want(200, "GET", "/livez", "Host: evil.example.com", "Host: localhost")
	resp, _ := s.do("GET", "/livez", nil, "Origin: https://evil.example.com")
	if h := resp.Header.Get("Access-Control-Allow-Origin"); h != "" {
		t.Errorf("CORS allows %q", h)
	}
}

func TestBodiesAndSlowClientsAreLimited(t *testing.T) {
	s := newStand(t, func(c *Config, _ *Deps) { c.HeaderTimeout, c.MaxBodyBytes = 300*time.Millisecond, 1000 })
	if resp, _ := s.do("POST", "/api/v1/tickets", strings.NewReader(strings.Repeat("x", 1_000_000))); resp.StatusCode >= 500 {
		t.Errorf("a large body gave %d", resp.StatusCode)
	}
	conn, err := net.Dial("tcp", s.server.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	began := time.Now()
	_, err = io.Copy(io.Discard, conn)
	if took := time.Since(began); errors.Is(err, os.ErrDeadlineExceeded) || took > 3*time.Second {
		t.Errorf("a client that never ends its headers was kept for %s (%v)", took, err)
	}
	large, err := net.Dial("tcp", s.server.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	fmt.Fprintf(large, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	status, _ := bufio.NewReader(large).ReadString('\n')
	if !strings.Contains(status, "431") {
		t.Errorf("64 KiB of headers gave %q, want 431", status)
	}
}

func TestOpenAPI(t *testing.T) {
	s := newStand(t, nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ Responses map[string]any }
	}
	body := s.want(200, "GET", "/openapi.json")
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("the document is of OpenAPI %s, want 3.1", doc.OpenAPI)
	}
	for _, path := range []string{"/livez", "/readyz", "/version", "/health", "/health/workers", "/health/watchdogs", "/api/v1/events", "/api/v1/tickets"} {
		if len(doc.Paths[path]) == 0 {
			t.Errorf("the document lacks %s", path)
		}
	}
	if !strings.Contains(body, "dedupKey") {
		t.Error("the document does not describe events")
	}
}

func TestAdminPortHasPprof(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	newStand(t, func(c *Config, _ *Deps) { c.AdminPort = port }, hash(testToken))
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/cmdline", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("pprof gave %d, want 200", resp.StatusCode)
	}
}
