package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// A breaking is an injected break: for some time the returns of one member are, as far as its share says, its own of three days
// before, at the size that they really had. At 1 nothing is left of its correlations, at 0.6 four fifths are.
type breaking struct {
	length time.Duration
	share  float64
}

func (b breaking) String() string {
	if b.share == 1 {
		return fmt.Sprintf("full break, %gh", b.length.Hours())
	}
	return fmt.Sprintf("to %.1f of itself, %gh", math.Sqrt(1-b.share*b.share), b.length.Hours())
}

var breakings = []breaking{{2 * time.Hour, 1}, {6 * time.Hour, 1}, {2 * time.Hour, 0.6}, {6 * time.Hour, 0.6}}

const (
	// breakGrace is how long after its end a break may still be found: the windows of all rules are 150 minutes.
	breakGrace = 30
	breakLag   = 3 * 24 * 60
	naiveBar   = 5
	naiveBars  = 30
)

// correlationStudy judges correlation_breakdown on minute candles of several instruments: the pairs of the first with each other
// one alone, and all of them as one basket, beside the plain rule |rho30 - previous rho30| on five-minute returns. The first half
// of the minutes fits the plain rule and warms the detector up, the second is measured.
func correlationStudy(ctx context.Context, o StudyOptions) (Result, error) {
	symbols, rows, err := minutesOf(o.Data)
	if err != nil {
		return nil, err
	}
	if len(symbols) < 2 {
		return nil, fmt.Errorf("data hold %v: a correlation needs two instruments at least", symbols)
	}
	half := rows[len(rows)/2].start.Floor(24 * time.Hour)
	split := slices.IndexFunc(rows, func(r row) bool { return r.start >= half })
	s := &correlationStage{symbols: symbols, rows: rows, split: split, seed: o.Seed}
	s.fit, s.test = s.plain(0, split), s.plain(split, len(rows))
	out := &CorrelationReport{Test: Range{From: half, To: rows[len(rows)-1].start.Add(time.Minute)}.String()}
	const weekly, shippedBudget = 1.0 / 7, 4 // alarms a day; days, the default of budget_days
	for _, rate := range []float64{0, 1, weekly} {
		out.Rules = append(out.Rules, s.naive(rate, false))
	}
	beside := func(one *CorrelationRow) { // a pair is what the plain rule judges: set it beside at the same price
		if hindsight := s.naive(one.PerDay.Value, true); !slices.ContainsFunc(out.Rules, func(r CorrelationRow) bool { return r.Rule == hindsight.Rule }) {
			out.Rules = append(out.Rules, hindsight)
		}
	}
	for _, basket := range []bool{false, true} {
		if basket && len(symbols) < 3 {
			break
		}
		for _, budget := range []float64{shippedBudget, 7} {
			one, units, err := s.detector(ctx, o.Config, basket, budget)
			if err != nil {
				return nil, err
			}
			out.Rules = append(out.Rules, *one)
			if !basket {
				beside(one)
			}
			if o.Charts && !basket && budget == shippedBudget {
				out.Charts = s.charts(units)
			}
		}
		one, err := s.fitted(ctx, o.Config, basket, weekly)
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, *one)
		if !basket {
			beside(one)
		}
	}
	return out, nil
}

// fitted measures the detector at the budget that gives a rate on the fit range, by the search that taskSubject.tune uses. The
// search runs over the fit range alone and injects nothing.
func (s *correlationStage) fitted(ctx context.Context, config []byte, basket bool, rate float64) (*CorrelationRow, error) {
	gap, budget, best := math.Inf(1), 2.0, 2.0
	for range fitRounds {
		units, err := s.units(config, basket, budget)
		if err != nil {
			return nil, err
		}
		alarms, keys := 0, 0
		for _, u := range units {
			if err := u.run(ctx, s.rows[:s.split], nil); err != nil {
				return nil, err
			}
			alarms += u.fitAlarms
			keys += len(u.broken)
		}
		ratio := max(float64(alarms)/s.fitDays(keys), 1e-3) / rate
		if g := math.Abs(math.Log(ratio)); g < gap {
			best, gap = budget, g
		}
		if gap < fitClose {
			break
		}
		budget = min(max(budget*ratio, leastBudget), mostBudget)
	}
	out, _, err := s.detector(ctx, config, basket, best)
	if err != nil {
		return nil, err
	}
	out.Rule += fmt.Sprintf(", at %v", Rate(rate))
	return out, nil
}

