package evaluate

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// A Sweep is what would be heard beyond each of a row of cuts, all from one run. A detector's alarm reaches a cut with the first of its
// events that does, so that it may come later than the alarm that it belongs to, and none is told twice; the detector itself runs as it
// does. A naive rule's scores are counted again at each threshold, with the cool-down, as if it had run at that one.
type Sweep struct {
	// By is what the cuts are of: BySeverity, ByReturnPeriod, or the unit of a rule's threshold.
	By     string       `json:"by"`
	Points []SweepPoint `json:"points"`
}

// What a detector's cuts are of: severities by their rank, 1 for low, and return periods in days, 0 for events that state none as well.
const (
	BySeverity     = "severity"
	ByReturnPeriod = "return period, days"
)

// A SweepPoint is one cut.
type SweepPoint struct {
	// Name is that of a row of the table; points between them draw the curve and have none.
	Name   string   `json:"name,omitempty"`
	Cut    float64  `json:"cut"`
	Alarms int      `json:"alarms"`
	PerDay Interval `json:"per_day"`
	// Injections by grade; of a detector they are the same at each cut, and of a rule those that are not busy at the threshold.
	Injections []InjectionReport `json:"injections,omitempty"`
	Labels     *LabelReport      `json:"labels,omitempty"`
}

// everyAlarm is the first cut, at which a detector's alarms are those of the report.
const everyAlarm = "every alarm"

// returnCuts are the return periods of the table in days, and mostCuts how many more the curve has at most.
var returnCuts = []float64{1, 7, 30, 91}

const mostCuts = 48

// bare is a member of which nothing was heard.
func (m *member) bare() *member {
	return &member{symbol: m.symbol, first: m.first, last: m.last, minutes: m.minutes}
}

// beyond is a detector's member with what reaches a cut.
func (m *member) beyond(reaches func(n notice) bool) *member {
	out := m.bare()
	for i, said := range m.said {
		if k := slices.IndexFunc(said, reaches); k >= 0 {
			out.alarms = append(out.alarms, said[k].at)
			out.episodes = append(out.episodes, Range{From: said[k].at, To: m.episodes[i].To})
		}
	}
	for i := range m.tallies {
		t := tally{busy: m.tallies[i].busy}
		for _, one := range m.tallies[i].tries {
			t.take(one, reaches)
		}
		out.tallies = append(out.tallies, t)
	}
	return out
}

// above is a rule's member at another threshold.
func (m *member) above(threshold float64, grades []grade) *member {
	out := m.bare()
	out.alarms = crossings(m.scores, threshold)
	for _, at := range out.alarms {
		out.episodes = append(out.episodes, Range{From: at, To: at})
	}
	reaches := func(n notice) bool { return !counted(n) && n.score >= threshold }
	for i := range m.tallies {
		var t tally
		for _, one := range m.tallies[i].all {
			k, _ := slices.BinarySearch(out.alarms, one.at+1) // the first alarm after the position
			if k > 0 && one.at.Sub(out.alarms[k-1]) < coolDown || k < len(out.alarms) && out.alarms[k].Sub(one.at) <= grades[i].window() {
				t.busy++
				continue
			}
			t.take(one, reaches)
		}
		out.tallies = append(out.tallies, t)
	}
	return out
}

// point measures the members at a cut, without single delays and keys.
func (e *evaluation) point(name string, cut float64, at []*member, grades []grade) SweepPoint {
	out := SweepPoint{Name: name, Cut: cut}
	days := 0.0
	for _, m := range at {
		out.Alarms += len(m.alarms)
		days += m.days()
	}
	out.PerDay = perDay(out.Alarms, days)
	if e.options.Inject {
		for i, g := range grades {
			one := injectionReport(g, i, at)
			one.Keys, one.Delay.All = nil, nil
			out.Injections = append(out.Injections, one)
		}
	}
	if e.options.Labels != "" {
		out.Labels = match(e.labels, at, e.options, e.subject.coolDown())
		out.Labels.Delay.All = nil
	}
	return out
}

// sweeps are those of a detector: by severity from the least one that counts, and by return period where any event states one.
func (e *evaluation) sweeps(all []*member, grades []grade, least int) []Sweep {
	at := func(name string, cut float64, reaches func(n notice) bool) SweepPoint {
		var members []*member
		for _, m := range all {
			members = append(members, m.beyond(reaches))
		}
		return e.point(name, cut, members, grades)
	}
	severity := Sweep{By: BySeverity}
	for s := least; s <= len(severityNames); s++ {
		name := everyAlarm
		switch {
		case s == len(severityNames):
			name = severityNames[s-1]
		case s > least:
			name = severityNames[s-1] + " and above"
		}
		severity.Points = append(severity.Points, at(name, float64(s), func(n notice) bool { return n.severity >= s }))
	}
	out := []Sweep{severity}
	stated := longest(all)
	if len(stated) == 0 {
		return out
	}
	period := Sweep{By: ByReturnPeriod}
	for _, days := range ascending(slices.Concat([]float64{0}, returnCuts), evenly(stated, mostCuts)) {
		name := ""
		switch {
		case days == 0:
			name = everyAlarm
		case days == 1:
			name = "1 day and rarer"
		case slices.Contains(returnCuts, days):
			name = fmt.Sprintf("%g days and rarer", days)
		}
		period.Points = append(period.Points, at(name, days, func(n notice) bool { return n.score >= days }))
	}
	return append(out, period)
}

