package evaluate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// budgeted are the legs whose alarms a budget is for; those of the knob have none.
var budgeted = map[string][]string{
	"price_anomaly":         {"jump", "drift_burst"},
	"unusual_volume":        {"volume", "volume_long", "trades", "rush_orders"},
	"correlation_breakdown": {"likelihood", "cusum"},
}

// Half and Quarter are the periods that a budget can be looked at over.
const (
	Half    = "half"
	Quarter = "quarter"
)

// A BudgetReport sets what the keys of a detector raise in the periods of a recording against what they may.
type BudgetReport struct {
	Detector string      `json:"detector"`
	Rows     []BudgetRow `json:"rows"`
}

// A BudgetRow is one key at one budget, with the adaptive control as configured and without it.
type BudgetRow struct {
	Key string `json:"key"`
	// Budget is what the key may raise, alarms a day.
	Budget   float64      `json:"budget"`
	Adaptive BudgetSeries `json:"adaptive"`
	Fixed    BudgetSeries `json:"fixed"`
}

// A BudgetSeries is what a key really raised.
type BudgetSeries struct {
	Periods []BudgetPeriod `json:"periods"`
	// Following is the rate over all periods but the first, in which the key warms up, and Ratio the same over the budget.
	Following Interval `json:"following"`
	Ratio     float64  `json:"ratio"`
	// Legs are the alarms a day of each leg over the following periods; one alarm may be of several.
	Legs map[string]float64 `json:"legs"`
}

// A BudgetPeriod is a half or a quarter of a year.
type BudgetPeriod struct {
	Period string  `json:"period"`
	Days   float64 `json:"days"`
	Alarms int     `json:"alarms"`
	Ratio  float64 `json:"ratio"`
}

// RunBudget runs a detector over the test range once with its adaptive control and once without, at the budgets of the rates: 1/day
// stands for budget_days of 1, and nothing is fitted. An alarm is an episode of which an event names a leg that the budget is for.
func RunBudget(ctx context.Context, o Options) (*BudgetReport, error) {
	switch {
	case budgeted[o.Detector] == nil:
		return nil, fmt.Errorf("detector %s has no budget that minutes could show: it must be price_anomaly, unusual_volume or correlation_breakdown", o.Detector)
	case o.Budget == "":
		return nil, fmt.Errorf("period of the budget is empty: it must be %s or %s", Half, Quarter)
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("checking the evaluation: %w", err)
	}
	c, err := parseColumns(o.Columns)
	if err != nil {
		return nil, err
	}
	out := &BudgetReport{Detector: o.Detector}
	for _, rate := range o.Rates {
		for _, u := range budgetUnits(o) {
			rows, err := u.rows(ctx, o, c, rate)
			if err != nil {
				return nil, fmt.Errorf("running %s on %v: %w", o.Detector, u.keys, err)
			}
			out.Rows = append(out.Rows, rows...)
		}
	}
	return out, nil
}

// A budgetUnit is what one machine sees together, and the keys of it that count.
type budgetUnit struct {
	series []Series
	keys   []string
}

// budgetUnits are the instruments one by one, or all of them; correlations are looked at pair by pair, as in a basket the event of a
// member speaks for its pairs, and then all together for the members.
func budgetUnits(o Options) []budgetUnit {
	all := slices.SortedFunc(slices.Values(o.Series), func(a, b Series) int { return strings.Compare(a.Symbol, b.Symbol) })
	var out []budgetUnit
	switch o.Detector {
	case "price_anomaly":
		for _, s := range all {
			out = append(out, budgetUnit{[]Series{s}, []string{s.Symbol}})
		}
	case "correlation_breakdown":
		for i, a := range all {
			for _, b := range all[i+1:] {
				out = append(out, budgetUnit{[]Series{a, b}, []string{a.Symbol + "/" + b.Symbol}})
			}
		}
		fallthrough
	default:
		out = append(out, budgetUnit{all, symbolsOf(all)})
	}
	return out
}

// rows measures the unit's keys at a rate, with the adaptive control and without.
func (u budgetUnit) rows(ctx context.Context, o Options, c columns, rate Rate) ([]BudgetRow, error) {
	change := map[string]any{}
	if rate > 0 {
		change["budget_days"] = 1 / float64(rate)
	}
	var runs [2]*budgetRun
	var budget float64
	for i := range runs {
		b, err := with(o.Detector, o.Config, change)
		if err != nil {
			return nil, err
		}
		var set struct {
			BudgetDays float64 `json:"budget_days"`
		}
		if err := json.Unmarshal(b.ConfigJSON, &set); err != nil {
			return nil, fmt.Errorf("reading the budget: %w", err)
		}
		budget = 1 / set.BudgetDays
		if runs[i], err = u.run(ctx, o, c, b); err != nil {
			return nil, err
		}
		change["adaptive_rate"] = 0
	}
	var rows []BudgetRow
	for j, key := range u.keys {
		rows = append(rows, BudgetRow{Key: key, Budget: budget, Adaptive: runs[0].members[j].series(budget), Fixed: runs[1].members[j].series(budget)})
	}
	return rows, nil
}

// A budgetRun is one run over the test range.
type budgetRun struct{ members []*budgetMember }

// A budgetMember is a key in the course of a run.
type budgetMember struct {
	key     string
	periods []string
	minutes map[string]int // by period
	alarms  map[string]int
	legs    map[string]map[string]int // by leg and period
	counted map[string]bool           // episodes, and each with a leg
}

