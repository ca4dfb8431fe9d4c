package earnings

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
)

func poller(t testing.TB, provider string) *Poller {
	t.Helper()
	cfg := Defaults()
	cfg.Provider, cfg.Key = provider, secret.New("hunter2")
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rows(t testing.TB, name string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "earnings", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := io.Reader(f)
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	r := csv.NewReader(in)
	r.FieldsPerRecord = -1
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}

func at(text string) schemas.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return poll.Time(t)
}

func decode(t testing.TB, p *Poller, ref, symbol, now string, cursor []byte, body string) poll.Result {
	t.Helper()
	res, err := p.Decode(poll.Answer{Job: jobPrefix + symbol, Ref: ref, At: at(now), Body: []byte(body), Cursor: cursor})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func one(r poll.Record) *schemas.Earnings { return r.Message.(*schemas.Earnings) }

// The 60 rows of Finnhub's shape: 15 tickers of four quarters; actual and estimate as written, and the surprise that they
// make is the one that Finnhub tells.
func TestFinnhubSample(t *testing.T) {
	p := poller(t, Finnhub)
	bySymbol := map[string][][]string{}
	for _, r := range rows(t, "finnhub_shape_sample.csv") {
		bySymbol[r[6]] = append(bySymbol[r[6]], r)
	}
	count := 0
	for symbol, quarters := range bySymbol {
		var parts []string
		for _, q := range quarters {
			parts = append(parts, fmt.Sprintf(`{"actual":%s,"estimate":%s,"period":%q,"quarter":%s,"surprise":%s,"surprisePercent":%s,"symbol":%q,"year":%s}`, q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]))
		}
		res := decode(t, p, quartersPath, symbol, "2026-02-01T00:00:00Z", nil, "["+strings.Join(parts, ",")+"]")
		if len(res.Bad) > 0 || len(res.Records) != len(quarters) {
			t.Fatalf("%s: %d records of %d quarters, %v", symbol, len(res.Records), len(quarters), res.Bad)
		}
		for _, r := range res.Records {
			count++
			e := one(r)
			i := slices.IndexFunc(quarters, func(q []string) bool { return q[2] == e.PeriodEnd })
			q := quarters[i]
			if e.EpsActual.Text() != q[0] || e.EpsEstimate.Text() != q[1] || e.Basis != schemas.EarningsBasis_EARNINGS_BASIS_STREET {
				t.Errorf("%s %s: %s against %s, want %s against %s", symbol, e.PeriodEnd, e.EpsActual.Text(), e.EpsEstimate.Text(), q[0], q[1])
			}
			var surprise float64
			if _, err := fmt.Sscan(q[4], &surprise); err != nil {
				t.Fatal(err)
			}
			if got := e.EpsActual.Float() - e.EpsEstimate.Float(); math.Abs(got-surprise) > 6e-5 {
				t.Errorf("%s %s: surprise %v, Finnhub says %v", symbol, e.PeriodEnd, got, surprise)
			}
			if !r.Backfill {
				t.Errorf("%s %s: without a day of announcement a first look has only history", symbol, e.PeriodEnd)
			}
		}
	}
	if count != 60 || len(bySymbol) != 15 {
		t.Errorf("%d records of %d tickers, want 60 of 15", count, len(bySymbol))
	}
}

