package evaluate

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// With the adaptive control every key keeps its budget within half of it either way, in every quarter after the first; without it not
// all do. The budgets are those as shipped and, where the quarters hold enough alarms to tell, a week.
func TestAdaptiveControlKeepsTheBudget(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	outside := 0
	for _, c := range []struct {
		detector string
		rates    []Rate
		data     []string
	}{
		{"price_anomaly", []Rate{0, 1.0 / 7}, []string{"BTCUSD_2018", "BTCUSD_2019H1", "EOSUSD_2019H1"}},
		{"unusual_volume", []Rate{0, 1.0 / 7}, []string{"BTCUSD_2018", "BTCUSD_2019H1", "ETHUSD_2018", "ETHUSD_2019H1"}},
		{"correlation_breakdown", []Rate{0, 1}, []string{"BTCUSD_2019H1", "ETHUSD_2019H1", "XRPUSD_2019H1"}},
	} {
		o := options(c.detector, bitfinex(t, c.data...)...)
		o.Rates, o.Budget = c.rates, Quarter
		r, err := RunBudget(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		judged, off := 0, 0
		adaptive, fixed := 0.0, 0.0 // distances from the budget
		for _, row := range r.Rows {
			for _, p := range row.Adaptive.Periods[1:] {
				judged++
				adaptive += math.Abs(math.Log(p.Ratio))
				if p.Ratio < 0.5 || p.Ratio > 1.5 {
					t.Errorf("%s, %s in %s: %.2f of its budget of %.3f a day, want 0.5 to 1.5", c.detector, row.Key, p.Period, p.Ratio, row.Budget)
				}
			}
			for _, p := range row.Fixed.Periods[1:] {
				fixed += math.Abs(math.Log(p.Ratio))
				if p.Ratio < 0.5 || p.Ratio > 1.5 {
					off++
				}
			}
		}
		t.Logf("%s: %d quarters, mean distance from the budget a factor of %.2f; without the control %.2f, %d out of bounds", c.detector, judged,
			math.Exp(adaptive/float64(judged)), math.Exp(fixed/float64(judged)), off)
		if judged < 5 || adaptive > 0.8*fixed {
			t.Errorf("%s: %d quarters judged, the control does little: want 5 at least, and a fifth of the distance gone", c.detector, judged)
		}
		outside += off
	}
	if outside == 0 {
		t.Error("no quarter is out of bounds without the control: nothing was tested")
	}
}

// An episode counts once for its key and once for each leg, when an event first names it; the knob's do not.
func TestBudgetCountsEpisodesOnce(t *testing.T) {
	m := newBudgetMember("A-USD")
	at := time.Date(2019, 4, 1, 0, 0, 0, 0, time.UTC)
	for _, e := range []struct {
		episode string
		after   time.Duration
		legs    []string
	}{
		{"a", 0, []string{"absolute", "jump"}}, // of the minute before midnight
		{"a", time.Minute, []string{"jump", "drift_burst"}},
		{"b", time.Hour, []string{"absolute", "early_warning"}},
		{"c", 2 * time.Hour, []string{"drift_burst"}},
	} {
		m.hear(&schemas.Event{DedupKey: e.episode, EventTime: at.Add(e.after).UnixNano(), Evidence: &schemas.Evidence{Legs: e.legs}}, budgeted["price_anomaly"], Quarter)
	}
	if diff := cmp.Diff(map[string]int{"2019Q1": 1, "2019Q2": 1}, m.alarms); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]map[string]int{"jump": {"2019Q1": 1}, "drift_burst": {"2019Q2": 2}}, m.legs); diff != "" {
		t.Error(diff)
	}
}

// Ratios are alarms over days and budget, the first period stands apart, and what is not asked well is refused.
func TestBudgetReport(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	m := &budgetMember{
		periods: []string{"2018H1", "2018H2"}, minutes: map[string]int{"2018H1": 1440, "2018H2": 20 * 1440}, alarms: map[string]int{"2018H1": 3, "2018H2": 5},
		legs: map[string]map[string]int{"jump": {"2018H1": 3, "2018H2": 4}},
	}
	s := m.series(0.5)
	if s.Ratio != 0.5 || s.Following.Value != 0.25 || s.Periods[0].Ratio != 6 || s.ratios() != "(2018H1 6.00), 2018H2 0.50" || s.byLeg() != "jump 0.200" {
		t.Errorf("the series is %+v, %s, %s", s, s.ratios(), s.byLeg())
	}
	o := options("price_anomaly", walk(t, "B-USD", 1, 9), walk(t, "A-USD", 2, 9))
	o.Budget, o.Rates = Half, []Rate{0, 2}
	r, err := RunBudget(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range r.Rows {
		got = append(got, row.Key+" "+figure(row.Budget)+fmt.Sprintf(" %.0f", row.Adaptive.Periods[0].Days))
	}
	if diff := cmp.Diff([]string{"A-USD 1.000 9", "B-USD 1.000 9", "A-USD 2.000 9", "B-USD 2.000 9"}, got); diff != "" {
		t.Errorf("%s\n%s", diff, b.String())
	}
	for _, change := range []func(o *Options){
		func(o *Options) { o.Budget = "" },
		func(o *Options) { o.Budget = "month" },
		func(o *Options) { o.Detector = NaivePrice },
		func(o *Options) { o.Rates = nil },
	} {
		broken := o
		change(&broken)
		if _, err := RunBudget(t.Context(), broken); err == nil || !strings.Contains(err.Error(), "must") {
			t.Errorf("%q, %q, %v: %v, want an error", broken.Detector, broken.Budget, broken.Rates, err)
		}
	}
}

// Correlations are looked at pair by pair, and then all together.
func TestBudgetUnits(t *testing.T) {
	o := Options{Detector: "correlation_breakdown", Series: []Series{{Symbol: "C"}, {Symbol: "A"}, {Symbol: "B"}}}
	var got [][]string
	for _, u := range budgetUnits(o) {
		got = append(got, u.keys)
	}
	if diff := cmp.Diff([][]string{{"A/B"}, {"A/C"}, {"B/C"}, {"A", "B", "C"}}, got); diff != "" {
		t.Error(diff)
	}
}
