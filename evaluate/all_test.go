package evaluate

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// little is a report of each kind, with figures that can be told apart.
func little() map[string]summed {
	third := Interval{1.0 / 3, 0.1, 0.6}
	late := Delay{Median: 2, P90: 4, All: []float64{1, 2, 4}}
	rate := RateReport{
		Rate: "shipped", Setting: "threshold 5 %", MinSeverity: "low", Background: third, Injections: []InjectionReport{{Grade: "jump 2 %", N: 3, Found: third, Delay: late}},
		Labels: &LabelReport{Labels: 3, Recall: third, Precision: third, Delay: late},
	}
	whales := WhaleAsset{Asset: "busy", Medium: third, NaiveUSD: 2e6}
	for _, g := range whaleGrades() {
		whales.Grades = append(whales.Grades, WhaleGain{Grade: g.String(), N: 3, Found: third, Delay: late, Naive: g.pieces == 1})
	}
	return map[string]summed{
		"price_anomaly": &Report{Detector: "price_anomaly", Rates: []RateReport{rate}, NaiveRule: NaivePrice, Naive: []RateReport{rate}, Hindsight: []RateReport{rate}},
		"correlation_breakdown": &CorrelationReport{Rules: []CorrelationRow{
			{Rule: "basket, per member, budget 1 days", Fitted: &third, PerDay: third, Breaks: []BreakingReport{{Kind: "full break, 2h"}, {Kind: "full break, 6h", N: 3, Found: third, Delay: late}}},
		}},
		"exchange_outage": &OutageReport{Rules: []OutageRow{
			{Rule: "exchange_outage, high and above, silences of 5 min", N: 9},
			{Rule: "naive, all silent for 2 min, labels", N: 3, Found: third, Delay: late, PerDay: third, Precision: third},
		}},
		"liquidity_drop": &LiquidityReport{Rules: []LiquidityRow{{Rule: "liquidity_drop", Band: 0.1, Hours: 1, Cuts: []CutReport{
			{Side: "bid", Pct: 50, N: 9}, {Side: "bid", Pct: 70, N: 3, Five: third, Delay: late}, {Side: "ask", Pct: 70, N: 3, Five: third, Delay: late},
		}}}},
		"funding_rate": &FundingReport{
			Naive: []NaiveFunding{{Payments: 300, Episodes: 10}}, Detector: []FundingEpisodes{{Episodes: 20}}, Equal: EqualFunding{Threshold: 0.0004, Episodes: 19},
			Injections: []FundingInjections{{Rate: 0.05, Length: 1, Venues: 1, N: 3, Found: third}, {Rate: 0.05, Length: 3, Venues: 1, N: 9}},
		},
		"whale_movement": &WhaleReport{Assets: []WhaleAsset{whales}},
		"earnings_anomaly": &EarningsReport{LargeMoves: 6, Selections: []Selection{
			{Rule: "any surprise"}, {Rule: "detector: high and critical", Known: 3, Large: third}, {Rule: "documented rule: 10 %", Known: 6, Large: third},
		}},
	}
}