// Whole-file count in the shape of Alpha Vantage, all strings and "None": of 69,885 rows 64,296 have estimate and actual, and
// no value changes on the way. The file has no fiscal days: the announcement's day stands in.
func TestAlphaVantageWholeFile(t *testing.T) {
	p := poller(t, AlphaVantage)
	type key struct{ symbol, day string }
	want := map[key][2]string{}
	byTicker := map[string][]map[string]string{}
	total, both := 0, 0
	orNone := func(s string) string {
		if s == "" {
			return "None"
		}
		return s
	}
	for _, r := range rows(t, "daniel-bassett_earnings_1993_2023.csv.gz") {
		total++
		if r[1] != "" && r[2] != "" {
			both++
		}
		if _, twice := want[key{r[4], r[0]}]; !twice {
			want[key{r[4], r[0]}] = [2]string{r[1], r[2]}
			byTicker[r[4]] = append(byTicker[r[4]], map[string]string{
				"fiscalDateEnding": r[0], "reportedDate": r[0], "estimatedEPS": orNone(r[1]), "reportedEPS": orNone(r[2]), "surprise": "None", "reportTime": "post-market",
			})
		}
	}
	got := 0
	for symbol, quarters := range byTicker {
		raw, err := json.Marshal(map[string]any{"symbol": symbol, "annualEarnings": []any{}, "quarterlyEarnings": quarters})
		if err != nil {
			t.Fatal(err)
		}
		res := decode(t, p, "", symbol, "2026-01-01T00:00:00Z", nil, string(raw))
		if len(res.Bad) > 0 {
			t.Fatal(res.Bad[0])
		}
		for _, r := range res.Records {
			e := one(r)
			w := want[key{symbol, e.PeriodEnd}]
			if e.EpsEstimate.Text() != w[0] || e.EpsActual.Text() != w[1] {
				t.Fatalf("%s %s: %q against %q, want %q against %q", symbol, e.PeriodEnd, e.EpsActual.Text(), e.EpsEstimate.Text(), w[1], w[0])
			}
			if e.EpsActual != nil && e.EpsEstimate != nil {
				got++
			}
		}
	}
	distinct := 0 // some rows come twice
	for _, w := range want {
		if w[0] != "" && w[1] != "" {
			distinct++
		}
	}
	if total != 69_885 || both != 64_296 || got != distinct || distinct < 64_000 {
		t.Errorf("%d rows, %d with estimate and actual, %d of them once, %d records; want 69,885, 64,296, and a record each", total, both, distinct, got)
	}
}

