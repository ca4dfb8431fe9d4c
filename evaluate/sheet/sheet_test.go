package sheet

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/tapewatch/tapewatch/schemas"
)

var update = flag.Bool("update", false, "rewrite the expected page")

const start = schemas.Time(1_546_300_800e9) // 2019-01-01

// sample is one of everything, with figures that can be checked by eye.
func sample() *Sheet {
	at := func(minute int) schemas.Time { return start.Add(time.Duration(minute) * time.Minute) }
	grouped := NewTable("Rule", "Alarms/day", "Break", "Found")
	grouped.Group = 2
	grouped.Row("ours", "0.100", "full", "0.900")
	grouped.Row("ours", "0.100", "half", "0.400")
	grouped.Row("naive", "0.200", "full", "0.500")
	return &Sheet{
		Title: "price_anomaly", Lead: "fitted on none, tested on ..", Facts: []Fact{{"seed", "1"}},
		Parts: []Part{
			{Title: "all rates", Plots: []Plot{Curve{Title: "Found of jump 2 %", X: "alarms per key and day", Y: "share found", Lines: []Line{
				{Name: "price_anomaly", Points: []Point{{"at 1/day", 1, 0.9, 0.8, 0.95}, {"at 1/week", 0.1, 0.5, 0.4, 0.6}}},
				{Name: "naive_price", Points: []Point{{"at 1/day", 1, 0.5, 0.4, 0.6}}, Series: 1},
			}}, Curve{Title: "Labels", X: "recall", Y: "precision", Share: true, Lines: []Line{
				{Name: "price_anomaly", Points: []Point{{"every alarm", 0.8, 0.1, 0, 0.2}, {"", 0.7, 0.3, 0.2, 0.4}, {"critical", 0.75, 0.5, 0.4, 0.6}}, Swept: true},
			}}}},
			{Title: "at shipped", Note: "budget 1 day", Tables: []*Table{grouped}, Plots: []Plot{
				Whiskers{Title: "What is found", X: "share", Rows: []Whisker{{"jump 2 %", 0.5, 0.4, 0.6, 0}, {"jump 5 %", 1, 0.9, 1, 1}}},
				Delays{Title: "How late", Rows: []DelayRow{{"jump 2 %", []float64{-1, 0, 1, 1, 4}}, {"jump 5 %", nil}}},
				Chart{
					Title: "label found", Unit: "price", From: at(0), To: at(3), Candles: []Candle{{at(0), time.Minute, 10, 12, 9, 11, 5}, {at(1), time.Minute, 11, 11, 7, 8, 10}},
					Alerts: []Alert{{at(1), schemas.Critical}}, Spans: []Span{{at(1), at(2), at(1), "label"}},
				},
				Chart{Title: "rates", Unit: "%", From: at(0), To: at(2), Line: []Sample{{at(0), 1}, {at(1), 3}, {at(2), 2}}},
			}},
		},
	}
}

func pageOf(t *testing.T, s *Sheet) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHTMLIsAsExpected(t *testing.T) {
	got := pageOf(t, sample())
	path := filepath.Join("testdata", "sample.html")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); d != "" {
		t.Errorf("the page changed (go test ./evaluate/sheet -update, then look at it): %s", d)
	}
}

// elements that have no end tag.
var void = []string{"meta"}

