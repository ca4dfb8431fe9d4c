package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/api/health"
	"github.com/tapewatch/tapewatch/internal/httpserve"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/feed"
)

// History answers queries for events, newest first: a feed.Feed from memory, a postgres.Reader from the database.
type History interface {
	Recent(ctx context.Context, q feed.Query) ([]*schemas.Event, error)
}

// Deps are what the server gets from the process.
type Deps struct {
	Auth    *auth.Authenticator
	Board   *health.Board
	Feed    *feed.Feed
	History History      // nil for the Feed's memory
	Stream  http.Handler // the WebSocket
	// Ready are the checks of /readyz by name; each returns why not.
	Ready map[string]func() error
	// Registry has the figures of /metrics and takes the server's own.
	Registry *prometheus.Registry
	Version  Version
	Log      *slog.Logger
	// Now is the wall clock: time.Now where nil.
	Now func() time.Time
}

// Version is what /version tells.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go,omitempty"`
	Schema   string `json:"schema" doc:"Protobuf package of the records"`
}

// Server serves the API.
type Server struct {
	config  Config
	deps    Deps
	auth    *auth.Authenticator
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	handler http.Handler

	// mu guards address, which Run sets.
	mu      sync.Mutex
	address string
}

// New makes a Server; it refuses settings under which it would serve strangers.
func New(c Config, d Deps) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if d.Auth == nil || d.Board == nil || d.Feed == nil || d.Stream == nil || d.Registry == nil {
		return nil, errors.New("making the API: Auth, Board, Feed, Stream and Registry must be given")
	}
	if !loopback(c.Host) && !d.Auth.Enabled() {
		return nil, fmt.Errorf("making the API: api.host is %q and the authenticator has no token", c.Host)
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now //nolint:forbidigo // requests have deadlines and durations by the wall clock
	}
	if d.History == nil {
		d.History = d.Feed
	}
	s := &Server{config: c, deps: d, auth: d.Auth, log: d.Log, now: d.Now, metrics: newMetrics(d.Registry)}
	s.handler = s.routes()
	return s, nil
}

// routes registers everything.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("tapewatch", s.deps.Version.Version)
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil // the docs page would load a CDN
	config.RejectUnknownQueryParameters = true
	config.Info.Description = "Anomalies on markets, and how the system that finds them is. Live events: the WebSocket at " + webSocketPath + "."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	a := humago.New(mux, config)
	s.registerHealth(a)
	s.registerEvents(a)
	s.registerTickets(a)
	mux.Handle("GET "+webSocketPath, s.deps.Stream)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.deps.Registry, promhttp.HandlerOpts{Registry: s.deps.Registry, EnableOpenMetrics: true}))
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "there is nothing here; /openapi.json lists what there is")
	})
	return s.guarded(mux)
}

// Address is where Run listens; empty before it does.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Run serves until ctx is done, then lets requests finish for five seconds.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.address())
	if err != nil {
		return fmt.Errorf("opening the API's port (api.host, api.port): %w", err)
	}
	s.mu.Lock()
	s.address = listener.Addr().String()
	s.mu.Unlock()
	s.log.Info("API is open", slog.String("url", "http://"+s.address), slog.Bool("authentication", s.auth.Enabled()))
	servers := 1
	ended := make(chan error, 2)
	if s.config.AdminPort != 0 {
		admin, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.config.AdminHost, strconv.Itoa(s.config.AdminPort)))
		if err != nil {
			return errors.Join(fmt.Errorf("opening the admin port (api.admin_host, api.admin_port): %w", err), listener.Close())
		}
		servers++
		go func() { ended <- s.serve(ctx, admin, s.adminRoutes()) }()
	}
	go func() { ended <- s.serve(ctx, listener, s.handler) }()
	var first error
	for range servers {
		if err := <-ended; err != nil && first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// serve runs one server to its end.
func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: s.config.HeaderTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return httpserve.Serve(ctx, server, l)
}

// adminRoutes are for the operator on this machine.
func (s *Server) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.deps.Registry, promhttp.HandlerOpts{Registry: s.deps.Registry, EnableOpenMetrics: true}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