// A quarter from its estimate to its correction, as Finnhub tells it (bodies by hand in the documented shapes): each change
// is a record, what is told again is none, and the first actual stays beside the later one.
func TestLifeOfAQuarter(t *testing.T) {
	p := poller(t, Finnhub)
	var cursor []byte
	look := func(now, calendar, quarters string) []poll.Record {
		t.Helper()
		res := decode(t, p, p.cfg.URL+calendarPath+"?symbol=AAPL", "AAPL", now, cursor, `{"earningsCalendar":[`+calendar+`]}`)
		if len(res.Next) != 1 || !strings.Contains(res.Next[0].Ref, quartersPath) || len(res.Records) != 0 {
			t.Fatalf("after the calendar: %v", res)
		}
		res = decode(t, p, res.Next[0].Ref, "AAPL", now, res.Cursor, "["+quarters+"]")
		if len(res.Bad) > 0 {
			t.Fatal(res.Bad)
		}
		cursor = res.Cursor
		return res.Records
	}
	const (
		old      = `{"actual":1.85,"estimate":1.8075,"period":"2025-09-30","quarter":4,"symbol":"AAPL","year":2025}`
		upcoming = `{"date":"2026-01-29","epsActual":null,"epsEstimate":2.72,"hour":"amc","quarter":1,"revenueActual":null,"revenueEstimate":138000000000,"symbol":"AAPL","year":2026}`
		told     = `{"date":"2026-01-29","epsActual":2.84,"epsEstimate":2.72,"hour":"amc","quarter":1,"revenueActual":143756000000,"revenueEstimate":138000000000,"symbol":"AAPL","year":2026}`
		stranger = `{"date":"2026-01-29","epsActual":9,"epsEstimate":9,"hour":"amc","quarter":1,"symbol":"AAPL.MX","year":2026}`
		quarter  = `{"actual":2.84,"estimate":2.72,"period":"2025-12-31","quarter":1,"symbol":"AAPL","year":2026}`
		mended   = `{"actual":2.85,"estimate":2.72,"period":"2025-12-31","quarter":1,"symbol":"AAPL","year":2026}`
	)
	got := look("2026-01-20T00:00:00Z", upcoming+","+stranger, old)
	if len(got) != 2 {
		t.Fatalf("%d records, want the old quarter and the one to come", len(got))
	}
	if e := one(got[1]); e.PeriodEnd != "2025-12-31" || e.EpsActual != nil || e.EpsEstimate.Text() != "2.72" || e.RevenueEstimate.Text() != "138000000000" || schemas.Time(e.AnnouncedAt) != at("2026-01-30T01:00:00Z") || got[1].Said != 0 {
		t.Errorf("to come: %v, said %v", e, got[1].Said)
	}
	if got = look("2026-01-29T22:00:00Z", upcoming, old); len(got) != 0 {
		t.Errorf("told again: %v", got)
	}
	got = look("2026-01-30T12:00:00Z", told, old)
	if len(got) != 1 || one(got[0]).EpsActual.Text() != "2.84" || one(got[0]).RevenueActual.Text() != "143756000000" || one(got[0]).Correction || got[0].Said != at("2026-01-30T01:00:00Z") {
		t.Errorf("announced: %v", got)
	}
	if got = look("2026-01-31T12:00:00Z", told, quarter+","+old); len(got) != 0 {
		t.Errorf("told again by the other list: %v", got)
	}
	got = look("2026-03-15T12:00:00Z", "", mended+","+old)
	if len(got) != 1 || one(got[0]).EpsActual.Text() != "2.85" || !one(got[0]).Correction || one(got[0]).Meta.Id != "2025-12-31/3" || got[0].Said != 0 || one(got[0]).AnnouncedAt == 0 {
		t.Errorf("corrected: %v", got)
	}
	got = look("2026-03-16T12:00:00Z", "", quarter+","+old)
	if len(got) != 1 || one(got[0]).EpsActual.Text() != "2.84" || one(got[0]).Meta.Id != "2025-12-31/4" {
		t.Errorf("put back: %v, want a record of its own", got)
	}
}

// A first start fifty days after Apple told: the calendar, which reaches a month back, has only the quarter to come. What it
// does not name was told before, and is history although the quarter ended less than a hundred days ago. The second look
// is the control: a quarter that appears then is news.
func TestFirstLookIsHistory(t *testing.T) {
	p := poller(t, Finnhub)
	look := func(now string, cursor []byte, calendar, quarters string) poll.Result {
		t.Helper()
		res := decode(t, p, p.cfg.URL+calendarPath, "AAPL", now, cursor, `{"earningsCalendar":[`+calendar+`]}`)
		return decode(t, p, res.Next[0].Ref, "AAPL", now, res.Cursor, "["+quarters+"]")
	}
	const (
		upcoming = `{"date":"2026-04-30","epsActual":null,"epsEstimate":1.9,"hour":"amc","quarter":2,"symbol":"AAPL","year":2026}`
		old      = `{"actual":2.84,"estimate":2.72,"period":"2025-12-31","quarter":1,"symbol":"AAPL","year":2026}`
		next     = `{"actual":1.95,"estimate":1.9,"period":"2026-03-31","quarter":2,"symbol":"AAPL","year":2026}`
		older    = `{"actual":1.85,"estimate":1.8075,"period":"2025-09-30","quarter":4,"symbol":"AAPL","year":2025}`
		recent   = `{"date":"2026-03-19","epsActual":2.84,"epsEstimate":2.72,"hour":"bmo","quarter":1,"symbol":"AAPL","year":2026}`
	)
	first := look("2026-03-20T00:00:00Z", nil, upcoming, old)
	if len(first.Records) != 2 || !first.Records[0].Backfill || one(first.Records[0]).PeriodEnd != "2025-12-31" {
		t.Errorf("%v: the quarter of 2025-12-31 was told before the calendar begins, and must be marked as backfill", first.Records)
	}
	if r := first.Records[1]; r.Backfill || one(r).EpsActual != nil {
		t.Errorf("%v: an estimate of a quarter to come is news", r)
	}
	second := look("2026-05-01T12:00:00Z", first.Cursor, "", next+","+old+","+older)
	if len(second.Records) != 2 || !second.Records[0].Backfill || second.Records[1].Backfill {
		t.Errorf("%v: of what appears at a later look the quarter of 2026-03-31 is news, that of 2025-09-30 is not", second.Records)
	}
	// A first look that finds the day of the announcement leaves it to that day.
	if r := look("2026-03-20T00:00:00Z", nil, recent, old).Records[0]; r.Backfill || r.Said != at("2026-03-19T13:30:00Z") {
		t.Errorf("%v said %v: the calendar names its day", r, r.Said)
	}
}

