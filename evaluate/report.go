package evaluate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// A Report is the outcome of an evaluation.
type Report struct {
	Detector string       `json:"detector"`
	Fit      string       `json:"fit"`
	Test     string       `json:"test"`
	Rates    []RateReport `json:"rates"`
	// Naive are the naive rule's outcomes, each at the alarms that the detector has on the fit range at the rate of the same place. Hindsight
	// are those at the alarms that it has on the test range: the same price, but a threshold that nobody could have known.
	NaiveRule string       `json:"naive_rule,omitempty"`
	Naive     []RateReport `json:"naive,omitempty"`
	Hindsight []RateReport `json:"naive_in_hindsight,omitempty"`
	// Thresholds are the naive rule at each threshold, whatever the rate.
	Thresholds *Sweep `json:"naive_thresholds,omitempty"`
}

// A RateReport is the outcome at one rate.
type RateReport struct {
	Rate        string `json:"rate"`
	Setting     string `json:"setting"`
	MinSeverity string `json:"min_severity"`
	// Fitted is the rate of alarms per key and day on the fit range.
	Fitted *Interval `json:"fitted,omitempty"`
	// Background is that on the untouched test range, over all keys; Median and Max are over the keys.
	Background Interval          `json:"background"`
	Median     float64           `json:"median"`
	Max        float64           `json:"max"`
	Keys       []KeyReport       `json:"keys"`
	Injections []InjectionReport `json:"injections,omitempty"`
	Labels     *LabelReport      `json:"labels,omitempty"`
	// Sweeps are what a detector's events would be worth beyond a severity or a return period.
	Sweeps []Sweep `json:"sweeps,omitempty"`
	// Charts are of each key, and of a few labels, injections and alarms.
	Charts []sheet.Chart `json:"charts,omitempty"`
}

// A KeyReport is the background of one key.
type KeyReport struct {
	Key    string   `json:"key"`
	Days   float64  `json:"days"`
	Alarms int      `json:"alarms"`
	PerDay Interval `json:"per_day"`
	// Quarters are the alarms per day of each quarter, oldest first.
	Quarters []QuarterReport `json:"quarters"`
}

// A QuarterReport is the background of one key in one quarter.
type QuarterReport struct {
	Quarter string `json:"quarter"`
	Alarms  int    `json:"alarms"`
}

// An InjectionReport is the outcome of one grade of injections.
type InjectionReport struct {
	Grade string `json:"grade"`
	N     int    `json:"n"`
	// Busy positions had an alarm or its cool-down on, and are not among the n.
	Busy  int      `json:"busy"`
	Found Interval `json:"found"`
	Delay Delay    `json:"delay"`
	// Keys are the shares found of each key.
	Keys []FoundReport `json:"keys,omitempty"`
}

// A FoundReport is the outcome of one grade on one key.
type FoundReport struct {
	Key   string   `json:"key"`
	N     int      `json:"n"`
	Found Interval `json:"found"`
}

// A LabelReport is the outcome against labels.
type LabelReport struct {
	// Covered labels were not found but lay within an earlier alarm, Cooling ones within its cool-down.
	Labels, Found, Covered, Cooling int
	Recall                          Interval `json:"recall"`
	// RecallCovered counts labels at whose onset an earlier alarm was still on, too.
	RecallCovered Interval `json:"recall_covered"`
	Precision     Interval `json:"precision"`
	Delay         Delay    `json:"delay"`
}

// severityNames by their rank less one.
var severityNames = []string{schemas.Low, schemas.Medium, schemas.High, schemas.Critical}

func (e *evaluation) rateReport(rate Rate, s setup, all []*member, grades []grade) *RateReport {
	least := severityNames[e.least(rate)-1]
	out := &RateReport{Rate: rate.String(), Setting: s.setting, MinSeverity: least, Fitted: s.fitted}
	alarms, days := 0, 0.0
	var rates []float64
	for _, m := range all {
		k := KeyReport{Key: m.symbol, Days: m.days(), Alarms: len(m.alarms)}
		k.PerDay = perDay(k.Alarms, k.Days)
		k.Quarters = quarters(m.alarms)
		alarms += k.Alarms
		days += k.Days
		rates = append(rates, k.PerDay.Value)
		out.Keys = append(out.Keys, k)
	}
	out.Background = perDay(alarms, days)
	if len(rates) > 0 {
		out.Median, out.Max = median(rates), slices.Max(rates)
	}
	if e.options.Inject {
		for i, g := range grades {
			out.Injections = append(out.Injections, injectionReport(g, i, all))
		}
	}
	if e.options.Labels != "" {
		out.Labels = match(e.labels, all, e.options, e.subject.coolDown())
	}
	if _, rule := e.subject.(ruleSubject); !rule {
		out.Sweeps = e.sweeps(all, grades, e.least(rate))
	}
	return out
}

