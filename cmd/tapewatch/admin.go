package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tapewatch/tapewatch/internal/httpserve"
)

// adminConfig is the port of processes that have no API.
type adminConfig struct {
	Host string `koanf:"host" doc:"Address that the admin port listens on; it has no authentication."`
	Port int    `koanf:"port" doc:"Port of /livez, /readyz, /metrics, /version and /debug/config in processes other than up and serve; 0 opens none."`
}

// Validate checks the settings.
func (c adminConfig) Validate() error {
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("admin.port is %d: it must lie between 0 and 65535", c.Port)
	}
	return nil
}

// admin serves the admin port until ctx ends.
func (p *process) admin(ctx context.Context, c adminConfig) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("opening the admin port (admin.host, admin.port): %w", err)
	}
	p.log.Info("admin port is open", slog.String("url", "http://"+listener.Addr().String()))
	return serveHTTP(ctx, listener, p.adminHandler())
}

// serveHTTP serves until ctx ends, then lets requests finish for five seconds.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	return httpserve.Serve(ctx, server, listener)
}

func (p *process) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, state := http.StatusOK, p.state()
		if !state.Ready {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, state)
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, thisBuild()) })
	mux.HandleFunc("GET /debug/config", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.app.shownSettings()) })
	mux.Handle("GET /metrics", p.metricsHandler())
	return mux
}

func (p *process) metricsHandler() http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{Registry: p.registry, EnableOpenMetrics: true})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nothing to be done
}