// longest are the longest return periods that alarms state, ascending.
func longest(all []*member) []float64 {
	var out []float64
	for _, m := range all {
		for _, said := range m.said {
			days := 0.0
			for _, n := range said {
				days = max(days, n.score)
			}
			if days > 0 {
				out = append(out, days)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ascending joins the cuts of the table and those of the curve.
func ascending(table, curve []float64) []float64 {
	out := slices.Concat(table, curve)
	slices.Sort(out)
	return slices.Compact(out)
}

// The thresholds of a rule's sweep are those that give so many alarms per key and day: from mostRate down to a single alarm, ruleSteps to
// each halving, and of them the table has every tableStep-th.
const (
	mostRate  = 16.0
	ruleSteps = 4
	tableStep = ruleSteps
)

// sweep counts the scores of a rule again at each threshold, its knob among them.
func (s ruleSubject) sweep(e *evaluation, all []*member, grades []grade) *Sweep {
	var series [][]scored
	days := 0.0
	for _, m := range all {
		series = append(series, slices.Clone(m.scores))
		days += m.days()
	}
	table, curve := []float64{s.knob}, []float64{s.knob}
	for k := 0; ; k++ {
		threshold := thresholdFor(mostRate*math.Exp2(-float64(k)/ruleSteps), series, days)
		if math.IsInf(threshold, 1) {
			break
		}
		curve = append(curve, threshold)
		if k%tableStep == 0 {
			table = append(table, threshold)
		}
		// What lies below has no part in the higher thresholds that follow.
		for i := range series {
			series[i] = slices.DeleteFunc(series[i], func(v scored) bool { return v.v < threshold })
		}
	}
	out := &Sweep{By: "threshold, " + s.unit}
	for _, threshold := range ascending(table, curve) {
		var members []*member
		for _, m := range all {
			members = append(members, m.above(threshold, grades))
		}
		name := ""
		if slices.Contains(table, threshold) {
			name = fmt.Sprintf("%s %s", short(threshold), s.unit)
		}
		out.Points = append(out.Points, e.point(name, threshold, members, grades))
	}
	return out
}

// short prints three digits, and whole numbers in full.
func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// sweepTable has a row for each named cut; the second sweep's first is the first one's.
func sweepTable(all ...Sweep) *sheet.Table {
	one := &all[0].Points[0]
	head := []string{"Cut", "Alarms/day", "95 %"}
	if one.Labels != nil {
		head = append(head, "Recall", "95 %", "With running alarms", "Precision", "95 %", "Delay median")
	}
	for _, i := range one.Injections {
		head = append(head, i.Grade)
	}
	t := sheet.NewTable(head...)
	for k := range all {
		for i, p := range all[k].Points {
			if p.Name != "" && (k == 0 || i > 0) {
				t.Row(p.cells()...)
			}
		}
	}
	return t
}

func (p *SweepPoint) cells() []any {
	out := []any{p.Name, figure(p.PerDay.Value), bounds(p.PerDay)}
	if l := p.Labels; l != nil {
		out = append(out, figure(l.Recall.Value), bounds(l.Recall), figure(l.RecallCovered.Value))
		precision := []any{"-", "-"}
		if p.Alarms > 0 {
			precision = []any{figure(l.Precision.Value), bounds(l.Precision)}
		}
		late := "-"
		if l.Found > 0 {
			late = minutes(l.Delay.Median)
		}
		out = append(append(out, precision...), late)
	}
	for _, i := range p.Injections {
		out = append(out, figure(i.Found.Value))
	}
	return out
}

// line is the sweep as a curve, from the cuts at which anything was heard.
func (s *Sweep) line(name string, series int, of func(p *SweepPoint) (x float64, y Interval)) sheet.Line {
	out := sheet.Line{Name: name, Series: series, Swept: true}
	for i := range s.Points {
		p := &s.Points[i]
		if p.Alarms == 0 {
			continue
		}
		x, y := of(p)
		out.Points = append(out.Points, sheet.Point{Name: p.Name, X: x, Y: y.Value, Low: y.Low, High: y.High})
	}
	return out
}
