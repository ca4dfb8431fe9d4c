package evaluate

import (
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
	Keys []FoundReport `json:"keys"`
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
		k := KeyReport{Key: m.symbol, Days: float64(m.minutes) / (24 * 60), Alarms: len(m.alarms)}
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
	return out
}

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

// curves set each grade's recall, and that of the labels, against its price, with the rates as their points.
func (r *Report) curves() []sheet.Plot {
	const price = "alarms per key and day"
	rules := []struct {
		name  string
		rates []RateReport
	}{{r.Detector, r.Rates}, {r.NaiveRule, r.Naive}, {r.NaiveRule + hindsight, r.Hindsight}}
	curve := func(title, x, y string, of func(*RateReport) (x float64, y Interval)) sheet.Curve {
		c := sheet.Curve{Title: title, X: x, Y: y}
		for _, rule := range rules {
			line := sheet.Line{Name: rule.name}
			for i := range rule.rates {
				x, y := of(&rule.rates[i])
				line.Points = append(line.Points, sheet.Point{Name: "at " + rule.rates[i].Rate, X: x, Y: y.Value, Low: y.Low, High: y.High})
			}
			if len(line.Points) > 0 {
				c.Lines = append(c.Lines, line)
			}
		}
		return c
	}
	var out []sheet.Plot
	if r.Rates[0].Labels != nil {
		out = append(out,
			curve("Labels: precision against recall", "recall", "precision", func(r *RateReport) (float64, Interval) { return r.Labels.Recall.Value, r.Labels.Precision }),
			curve("Labels: recall against alarms", price, "recall", func(r *RateReport) (float64, Interval) { return r.Background.Value, r.Labels.Recall }))
	}
	for i, g := range r.Rates[0].Injections {
		out = append(out, curve("Found of "+g.Grade, price, "share found", func(r *RateReport) (float64, Interval) { return r.Background.Value, r.Injections[i].Found }))
	}
	return out
}

func whisker(name string, i Interval, series int) sheet.Whisker {
	return sheet.Whisker{Name: name, Value: i.Value, Low: i.Low, High: i.High, Series: series}
}

func figure(v float64) string { return fmt.Sprintf("%.3f", v) }

func bounds(i Interval) string { return fmt.Sprintf("%.3f-%.3f", i.Low, i.High) }

func minutes(v float64) string {
	return time.Duration(v * float64(time.Minute)).Round(time.Second).String()
}