// injectionReport adds up what became of the i-th grade on every member.
func injectionReport(g grade, i int, all []*member) InjectionReport {
	var sum tally
	out := InjectionReport{Grade: g.String()}
	for _, m := range all {
		t := &m.tallies[i]
		sum.n += t.n
		sum.busy += t.busy
		sum.found += t.found
		sum.delays = append(sum.delays, t.delays...)
		out.Keys = append(out.Keys, FoundReport{Key: m.symbol, N: t.n, Found: Wilson(t.found, t.n)})
	}
	out.N, out.Busy, out.Found, out.Delay = sum.n, sum.busy, Wilson(sum.found, sum.n), delayOf(sum.delays)
	return out
}

func quarters(alarms []schemas.Time) []QuarterReport {
	var out []QuarterReport
	for _, at := range alarms {
		t := (at - 1).UTC() // an alarm at midnight is about the minute before
		name := fmt.Sprintf("%dQ%d", t.Year(), (int(t.Month())+2)/3)
		if len(out) == 0 || out[len(out)-1].Quarter != name {
			out = append(out, QuarterReport{Quarter: name})
		}
		out[len(out)-1].Alarms++
	}
	return out
}

// Sheet shows the report: the rates against each other, then each rate with its tables and plots.
func (r *Report) Sheet() *sheet.Sheet {
	out := &sheet.Sheet{Title: r.Detector, Lead: fmt.Sprintf("fitted on %s, tested on %s", r.Fit, r.Test)}
	if curves := r.curves(); len(curves) > 0 {
		out.Parts = append(out.Parts, sheet.Part{Title: "all rates", Plots: curves})
	}
	for i := range r.Rates {
		out.Parts = append(out.Parts, r.Rates[i].part(""))
	}
	for i := range r.Naive {
		out.Parts = append(out.Parts, r.Naive[i].part(r.NaiveRule+" "), r.Hindsight[i].part(r.NaiveRule+hindsight+" "))
	}
	if r.Thresholds != nil {
		out.Parts = append(out.Parts, sheet.Part{
			Title: r.plain() + " at each threshold", Note: "on the test range; its scores counted again, exactly", Tables: []*sheet.Table{sweepTable(*r.Thresholds)},
		})
	}
	return out
}

// plain is the naive rule of the report: that beside the detector, or the detector itself.
func (r *Report) plain() string { return cmp.Or(r.NaiveRule, r.Detector) }

// hindsight marks a rule whose threshold was fitted on the test range.
const hindsight = " in hindsight"

// part shows one rate.
func (r *RateReport) part(rule string) sheet.Part {
	out := sheet.Part{Title: rule + "at " + r.Rate, Note: fmt.Sprintf("%s; events of %s and above", r.Setting, r.MinSeverity)}
	keys := sheet.NewTable("Key", "Days", "Alarms", "Alarms/day", "95 %", "By quarter")
	for _, k := range r.Keys {
		var by []string
		for _, q := range k.Quarters {
			by = append(by, fmt.Sprintf("%s %d", q.Quarter, q.Alarms))
		}
		keys.Row(k.Key, fmt.Sprintf("%.1f", k.Days), k.Alarms, figure(k.PerDay.Value), bounds(k.PerDay), strings.Join(by, ", "))
	}
	keys.Row("all", "", "", figure(r.Background.Value), bounds(r.Background), fmt.Sprintf("median %s, max %s", figure(r.Median), figure(r.Max)))
	if r.Fitted != nil {
		keys.Row("fit range", "", "", figure(r.Fitted.Value), bounds(*r.Fitted), "")
	}
	out.Tables = append(out.Tables, keys)
	var shares []sheet.Whisker
	var delays []sheet.DelayRow
	if len(r.Injections) > 0 {
		t := sheet.NewTable("Injected", "N", "Busy", "Found", "95 %", "Delay median", "P90", "Found by key")
		for _, i := range r.Injections {
			var by []string
			for _, k := range i.Keys {
				by = append(by, fmt.Sprintf("%s %.2f", k.Key, k.Found.Value))
			}
			t.Row(i.Grade, i.N, i.Busy, figure(i.Found.Value), bounds(i.Found), minutes(i.Delay.Median), minutes(i.Delay.P90), strings.Join(by, ", "))
			shares = append(shares, whisker(i.Grade, i.Found, 0))
			delays = append(delays, sheet.DelayRow{Name: i.Grade, Values: i.Delay.All})
		}
		out.Tables = append(out.Tables, t)
	}
	if l := r.Labels; l != nil {
		t := sheet.NewTable("Labels", "Found", "In alarm", "In cool-down", "Recall", "95 %", "With running alarms", "Precision", "95 %", "Delay median", "P90")
		t.Row(l.Labels, l.Found, l.Covered, l.Cooling, figure(l.Recall.Value), bounds(l.Recall), figure(l.RecallCovered.Value), figure(l.Precision.Value), bounds(l.Precision),
			minutes(l.Delay.Median), minutes(l.Delay.P90))
		out.Tables = append(out.Tables, t)
		shares = append(shares, whisker("labels: recall", l.Recall, 1), whisker("with running alarms", l.RecallCovered, 1), whisker("precision", l.Precision, 2))
		delays = append(delays, sheet.DelayRow{Name: "labels", Values: l.Delay.All})
	}
	if len(r.Sweeps) > 0 {
		out.Tables = append(out.Tables, sweepTable(r.Sweeps...))
	}
	if len(shares) > 0 {
		out.Plots = append(out.Plots, sheet.Whiskers{Title: "What is found", X: "share", Rows: shares}, sheet.Delays{Title: "How late", Rows: delays})
	}
	out.Plots = append(out.Plots, plotsOf(r.Charts)...)
	return out
}

