package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/api/health"
	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/postgres"
	"github.com/tapewatch/tapewatch/sinks/websocket"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
		s.produce(schemas.Events, event(i).Key+strconv.Itoa(i), event(i))
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
	eventually(t, func() bool { resp, _ := s.do("GET", "/health", nil); return resp.StatusCode == http.StatusOK }, "the system is not healthy")
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
	eventually(t, func() bool {
		resp, _ := s.do("GET", "/health/watchdogs", nil)
		return resp.StatusCode == http.StatusServiceUnavailable
	}, "an unhealthy watchdog does not show")
	body := s.want(200, "GET", "/metrics")
	for _, name := range []string{"http_requests_total", "http_request_seconds_bucket", "websocket_connections", "feed_poison_total"} {
		if !strings.Contains(body, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	if body := s.want(200, "GET", "/"); !strings.Contains(body, "/api/v1/events/ws") {
		t.Error("the page does not name the stream of events")
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

func TestDocumentedEventIsOne(t *testing.T) {
	for _, text := range testservices.Examples(t, "docs/events.md", "json") {
		e := &schemas.Event{}
		if err := protojson.Unmarshal([]byte(text), e); err != nil {
			t.Fatal(err)
		}
		if err := schemas.Validate(e); err != nil {
			t.Error(err)
		}
	}
}

func TestDocumentedRequestsAreAnswered(t *testing.T) {
	s := newStand(t, nil)
	for _, line := range testservices.ExampleLines(t, "docs/events.md", "http") {
		method, path, _ := strings.Cut(line, " ")
		s.want(200, method, path)
	}
}

func TestEventsFromMemoryAndDatabaseAreTheSame(t *testing.T) {
	s := newStand(t, nil)
	dsn := testservices.Postgres(t)
	pg := postgres.Defaults()
	pg.URL = secret.New(dsn)
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
