package evaluate

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// pageOf is a run as HTML.
func pageOf(t *testing.T, r Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Sheet().HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A run with charts and the naive rule beside the detector: the key as a whole, injections found and missed with what was injected,
// and the same page each time.
func TestChartsShowWhatWasFound(t *testing.T) {
	o := options("price_anomaly", walk(t, "A-USD", 2, 8))
	o.Config = []byte(`{"threshold_pct": 0.7}`)
	o.Fit = Range{From: minuteZero, To: minuteZero.Add(2 * 24 * time.Hour)}
	o.Test = Range{From: o.Fit.To}
	o.Jumps, o.Ramps, o.Charts, o.Naive = []float64{0.01, 10}, nil, true, true
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	one := r.Rates[0]
	kinds := map[string]sheet.Chart{}
	for _, c := range one.Charts {
		kind, _, _ := strings.Cut(c.Title, ":")
		kinds[kind] = c
		if n := len(c.Candles); n == 0 || n > mostCandles {
			t.Errorf("%s has %d candles, want 1 to %d", c.Title, n, mostCandles)
		}
	}
	if whole := kinds["A-USD, the whole test range"]; len(whole.Alerts) != one.Keys[0].Alarms || len(whole.Alerts) == 0 {
		t.Errorf("the whole range has %d alerts, want the %d alarms of the key", len(whole.Alerts), one.Keys[0].Alarms)
	}
	if small := kinds["Injected jump 0.01 %, missed"]; len(small.Spans) != 1 {
		t.Errorf("no chart of a missed jump among %d charts", len(one.Charts))
	}
	jump := kinds["Injected jump 10 %, found"]
	if len(jump.Spans) != 1 || len(jump.Alerts) == 0 {
		t.Fatalf("no chart of a found jump with its alert among %d charts", len(one.Charts))
	}
	onset, last := jump.Spans[0].Onset, jump.Alerts[len(jump.Alerts)-1].At
	if last < onset || last.Sub(onset) > time.Minute {
		t.Errorf("the alert is at %v, want it within a minute of %v", last, onset)
	}
	before, after := 0.0, 0.0
	for _, c := range jump.Candles {
		if c.At < onset {
			before = c.Close
		} else if after == 0 {
			after = c.Close
		}
	}
	if move := max(after/before, before/after) - 1; move < 0.09 || move > 0.12 {
		t.Errorf("the chart moves by %.3f at the onset, want the 0.10 that was injected", move)
	}
	if len(r.Naive) != 1 || r.NaiveRule != NaivePrice {
		t.Fatalf("the naive rule %q has %d rates, want naive_price and 1", r.NaiveRule, len(r.Naive))
	}
	if got, want := r.Naive[0].Fitted.Value, one.Fitted.Value; got > want || got < want/2 {
		t.Errorf("the naive rule has %.2f alarms a day on the fit range, want no more than the detector's %.2f, and about as many", got, want)
	}
	if got, want := r.Hindsight[0].Background.Value, one.Background.Value; got > want || got < want/2 || r.Hindsight[0].Fitted != nil {
		t.Errorf("in hindsight it has %.2f alarms a day on the test range, want no more than the detector's %.2f, and about as many", got, want)
	}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	page := pageOf(t, r)
	if page != pageOf(t, again) {
		t.Error("the same run gives another page")
	}
	for _, want := range []string{"Found of jump 10 %", "naive_price at ", "alarms per key and day"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// With labels, charts show one of each outcome, and the curve sets precision against recall.
func TestChartsShowLabels(t *testing.T) {
	series := walk(t, "A-USD", 2, 6)
	o := options(NaivePrice, series)
	o.Inject, o.Charts = false, true
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rates[0].Charts) == 0 || strings.Contains(pageOf(t, r), "precision") {
		t.Fatal("a run without labels has no charts, or speaks of precision")
	}
	o.Labels = write(t, "labels.csv", "symbol,onset_utc", "AUSD,"+clock(minuteZero.Add(60*time.Hour))+"Z")
	if r, err = Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, c := range r.Rates[0].Charts {
		titles = append(titles, c.Title)
	}
	if page := pageOf(t, r); !strings.Contains(strings.Join(titles, "\n"), wasMissed) || !strings.Contains(page, "precision against recall") {
		t.Errorf("charts %q: want one of the label that was missed, and the curve of precision", titles)
	}
}

func TestEvenly(t *testing.T) {
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	if got := evenly(all, 2); got[0] != 2 || got[1] != 7 {
		t.Errorf("two of ten are %v, want 2 and 7", got)
	}
	if got := evenly(all[:1], 2); len(got) != 1 {
		t.Errorf("two of one are %v, want the one", got)
	}
}
