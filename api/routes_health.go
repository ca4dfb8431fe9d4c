package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapewatch/tapewatch/api/health"
	"github.com/tapewatch/tapewatch/sinks/feed"
)

// bearer marks an operation that needs a token.
var bearer = []map[string][]string{{"bearer": {}}}

type aliveOutput struct {
	Body struct {
		Status string `json:"status" enum:"alive"`
	}
}

type readyOutput struct {
	Status int
	Body   struct {
		Ready  bool              `json:"ready"`
		Checks map[string]string `json:"checks" doc:"ok, or why not, by check"`
	}
}

type versionOutput struct{ Body Version }

type systemOutput struct {
	Status int
	Body   health.System
}

type kindOutput struct {
	Status int
	Body   health.Kind
}

type watchdogsOutput struct {
	Status int
	Body   watchdogs
}

// watchdogs is the state of the watchdogs and what they found lately.
type watchdogs struct {
	health.Kind
	Events statistics `json:"events"`
}

// statistics counts the events in memory.
type statistics struct {
	Total      int            `json:"total" doc:"Events in memory, which are the last ones"`
	ByType     map[string]int `json:"by_type"`
	BySeverity map[string]int `json:"by_severity"`
	ByDetector map[string]int `json:"by_detector"`
	Newest     string         `json:"newest,omitempty" format:"date-time" doc:"Event time of the newest"`
}

func (s *Server) registerHealth(a huma.API) {
	huma.Register(a, huma.Operation{
		OperationID: "livez", Method: http.MethodGet, Path: "/livez", Summary: "Whether the process lives", Tags: []string{"health"},
	}, func(context.Context, *struct{}) (*aliveOutput, error) {
		out := &aliveOutput{}
		out.Body.Status = "alive"
		return out, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Summary: "Whether the process can serve", Tags: []string{"health"},
		Responses: alternative("Not ready: the body names the check that fails", readyOutput{}.Body, a),
	}, s.readyz)
	huma.Register(a, huma.Operation{
		OperationID: "version", Method: http.MethodGet, Path: "/version", Summary: "What runs here", Tags: []string{"health"},
	}, func(context.Context, *struct{}) (*versionOutput, error) { return &versionOutput{s.deps.Version}, nil })
	huma.Register(a, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health", Summary: "How every process and part is", Tags: []string{"health"}, Security: bearer,
		Responses: alternative("A part is unhealthy or stale, or nothing was heard", health.System{}, a),
	}, func(context.Context, *struct{}) (*systemOutput, error) {
		system := s.deps.Board.System()
		return &systemOutput{statusOf(system.Status), system}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "health-workers", Method: http.MethodGet, Path: "/health/workers", Summary: "How the analysis workers are", Tags: []string{"health"}, Security: bearer,
		Responses: alternative("A worker is unhealthy or stale, or none was heard", health.Kind{}, a),
	}, func(context.Context, *struct{}) (*kindOutput, error) {
		kind := s.deps.Board.Kind("worker")
		return &kindOutput{statusOf(kind.Status), kind}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "health-watchdogs", Method: http.MethodGet, Path: "/health/watchdogs", Summary: "How the watchdogs are, and what they found", Tags: []string{"health"}, Security: bearer,
		Responses: alternative("A watchdog is unhealthy or stale, or none was heard", watchdogs{}, a),
	}, func(ctx context.Context, _ *struct{}) (*watchdogsOutput, error) {
		kind := s.deps.Board.Kind("watchdog")
		return &watchdogsOutput{statusOf(kind.Status), watchdogs{kind, s.statistics(ctx)}}, nil
	})
}

// alternative documents the 503 that has the same body as the 200.
func alternative(description string, body any, a huma.API) map[string]*huma.Response {
	schema := huma.SchemaFromType(a.OpenAPI().Components.Schemas, typeOf(body))
	return map[string]*huma.Response{"503": {Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}}
}

func (s *Server) readyz(context.Context, *struct{}) (*readyOutput, error) {
	out := &readyOutput{Status: http.StatusOK}
	out.Body.Ready, out.Body.Checks = true, map[string]string{"feed": "ok"}
	if !s.deps.Feed.Ready() {
		out.Body.Ready, out.Body.Checks["feed"] = false, "the end of the events topic is not read yet"
	}
	for name, check := range s.deps.Ready {
		out.Body.Checks[name] = "ok"
		if err := check(); err != nil {
			out.Body.Ready, out.Body.Checks[name] = false, err.Error()
		}
	}
	if !out.Body.Ready {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

// statusOf makes monitors that only look at the code see what is wrong; degraded is no reason to page anybody.
func statusOf(status string) int {
	if status == health.Unhealthy || status == health.Unknown {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// statistics counts from memory, so it is cheap and covers the last events only.
func (s *Server) statistics(ctx context.Context) statistics {
	out := statistics{ByType: map[string]int{}, BySeverity: map[string]int{}, ByDetector: map[string]int{}}
	events, err := s.deps.Feed.Recent(ctx, feed.Query{Limit: 1 << 30})
	if err != nil {
		s.log.Warn("counting events failed", "error", err)
	}
	out.Total = len(events)
	for i, e := range events {
		if i == 0 {
			out.Newest = timeText(e.GetEventTime())
		}
		out.ByType[e.GetType()]++
		out.BySeverity[e.GetSeverity()]++
		out.ByDetector[e.GetDetector()]++
	}
	return out
}
