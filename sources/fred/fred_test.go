package fred

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

func poller(t testing.TB, change func(*Config)) *Poller {
	t.Helper()
	cfg := Defaults()
	cfg.Key, cfg.Series, cfg.Vintages = secret.New("0123456789abcdef"), []string{"GDPC1:US:billion 2017 USD"}, "2024-01-01"
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// body is written by hand in the documented shape: rows of realtime_start, date, value.
func body(from string, rows ...[3]string) []byte {
	var parts []string
	for _, r := range rows {
		parts = append(parts, fmt.Sprintf(`{"realtime_start":%q,"realtime_end":"9999-12-31","date":%q,"value":%q}`, r[0], r[1], r[2]))
	}
	return fmt.Appendf(nil, `{"realtime_start":%q,"realtime_end":"9999-12-31","observation_start":"2015-01-01","observation_end":"9999-12-31","units":"lin","output_type":1,`+
		`"file_type":"json","order_by":"observation_date","sort_order":"asc","count":%d,"offset":0,"limit":100000,"observations":[%s]}`, from, len(rows), strings.Join(parts, ","))
}

func lines(res poll.Result) string {
	var out []string
	for _, r := range res.Records {
		m := r.Message.(*schemas.MacroObservation)
		value := "."
		if m.Value != nil {
			value = m.Value.Text()
		}
		out = append(out, m.Vintage+" "+m.Date+" "+value)
	}
	return strings.Join(out, "; ")
}

const job = "series/GDPC1"

// Three looks at one quarter: estimates on three days, a hole, and the look that begins the day before the last vintage.
func TestVintages(t *testing.T) {
	p := poller(t, nil)
	decode := func(cursor, raw []byte) poll.Result {
		t.Helper()
		res, err := p.Decode(poll.Answer{Job: job, Body: raw, Cursor: cursor})
		if err != nil || len(res.Bad) > 0 {
			t.Fatal(err, res.Bad)
		}
		return res
	}
	ask := func(cursor []byte, want string) {
		t.Helper()
		req, err := p.Ask(poll.Job{Name: job}, cursor, 0)
		if err != nil || !strings.Contains(req.Ref, "realtime_start="+want) {
			t.Errorf("asks %s, %v; want realtime_start %s", req.Ref, err, want)
		}
		if strings.Contains(req.Ref, "0123456789abcdef") || !strings.Contains(req.URL.Reveal(), "api_key=0123456789abcdef") {
			t.Errorf("the key must be in the address and not in its name: %s", req.Ref)
		}
	}
	ask(nil, "2024-01-01")
	first := decode(nil, body("2024-01-01",
		[3]string{"2024-01-01", "2023-07-01", "22490.692"}, // public before: cut to the first day asked for
		[3]string{"2024-01-25", "2023-10-01", "22672.859"},
		[3]string{"2024-02-28", "2023-10-01", "22668.986"},
		[3]string{"2024-02-28", "2023-11-01", "."}))
	if got, want := lines(first), "2024-01-01 2023-07-01 22490.692; 2024-01-25 2023-10-01 22672.859; 2024-02-28 2023-10-01 22668.986; 2024-02-28 2023-11-01 ."; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	ask(first.Cursor, "2024-02-27")
	second := decode(first.Cursor, body("2024-02-27",
		[3]string{"2024-02-27", "2023-07-01", "22490.692"}, // cut: not new
		[3]string{"2024-02-27", "2023-10-01", "22672.859"},
		[3]string{"2024-02-28", "2023-10-01", "22668.986"}, // known: recognised by its id
		[3]string{"2024-02-28", "2023-11-01", "."},
		[3]string{"2024-02-28", "2023-12-01", "1"}, // later on the same day
		[3]string{"2024-03-28", "2023-10-01", "22679.255"}))
	if got, want := lines(second), "2024-02-28 2023-10-01 22668.986; 2024-02-28 2023-11-01 .; 2024-02-28 2023-12-01 1; 2024-03-28 2023-10-01 22679.255"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	ask(second.Cursor, "2024-03-27")
	// Public at the end of its day in St. Louis at the latest: 05:00 UTC in summer time.
	if at := second.Records[3].Said.String(); at != "2024-03-29T05:00:00Z" {
		t.Errorf("public at %s, want the end of 2024-03-28 in St. Louis", at)
	}
}

// Through the source: each vintage once, the first value stays beside the revised ones, and a look that brings nothing new
// publishes nothing.
func TestEachVintageOnce(t *testing.T) {
	bodies := [][]byte{
		body("2024-01-01", [3]string{"2024-01-25", "2023-10-01", "22672.859"}, [3]string{"2024-02-28", "2023-10-01", "22668.986"}),
		body("2024-02-27", [3]string{"2024-02-27", "2023-10-01", "22672.859"}, [3]string{"2024-02-28", "2023-10-01", "22668.986"}),
		body("2024-02-27", [3]string{"2024-02-28", "2023-10-01", "22668.986"}, [3]string{"2024-03-28", "2023-10-01", "22679.255"}),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("api_key") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write(bodies[0])
		bodies = bodies[1:]
	}))
	defer s.Close()
	p := poller(t, func(c *Config) { c.URL = s.URL })
	metrics := poll.NewMetrics(nil)
	o := poll.Options{Config: poll.Defaults(), Client: poll.NewClient(poll.Defaults(), metrics), Once: true, Metrics: metrics, Shared: sources.NewMetrics(nil)}
	out := &sourcetest.Memory{}
	o.Past = func(_ context.Context, _ string, _ []schemas.Topic) (poll.Past, error) {
		var past poll.Past
		states := sourcetest.Of[*schemas.PollState](out)
		if len(states) > 0 {
			last := states[len(states)-1]
			last.Polled = 1 // long ago: it is due again
			past.States = []*schemas.PollState{last}
		}
		return past, nil
	}
	for range 3 {
		src, err := poll.New(p, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Run(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, m := range sourcetest.Of[*schemas.MacroObservation](out) {
		got = append(got, m.Vintage+" "+m.Value.Text())
	}
	if want := "2024-01-25 22672.859; 2024-02-28 22668.986; 2024-03-28 22679.255"; strings.Join(got, "; ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// A series of which the service has no vintages is asked for its present values, and from then on at once; each value is known
// from when it is first seen. Any other refusal stays one, and says why. The control has vintages.
func TestSeriesWithoutVintages(t *testing.T) {
	const none = `{"error_code":400,"error_message":"Bad Request.  The series does not exist in ALFRED but may exist in FRED."}`
	day, value := "2026-01-05", "5000.10"
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, q.Get("series_id")+" "+q.Get("realtime_start"))
		switch {
		case q.Get("series_id") == "GONE":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error_code":400,"error_message":"Bad Request.  The series does not exist."}`))
		case q.Get("series_id") == "SP500" && q.Has("realtime_start"):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(none))
		case q.Get("series_id") == "SP500":
			_, _ = w.Write(body(day, [3]string{day, "2026-01-02", "4990.00"}, [3]string{day, "2026-01-05", value}))
		default:
			_, _ = w.Write(body("2024-01-01", [3]string{"2024-01-25", "2023-10-01", "22672.859"}))
		}
	}))
	defer s.Close()
	p := poller(t, func(c *Config) {
		c.URL, c.Series = s.URL, []string{"GDPC1:US:billion 2017 USD", "GONE:US:index", "SP500:US:index"}
	})
	metrics := poll.NewMetrics(nil)
	out := &sourcetest.Memory{}
	o := poll.Options{Config: poll.Defaults(), Client: poll.NewClient(poll.Defaults(), metrics), Once: true, Metrics: metrics, Shared: sources.NewMetrics(nil)}
	o.Past = func(context.Context, string, []schemas.Topic) (poll.Past, error) {
		last := map[string]*schemas.PollState{}
		for _, s := range sourcetest.Of[*schemas.PollState](out) {
			s.Polled = 1 // due again
			last[s.Job] = s
		}
		return poll.Past{States: slices.Collect(maps.Values(last))}, nil
	}
	run := func() error {
		src, err := poll.New(p, o)
		if err != nil {
			t.Fatal(err)
		}
		return src.Run(t.Context(), out)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "1 of 3 jobs came to nothing: series/GONE: requesting: the service answers 400 Bad Request: error 400: Bad Request.  The series does not exist.") {
		t.Errorf("ends with %v, want the service's reason", err)
	}
	day, value = "2026-01-06", "5000.15" // the next day the last value is another
	asked = nil
	_ = run()
	slices.Sort(asked)
	if want := []string{"GDPC1 2024-01-24", "GONE 2024-01-01", "SP500 "}; !slices.Equal(asked, want) {
		t.Errorf("the second look asks %q, want %q", asked, want)
	}
	var got []string
	for _, m := range sourcetest.Of[*schemas.MacroObservation](out) {
		got = append(got, fmt.Sprintf("%s %s %s %s %d", m.Series, m.Date, m.Value.Text(), m.Vintage, m.Meta.Flags))
		if late := schemas.TimeOf(m).String(); m.Series == "SP500" && late < "2026-" {
			t.Errorf("%s is known from %s: it must be from when it was seen", m.Meta.Id, late)
		}
	}
	slices.Sort(got)
	if want := []string{
		"GDPC1 2023-10-01 22672.859 2024-01-25 4", "SP500 2026-01-02 4990.00 2026-01-05 4", "SP500 2026-01-05 5000.10 2026-01-05 4", "SP500 2026-01-05 5000.15 2026-01-06 0",
	}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Whole-file count: the VIX of 9,235 days in the shape of the service, in two pages, each day once, digits as written.
