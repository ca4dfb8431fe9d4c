package api

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of the HTTP server.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests by route, method and status."}, []string{"route", "method", "code"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_seconds", Help: "Time to answer, by route; WebSockets are not in it.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"route"}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.seconds)
	}
	return m
}

// problem answers with an RFC 9457 document. It never holds more than the sentence given: no stack, no DSN.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The client may be gone, and then there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// open are the routes that need no token.
var open = map[string]bool{"/livez": true, "/readyz": true, "/version": true, "/openapi.json": true, "/openapi.yaml": true, "/": true}

// webSocketPath authenticates by itself, as browsers can add no header to a WebSocket.
const webSocketPath = "/api/v1/events/ws"

// guarded wraps the routes in everything that every request goes through.
func (s *Server) guarded(routes *http.ServeMux) http.Handler {
	var h http.Handler = routes
	h = s.authenticated(h)
	h = http.MaxBytesHandler(h, s.config.MaxBodyBytes)
	csrf := http.NewCrossOriginProtection()
	for _, o := range s.config.TrustedOrigins {
		if err := csrf.AddTrustedOrigin(o); err != nil {
			s.log.Warn("trusted origin left out", "origin", o, "error", err)
		}
	}
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusForbidden, "the request comes from a page of another origin: the operator lists those in api.trusted_origins")
	}))
	h = csrf.Handler(h)
	h = s.expectedHost(h)
	return s.observed(routes, h)
}

// expectedHost refuses foreign names on a server without authentication: a page whose name was made to point to this machine
// (DNS rebinding) would otherwise be of the same origin.
func (s *Server) expectedHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !s.auth.Enabled() && !loopback(trimBrackets(host)) {
			problem(w, http.StatusMisdirectedRequest, "without authentication only localhost and loopback addresses are served")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// authenticated lets requests for anything that is not open pass with a token only.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !open[r.URL.Path] && r.URL.Path != webSocketPath {
			if _, err := s.auth.Request(r); err != nil {
				w.Header().Set("WWW-Authenticate", "Bearer")
				problem(w, http.StatusUnauthorized, err.Error())
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// recorder remembers the status. Unwrap lets the WebSocket take the connection over.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observed sets the headers that every answer has, counts, and turns a panic into a plain 500.
func (s *Server) observed(routes *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, route := routes.Handler(r) // the pattern, so that paths made up by clients make no new series
		began := s.now()
		rec := &recorder{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("handler panicked", slog.Any("panic", p), slog.String("route", route), slog.String("stack", string(debug.Stack())))
				if rec.status == 0 {
					problem(rec, http.StatusInternalServerError, "the server failed to answer; its log says why")
				}
			}
			if rec.status == 0 {
				rec.status = http.StatusOK
			}
			s.metrics.requests.WithLabelValues(route, methodLabel(r.Method), strconv.Itoa(rec.status)).Inc()
			if r.URL.Path != webSocketPath {
				s.metrics.seconds.WithLabelValues(route).Observe(s.now().Sub(began).Seconds())
			}
		}()
		if r.URL.Path != webSocketPath {
			// The server's write timeout would cut WebSockets too, so it is set per request.
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(began.Add(s.config.RequestTimeout))
			_ = control.SetReadDeadline(began.Add(s.config.RequestTimeout))
		} else {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		next.ServeHTTP(rec, r)
	})
}

// methodLabel keeps methods that clients make up out of the figures.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
		return m
	}
	return "other"
}