// What is a record and what it says of itself: other digits of one number are none, a value that comes where there was none is
// no correction, and both are known from their receipt.
func TestWhatIsACorrection(t *testing.T) {
	p := poller(t, AlphaVantage)
	for _, c := range []struct {
		name                                    string
		actual, estimate, thenActual, thenEstim string
		records                                 int
		correction                              bool
	}{
		{"other digits of the same numbers", "2.84", "2.70", "2.840", "2.7", 0, false},
		{"a consensus where there was none", "2.84", "None", "2.84", "2.7", 1, false},
		{"another actual", "2.84", "2.7", "2.85", "2.7", 1, true},
		{"another consensus after the fact", "2.84", "2.7", "2.84", "2.71", 1, true},
		{"the actual of a quarter that was to come", "None", "2.7", "2.84", "2.7", 1, false},
	} {
		body := func(actual, estimate string) string {
			return fmt.Sprintf(`{"quarterlyEarnings":[{"fiscalDateEnding":"2025-12-31","reportedDate":"2026-01-29","reportedEPS":%q,"estimatedEPS":%q,"reportTime":"post-market"}]}`, actual, estimate)
		}
		first := decode(t, p, "", "AAPL", "2026-01-28T00:00:00Z", nil, body(c.actual, c.estimate))
		then := decode(t, p, "", "AAPL", "2026-02-02T00:00:00Z", first.Cursor, body(c.thenActual, c.thenEstim))
		if len(first.Records) != 1 || len(then.Records) != c.records {
			t.Errorf("%s: %d and %d records, want 1 and %d", c.name, len(first.Records), len(then.Records), c.records)
			continue
		}
		for _, r := range then.Records {
			if one(r).Correction != c.correction {
				t.Errorf("%s: correction %v, want %v", c.name, one(r).Correction, c.correction)
			}
			if announced := c.actual == "None"; (r.Said != 0) != announced {
				t.Errorf("%s: said %v; only an announcement was public when it was made", c.name, r.Said)
			}
		}
	}
	known := told{Actual: "2.84", RevenueActual: "5"}
	expected := told{Actual: "2.84", RevenueActual: "5", RevenueEstimate: "4"}
	if !(told{Actual: "2.84", RevenueActual: "6"}).corrects(known) || !known.corrects(expected) || expected.corrects(known) {
		t.Error("another revenue or consensus of it corrects, a consensus where there was none does not")
	}
}

