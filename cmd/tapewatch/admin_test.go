package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapewatch/tapewatch/internal/config"
	"github.com/tapewatch/tapewatch/schemas"
)

// fixedPart is a component in a given state.
type fixedPart struct{ state string }

func (f *fixedPart) Component() *schemas.Component {
	return &schemas.Component{Kind: "watchdog", Name: "price_anomaly", State: f.state, Reason: "2 of 8 partitions are restored"}
}

func testProcess(t *testing.T, set ...string) *process {
	t.Helper()
	s, tree := newSettings()
	if _, err := tree.Load(config.Options{Set: set}); err != nil {
		t.Fatal(err)
	}
	a := &app{settings: s, tree: tree, log: slog.New(slog.DiscardHandler), stderr: &bytes.Buffer{}, role: "detect.price_anomaly"}
	p := &process{app: a, log: a.log, registry: prometheus.NewRegistry(), started: time.Unix(1, 0)}
	p.metrics = newMetrics(p.registry)
	registerBuild(p.registry)
	return p
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.String()
}

func TestAdminPort(t *testing.T) {
	p := testProcess(t, "sinks.postgres.url=postgres://u:hunter2@h/d")
	part := &fixedPart{state: "starting"}
	p.add(part)
	h := p.adminHandler()
	if code, body := get(t, h, "/livez"); code != http.StatusOK || !strings.Contains(body, "alive") {
		t.Errorf("/livez = %d %s", code, body)
	}
	if code, body := get(t, h, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "2 of 8 partitions are restored") {
		t.Errorf("/readyz of a part that starts = %d %s", code, body)
	}
	part.state = "healthy"
	if code, body := get(t, h, "/readyz"); code != http.StatusOK || !strings.Contains(body, `"ready":true`) {
		t.Errorf("/readyz of a healthy part = %d %s", code, body)
	}
	if code, body := get(t, h, "/metrics"); code != http.StatusOK || !strings.Contains(body, "tapewatch_build_info") {
		t.Errorf("/metrics = %d %.200s", code, body)
	}
	code, body := get(t, h, "/debug/config")
	if code != http.StatusOK || strings.Contains(body, "hunter2") || !strings.Contains(body, `{"setting":"sinks.postgres.url","value":"***","origin":"flag --set"}`) {
		t.Errorf("/debug/config = %d, it must show the setting masked: %.300s", code, body)
	}
	if code, _ := get(t, h, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ = %d: the admin port can be reached by others, it must not have it", code)
	}
}

func TestServeHTTPEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(ctx, listener, testProcess(t).adminHandler()) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err != nil || resp.Body.Close() != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ending: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server did not end within 10 s")
	}
}

func TestHeartbeatTellsEveryPart(t *testing.T) {
	p := testProcess(t, "process.slot=3")
	p.add(&fixedPart{state: "healthy"})
	r, err := p.heartbeat(time.Unix(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	var dec schemas.Decoder
	m, err := dec.Decode("Heartbeat", "", r.Value)
	if err != nil {
		t.Fatal(err)
	}
	h := m.(*schemas.Heartbeat)
	if string(r.Key) != h.Instance || !strings.HasSuffix(h.Instance, "/detect.price_anomaly/3") || h.Time != 100e9 || h.Started != 1e9 {
		t.Errorf("heartbeat %v with key %q", h, r.Key)
	}
	if len(h.Components) != 1 || h.Components[0].Name != "price_anomaly" {
		t.Errorf("components = %v", h.Components)
	}
}