func plotsOf(charts []sheet.Chart) []sheet.Plot {
	out := make([]sheet.Plot, len(charts))
	for i, c := range charts {
		out[i] = c
	}
	return out
}

// curves set each grade's recall, and that of the labels, against its price: the rates as points, and as curves the sweeps of the first
// rate and the naive rule's.
func (r *Report) curves() []sheet.Plot {
	const price = "alarms per key and day"
	var out []sheet.Plot
	if r.Rates[0].Labels != nil {
		recall := func(p *SweepPoint) Interval { return p.Labels.Recall }
		exact := r.curve("Labels: precision against recall", "recall", "precision", func(p *SweepPoint) (float64, Interval) { return recall(p).Value, p.Labels.Precision })
		exact.Share = true
		out = append(out, exact, r.curve("Labels: recall against alarms", price, "recall", func(p *SweepPoint) (float64, Interval) { return p.PerDay.Value, recall(p) }))
	}
	for i, g := range r.Rates[0].Injections {
		out = append(out, r.curve("Found of "+g.Grade, price, "share found", func(p *SweepPoint) (float64, Interval) { return p.PerDay.Value, p.Injections[i].Found }))
	}
	return out
}

func (r *Report) curve(title, x, y string, of func(p *SweepPoint) (x float64, y Interval)) sheet.Curve {
	c := sheet.Curve{Title: title, X: x, Y: y}
	add := func(l sheet.Line) {
		if len(l.Points) > 0 {
			c.Lines = append(c.Lines, l)
		}
	}
	for i := range r.Rates[0].Sweeps {
		s, series := &r.Rates[0].Sweeps[i], 0
		if s.By == BySeverity {
			series = 3
		}
		add(s.line(r.Detector+" at "+r.Rates[0].Rate+", by "+s.By, series, of))
	}
	if r.Thresholds != nil {
		add(r.Thresholds.line(r.plain()+", by "+r.Thresholds.By, 1, of))
	}
	for i, rule := range []struct {
		name  string
		rates []RateReport
	}{{r.Detector, r.Rates}, {r.NaiveRule, r.Naive}, {r.NaiveRule + hindsight, r.Hindsight}} {
		line := sheet.Line{Name: rule.name, Series: i}
		for k := range rule.rates {
			one := &rule.rates[k]
			x, y := of(&SweepPoint{PerDay: one.Background, Injections: one.Injections, Labels: one.Labels})
			line.Points = append(line.Points, sheet.Point{Name: "at " + one.Rate, X: x, Y: y.Value, Low: y.Low, High: y.High})
		}
		add(line)
	}
	return c
}

func whisker(name string, i Interval, series int) sheet.Whisker {
	return sheet.Whisker{Name: name, Value: i.Value, Low: i.Low, High: i.High, Series: series}
}

func figure(v float64) string { return fmt.Sprintf("%.3f", v) }

func bounds(i Interval) string { return fmt.Sprintf("%.3f-%.3f", i.Low, i.High) }

func minutes(v float64) string {
	return time.Duration(v * float64(time.Minute)).Round(time.Second).String()
}