// fitDays is the length of the fit range over all keys.
func (s *correlationStage) fitDays(keys int) float64 {
	return daysOf(s.rows[0].start, s.rows[s.split].start) * float64(keys)
}

type correlationStage struct {
	symbols []string
	rows    []row
	split   int
	seed    uint64
	// The plain rule's scores of both ranges, whatever its threshold.
	fit, test plainScores
}

// plainScores are those of each pair with the first symbol, over so many days together.
type plainScores struct {
	series [][]scored
	days   float64
}

// positions are where breaks of a member begin in the test range, in rows.
func (s *correlationStage) positions(symbol string) []int {
	from := s.rows[s.split].start
	var out []int
	for _, p := range positions(s.seed, symbol, Range{From: from, To: s.rows[len(s.rows)-1].start.Add(-8 * time.Hour)}, 10*time.Minute) {
		out = append(out, s.split+int(p.at.Sub(from)/time.Minute))
	}
	return out
}

// perturbed returns the rows of a break of member j, and of the grace after it.
func (s *correlationStage) perturbed(at, j int, b breaking) []row {
	n := int(b.length / time.Minute)
	closes := func(k int) float64 { return s.rows[k].candles[j].close }
	ret := func(k int) float64 { return closes(k)/closes(k-1) - 1 }
	own, old := 0.0, 0.0
	for k := at; k < at+n; k++ {
		own += ret(k) * ret(k)
		old += ret(k-breakLag) * ret(k-breakLag)
	}
	scale := 0.0
	if old > 0 {
		scale = math.Sqrt(own / old)
	}
	keep := math.Sqrt(1 - b.share*b.share)
	out := make([]row, n+breakGrace)
	price := closes(at - 1)
	for i := range out {
		k := at + i
		out[i] = row{start: s.rows[k].start, candles: slices.Clone(s.rows[k].candles)}
		r := ret(k)
		if i < n {
			r = keep*r + b.share*scale*ret(k-breakLag)
		}
		price *= 1 + r
		c := &out[i].candles[j]
		c.close, c.high, c.low = price, price, price
	}
	return out
}

// naiveScore is |rho - rho before| of two windows that end with a row.
func (s *correlationStage) naiveScore(end, a, b, at int, changed []row) float64 {
	return math.Abs(s.rho(end, a, b, at, changed) - s.rho(end-naiveBar*naiveBars, a, b, at, changed))
}

