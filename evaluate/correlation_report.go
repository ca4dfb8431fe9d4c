package evaluate

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// A CorrelationReport is the outcome of the study of correlation_breakdown.
type CorrelationReport struct {
	Test  string           `json:"test"`
	Rules []CorrelationRow `json:"rules"`
	// Charts are the correlations that the naive rule looks at, of each pair, with the alarms of the detector as shipped on the pair alone.
	Charts []sheet.Chart `json:"charts,omitempty"`
}

// A CorrelationRow is one rule at one rate. Alarms are counted per pair, or, of a basket, per member.
type CorrelationRow struct {
	Rule   string           `json:"rule"`
	Fitted *Interval        `json:"fitted,omitempty"`
	PerDay Interval         `json:"per_day"`
	Breaks []BreakingReport `json:"breaks"`
}

// A BreakingReport is what became of the injections of one kind.
type BreakingReport struct {
	Kind  string   `json:"kind"`
	N     int      `json:"n"`
	Busy  int      `json:"busy"`
	Found Interval `json:"found"`
	Delay Delay    `json:"delay"`
}

// charts are the correlations of pairs in the test range.
func (s *correlationStage) charts(pairs []*correlationUnit) []sheet.Chart {
	var out []sheet.Chart
	for _, u := range pairs {
		a, b := u.columns[0], u.columns[1]
		c := sheet.Chart{
			Title: s.symbols[a] + " and " + s.symbols[b], Unit: "correlation of 30 five-minute returns", From: s.rows[s.split].start, To: s.rows[len(s.rows)-1].start,
			Alerts: u.alarms,
		}
		for _, k := range s.ends(s.split, len(s.rows)) {
			if v := s.rho(k, a, b, 0, nil); !math.IsNaN(v) { // it is where one has not begun
				c.Line = append(c.Line, sheet.Sample{At: s.rows[k].start.Add(time.Minute), Value: v})
			}
		}
		out = append(out, c)
	}
	return out
}

// Sheet shows the report.
func (r *CorrelationReport) Sheet() *sheet.Sheet {
	t := sheet.NewTable("Rule", "Fit alarms/day", "Test alarms/day", "95 %", "Break", "N", "Busy", "Found", "95 %", "Delay median", "P90")
	t.Group = 4
	var plots, delays []sheet.Plot
	for i, one := range r.Rules {
		late := sheet.Delays{Title: "How late: " + one.Rule}
		for _, k := range one.Breaks {
			t.Row(one.Rule, figure(one.Fitted.Value), figure(one.PerDay.Value), bounds(one.PerDay), k.Kind, k.N, k.Busy, figure(k.Found.Value), bounds(k.Found),
				minutes(k.Delay.Median), minutes(k.Delay.P90))
			late.Rows = append(late.Rows, sheet.DelayRow{Name: k.Kind, Values: k.Delay.All})
		}
		delays = append(delays, late)
		if i > 0 {
			continue
		}
		for k, b := range one.Breaks {
			plots = append(plots, r.curve("Found: "+b.Kind, k))
		}
	}
	return &sheet.Sheet{Title: "correlation_breakdown", Lead: "tested on " + r.Test, Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: slices.Concat(plots, delays, plotsOf(r.Charts))}}}
}

// curve sets the share found of the k-th kind of break against the alarms, one line a kind of rule.
func (r *CorrelationReport) curve(title string, k int) sheet.Curve {
	out := sheet.Curve{Title: title, X: "alarms per key and day", Y: "share found"}
	for _, one := range r.Rules {
		name, setting, _ := strings.Cut(one.Rule, ",")
		name, _, _ = strings.Cut(name, " at ")
		n := len(out.Lines)
		if n == 0 || out.Lines[n-1].Name != name {
			out.Lines = append(out.Lines, sheet.Line{Name: name, Series: n})
			n++
		}
		f := one.Breaks[k].Found
		out.Lines[n-1].Points = append(out.Lines[n-1].Points, sheet.Point{Name: strings.TrimSpace(setting), X: one.PerDay.Value, Y: f.Value, Low: f.Low, High: f.High})
	}
	return out
}
