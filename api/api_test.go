package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/api/health"
	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/postgres"
	"github.com/tapewatch/tapewatch/sinks/websocket"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

const testToken = "correct-horse"

func hash(token string) string { return fmt.Sprintf("me=sha256:%x", sha256.Sum256([]byte(token))) }

// stand is the whole API on a real socket, with a broker behind it.
type stand struct {
	t       *testing.T
	server  *Server
	url     string
	cluster cluster.Config
	client  *kgo.Client
	log     *lockedBuffer
	stream  *websocket.Server
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("Run did not end within 15 s")
		}
	})
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after 15 s: " + what)
		}
	}
}

func newStand(t *testing.T, change func(*Config, *Deps), tokens ...string) *stand {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "events", "dlq"), kfake.SeedTopics(1, "health"),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := cluster.Defaults()
	c.Brokers = fake.ListenAddrs()
	s := &stand{t: t, cluster: c, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.client, err = kgo.NewClient(c.Options(nil)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	cfg := Defaults()
	cfg.Port, cfg.Auth.Tokens = 0, tokens
	a, err := auth.New(cfg.Auth, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	board, err := health.New(health.Options{Cluster: c, Config: cfg.Health, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	if s.stream, err = websocket.New(websocket.Defaults(), websocket.Deps{Cluster: c, Auth: a, Registerer: registry}); err != nil {
		t.Fatal(err)
	}
	d := Deps{Auth: a, Board: board, Feed: s.stream.Feed(), Stream: s.stream, Registry: registry, Log: log, Version: Version{Version: "v0.1.0", Schema: "tapewatch.v1"}}
	if change != nil {
		change(&cfg, &d)
	}
	if s.server, err = New(cfg, d); err != nil {
		t.Fatal(err)
	}
	run(t, board.Run)
	run(t, s.server.Run)
	run(t, s.stream.Run)
	eventually(t, func() bool { return s.server.Address() != "" && s.stream.Feed().Ready() }, "the API is not up")
	s.url = "http://" + s.server.Address()
	return s
}

func event(i int) *schemas.Event {
	value := float64(i)
	e := &schemas.Event{
		Detector: "price_anomaly", DetectorVersion: 1, Type: [...]string{"price_anomaly", "flash_crash"}[i%2], Severity: [...]string{"low", "medium", "high", "critical"}[i%4],
		Status: "open", DedupKey: "d", Key: "binance:BTC-USDT", Venue: "binance", Symbol: fmt.Sprintf("S%d", i%5), Assets: []string{"BTC"},
		// Groups of three share an event time, to test that pages neither skip nor repeat at equal times.
		EventTime: 1_790_000_000_000_000_000 + int64(i/3)*1_000_000_001, Description: "moved", Source: "binance.spot", ConfigHash: "0123456789abcdef",
		Evidence: &schemas.Evidence{Value: &value, Measures: []*schemas.Measure{{Name: "change_pct", Value: value}}}, Position: &schemas.Position{Topic: "market.trades", Offset: int64(i)},
	}
	e.Id = schemas.EventID(e, uint32(i))
	return e
}

func (s *stand) produce(topic schemas.Topic, key string, m schemas.Message) {
	s.t.Helper()
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, topic, m)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &kgo.Record{Topic: topic.Name, Key: []byte(key), Value: value}
	for _, h := range enc.Headers(topic, m) {
		r.Headers = append(r.Headers, kgo.RecordHeader(h))
	}
	if err := s.client.ProduceSync(s.t.Context(), r).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) events(n int) {
	s.t.Helper()
	for i := range n {
		s.produce(schemas.Events, event(i).Key+fmt.Sprint(i), event(i))
	}
	eventually(s.t, func() bool { head, _ := s.stream.Feed().Head(); return head == int64(n) }, "the feed is behind")
}

// do sends a request and returns status and body; headers are "Name: value".
func (s *stand) do(method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(text)
}

func (s *stand) want(status int, method, path string, headers ...string) string {
	s.t.Helper()
	resp, body := s.do(method, path, nil, headers...)
	if resp.StatusCode != status {
		s.t.Errorf("%s %s %v gave %d, want %d: %.200s", method, path, headers, resp.StatusCode, status, body)
	}
	if status >= 400 && resp.StatusCode == status && status != 503 && resp.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("%s %s: the error is %s, want a problem document (RFC 9457)", method, path, resp.Header.Get("Content-Type"))
	}
	return body
}

func TestHealthOfTheWholeSystem(t *testing.T) {
	s := newStand(t, func(_ *Config, d *Deps) {
		d.Ready = map[string]func() error{"sink": func() error { return nil }}
	})
	s.want(200, "GET", "/livez")
	s.want(200, "GET", "/readyz")
	s.want(503, "GET", "/health") // nobody was heard
	now := time.Now().UnixNano()
	beat := func(instance, state string) {
		s.produce(schemas.Health, instance, &schemas.Heartbeat{Instance: instance, Time: now, Started: now, Version: "v0.1.0", Components: []*schemas.Component{
			{Kind: "watchdog", Name: "price_anomaly", State: state, Measures: []*schemas.Measure{{Name: "checks", Value: 7}}}, {Kind: "sink", Name: "redis", State: "healthy"},
		}})
	}
	beat("a", "healthy")
	eventually(t, func() bool { resp, _ := s.do("GET", "/health", nil); return resp.StatusCode == 200 }, "the system is not healthy")
	s.events(8)
	var dogs watchdogs
	if err := json.Unmarshal([]byte(s.want(200, "GET", "/health/watchdogs")), &dogs); err != nil {
		t.Fatal(err)
	}
	if dogs.Status != "healthy" || len(dogs.Parts) != 1 || dogs.Parts[0].Measures["checks"] != 7 || dogs.Events.Total != 8 || dogs.Events.ByType["flash_crash"] != 4 || dogs.Events.BySeverity["critical"] != 2 {
		t.Errorf("watchdogs are %+v", dogs)
	}
	s.want(503, "GET", "/health/workers") // there are none
	beat("a", "unhealthy")
	eventually(t, func() bool { resp, _ := s.do("GET", "/health/watchdogs", nil); return resp.StatusCode == 503 }, "an unhealthy watchdog does not show")
	body := s.want(200, "GET", "/metrics")
	for _, name := range []string{"http_requests_total", "http_request_seconds_bucket", "websocket_connections", "feed_poison_total"} {
		if !strings.Contains(body, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	if body := s.want(200, "GET", "/"); !strings.Contains(body, "make web") {
		t.Error("the page does not say how to build the dashboard")
	}
	if body := s.want(200, "GET", "/version"); !strings.Contains(body, `"version":"v0.1.0"`) {
		t.Errorf("version is %s", body)
	}
}

type page1 struct {
	Events []struct{ ID, EventTime, Symbol, Type string }
	Next   string
}

// pages reads all pages of a query and returns the ids in order.
func (s *stand) pages(query string, limit int) (ids []string) {
	s.t.Helper()
	cursor := ""
	for range 100 {
		var p page1
		if err := json.Unmarshal([]byte(s.want(200, "GET", fmt.Sprintf("/api/v1/events?limit=%d%s%s", limit, query, cursor))), &p); err != nil {
			s.t.Fatal(err)
		}
		for _, e := range p.Events {
			ids = append(ids, e.ID)
		}
		if p.Next == "" {
			return ids
		}
		cursor = "&cursor=" + p.Next
	}
	s.t.Fatal("the pages do not end")
	return nil
}

func TestEventsFromMemoryAndDatabaseAreTheSame(t *testing.T) {
	s := newStand(t, nil)
	dsn := testservices.Postgres(t)
	pg := postgres.Defaults()
	pg.URL = secret.Secret(dsn)
	sink, err := postgres.New(pg, postgres.Deps{Cluster: s.cluster})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	s.events(n)
	run(t, sink.Run)
	eventually(t, func() bool { return sink.Component().GetMeasures()[0].GetValue() == n }, "rows are missing")
	reader, err := postgres.NewReader(pg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	for _, query := range []string{"", "&type=flash_crash", "&severity=critical&severity=high", "&symbol=S1&symbol=S2&detector=price_anomaly&venue=binance", "&symbol=none"} {
		for _, limit := range []int{1000, 7, 3, 1} {
			if limit == 1 && query == "" {
				continue // a hundred requests that show nothing new
			}
			s.server.deps.History = s.stream.Feed()
			memory := s.pages(query, limit)
			s.server.deps.History = reader
			database := s.pages(query, limit)
			if diff := cmp.Diff(memory, database); diff != "" {
				t.Fatalf("query %q, limit %d: memory and database differ:\n%s", query, limit, diff)
			}
			want := 0
			for i := range n {
				e := event(i)
				switch {
				case query == "", strings.Contains(query, "type=flash") && e.Type == "flash_crash", strings.Contains(query, "critical") && i%4 >= 2,
					strings.Contains(query, "S1") && (e.Symbol == "S1" || e.Symbol == "S2"):
					want++
				}
			}
			if len(memory) != want {
				t.Fatalf("query %q, limit %d: %d events, want %d", query, limit, len(memory), want)
			}
		}
	}
	// What the database returns is what was written, field by field.
	s.server.deps.History = reader
	body := s.want(200, "GET", "/api/v1/events?limit=1000")
	for i := range n {
		text, err := schemas.MarshalJSON(event(i))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(body, string(text)) {
			t.Fatalf("event %d came back changed: want %s", i, text)
		}
	}
}

type broken struct{ History }

func TestErrorsTellNoSecrets(t *testing.T) {
	s := newStand(t, nil)
	pg := postgres.Defaults()
	pg.URL = "postgres://admin:hunter2@127.0.0.1:1/x"
	reader, err := postgres.NewReader(pg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	s.server.deps.History = reader
	if body := s.want(503, "GET", "/api/v1/events"); strings.Contains(body, "hunter2") || strings.Contains(body, "127.0.0.1:1") || strings.Contains(body, "admin") {
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
	if resp.StatusCode != 200 {
		t.Errorf("pprof gave %d, want 200", resp.StatusCode)
	}
}
