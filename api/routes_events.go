package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/feed"
)

type eventsInput struct {
	Limit    int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most events of a page"`
	Cursor   string   `query:"cursor" maxLength:"256" doc:"The next of the page before"`
	Type     []string `query:"type,explode" maxItems:"50" doc:"Only these types"`
	Severity []string `query:"severity,explode" maxItems:"4" enum:"low,medium,high,critical" doc:"Only these severities"`
	Detector []string `query:"detector,explode" maxItems:"50" doc:"Only these detectors"`
	Symbol   []string `query:"symbol,explode" maxItems:"50" doc:"Only these symbols"`
	Venue    []string `query:"venue,explode" maxItems:"50" doc:"Only these venues"`
}

type eventsOutput struct {
	Body struct {
		Events []eventJSON `json:"events" doc:"Newest event time first"`
		Next   string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
		From   string      `json:"from" enum:"database,memory" doc:"Memory holds the last events only; it also answers while the database cannot"`
	}
}

// eventJSON is an event as protojson, the same text that the WebSocket sends.
type eventJSON json.RawMessage

// MarshalJSON returns the text as it is.
func (e eventJSON) MarshalJSON() ([]byte, error) { return e, nil }

// Schema describes the text by the Protobuf message, so that it cannot drift.
func (eventJSON) Schema(r huma.Registry) *huma.Schema {
	return protoSchema((*schemas.Event)(nil).ProtoReflect().Descriptor())
}

// protoSchema is the JSON Schema of a message in protojson.
func protoSchema(m protoreflect.MessageDescriptor) *huma.Schema {
	out := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: false}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		var s *huma.Schema
		switch f.Kind() {
		case protoreflect.MessageKind:
			s = protoSchema(f.Message())
		case protoreflect.BoolKind:
			s = &huma.Schema{Type: huma.TypeBoolean}
		case protoreflect.DoubleKind, protoreflect.FloatKind:
			// NaN and infinity are texts in protojson.
			s = &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeNumber}, {Type: huma.TypeString, Enum: []any{"NaN", "Infinity", "-Infinity"}}}}
		case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind:
			s = &huma.Schema{Type: huma.TypeInteger}
		case protoreflect.StringKind:
			s = &huma.Schema{Type: huma.TypeString}
		default: // 64-bit integers are texts in protojson
			s = &huma.Schema{Type: huma.TypeString, Pattern: "^-?[0-9]+$"}
		}
		if f.IsList() {
			s = &huma.Schema{Type: huma.TypeArray, Items: s}
		}
		out.Properties[f.JSONName()] = s
	}
	return out
}

func (s *Server) registerEvents(a huma.API) {
	huma.Register(a, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/api/v1/events", Summary: "Events, newest first", Tags: []string{"events"}, Security: bearer,
		Errors: []int{http.StatusUnauthorized, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
		q := feed.Query{Limit: in.Limit, Filter: feed.Filter{Types: in.Type, Severities: in.Severity, Detectors: in.Detector, Symbols: in.Symbol, Venues: in.Venue}}
		if err := q.Filter.Validate(); err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		if in.Cursor != "" {
			var err error
			if q.BeforeTime, q.BeforeID, err = parseCursor(in.Cursor); err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
		}
		limited, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
		defer cancel()
		from := "database"
		if s.deps.History == History(s.deps.Feed) {
			from = "memory"
		}
		events, err := s.deps.History.Recent(limited, q)
		if err != nil && from == "database" {
			s.log.Warn("query for events failed, answering from memory", "error", err)
			from = "memory"
			events, err = s.deps.Feed.Recent(ctx, q)
		}
		if err != nil {
			return nil, huma.Error503ServiceUnavailable("events cannot be read at the moment")
		}
		out, err := eventsPage(events, in.Limit)
		if err == nil {
			out.Body.From = from
		}
		return out, err
	})
}

func eventsPage(events []*schemas.Event, limit int) (*eventsOutput, error) {
	out := &eventsOutput{}
	out.Body.Events = make([]eventJSON, 0, len(events))
	for _, e := range events {
		text, err := schemas.MarshalJSON(e)
		if err != nil {
			return nil, err
		}
		out.Body.Events = append(out.Body.Events, text)
	}
	if len(events) == limit {
		last := events[len(events)-1]
		out.Body.Next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s", last.GetEventTime(), last.GetId()))
	}
	return out, nil
}

// parseCursor reads what eventsPage wrote. It gives no rights, so it is not signed; whatever it holds, it only says where
// in the caller's own query to go on.
func parseCursor(text string) (schemas.Time, string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	at, id, ok := strings.Cut(string(raw), "/")
	ns, nerr := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok || nerr != nil || id == "" || strings.ContainsRune(id, 0) || schemas.Time(ns) < schemas.MinTime || schemas.Time(ns) > schemas.MaxTime {
		return 0, "", fmt.Errorf("cursor is %.40q: it must be the next of an earlier page, unchanged", text)
	}
	return schemas.Time(ns), strings.ToValidUTF8(id, ""), nil
}

type ticketsOutput struct {
	Body struct {
		Ticket  string    `json:"ticket" doc:"Put after ?ticket= in the WebSocket's URL; it can be used once, in the process that gave it"`
		Expires time.Time `json:"expires"`
	}
}

type ticketsInput struct {
	Authorization string `header:"Authorization" hidden:"true"`
}

func (s *Server) registerTickets(a huma.API) {
	huma.Register(a, huma.Operation{
		OperationID: "tickets", Method: http.MethodPost, Path: "/api/v1/tickets", Summary: "A one-time ticket for the WebSocket", Tags: []string{"events"},
		DefaultStatus: http.StatusCreated, Security: bearer, Errors: []int{http.StatusUnauthorized, http.StatusServiceUnavailable},
	}, func(_ context.Context, in *ticketsInput) (*ticketsOutput, error) {
		// The middleware has let the request in; this finds out who it is again.
		id, err := s.auth.Request(&http.Request{Header: http.Header{"Authorization": {in.Authorization}}})
		if err != nil {
			return nil, huma.Error401Unauthorized(err.Error())
		}
		ticket, until, err := s.auth.Issue(id)
		if err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		out := &ticketsOutput{}
		out.Body.Ticket, out.Body.Expires = ticket, until.UTC()
		return out, nil
	})
}

func timeText(ns int64) string { return schemas.Time(ns).String() }

func typeOf(v any) reflect.Type { return reflect.TypeOf(v) }