// rho is the correlation of 30 five-minute returns that end with a row; changed rows stand in from at on.
func (s *correlationStage) rho(end, a, b, at int, changed []row) float64 {
	closeOf := func(k, j int) float64 {
		if i := k - at; changed != nil && i >= 0 && i < len(changed) {
			return changed[i].candles[j].close
		}
		return s.rows[k].candles[j].close
	}
	var xy, xx, yy float64
	for k := range naiveBars {
		e := end - k*naiveBar
		x, y := closeOf(e, a)/closeOf(e-naiveBar, a)-1, closeOf(e, b)/closeOf(e-naiveBar, b)-1
		xy += x * y
		xx += x * x
		yy += y * y
	}
	if xx*yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// ends are the rows at which five minutes end.
func (s *correlationStage) ends(from, to int) []int {
	var out []int
	for k := max(from, 2*naiveBar*naiveBars+1); k < to; k++ {
		if s.rows[k].start.Add(time.Minute).Floor(naiveBar*time.Minute) == s.rows[k].start.Add(time.Minute) {
			out = append(out, k)
		}
	}
	return out
}

func (s *correlationStage) plain(from, to int) (out plainScores) {
	for j := 1; j < len(s.symbols); j++ {
		var one []scored
		for _, k := range s.ends(from, to) {
			if s.rows[k-2*naiveBar*naiveBars].candles[j].close == 0 || s.rows[k-2*naiveBar*naiveBars].candles[0].close == 0 {
				continue
			}
			one = append(one, scored{s.rows[k].start.Add(time.Minute), s.naiveScore(k, 0, j, 0, nil)})
		}
		out.series = append(out.series, one)
		out.days += float64(len(one)) * naiveBar / (24 * 60)
	}
	return out
}

// naive measures the plain rule at a rate, 0 for a threshold of 0.5. The rate is that of the fit range or, in hindsight, of the test range.
func (s *correlationStage) naive(rate float64, hindsight bool) CorrelationRow {
	fit, fitDays, test, days := s.fit.series, s.fit.days, s.test.series, s.test.days
	threshold, name := 0.5, "naive at "+Rate(rate).String()
	switch {
	case hindsight:
		threshold, name = thresholdFor(rate, test, days), fmt.Sprintf("naive in hindsight at %.3f/day", rate)
	case rate > 0:
		threshold = thresholdFor(rate, fit, fitDays)
	}
	fitted := perDay(alarmsAt(fit, threshold), fitDays)
	out := CorrelationRow{
		Rule: fmt.Sprintf("%s, threshold %.3g", name, threshold), Fitted: &fitted, PerDay: perDay(alarmsAt(test, threshold), days),
	}
	for _, b := range breakings {
		var t tally
		for j := 1; j < len(s.symbols); j++ {
			for _, at := range s.positions(s.symbols[j]) {
				last := at + int(b.length/time.Minute) + breakGrace
				busy := slices.ContainsFunc(test[j-1], func(v scored) bool {
					return v.v >= threshold && v.at > s.rows[at].start.Add(-coolDown) && v.at <= s.rows[last].start
				})
				if busy {
					t.busy++
					continue
				}
				t.n++
				changed := s.perturbed(at, j, b)
				for _, k := range s.ends(at, last) {
					if s.naiveScore(k, 0, j, at, changed) >= threshold {
						t.found++
						t.delays = append(t.delays, s.rows[k].start.Add(time.Minute).Sub(s.rows[at].start))
						break
					}
				}
			}
		}
		out.Breaks = append(out.Breaks, breakingReport(b, t))
	}
	return out
}

func breakingReport(b breaking, t tally) BreakingReport {
	return BreakingReport{Kind: b.String(), N: t.n, Busy: t.busy, Found: Wilson(t.found, t.n), Delay: delayOf(t.delays)}
}

// detector measures correlation_breakdown at a budget: each pair with the first instrument alone, or all as one basket.
func (s *correlationStage) detector(ctx context.Context, config []byte, basket bool, budget float64) (*CorrelationRow, []*correlationUnit, error) {
	units, err := s.units(config, basket, budget)
	if err != nil {
		return nil, nil, err
	}
	out := &CorrelationRow{Rule: fmt.Sprintf("pairs alone, budget %.3g days", budget)}
	if basket {
		out.Rule = fmt.Sprintf("basket, per member, budget %.3g days", budget)
	}
	tallies := make([]tally, len(breakings))
	alarms, keys := 0, 0
	fitAlarms := 0
	for _, u := range units {
		if err := u.run(ctx, s.rows, tallies); err != nil {
			return nil, nil, err
		}
		alarms += len(u.alarms)
		fitAlarms += u.fitAlarms
		keys += len(u.broken)
	}
	days := daysOf(s.rows[s.split].start, s.rows[len(s.rows)-1].start) * float64(keys)
	fitted := perDay(fitAlarms, s.fitDays(keys))
	out.Fitted, out.PerDay = &fitted, perDay(alarms, days)
	for i, b := range breakings {
		out.Breaks = append(out.Breaks, breakingReport(b, tallies[i]))
	}
	return out, units, nil
}

// units makes the baskets of a run: each pair with the first instrument, whose second member is broken, or all instruments, each of which is.
func (s *correlationStage) units(config []byte, basket bool, budget float64) ([]*correlationUnit, error) {
	bound, err := with("correlation_breakdown", config, map[string]any{"budget_days": budget})
	if err != nil {
		return nil, err
	}
	unit := func(columns, broken []int) *correlationUnit {
		names := make([]string, len(columns))
		for i, j := range columns {
			names[i] = s.symbols[j]
		}
		return &correlationUnit{stage: s, columns: columns, broken: broken, machine: newTaskMachine(bound, Options{Venue: "bitfinex"}, names)}
	}
	if basket {
		all := make([]int, len(s.symbols))
		for j := range all {
			all[j] = j
		}
		return []*correlationUnit{unit(all, all)}, nil
	}
	var out []*correlationUnit
	for j := 1; j < len(s.symbols); j++ {
		out = append(out, unit([]int{0, j}, []int{j}))
	}
	return out, nil
}

// A correlationUnit is one basket in the course of a run.
type correlationUnit struct {
	stage           *correlationStage
	columns, broken []int
	machine         *taskMachine
	alarms          []sheet.Alert
	fitAlarms       int
}

func (u *correlationUnit) row(r row) row {
	out := row{start: r.start, candles: make([]candle, len(u.columns))}
	for i, j := range u.columns {
		out.candles[i] = r.candles[j]
	}
	return out
}

// names says that an event is about a member: it names it, or a pair of it.
func names(symbol, member string) bool {
	return slices.Contains(strings.Split(symbol, "/"), member)
}

// run takes untouched minutes, the first of the study, through the machine; at every position among them forks of it take the broken
// ones, if there are tallies to count them.
func (u *correlationUnit) run(ctx context.Context, rows []row, tallies []tally) error {
	s := u.stage
	at := make([][]int, len(s.symbols))
	watches := make([]*watch, len(s.symbols))
	for _, j := range u.broken {
		at[j] = s.positions(s.symbols[j])
		watches[j] = newWatch(1, time.Hour)
	}
	for k := range rows {
		if k%1440 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for _, j := range u.broken {
			for len(at[j]) > 0 && at[j][0] < k {
				at[j] = at[j][1:]
			}
			if tallies != nil && len(at[j]) > 0 && at[j][0] == k {
				if err := u.inject(k, j, watches[j], tallies); err != nil {
					return err
				}
			}
		}
		if err := u.machine.minute(u.row(rows[k])); err != nil {
			return err
		}
		for _, n := range u.machine.take() {
			for _, j := range u.broken {
				if names(n.symbol, s.symbols[j]) && watches[j].see(n) {
					if k >= s.split {
						u.alarms = append(u.alarms, sheet.Alert{At: n.at, Severity: severityNames[n.severity-1]})
					} else {
						u.fitAlarms++
					}
				}
			}
		}
	}
	return nil
}

// inject tries every kind of break on member j.
func (u *correlationUnit) inject(k, j int, w *watch, tallies []tally) error {
	saved, err := u.machine.save()
	if err != nil {
		return err
	}
	s := u.stage
	start := s.rows[k].start
	// alone is when an alarm comes by itself.
	var alone schemas.Time
	if !w.busy(start) {
		longest := slices.MaxFunc(breakings, func(a, b breaking) int { return cmp.Compare(a.length, b.length) })
		if alone, err = u.fork(saved, j, s.rows[k:k+int(longest.length/time.Minute)+breakGrace]); err != nil {
			return err
		}
	}
	for i, b := range breakings {
		t := &tallies[i]
		if w.busy(start) || alone != 0 && alone <= start.Add(b.length+breakGrace*time.Minute) {
			t.busy++
			continue
		}
		found, err := u.fork(saved, j, s.perturbed(k, j, b))
		if err != nil {
			return err
		}
		t.n++
		if found != 0 {
			t.found++
			t.delays = append(t.delays, found.Sub(start))
		}
	}
	return nil
}

// fork runs rows through a copy of the machine and returns when member j's first alarm came, 0 when none did.
func (u *correlationUnit) fork(saved any, j int, rows []row) (schemas.Time, error) {
	m, err := u.machine.fork(saved)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if err := m.minute(u.row(r)); err != nil {
			return 0, err
		}
		for _, n := range m.take() {
			if names(n.symbol, u.stage.symbols[j]) && n.status != schemas.Resolved {
				return n.at, nil
			}
		}
	}
	return 0, nil
}