func TestVIXInTwoPages(t *testing.T) {
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "datahub", "finance-vix__vix-daily.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows [][3]string
	for in := bufio.NewScanner(f); in.Scan(); {
		cells := strings.Split(in.Text(), ",")
		if len(cells) < 5 || cells[0] == "DATE" {
			continue
		}
		rows = append(rows, [3]string{"2026-06-01", iso(cells[0]), cells[4]})
	}
	p := poller(t, func(c *Config) { c.Series, c.From = []string{"VIXCLS:US:percent"}, "1990-01-01" })
	decode := func(offset int, cursor []byte, page [][3]string) poll.Result {
		raw := body("2024-01-01", page...)
		raw = []byte(strings.Replace(string(raw), fmt.Sprintf(`"count":%d,"offset":0`, len(page)), fmt.Sprintf(`"count":%d,"offset":%d`, len(rows), offset), 1))
		res, err := p.Decode(poll.Answer{Job: "series/VIXCLS", Body: raw, Cursor: cursor})
		if err != nil || len(res.Bad) > 0 {
			t.Fatal(err, res.Bad)
		}
		return res
	}
	one := decode(0, nil, rows[:5000])
	if len(one.Next) != 1 || !strings.Contains(one.Next[0].Ref, "offset=5000") {
		t.Fatalf("after the first page: %v, cursor %s; want the second page", one.Next, one.Cursor)
	}
	two := decode(5000, one.Cursor, rows[5000:])
	all := slices.Concat(one.Records, two.Records)
	if len(all) != 9235 || len(rows) != 9235 || len(two.Next) != 0 {
		t.Fatalf("%d records of %d rows, want 9,235", len(all), len(rows))
	}
	if req, err := p.Ask(poll.Job{Name: "series/VIXCLS"}, two.Cursor, 0); err != nil || !strings.Contains(req.Ref, "realtime_start=2026-05-31") {
		t.Errorf("the next look: %s, %v; want the day before the last vintage", req.Ref, err)
	}
	high := 0
	for i, r := range all {
		m := r.Message.(*schemas.MacroObservation)
		if m.Date != rows[i][1] || m.Value.Text() != rows[i][2] {
			t.Fatalf("row %d: %v, want %v", i, m, rows[i])
		}
		if m.Value.Float() > 80 {
			high++
		}
	}
	if high == 0 {
		t.Error("no close above 80: 2008 and 2020 had some")
	}
}