// One row for each rule and what it was held against, whatever the study.
func TestSummaries(t *testing.T) {
	want := map[string][]string{
		"price_anomaly": {
			"price_anomaly: jump 2 %, 0.33 a day, 0.33 of 3, after 2 min", "price_anomaly: labels, 0.33 a day, 0.33 of 3, precision 0.33, after 2 min",
			"naive_price, threshold 5 %: jump 2 %, 0.33 a day, 0.33 of 3, after 2 min", "naive_price, threshold 5 %: labels, 0.33 a day, 0.33 of 3, precision 0.33, after 2 min",
			"naive_price in hindsight, threshold 5 %: jump 2 %, 0.33 a day, 0.33 of 3, after 2 min",
			"naive_price in hindsight, threshold 5 %: labels, 0.33 a day, 0.33 of 3, precision 0.33, after 2 min",
		},
		"correlation_breakdown": {"correlation_breakdown, basket, per member, budget 1 days: full break, 6h, 0.33 a day, 0.33 of 3, after 2 min"},
		"exchange_outage":       {"naive, all silent for 2 min: labels, 0.33 a day, 0.33 of 3, precision 0.33, after 2 min"},
		"liquidity_drop":        {"liquidity_drop, band 0.1 %: cut of 70 % within 5 s, 0.00 a day, 0.33 of 6, after 2 min"},
		"funding_rate": {
			"funding_rate: one payment of +0.05 %, 0.20 a day, 0.33 of 3", "naive, 0.1 % either way: one payment of +0.05 %, 0.10 a day, 0.00 of 3",
			"naive in hindsight, 0.04 % either way: one payment of +0.05 %, 0.19 a day, 1.00 of 3",
		},
		"whale_movement": {
			"whale_movement, busy: 99.99 % size, 0.33 a day, 0.33 of 3, after 2 min", "naive, transfers of $2.0M, busy: 99.99 % size, 0.33 a day, 1.00 of 3",
			"whale_movement, busy: 99.99 % size in 20 over 1h0m0s, 0.33 a day, 0.33 of 3, after 2 min",
			"naive, transfers of $2.0M, busy: 99.99 % size in 20 over 1h0m0s, 0.33 a day, 0.00 of 3",
		},
		"earnings_anomaly": {
			"earnings_anomaly, high and critical: moves of 8 % after, 0.17 of 6, precision 0.33", "naive, documented rule: 10 %: moves of 8 % after, 0.33 of 6, precision 0.33",
		},
	}
	for name, r := range little() {
		var got []string
		for _, row := range r.summary() {
			text := row.Rule + ": " + row.Reference
			if row.PerDay != nil {
				text += fmt.Sprintf(", %.2f a day", row.PerDay.Value)
			}
			text += fmt.Sprintf(", %.2f of %d", row.Recall.Value, row.N)
			if row.Precision != nil {
				text += fmt.Sprintf(", precision %.2f", row.Precision.Value)
			}
			if row.Delay != nil {
				text += fmt.Sprintf(", after %.0f min", row.Delay.Median)
			}
			got = append(got, text)
		}
		if d := cmp.Diff(want[name], got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// The text is one table; the page has each detector's own report below it.
func TestAllReport(t *testing.T) {
	r := &AllReport{Reports: map[string]Result{}}
	for _, one := range trials() {
		s := little()[one.detector]
		if s == nil {
			continue
		}
		r.order = append(r.order, one.detector)
		r.Reports[one.detector] = s
		for _, row := range s.summary() {
			row.Detector, row.Data = one.detector, one.about
			r.Rows = append(r.Rows, row)
		}
	}
	var b strings.Builder
	if err := r.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != len(r.Rows)+3 {
		t.Errorf("%d lines, want a lead, a blank, a head and %d rows:\n%s", lines, len(r.Rows), b.String())
	}
	page := pageOf(t, r)
	for name := range r.Reports {
		if !strings.Contains(page, "<h2>"+name) {
			t.Errorf("the page has no part on %s", name)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

// The data are where the trials look for them, each detector that a budget or study is for has one, and a folder without data says what it lacks.
func TestTrials(t *testing.T) {
	if _, err := RunAll(t.Context(), t.TempDir(), 1, false, func(string) ([]byte, error) { return nil, nil }, nil); err == nil || !strings.Contains(err.Error(), pairs2019) {
		t.Errorf("a folder without data gives %v, want it to name %s", err, pairs2019)
	}
	seen := map[string]bool{}
	dir := testservices.DataDir(t)
	for _, one := range trials() {
		seen[one.detector] = true
		if HasStudy(one.detector) == (one.candles != nil) {
			t.Errorf("%s: it must be judged by its study, or on candles", one.detector)
		}
		for _, pattern := range append([]string{one.labels}, one.data...) {
			if found, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(found) == 0 {
				t.Errorf("%s: no %s, %v", one.detector, pattern, err)
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d detectors are judged, want all eight", len(seen))
	}
}

// A silence is shown with its alarm, and an episode of any detector at its highest severity.
func TestOutageCharts(t *testing.T) {
	at := func(minute int) schemas.Time { return minuteZero.Add(time.Duration(minute) * time.Minute) }
	var rows []row
	for k := range 600 {
		c := candle{start: at(k), open: 10, high: 11, low: 9, close: 10, volume: 1}
		if k >= 300 && k < 320 {
			c.volume = 0
		}
		rows = append(rows, row{start: at(k), candles: []candle{c}})
	}
	event := func(minute int, severity, status, episode string) *schemas.Event {
		return &schemas.Event{EventTime: int64(at(minute)), Severity: severity, Status: status, DedupKey: episode}
	}
	alerts := alertsOf([]*schemas.Event{
		event(100, schemas.Medium, schemas.Open, "a"), event(101, schemas.Medium, schemas.Resolved, "a"),
		event(303, schemas.High, schemas.Open, "b"), event(305, schemas.Critical, schemas.Update, "b"), event(320, schemas.High, schemas.Resolved, "b"),
		event(500, schemas.Low, schemas.Open, "a"),
	})
	if d := cmp.Diff([]sheet.Alert{{At: at(100), Severity: schemas.Medium}, {At: at(303), Severity: schemas.Critical}, {At: at(500), Severity: schemas.Low}}, alerts); d != "" {
		t.Fatal(d)
	}
	silences := silencesOf(rows, longSilence)
	charts := outageCharts("A-USD", rows, silences, silences, alerts)
	if len(charts) != 4 {
		t.Fatalf("%d charts, want the whole range, one outage and two alarms outside", len(charts))
	}
	one := charts[1]
	if len(one.Alerts) != 1 || one.Alerts[0].At != at(303) || len(one.Spans) != 1 || one.Spans[0].From != at(300) || one.Spans[0].To != at(320) {
		t.Errorf("the outage has alerts %v and spans %v, want one of each", one.Alerts, one.Spans)
	}
	if len(one.Candles) != 120 {
		t.Errorf("the outage has %d candles, want those of an hour before and after, none within", len(one.Candles))
	}
}
