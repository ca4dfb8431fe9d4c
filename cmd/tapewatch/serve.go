package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/api"
	"github.com/tapewatch/tapewatch/api/auth"
	"github.com/tapewatch/tapewatch/api/health"
	"github.com/tapewatch/tapewatch/sinks/postgres"
	"github.com/tapewatch/tapewatch/sinks/websocket"
)

func newServe(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve health, events and the WebSocket over HTTP", Args: noArgs,
		Long: "Serves /livez, /readyz, /health, /health/workers, /health/watchdogs, /metrics, /version, /openapi.json, the events and their\n" +
			"WebSocket. Every process writes heartbeats, so any instance knows the whole system. An address that others can reach\n" +
			"needs api.auth.tokens. Past events come from PostgreSQL where it is configured, else from memory.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			return a.runParts(cmd.Context(), func(ctx context.Context, p *process, g *errgroup.Group) error {
				return p.serve(ctx, g)
			})
		},
	}
	slotFlags(cmd)
	return cmd
}

// serve starts the API and what stands behind it: the memory of events with its WebSocket, and the board of heartbeats.
func (p *process) serve(ctx context.Context, g *errgroup.Group) error {
	s := p.app.settings
	authenticator, err := auth.New(s.API.Auth, time.Now)
	if err != nil {
		return &usageError{fmt.Errorf("reading api.%w", err)}
	}
	board, err := health.New(health.Options{Cluster: s.Kafka, Config: s.API.Health, Log: p.log, Now: time.Now})
	if err != nil {
		return err
	}
	types, err := p.app.schemaTypes(ctx)
	if err != nil {
		return err
	}
	stream, err := websocket.New(s.WebSocket, websocket.Deps{
		Cluster: s.Kafka, SchemaType: types, Auth: authenticator, Log: p.log, Registerer: p.registry, Now: time.Now,
	})
	if err != nil {
		return err
	}
	deps := api.Deps{
		Auth: authenticator, Board: board, Feed: stream.Feed(), Stream: stream, Ready: p.readyChecks(stream), Registry: p.registry,
		Version: apiVersion(), Log: p.log, Now: time.Now,
	}
	if !s.Sinks.Enabled || !s.WebSocketSwitch.Enabled {
		deps.Stream = http.HandlerFunc(streamIsOff)
	}
	if !s.Postgres.URL.IsZero() {
		reader, err := postgres.NewReader(s.Postgres)
		if err != nil {
			return err
		}
		deps.History = reader
		g.Go(func() error {
			<-ctx.Done()
			reader.Close()
			return nil
		})
	}
	server, err := api.New(s.API, deps)
	if err != nil {
		return &usageError{err}
	}
	p.add(stream)
	p.served = true
	g.Go(func() error { return supervise(ctx, s.Supervision, p.log, "health board", board.Run) })
	g.Go(func() error { return supervise(ctx, s.Supervision, p.log, "websocket", stream.Run) })
	g.Go(func() error { return server.Run(ctx) })
	return nil
}

// readyChecks are the checks of /readyz: the memory of events is filled, and no part of this process is starting or unhealthy.
func (p *process) readyChecks(stream *websocket.Server) map[string]func() error {
	return map[string]func() error{
		"events": func() error {
			if !stream.Feed().Ready() {
				return errors.New("the last events are being read")
			}
			return nil
		},
		"parts": func() error {
			var waiting []string
			for _, part := range p.state().Parts {
				if part.State == "starting" || part.State == "unhealthy" {
					waiting = append(waiting, fmt.Sprintf("%s %s is %s: %s", part.Kind, part.Name, part.State, part.Reason))
				}
			}
			if len(waiting) > 0 {
				return errors.New(strings.Join(waiting, "; "))
			}
			return nil
		},
	}
}

func streamIsOff(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "the WebSocket is switched off: sinks.enabled or sinks.websocket.enabled is false", http.StatusNotFound)
}

func apiVersion() api.Version {
	b := thisBuild()
	return api.Version{Version: b.Version, Revision: b.Revision, Go: b.Go, Schema: "tapewatch.v1"}
}

// addresses are where the API answers, as far as the settings tell.
func (s *settings) addresses() []string {
	if s.API.Port == 0 {
		return []string{"the log says where: api.port is 0"}
	}
	host := net.JoinHostPort(onLoopback(s.API.Host), strconv.Itoa(s.API.Port))
	return []string{"http://" + host + "/", "http://" + host + "/health", "ws://" + host + "/api/v1/events/ws"}
}

// upAPI starts the API of up.
func (a *app) upAPI(ctx context.Context, p *process, g *errgroup.Group, r *roll) error {
	if err := p.serve(ctx, g); err != nil {
		return err
	}
	r.runs("api", strings.Join(a.settings.addresses(), "  "))
	if why := a.settings.idleWebSocket(); why != "" {
		r.leaves("sink websocket", why)
	} else {
		r.runs("sink websocket", "events to clients of the API")
	}
	r.leaves("dashboard", "it comes in a later release; the page at / says what there is")
	a.log.Debug("api is starting", slog.Int("port", a.settings.API.Port))
	return nil
}

// idleWebSocket says why the WebSocket is off; "" when it is on.
func (s *settings) idleWebSocket() string {
	switch {
	case !s.Sinks.Enabled:
		return "sinks.enabled is false"
	case !s.WebSocketSwitch.Enabled:
		return "sinks.websocket.enabled is false"
	}
	return ""
}
