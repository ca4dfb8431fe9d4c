package poll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

// fake polls a made-up service: {"items":[{"id","at" in seconds,"value"}],"next":"path"}; {"refused":"why"} is a refusal.
type fake struct {
	name, url string
	jobs      []string
	every     time.Duration
	lag       time.Duration
}

func (f *fake) Name() string            { return f.name }
func (f *fake) Venue() string           { return "fake" }
func (f *fake) Topics() []schemas.Topic { return []schemas.Topic{schemas.MacroObservations} }
func (f *fake) Tick() time.Duration     { return time.Second }
func (f *fake) Lag() time.Duration      { return f.lag }

func (f *fake) Jobs() (jobs []Job) {
	for _, name := range f.jobs {
		jobs = append(jobs, Job{Name: name, Stream: "items", Every: max(f.every, time.Hour)})
	}
	return jobs
}

func (f *fake) Ask(job Job, _ []byte, _ schemas.Time) (Request, error) {
	return Request{Ref: f.url + "/" + job.Name, PerMinute: 60_000}, nil
}

func (f *fake) Refusal(body []byte) error {
	if strings.HasPrefix(string(body), `{"refused"`) {
		return errors.New("refused")
	}
	return nil
}

func (f *fake) Decode(a Answer) (Result, error) {
	var body struct {
		Items *[]struct {
			ID, Value Text
			At        int64
		}
		Next string
	}
	if err := Decode(a.Body, &body); err != nil {
		return Result{}, err
	}
	if body.Items == nil {
		return Result{}, Missing("items")
	}
	var res Result
	for _, i := range *body.Items {
		if i.ID == "panic" {
			panic("a decoder's fault")
		}
		value, err := i.Value.Decimal()
		if err != nil {
			res.Bad = append(res.Bad, err)
			continue
		}
		res.Records = append(res.Records, Record{
			Topic: schemas.MacroObservations, Said: schemas.Time(i.At) * 1e9,
			Message: &schemas.MacroObservation{
				Meta:   &schemas.Meta{Venue: "fake", Symbol: "X", Id: string(i.ID)},
				Series: "X", Region: "US", Date: "2024-01-01", Value: value,
			},
		})
	}
	if body.Next != "" {
		res.Next = []Request{{Ref: f.url + "/" + body.Next, PerMinute: 60_000}}
	}
	res.Cursor = []byte(a.Ref)
	return res, nil
}

// service answers by path, in turn; the last answer of a path stays.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	turns map[string][]http.HandlerFunc
	asked map[string][]*http.Request
}

func serve(t testing.TB) *service {
	s := &service{turns: map[string][]http.HandlerFunc{}, asked: map[string][]*http.Request{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		path := strings.TrimPrefix(r.URL.Path, "/")
		s.asked[path] = append(s.asked[path], r)
		turns := s.turns[path]
		if len(turns) > 1 {
			s.turns[path] = turns[1:]
		}
		s.mu.Unlock()
		if len(turns) == 0 {
			http.NotFound(w, r)
			return
		}
		turns[0](w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) on(path string, turns ...http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns[path] = turns
}

func (s *service) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked[path])
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

func fails(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("no"))
	}
}

// items is a body with ids at seconds since 2024-01-01, as the fake service says them.
func items(ids ...string) string {
	var parts []string
	for i, id := range ids {
		parts = append(parts, fmt.Sprintf(`{"id":%q,"at":%d,"value":"1.50"}`, id, 1_704_067_200+86_400*i))
	}
	return `{"items":[` + strings.Join(parts, ",") + `]}`
}

// options are those of a fast test.
func options() Options {
	cfg := Defaults()
	cfg.BackoffMax, cfg.Timeout = 2*time.Second, time.Second
	m := NewMetrics(nil)
	return Options{Config: cfg, Client: NewClient(cfg, m), Once: true, Metrics: m, Shared: sources.NewMetrics(nil)}
}

// once runs a poller's due jobs once.
func once(t testing.TB, p Poller, o Options) *sourcetest.Memory {
	t.Helper()
	out := &sourcetest.Memory{}
	runOnce(t, p, o, out)
	return out
}

func runOnce(t testing.TB, p Poller, o Options, out *sourcetest.Memory) *Source {
	t.Helper()
	s, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Run(ctx, out); err != nil {
		if _, part := errors.AsType[*Unanswered](err); !part {
			t.Fatal(err)
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the run did not come to its end")
	}
	for _, e := range out.Late() {
		if e.Topic != schemas.SourcesState.Name { // states are in no source's time
			t.Errorf("late: %v", e)
		}
	}
	return s
}

// ids lists what was published on the data topic.
func ids(out *sourcetest.Memory) string {
	var all []string
	for _, m := range sourcetest.Of[*schemas.MacroObservation](out) {
		all = append(all, m.Meta.Id)
	}
	return strings.Join(all, " ")
}