func newBudgetMember(key string) *budgetMember {
	return &budgetMember{key: key, minutes: map[string]int{}, alarms: map[string]int{}, legs: map[string]map[string]int{}, counted: map[string]bool{}}
}

func (u budgetUnit) run(ctx context.Context, o Options, c columns, b *processor.Bound) (*budgetRun, error) {
	s, err := openStream(u.series, c, o.Test)
	if err != nil {
		return nil, err
	}
	defer s.close()
	out := &budgetRun{}
	for _, key := range u.keys {
		out.members = append(out.members, newBudgetMember(key))
	}
	machine := newTaskMachine(b, o, symbolsOf(u.series))
	machine.out.keep = func(e *schemas.Event) {
		for _, m := range out.members {
			if m.key == e.Symbol && e.Status != schemas.Resolved {
				m.hear(e, budgeted[o.Detector], o.Budget)
			}
		}
	}
	for i := 0; ; i++ {
		if i%1440 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rows, err := s.look(1)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			return out, nil
		}
		s.take()
		for _, m := range out.members {
			m.step(rows[0], u.series, periodOf(rows[0].start, o.Budget))
		}
		if err := machine.minute(rows[0]); err != nil {
			return nil, err
		}
		machine.take()
	}
}

// step counts a minute in which all that the key names have begun.
func (m *budgetMember) step(r row, all []Series, period string) {
	for j, s := range all {
		if names(m.key, s.Symbol) && r.candles[j].close == 0 {
			return
		}
	}
	if m.minutes[period] == 0 {
		m.periods = append(m.periods, period)
	}
	m.minutes[period]++
}

// hear counts an event for its key, and for each leg that it names, the first time in an episode.
func (m *budgetMember) hear(e *schemas.Event, legs []string, period string) {
	at := periodOf(schemas.Time(e.EventTime)-1, period) // an event at midnight is about the minute before
	first := func(what string) bool {
		known := m.counted[what]
		m.counted[what] = true
		return !known
	}
	for _, leg := range e.GetEvidence().GetLegs() {
		if !slices.Contains(legs, leg) {
			continue
		}
		if first(e.DedupKey) {
			m.alarms[at]++
		}
		if first(e.DedupKey + leg) {
			if m.legs[leg] == nil {
				m.legs[leg] = map[string]int{}
			}
			m.legs[leg][at]++
		}
	}
}

func (m *budgetMember) series(budget float64) BudgetSeries {
	out := BudgetSeries{Legs: map[string]float64{}}
	alarms, days := 0, 0.0
	for i, p := range m.periods {
		one := BudgetPeriod{Period: p, Days: float64(m.minutes[p]) / (24 * 60), Alarms: m.alarms[p]}
		one.Ratio = float64(one.Alarms) / one.Days / budget
		out.Periods = append(out.Periods, one)
		if i > 0 {
			alarms += one.Alarms
			days += one.Days
		}
	}
	out.Following = perDay(alarms, days)
	out.Ratio = out.Following.Value / budget
	for leg, by := range m.legs {
		n := 0
		for _, p := range m.periods[min(1, len(m.periods)):] {
			n += by[p]
		}
		out.Legs[leg] = perDay(n, days).Value
	}
	return out
}

// periodOf names the half or quarter of a time.
func periodOf(at schemas.Time, period string) string {
	t := at.UTC()
	if period == Half {
		return fmt.Sprintf("%dH%d", t.Year(), (int(t.Month())+5)/6)
	}
	return fmt.Sprintf("%dQ%d", t.Year(), (int(t.Month())+2)/3)
}

// Sheet shows the report.
func (r *BudgetReport) Sheet() *sheet.Sheet {
	t := sheet.NewTable("Key", "Budget", "Adaptive", "95 %", "Ratio", "By period", "By leg", "Fixed", "Ratio", "By period")
	rates := sheet.Whiskers{Title: "Alarms of each key: adaptive, and fixed below it", X: "alarms a day"}
	for i := range r.Rows {
		one := &r.Rows[i]
		a, f := &one.Adaptive, &one.Fixed
		t.Row(one.Key, figure(one.Budget), figure(a.Following.Value), bounds(a.Following), figure(a.Ratio), a.ratios(), a.byLeg(), figure(f.Following.Value), figure(f.Ratio), f.ratios())
		rates.Rows = append(rates.Rows, whisker(one.Key, a.Following, 0), whisker("", f.Following, 1))
	}
	return &sheet.Sheet{
		Title: r.Detector, Lead: "alarms a day of each key, the knob's own apart, over its budget, from the second period on",
		Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: []sheet.Plot{rates}}},
	}
}

// byLeg prints the alarms of each leg.
func (s *BudgetSeries) byLeg() string {
	var by []string
	for _, leg := range slices.Sorted(maps.Keys(s.Legs)) {
		by = append(by, leg+" "+figure(s.Legs[leg]))
	}
	return strings.Join(by, ", ")
}

// ratios prints each period's, the first in brackets.
func (s *BudgetSeries) ratios() string {
	var by []string
	for i, p := range s.Periods {
		text := fmt.Sprintf("%s %.2f", p.Period, p.Ratio)
		if i == 0 {
			text = "(" + text + ")"
		}
		by = append(by, text)
	}
	return strings.Join(by, ", ")
}