// iso reads M/D/YYYY or YYYY-MM-DD.
func iso(day string) string {
	var y, m, d int
	if n, _ := fmt.Sscanf(day, "%d/%d/%d", &m, &d, &y); n == 3 {
		return fmt.Sprintf("%04d-%02d-%02d", y, m, d)
	}
	return day
}

func TestRefusalsAndShapes(t *testing.T) {
	p := poller(t, nil)
	if err := p.Refusal([]byte(`{"error_code":400,"error_message":"Bad Request.  The series does not exist."}`)); err == nil {
		t.Error("an error in the body is a refusal")
	}
	if err := p.Refusal(body("2024-01-01")); err != nil {
		t.Error(err)
	}
	for name, raw := range map[string]string{"no count": `{"realtime_start":"2024-01-01","observations":[]}`, "not JSON": `<?xml version="1.0"?>`, "no period": `{"count":0}`} {
		if _, err := p.Decode(poll.Answer{Job: job, Body: []byte(raw)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	res, err := p.Decode(poll.Answer{Job: job, Body: body("2024-01-01", [3]string{"2024-01-25", "2023-10-01", "n/a"}, [3]string{"yesterday", "2023-10-01", "1"}, [3]string{"2024-01-25", "2023-07-01", "1"})})
	if err != nil || len(res.Bad) != 2 || len(res.Records) != 1 {
		t.Errorf("%d bad, %d records, %v; want two bad entries named and the third published", len(res.Bad), len(res.Records), err)
	}
	if _, err := New(Defaults()); err == nil || !strings.Contains(err.Error(), "fred.key") {
		t.Errorf("%v: the key is named", err)
	}
}

// The service refuses to tell vintages of series that ALFRED does not keep (400, "The series does not exist in ALFRED but may
// exist in FRED"), as its users measured: one of these among the defaults would never publish.
func TestDefaultsHaveVintages(t *testing.T) {
	for _, text := range Defaults().Series {
		s, err := readSeries(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.id == "SP500" || strings.HasPrefix(s.id, "BAML") {
			t.Errorf("%s has no vintages", s.id)
		}
	}
}

func FuzzDecode(f *testing.F) {
	p := poller(f, nil)
	f.Add(body("2024-01-01", [3]string{"2024-01-25", "2023-10-01", "1.5"}), []byte(`{"vintage":"2024-01-25"}`))
	f.Add(body("2024-01-01"), []byte(nil))
	f.Fuzz(func(t *testing.T, raw, state []byte) {
		res, err := p.Decode(poll.Answer{Job: job, Body: raw, Cursor: state})
		if err != nil && len(res.Records) > 0 {
			t.Fatal("records beside an error")
		}
		for _, r := range res.Records {
			if err := schemas.Validate(withTime(r.Message.(*schemas.MacroObservation))); err != nil {
				t.Fatal(err)
			}
		}
		_ = p.Refusal(raw)
	})
}

func withTime(m *schemas.MacroObservation) *schemas.MacroObservation {
	m.Meta.Source, m.Meta.EventTime = "fred", 1_704_067_200_000_000_000
	return m
}