// Through the source: the key goes in a header, the calendar leads to the quarters, history carries the backfill flag and what
// is told keeps its day. A refusal with status 200 publishes nothing, and the feed's health says so.
func TestThroughTheSource(t *testing.T) {
	refuse := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		day := time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)
		switch {
		case r.Header.Get("X-Finnhub-Token") != "hunter2" || strings.Contains(r.URL.RawQuery, "hunter2"):
			w.WriteHeader(http.StatusUnauthorized)
		case refuse:
			_, _ = io.WriteString(w, `{"error":"API limit reached."}`)
		case r.URL.Path == calendarPath:
			_, _ = fmt.Fprintf(w, `{"earningsCalendar":[{"date":%q,"epsActual":2.84,"epsEstimate":2.72,"hour":"bmo","quarter":1,"symbol":"AAPL","year":2026}]}`, day)
		default:
			_, _ = io.WriteString(w, `[{"actual":2.84,"estimate":2.72,"period":"2025-12-31","quarter":1,"symbol":"AAPL","year":2026},`+
				`{"actual":1.85,"estimate":1.8075,"period":"2025-09-30","quarter":4,"symbol":"AAPL","year":2025}]`)
		}
	}))
	defer s.Close()
	run := func() *sourcetest.Memory {
		t.Helper()
		cfg := Defaults()
		cfg.Key, cfg.Symbols, cfg.URL, cfg.PerMinute = secret.New("hunter2"), []string{"AAPL"}, s.URL, 1200
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		metrics := poll.NewMetrics(nil)
		src, err := poll.New(p, poll.Options{Config: poll.Defaults(), Client: poll.NewClient(poll.Defaults(), metrics), Once: true, Metrics: metrics, Shared: sources.NewMetrics(nil)})
		if err != nil {
			t.Fatal(err)
		}
		out := &sourcetest.Memory{}
		if err := src.Run(t.Context(), out); err != nil && !refuse {
			t.Fatal(err)
		}
		return out
	}
	const backfill = 4
	told := map[string]*schemas.Earnings{}
	for _, e := range sourcetest.Of[*schemas.Earnings](run()) {
		told[e.PeriodEnd] = e
	}
	old, recent := told["2025-09-30"], told["2025-12-31"]
	if len(told) != 2 || old.Meta.Flags&backfill == 0 || old.Meta.EventTime <= recent.Meta.EventTime {
		t.Errorf("%v: the old quarter is backfill, known from its receipt", told)
	}
	if recent.Meta.EventTime != recent.AnnouncedAt || recent.Meta.TimeSource != schemas.TimeSource_TIME_SOURCE_EXCHANGE {
		t.Errorf("%v: the recent quarter is known from its announcement", recent)
	}
	refuse = true
	out := run()
	if n := len(sourcetest.Of[*schemas.Earnings](out)); n != 0 {
		t.Errorf("%d records of a refusal", n)
	}
	health := sourcetest.Of[*schemas.FeedHealth](out)
	if len(health) == 0 || health[len(health)-1].Connected {
		t.Errorf("health %v: a refused feed is not connected", health)
	}
}

func TestPartsOfTheDay(t *testing.T) {
	for _, c := range []struct{ date, part, want string }{
		{"2026-01-29", "bmo", "2026-01-29T14:30:00Z"},
		{"2026-07-29", "pre-market", "2026-07-29T13:30:00Z"},
		{"2026-01-29", "dmh", "2026-01-29T21:00:00Z"},
		{"2026-07-29", "amc", "2026-07-30T00:00:00Z"},
		{"2026-01-29", "", "2026-01-30T01:00:00Z"},
	} {
		if got, err := announced(c.date, c.part); err != nil || schemas.Time(got) != at(c.want) {
			t.Errorf("%s %s: %v, %v; want %s", c.date, c.part, schemas.Time(got), err, c.want)
		}
	}
}

