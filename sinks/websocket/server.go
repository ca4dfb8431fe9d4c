package websocket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/feed"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Subprotocol is what clients ask for, and the only one that is ever chosen: a token sent as a subprotocol is not repeated.
const Subprotocol = "tapewatch.v1"

// maxTopicReplays bounds the resumes that read the topic at the same time.
const maxTopicReplays = 4

// Deps are what the server gets from the process.
type Deps struct {
	Cluster cluster.Config
	// SchemaType resolves the schema ids of registry framing; nil where there is no registry.
	SchemaType func(id uint32, index []int) (string, error)
	Auth       *auth.Authenticator
	Log        *slog.Logger
	// Registerer takes the figures; nil gives figures that nobody sees.
	Registerer prometheus.Registerer
	// Now is the wall clock that clients are told: time.Now where nil.
	Now func() time.Time
}

// Server is the http.Handler of the event stream.
type Server struct {
	config  Config
	deps    Deps
	feed    *feed.Feed
	metrics *metrics
	// replays holds a place for each resume that reads the topic.
	replays chan struct{}

	// mu guards the counts; closing is closed once, when the process stops.
	mu        sync.Mutex
	open      int
	byAddress map[string]int
	closing   chan struct{}
	stopped   bool
	handlers  sync.WaitGroup
}

// New makes a Server; Run feeds it.
func New(c Config, d Deps) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checking the settings of the WebSocket: %w", err)
	}
	if d.Auth == nil {
		return nil, errors.New("making the WebSocket: Deps.Auth is nil: it must be an Authenticator, without tokens if need be")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now //nolint:forbidigo // clients are told the wall clock, and tokens expire by it
	}
	f, err := feed.New(feed.Options{Cluster: d.Cluster, Config: c.Feed, SchemaType: d.SchemaType, Log: d.Log, Registerer: d.Registerer})
	if err != nil {
		return nil, err
	}
	return &Server{
		config: c, deps: d, feed: f, metrics: newMetrics(d.Registerer), replays: make(chan struct{}, maxTopicReplays),
		byAddress: map[string]int{}, closing: make(chan struct{}),
	}, nil
}

// Feed is the memory of the last events, for others in the process.
func (s *Server) Feed() *feed.Feed { return s.feed }

// Component says how the stream is.
func (s *Server) Component() *schemas.Component {
	c := s.feed.Component()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Measures = append(c.Measures, &schemas.Measure{Name: "connections", Value: float64(s.open)})
	return c
}

// Run follows the events until ctx is done, then closes every connection with 1001 and waits for them. It may be called
// again after it failed; connections stay open in between.
func (s *Server) Run(ctx context.Context) error {
	err := s.feed.Run(ctx)
	if ctx.Err() == nil {
		return err
	}
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.handlers.Wait()
	return nil
}

// ServeHTTP takes a connection from the upgrade to its end.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.originAllowed(r) {
		s.refuse(w, "origin", http.StatusForbidden, "this origin may not connect: the operator lists origins in websocket.origins")
		return
	}
	id, err := s.deps.Auth.Upgrade(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		s.refuse(w, "auth", http.StatusUnauthorized, err.Error()+", the subprotocol bearer.<token>, or ?ticket= from POST /api/v1/tickets")
		return
	}
	address := addressOf(r)
	if reason := s.enter(address); reason != "" {
		w.Header().Set("Retry-After", "5")
		s.refuse(w, reason, http.StatusServiceUnavailable, "no connection is free at the moment")
		return
	}
	defer s.leave(address)
	c := newConn(s, id)
	c.ws, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // the origin was checked above, exactly
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { return c.admit() },
	})
	if err != nil {
		return // Accept has answered
	}
	code := c.run(context.WithoutCancel(r.Context()))
	s.metrics.closed.WithLabelValues(codeLabel(code)).Inc()
}

func (s *Server) refuse(w http.ResponseWriter, reason string, status int, message string) {
	s.metrics.refused.WithLabelValues(reason).Inc()
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client may be gone, and then there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": message})
}

// originAllowed compares the Origin with the server's own host and the configured list, as whole strings: neither a suffix nor
// a prefix nor `null` passes.
func (s *Server) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return !s.config.RequireOrigin
	}
	if len(origins) > 1 {
		return false
	}
	origin := origins[0]
	return origin == "http://"+r.Host || origin == "https://"+r.Host || slices.Contains(s.config.Origins, origin)
}

// addressOf is the peer's address. X-Forwarded-For is not believed: anybody can write it.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return strings.TrimPrefix(host, "::ffff:")
}

// enter counts a connection in, or says why not.
func (s *Server) enter(address string) (refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return "closing"
	case s.open >= s.config.MaxConnections, s.byAddress[address] >= s.config.MaxPerAddress:
		return "limit"
	}
	s.open++
	s.byAddress[address]++
	s.handlers.Add(1)
	s.metrics.connections.Set(float64(s.open))
	return ""
}

func (s *Server) leave(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.byAddress[address]--; s.byAddress[address] == 0 {
		delete(s.byAddress, address)
	}
	s.metrics.connections.Set(float64(s.open))
	s.handlers.Done()
}
