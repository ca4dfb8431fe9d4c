package edgar

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

const agent = "tapewatch tests admin@example.com"

func body(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "edgar", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func poller(t testing.TB, change func(*Config)) *Poller {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg, agent)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const eps = "us-gaap/EarningsPerShareDiluted"

func decodeFacts(t testing.TB, raw []byte, symbol string, concepts ...string) []*schemas.FundamentalFact {
	t.Helper()
	p := poller(t, func(c *Config) { c.Concepts = concepts })
	res, err := p.Decode(poll.Answer{Job: "company/" + symbol, Ref: p.facts(1), At: at("2026-06-01T00:00:00Z"), Body: raw})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Bad) > 0 {
		t.Fatalf("%d facts could not be read: %v", len(res.Bad), res.Bad[0])
	}
	var out []*schemas.FundamentalFact
	for _, r := range res.Records {
		out = append(out, r.Message.(*schemas.FundamentalFact))
	}
	return out
}

func at(text string) schemas.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return poll.Time(t)
}

// model reads the file without the decoder: the facts of one concept and unit by period, in the order of filing.
func model(t testing.TB, raw []byte, concept, unit string) map[string][][2]string {
	t.Helper()
	var file struct {
		Facts map[string]map[string]struct {
			Units map[string][]struct {
				Start, End, Accn, Filed string
				Val                     json.Number
			}
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	taxonomy, name, _ := strings.Cut(concept, "/")
	facts := file.Facts[taxonomy][name].Units[unit]
	sort.SliceStable(facts, func(i, j int) bool {
		return facts[i].Filed+facts[i].Accn < facts[j].Filed+facts[j].Accn
	})
	out := map[string][][2]string{}
	for _, f := range facts {
		p := f.Start + ".." + f.End
		if have := out[p]; len(have) == 0 || have[len(have)-1][1] != f.Val.String() {
			out[p] = append(have, [2]string{f.Filed, f.Val.String()})
		}
	}
	return out
}

func days(p string) int {
	from, to, _ := strings.Cut(p, "..")
	a, _ := time.Parse(time.DateOnly, from)
	b, _ := time.Parse(time.DateOnly, to)
	return int(b.Sub(a).Hours() / 24)
}

// The first value of each period is the first that was filed, and later ones follow as vintages of their own. The counts
// are those of the files: AAPL has 119 periods of which 65 are quarters, 25 and 14 of them with more than one value; NVDA
// has 66 quarters, 8 of them changed.
func TestFirstFiledValueStands(t *testing.T) {
	for _, c := range []struct {
		file, symbol                              string
		periods, changed, quarters, quarterChange int
	}{
		{"companyfacts/CIK0000320193.json.gz", "AAPL", 119, 25, 65, 14},
		{"companyfacts/CIK0001045810.json.gz", "NVDA", 122, 18, 66, 8},
	} {
		raw := body(t, c.file)
		want := model(t, raw, eps, "USD/shares")
		got := map[string][][2]string{}
		for _, f := range decodeFacts(t, raw, c.symbol, eps) {
			if !f.Derived {
				p := f.PeriodStart + ".." + f.PeriodEnd
				got[p] = append(got[p], [2]string{f.Filed, f.Value.Text()})
			}
		}
		var changed, quarters, quarterChange int
		for p, vintages := range got {
			if !slices.Equal(vintages, want[p]) {
				t.Errorf("%s %s: %v, want %v", c.symbol, p, vintages, want[p])
			}
			if len(vintages) > 1 {
				changed++
			}
			if d := days(p); d >= 80 && d <= 100 {
				quarters++
				if len(vintages) > 1 {
					quarterChange++
				}
			}
		}
		if len(got) != len(want) || len(got) != c.periods || changed != c.changed || quarters != c.quarters || quarterChange != c.quarterChange {
			t.Errorf("%s: %d periods, %d changed, %d quarters, %d changed; want %+v", c.symbol, len(got), changed, quarters, quarterChange, c)
		}
	}
}

// derivedOf lists the derived values by period.
func derivedOf(facts []*schemas.FundamentalFact) map[string][][2]string {
	out := map[string][][2]string{}
	for _, f := range facts {
		if f.Derived {
			p := f.PeriodStart + ".." + f.PeriodEnd
			out[p] = append(out[p], [2]string{f.Filed, f.Value.Text()})
		}
	}
	return out
}

// Fourth quarters by hand: the year less nine months, both as first filed, where the company does not state the quarter.
// FY2009 has a second vintage when both parts had been restated, FY2008 none, whose nine months never were.
func TestFourthQuarters(t *testing.T) {
	want := map[string][][2]string{
		"2008-06-29..2008-09-27": {{"2009-10-27", "1.26"}},
		"2009-06-28..2009-09-26": {{"2009-10-27", "1.82"}, {"2010-07-21", "2.78"}},
		"2021-06-27..2021-09-25": {{"2021-10-29", "1.23"}},
		"2022-06-26..2022-09-24": {{"2022-10-28", "1.29"}},
		"2023-07-02..2023-09-30": {{"2023-11-03", "1.46"}},
		"2024-06-30..2024-09-28": {{"2024-11-01", "0.97"}},
		"2025-06-29..2025-09-27": {{"2025-10-31", "1.84"}},
	}
	got := derivedOf(decodeFacts(t, body(t, "companyfacts/CIK0000320193.json.gz"), "AAPL", eps))
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	nvda := derivedOf(decodeFacts(t, body(t, "companyfacts/CIK0001045810.json.gz"), "NVDA", eps))
	// Shares in thousands in one filing, units in the other: one basis all the same.
	if got := nvda["2008-10-27..2009-01-25"]; len(got) != 1 || got[0] != [2]string{"2010-03-18", "-0.25"} {
		t.Errorf("NVDA fourth quarter of fiscal 2009: %v, want -0.25 filed 2010-03-18", got)
	}
}

// The oracle of the derivation: Apple stated twelve of its fourth quarters itself. Without them, each is derived, and differs
// from what was stated by no more than the rounding of an average over changing numbers of shares. FY2020 waits until the
// nine months are on the basis after the split of 2020-08-31: 3.28 less 10.16 would be no quarter.
func TestFourthQuartersAgainstStated(t *testing.T) {
	raw := body(t, "companyfacts/CIK0000320193.json.gz")
	stated := model(t, raw, eps, "USD/shares")
	facts := decodeFacts(t, without(t, raw, func(f map[string]any) bool {
		p := fmt.Sprint(f["start"], "..", f["end"])
		return days(p) >= 80 && days(p) <= 100
	}), "AAPL", eps)
	compared := 0
	for p, vintages := range derivedOf(facts) {
		said := stated[p]
		if len(said) == 0 {
			continue
		}
		want := number(t, said[0][1])
		switch p {
		case "2009-06-28..2009-09-26": // stated only after the restatement
			vintages = vintages[1:]
		case "2020-06-28..2020-09-26":
			if vintages[0][0] != "2021-07-28" {
				t.Errorf("%s is derived on %s, before its nine months were on one basis with the year", p, vintages[0][0])
			}
		}
		compared++
		if got := number(t, vintages[0][1]); math.Abs(got-want) > 0.0101+0.006*want {
			t.Errorf("%s: derived %v, stated %v", p, got, want)
		}
	}
	if compared != 12 {
		t.Errorf("%d fourth quarters compared, want the 12 that Apple stated", compared)
	}
}

func number(t testing.TB, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A fourth quarter is derived only of what was known: cutting the file at any filing date gives the records filed until then.
func TestFactsAreCausal(t *testing.T) {
	raw := body(t, "companyfacts/CIK0000320193.json.gz")
	all := decodeFacts(t, raw, "AAPL", eps, "us-gaap/NetIncomeLoss")
	for _, day := range []string{"2009-12-31", "2010-03-01", "2014-08-01", "2020-11-15", "2023-01-01"} {
		got := decodeFacts(t, cut(t, raw, day), "AAPL", eps, "us-gaap/NetIncomeLoss")
		want := slices.DeleteFunc(slices.Clone(all), func(f *schemas.FundamentalFact) bool { return f.Filed > day })
		if texts(got) != texts(want) || len(got) == 0 {
			t.Errorf("%s: %d records from the file until then, %d of the whole filed until then", day, len(got), len(want))
		}
	}
}

func texts(facts []*schemas.FundamentalFact) string {
	var lines []string
	for _, f := range facts {
		lines = append(lines, fmt.Sprint(f.Meta.Id, f.Value.Text(), f.Filed))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// cut drops the facts that were filed after a day.
func cut(t testing.TB, raw []byte, day string) []byte {
	t.Helper()
	return without(t, raw, func(f map[string]any) bool { return f["filed"].(string) > day })
}

// without drops facts from a file.
func without(t testing.TB, raw []byte, drop func(map[string]any) bool) []byte {
	t.Helper()
	var file map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, concepts := range file["facts"].(map[string]any) {
		for _, c := range concepts.(map[string]any) {
			units := c.(map[string]any)["units"].(map[string]any)
			for name, list := range units {
				units[name] = slices.DeleteFunc(list.([]any), func(f any) bool { return drop(f.(map[string]any)) })
			}
		}
	}
	out, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Tesla's list: 1,001 filings, 71 of them 8-K with item 2.02. Its times are on New York's clock although they end in Z.
func TestFilings(t *testing.T) {
	raw := body(t, "submissions_sample.json.gz")
	p := poller(t, func(c *Config) { c.Companies, c.Forms = []string{"TSLA:1318605"}, []string{"8-K", "10-Q", "10-K"} })
	ask := func(now string) poll.Result {
		res, err := p.Decode(poll.Answer{Job: "company/TSLA", Ref: p.submissions(1318605), At: at(now), Body: raw})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var s submissions
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	results := 0
	for i, form := range s.Filings.Recent.Form {
		if form == "8-K" && strings.Contains(s.Filings.Recent.Items[i], "2.02") {
			results++
		}
	}
	if len(s.Filings.Recent.Form) != 1001 || results != 71 {
		t.Errorf("%d filings, %d of 8-K with item 2.02; want 1001 and 71", len(s.Filings.Recent.Form), results)
	}
	res := ask("2022-10-25T00:00:00Z")
	var found bool
	for _, r := range res.Records {
		a := r.Message.(*schemas.Article)
		if a.Guid == "0001564590-22-034639" {
			found = true
			if r.Said != at("2022-10-19T21:15:46Z") || a.Title != "TSLA files 8-K: results of operations (2.02)" {
				t.Errorf("the release of 2022-10-19 17:15:46 New York: %v, %q", r.Said, a.Title)
			}
		}
	}
	if !found || len(res.Next) != 1 || res.Next[0].Ref != p.facts(1318605) || !res.Partial {
		t.Errorf("release found: %v; next %v", found, res.Next)
	}
	cur, err := poll.ReadCursor[cursor](res.Cursor)
	if err != nil || cur.Wanted != "0000950170-22-019867" || cur.Accepted[cur.Wanted] != int64(at("2022-10-24T10:08:50Z")) {
		t.Errorf("cursor %+v: the 10-Q of 2022-10-24 06:08:50 New York is the latest with statements", cur)
	}
}

// Which clock a filer's times are on follows from the hours in which EDGAR takes nothing.
func TestZones(t *testing.T) {
	for _, c := range []struct {
		name   string
		stamps []string
		want   *time.Location
	}{
		{"morning in New York", []string{"2022-10-24T06:08:50.000Z", "2022-10-19T17:15:46.000Z"}, newYork},
		{"evening in UTC", []string{"2023-11-02T22:08:27.000Z", "2023-08-03T20:30:11.000Z"}, time.UTC},
		{"hours that do not tell: the later reading", []string{"2023-11-02T16:08:27.000Z"}, newYork},
		{"one late filing among many", []string{"2022-10-24T06:08:50.000Z", "2022-10-24T07:08:50.000Z", "2022-10-24T00:08:50.000Z"}, newYork},
	} {
		if got := zoneOf(c.stamps); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTickerLookUp(t *testing.T) {
	p := poller(t, func(c *Config) { c.Companies = []string{"nvda"} })
	req, err := p.Ask(p.Jobs()[0], nil, 0)
	if err != nil || !strings.HasSuffix(req.Ref, tickersPath) {
		t.Fatalf("asks %v, %v; want the list of tickers", req, err)
	}
	raw := body(t, "company_tickers.json.gz")
	res, err := p.Decode(poll.Answer{Job: "company/NVDA", Ref: req.Ref, Body: raw})
	if err != nil || len(res.Next) != 1 || res.Next[0].Ref != "https://data.sec.gov/submissions/CIK0001045810.json" {
		t.Errorf("next %v, %v; want the filings of CIK 1045810", res.Next, err)
	}
	if req, err = p.Ask(p.Jobs()[0], res.Cursor, 0); err != nil || req.Ref != res.Next[0].Ref {
		t.Errorf("asks %v, %v; the CIK is remembered", req, err)
	}
	if _, err := p.Decode(poll.Answer{Job: "company/NOSUCH", Ref: req.Ref[:0] + p.cfg.FilesURL + tickersPath, Body: raw}); err == nil {
		t.Error("a ticker that is not listed must be an error")
	}
}

func TestUserAgentNeedsAContact(t *testing.T) {
	if _, err := New(Defaults(), "tapewatch/1"); err == nil || !strings.Contains(err.Error(), "mail address") {
		t.Errorf("error %v, want one that asks for a mail address", err)
	}
}

func TestChangedShapes(t *testing.T) {
	p := poller(t, nil)
	for _, c := range []struct{ name, ref, body string }{
		{"facts renamed", p.facts(320193), `{"cik":320193,"facts_":{}}`},
		{"facts empty of what is asked", p.facts(320193), `{"facts":{"us-gaap":{"Other":{"units":{"USD":[]}}}}}`},
		{"an error page", p.facts(320193), `<html>Request Rate Threshold Exceeded</html>`},
		{"no filings", p.submissions(320193), `{"cik":"320193"}`},
		{"a column missing", p.submissions(320193), `{"filings":{"recent":{"accessionNumber":["1"],"form":["8-K"]}}}`},
	} {
		if res, err := p.Decode(poll.Answer{Job: "company/AAPL", Ref: c.ref, Body: []byte(c.body)}); err == nil {
			t.Errorf("%s: %d records and no error", c.name, len(res.Records))
		}
	}
}

func FuzzDecode(f *testing.F) {
	p := poller(f, nil)
	f.Add(p.facts(1), []byte(`{"facts":{"us-gaap":{"EarningsPerShareDiluted":{"units":{"USD/shares":[{"start":"2008-09-28","end":"2008-12-27","val":2.5,"accn":"1","filed":"2010-01-25","form":"10-Q"}]}}}}}`))
	f.Add(p.submissions(1), []byte(`{"filings":{"recent":{"accessionNumber":["1"],"filingDate":["2022-01-01"],"acceptanceDateTime":["2022-01-01T06:00:00.000Z"],"form":["10-K"],"items":[""],"isXBRL":[1],"primaryDocument":["a"]}}}`))
	f.Add(p.cfg.FilesURL+tickersPath, []byte(`{"0":{"cik_str":1,"ticker":"AAPL"}}`))
	f.Fuzz(func(t *testing.T, ref string, raw []byte) {
		res, err := p.Decode(poll.Answer{Job: "company/AAPL", Ref: ref, At: at("2026-06-01T00:00:00Z"), Body: raw})
		if err != nil && len(res.Records) > 0 {
			t.Fatal("records beside an error")
		}
		for _, r := range res.Records {
			if schemas.MetaOf(r.Message).GetId() == "" {
				t.Fatal("a record without an id")
			}
		}
	})
}