// What Alpha Vantage says with status 200 in place of data, as its users report it.
func TestRefusals(t *testing.T) {
	p := poller(t, AlphaVantage)
	for _, body := range []string{
		`{"Note":"Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute."}`,
		`{"Information":"We have detected your API key as hunter2 and our standard API rate limit is 25 requests per day."}`,
		`{"Error Message":"Invalid API call. Please retry or visit the documentation."}`,
		`{"error":"API limit reached. Please try again later."}`,
	} {
		err := p.Refusal([]byte(body))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"symbol":"IBM","quarterlyEarnings":[]}`, `[]`, `<html>`} {
		if err := p.Refusal([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestChangedShapes(t *testing.T) {
	for _, c := range []struct{ provider, ref, body string }{
		{AlphaVantage, "", `{"symbol":"IBM"}`},
		{AlphaVantage, "", `{}`},
		{Finnhub, quartersPath, `{}`},
		{Finnhub, quartersPath, `[]`},
		{Finnhub, quartersPath, `[{"actual":1,"estimate":1,"period":"soon","quarter":1,"year":2026}]`},
		{Finnhub, calendarPath, `{"calendar":[]}`},
	} {
		p := poller(t, c.provider)
		if res, err := p.Decode(poll.Answer{Job: "symbol/IBM", Ref: c.ref, At: at("2026-01-01T00:00:00Z"), Body: []byte(c.body)}); err == nil {
			t.Errorf("%s %s: %d records and no error", c.provider, c.body, len(res.Records))
		}
	}
	p := poller(t, AlphaVantage)
	res := decode(t, p, "", "IBM", "2026-01-01T00:00:00Z", nil, `{"quarterlyEarnings":[{"fiscalDateEnding":"2025-09-30","reportedDate":"2025-10-20","reportedEPS":"x","estimatedEPS":"1"},{"fiscalDateEnding":"2025-06-30","reportedDate":"2025-07-20","reportedEPS":"1","estimatedEPS":"None"}]}`)
	if len(res.Bad) != 1 || len(res.Records) != 1 || one(res.Records[0]).EpsEstimate != nil {
		t.Errorf("%v, %v: want the bad quarter named and the other published without an estimate", res.Bad, res.Records)
	}
}

func TestKeys(t *testing.T) {
	if _, err := New(Defaults()); err == nil || !strings.Contains(err.Error(), "earnings.key") {
		t.Errorf("%v: the key is named", err)
	}
	for _, provider := range []string{Finnhub, AlphaVantage} {
		p := poller(t, provider)
		req, err := p.Ask(p.Jobs()[0], nil, at("2026-01-01T00:00:00Z"))
		if err != nil || strings.Contains(req.Ref, "hunter2") {
			t.Errorf("%s: %s, %v: the key must not be in the request's name", provider, req.Ref, err)
		}
		if !strings.Contains(req.URL.Reveal(), "hunter2") && req.Header["X-Finnhub-Token"].Reveal() != "hunter2" {
			t.Errorf("%s: the request carries no key", provider)
		}
	}
}

func FuzzDecode(f *testing.F) {
	finnhub, alpha := poller(f, Finnhub), poller(f, AlphaVantage)
	f.Add(quartersPath, []byte(`[{"actual":1.85,"estimate":1.8075,"period":"2025-09-30","quarter":4,"symbol":"AAPL","year":2025}]`), []byte(`{"calendar":{"2026Q1":{"estimate":"2"}}}`))
	f.Add(calendarPath, []byte(`{"earningsCalendar":[{"date":"2026-01-29","epsEstimate":2.72,"hour":"amc","quarter":1,"symbol":"AAPL","year":2026}]}`), []byte(nil))
	f.Add("", []byte(`{"quarterlyEarnings":[{"fiscalDateEnding":"2025-09-30","reportedDate":"2025-10-20","reportedEPS":"1.5","estimatedEPS":"1"}]}`), []byte(nil))
	f.Fuzz(func(t *testing.T, ref string, raw, state []byte) {
		for _, p := range []*Poller{finnhub, alpha} {
			_ = p.Refusal(raw)
			res, err := p.Decode(poll.Answer{Job: "symbol/AAPL", Ref: ref, At: at("2026-01-01T00:00:00Z"), Body: raw, Cursor: state})
			if err != nil && len(res.Records) > 0 {
				t.Fatal("records beside an error")
			}
			for _, r := range res.Records {
				e := one(r)
				e.Meta.Source, e.Meta.EventTime = "earnings", int64(at("2026-01-01T00:00:00Z"))
				if err := schemas.Validate(e); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