// check walks a page: every element is closed where it was opened, none brings anything in from elsewhere, and every picture, table
// and head says what it is. It returns how often each element occurs, and all text.
func check(t *testing.T, page []byte) (count map[string]int, text string) {
	t.Helper()
	count = map[string]int{}
	var open []string
	var all strings.Builder
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		kind := z.Next()
		tok := z.Token()
		switch kind {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if len(open) > 0 {
				t.Errorf("elements %q are never closed", open)
			}
			return count, all.String()
		case html.TextToken:
			all.WriteString(tok.Data + "\n")
			if n := len(open); n > 0 && open[n-1] == "style" && (strings.Contains(tok.Data, "url(") || strings.Contains(tok.Data, "@import")) {
				t.Error("the style brings something in")
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			count[tok.Data]++
			attributes := map[string]string{}
			for _, a := range tok.Attr {
				attributes[a.Key] = a.Val
				if slices.Contains([]string{"src", "href", "xlink:href", "action", "style", "srcset"}, a.Key) || strings.HasPrefix(a.Key, "on") {
					t.Errorf("<%s> has %s=%q", tok.Data, a.Key, a.Val)
				}
			}
			if slices.Contains([]string{"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form"}, tok.Data) {
				t.Errorf("the page has <%s>", tok.Data)
			}
			switch {
			case tok.Data == "svg" && attributes["aria-hidden"] == "" && (attributes["role"] != "img" || attributes["aria-label"] == ""),
				tok.Data == "th" && attributes["scope"] == "", tok.Data == "html" && attributes["lang"] == "":
				t.Errorf("%v does not say what it is", tok)
			}
			if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if n := len(open); n == 0 || open[n-1] != tok.Data {
				t.Fatalf("</%s> ends %q", tok.Data, open)
			}
			open = open[:len(open)-1]
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

func TestHTMLStandsAlone(t *testing.T) {
	count, text := check(t, pageOf(t, sample()))
	for element, want := range map[string]int{"h1": 1, "h2": 2, "table": 1, "figure": 5, "title": 1} {
		if got := count[element]; got < want {
			t.Errorf("%d of <%s>, want %d", got, element, want)
		}
	}
	for _, want := range []string{"alarms per key and day", "share found", "delay, minutes", "critical alert (1)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// What comes from files and flags is text wherever it stands.
func TestHTMLEscapes(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror='alert(2)'></title></style>]]>&`
	s := &Sheet{Title: hostile, Lead: hostile, Facts: []Fact{{hostile, hostile}}}
	table := NewTable(hostile, hostile)
	table.Row(hostile, hostile)
	s.Parts = []Part{{Title: hostile, Note: hostile, Tables: []*Table{table}, Plots: []Plot{
		Curve{Title: hostile, X: hostile, Y: hostile, Lines: []Line{{Name: hostile, Points: []Point{{hostile, 1, 1, 1, 1}}}}},
		Whiskers{Title: hostile, X: hostile, Rows: []Whisker{{Name: hostile}}},
		Delays{Title: hostile, Rows: []DelayRow{{hostile, []float64{1}}}},
		Chart{Title: hostile, Unit: hostile, From: start, To: start + 9, Line: []Sample{{start, 1}}, Alerts: []Alert{{start, hostile}}, Spans: []Span{{start, start + 1, 0, hostile}}},
	}}}
	page := pageOf(t, s)
	if _, text := check(t, page); strings.Count(text, hostile) < 20 {
		t.Errorf("the text stands %d times on the page, want 20 at least", strings.Count(text, hostile))
	}
}

// Plots of nothing, of one value and of figures that are not finite are still plots.
func TestPlotsOfLittle(t *testing.T) {
	s := &Sheet{Title: "little", Parts: []Part{{Plots: []Plot{
		Curve{},
		Curve{Lines: []Line{{Name: "a", Points: []Point{{}}}, {Name: "b"}}},
		Whiskers{},
		Delays{},
		Delays{Rows: []DelayRow{{"one", []float64{3}}}},
		Chart{},
		Chart{From: start, To: start.Add(time.Hour), Candles: []Candle{{start, time.Minute, 5, 5, 5, 5, 0}}},
	}}}}
	page := pageOf(t, s)
	check(t, page)
	for _, bad := range []string{"NaN", "Inf"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestTextLeavesPlotsOutAndGroupsRows(t *testing.T) {
	var b strings.Builder
	if err := sample().Text(&b); err != nil {
		t.Fatal(err)
	}
	const want = `price_anomaly; fitted on none, tested on ..

at shipped: budget 1 day
RULE   ALARMS/DAY  BREAK  FOUND
ours   0.100       full   0.900
                   half   0.400
naive  0.200       full   0.500
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestMoments(t *testing.T) {
	for _, c := range []struct {
		span time.Duration
		want string
	}{
		{time.Minute, "00:00:00 00:00:30 00:01:00"},
		{160 * time.Minute, "00:00 01:00 02:00"},
		{4 * 24 * time.Hour, "1 Jan 2 Jan 3 Jan 4 Jan 5 Jan"},
		{181 * 24 * time.Hour, "Jan 2019 Mar 2019 May 2019 Jul 2019"},
		{4 * 365 * 24 * time.Hour, "Jan 2019 Jan 2020 Jan 2021 Jan 2022"},
	} {
		var got []string
		for _, m := range moments(start, start.Add(c.span)) {
			got = append(got, m.text)
		}
		if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%v: %s", c.span, d)
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, c := range []struct {
		s    scale
		want []float64
	}{
		{scale{low: 0, high: 1}, []float64{0, 0.25, 0.5, 0.75, 1}},
		{scale{low: -0.3, high: 0.7}, []float64{-0.25, 0, 0.25, 0.5}},
		{scale{low: 98, high: 103}, []float64{98, 100, 102}},
		{scale{low: 0.1, high: 3, log: true}, []float64{0.1, 0.2, 0.5, 1, 2}},
		{scale{low: 5, high: 5}, []float64{5}},
	} {
		got := c.s.ticks(4)
		if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })); d != "" {
			t.Errorf("%v to %v: %s", c.s.low, c.s.high, d)
		}
	}
}
