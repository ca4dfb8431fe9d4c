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

// budgeted are the legs that a budget is for, by the calibration that they share. Legs of the knob have none.
var budgeted = map[string]map[string]string{
	"price_anomaly":         {"jump": "jump", "drift_burst": "drift_burst"},
	"unusual_volume":        {"volume": "volume", "volume_long": "volume_long", "trades": "trades", "rush_orders": "rush_orders"},
	"correlation_breakdown": {"likelihood": "score", "cusum": "score"},
}

// budgetShares are the shares of the budget that legs get, where it is not all of it.
var budgetShares = map[string]float64{"drift_burst": 0.5}

// allLegs is the row of a key as a whole: its budget is the sum of those of its legs, of which those that fire together make one alarm.
const allLegs = "all"

// Half and Quarter are the periods that a budget can be looked at over.
const (
	Half    = "half"
	Quarter = "quarter"
)

// A BudgetReport sets what the legs of a detector raise in the periods of a recording against what they may.
type BudgetReport struct {
	Detector string      `json:"detector"`
	Rows     []BudgetRow `json:"rows"`
}

// A BudgetRow is one leg of one key at one budget, with the adaptive control as configured and without it.
type BudgetRow struct {
	Key string `json:"key"`
	Leg string `json:"leg"`
	// Budget is what the leg may raise, alarms a day.
	Budget   float64      `json:"budget"`
	Adaptive BudgetSeries `json:"adaptive"`
	Fixed    BudgetSeries `json:"fixed"`
}

// A BudgetSeries is what a leg really raised.
type BudgetSeries struct {
	Periods []BudgetPeriod `json:"periods"`
	// Following is the rate over all periods but the first, in which the key warms up, and Ratio the same over the budget.
	Following Interval `json:"following"`
	Ratio     float64  `json:"ratio"`
}

// A BudgetPeriod is a half or a quarter of a year.
type BudgetPeriod struct {
	Period string  `json:"period"`
	Days   float64 `json:"days"`
	Alarms int     `json:"alarms"`
	Ratio  float64 `json:"ratio"`
}

// RunBudget runs a detector over the test range once with its adaptive control and once without, at the budgets of the rates: 1/day
// stands for a budget of one day a leg, and nothing is fitted. An alarm of a leg is an episode of which an event names the leg.
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
	legs := runs[0].legs()
	for j, key := range u.keys {
		for _, leg := range legs {
			may := budget * shareOf(leg, legs)
			rows = append(rows, BudgetRow{Key: key, Leg: leg, Budget: may, Adaptive: runs[0].members[j].series(leg, may), Fixed: runs[1].members[j].series(leg, may)})
		}
	}
	return rows, nil
}

// shareOf is what a leg has of the budget, and all of them together.
func shareOf(leg string, legs []string) float64 {
	if share := budgetShares[leg]; share > 0 {
		return share
	}
	if leg != allLegs {
		return 1
	}
	sum := 0.0
	for _, one := range legs {
		if one != allLegs {
			sum += shareOf(one, legs)
		}
	}
	return sum
}

// A budgetRun is one run over the test range.
type budgetRun struct{ members []*budgetMember }

// A budgetMember is a key in the course of a run.
type budgetMember struct {
	key     string
	periods []string
	minutes map[string]int            // by period
	alarms  map[string]map[string]int // by leg and period
	counted map[string]bool           // episode and leg
}

func (u budgetUnit) run(ctx context.Context, o Options, c columns, b *processor.Bound) (*budgetRun, error) {
	s, err := openStream(u.series, c, o.Test)
	if err != nil {
		return nil, err
	}
	defer s.close()
	out := &budgetRun{}
	for _, key := range u.keys {
		out.members = append(out.members, &budgetMember{key: key, minutes: map[string]int{}, alarms: map[string]map[string]int{}, counted: map[string]bool{}})
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

// hear counts an event for each leg that it names and that its episode had not named yet.
func (m *budgetMember) hear(e *schemas.Event, legs map[string]string, period string) {
	at := periodOf(schemas.Time(e.EventTime)-1, period) // an event at midnight is about the minute before
	count := func(leg string) {
		if m.counted[e.DedupKey+leg] {
			return
		}
		m.counted[e.DedupKey+leg] = true
		if m.alarms[leg] == nil {
			m.alarms[leg] = map[string]int{}
		}
		m.alarms[leg][at]++
	}
	for _, name := range e.GetEvidence().GetLegs() {
		if leg := legs[name]; leg != "" {
			count(leg)
			count(allLegs)
		}
	}
}

// legs are those that any key of the run ever named, and last all of them together if they are several.
func (r *budgetRun) legs() []string {
	seen := map[string]bool{}
	for _, m := range r.members {
		for leg := range m.alarms {
			seen[leg] = true
		}
	}
	delete(seen, allLegs)
	out := slices.Sorted(maps.Keys(seen))
	if len(out) > 1 {
		out = append(out, allLegs)
	}
	return out
}

func (m *budgetMember) series(leg string, budget float64) BudgetSeries {
	var out BudgetSeries
	alarms, days := 0, 0.0
	for i, p := range m.periods {
		one := BudgetPeriod{Period: p, Days: float64(m.minutes[p]) / (24 * 60), Alarms: m.alarms[leg][p]}
		one.Ratio = float64(one.Alarms) / one.Days / budget
		out.Periods = append(out.Periods, one)
		if i > 0 {
			alarms += one.Alarms
			days += one.Days
		}
	}
	out.Following = perDay(alarms, days)
	out.Ratio = out.Following.Value / budget
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
	t := sheet.NewTable("Key", "Leg", "Budget", "Adaptive", "95 %", "Ratio", "By period", "Fixed", "Ratio", "By period")
	rates := sheet.Whiskers{Title: "Alarms of each leg: adaptive, and fixed below it", X: "alarms a day"}
	for i := range r.Rows {
		one := &r.Rows[i]
		a, f := &one.Adaptive, &one.Fixed
		t.Row(one.Key, one.Leg, figure(one.Budget), figure(a.Following.Value), bounds(a.Following), figure(a.Ratio), a.ratios(), figure(f.Following.Value), figure(f.Ratio), f.ratios())
		rates.Rows = append(rates.Rows, whisker(one.Key+" "+one.Leg, a.Following, 0), whisker("", f.Following, 1))
	}
	return &sheet.Sheet{
		Title: r.Detector, Lead: "alarms a day and leg over its budget, from the second period on",
		Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: []sheet.Plot{rates}}},
	}
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
