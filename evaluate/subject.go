package evaluate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A subject is what is evaluated: a registered detector or a naive rule.
type subject interface {
	// units groups the series into what one machine must see together.
	units(all []Series) [][]Series
	// coolDown is the quiet time after an episode.
	coolDown() time.Duration
	// grades are the injections that make sense for it.
	grades(o Options) []grade
	// tune sets it up for a rate on the fit range.
	tune(ctx context.Context, e *evaluation, rate Rate) (setup, error)
}

// A setup is a subject at one rate.
type setup struct {
	// setting says what was set, for the report.
	setting string
	// fitted is the rate that the setting gave on the fit range; nil where there is none.
	fitted *Interval
	// start makes the machine of a unit as it stands at the beginning of the test.
	start func(unit []Series) (machine, error)
}

// subjectOf finds what the options name.
func subjectOf(o Options) (subject, error) {
	switch o.Detector {
	case NaivePrice:
		return ruleSubject{knob: 5, unit: "%", price: true, fresh: func() score { return &moveScore{} }}, nil
	case NaiveVolume:
		if o.Bar <= 0 || o.Bar%time.Minute != 0 || 24*time.Hour%o.Bar != 0 {
			return nil, fmt.Errorf("bar is %v: it must be whole minutes that divide a day", o.Bar)
		}
		return ruleSubject{knob: 3, unit: "x", fresh: func() score { return &volumeScore{bar: o.Bar} }}, nil
	}
	def, err := processor.Lookup(o.Detector)
	if err != nil {
		return nil, err
	}
	s := taskSubject{def: def, options: o}
	switch def.Input.Name {
	case schemas.MarketTrades.Name, schemas.MarketBaskets.Name:
	default:
		return nil, fmt.Errorf("detector %s reads %s: evaluate can feed market.trades and market.baskets from candles", def.Name, def.Input.Name)
	}
	_, err = s.bind(0)
	return s, err
}

// each makes every series a unit of its own.
func each(all []Series) [][]Series {
	var out [][]Series
	for _, s := range all {
		out = append(out, []Series{s})
	}
	return out
}

func symbolsOf(unit []Series) []string {
	var out []string
	for _, s := range unit {
		out = append(out, s.Symbol)
	}
	return out
}

// A ruleSubject is a naive rule; fitting moves its threshold.
type ruleSubject struct {
	knob  float64
	unit  string
	price bool
	fresh func() score
}

func (s ruleSubject) units(all []Series) [][]Series { return each(all) }

func (s ruleSubject) coolDown() time.Duration { return coolDown }

func (s ruleSubject) grades(o Options) []grade { return gradesFor(s.price, o) }

func (s ruleSubject) tune(ctx context.Context, e *evaluation, rate Rate) (setup, error) {
	if e.options.Fit == (Range{}) {
		return s.at(s.knob, nil), nil
	}
	return s.fit(ctx, e, e.options.Fit, rate)
}

// fit sets the threshold for a rate on a range; rate 0 leaves it and measures alone.
func (s ruleSubject) fit(ctx context.Context, e *evaluation, r Range, rate Rate) (setup, error) {
	series, days, err := s.record(ctx, e, r)
	if err != nil {
		return setup{}, err
	}
	threshold := s.knob
	if rate > 0 {
		threshold = thresholdFor(float64(rate), series, days)
		if math.IsInf(threshold, 1) {
			return setup{}, fmt.Errorf("no score in the range %v: there is nothing to fit %s to", r, rate)
		}
	}
	v := perDay(alarmsAt(series, threshold), days)
	return s.at(threshold, &v), nil
}

// at is the rule at a threshold.
func (s ruleSubject) at(threshold float64, fitted *Interval) setup {
	return setup{
		setting: fmt.Sprintf("threshold %.4g %s", threshold, s.unit), fitted: fitted,
		start: func(unit []Series) (machine, error) { return newRuleMachine(threshold, symbolsOf(unit), s.fresh), nil },
	}
}

// record runs the rule over a range and keeps its scores.
func (s ruleSubject) record(ctx context.Context, e *evaluation, r Range) (series [][]scored, days float64, err error) {
	for _, unit := range s.units(e.options.Series) {
		b, err := e.background(ctx, unit, newRuleMachine(math.Inf(1), symbolsOf(unit), s.fresh), r, s.coolDown(), 1)
		if err != nil {
			return nil, 0, err
		}
		for _, m := range b.members {
			series = append(series, m.scores)
		}
		days += b.days()
	}
	return series, days, nil
}

// A taskSubject is a registered detector; fitting moves its budget.
type taskSubject struct {
	def     *processor.Definition
	options Options
}

func (s taskSubject) units(all []Series) [][]Series {
	if s.def.Input.Key == schemas.KeyBasket {
		return [][]Series{all}
	}
	return each(all)
}

// settingsOf is what evaluate reads of a detector's configuration.
type settingsOf struct {
	CoolDown processor.Duration `json:"cool_down"`
}

func (s taskSubject) coolDown() time.Duration {
	var v settingsOf
	b, err := s.bind(0)
	if err != nil || json.Unmarshal(b.ConfigJSON, &v) != nil {
		return coolDown
	}
	return v.CoolDown.D()
}

func (s taskSubject) grades(o Options) []grade {
	return gradesFor(s.def.Input.Name == schemas.MarketTrades.Name, o)
}

// bind configures the detector with a budget; 0 leaves the configured one.
func (s taskSubject) bind(budget float64) (*processor.Bound, error) {
	if budget == 0 {
		return s.def.BindJSON(s.options.Config)
	}
	base, err := s.def.BindJSON(s.options.Config)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(base.ConfigJSON, &fields); err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", s.def.Name, err)
	}
	if fields["budget_days"] == nil {
		return nil, fmt.Errorf("detector %s has no budget_days: only its settings as shipped can be evaluated", s.def.Name)
	}
	if fields["budget_days"], err = json.Marshal(budget); err != nil {
		return nil, fmt.Errorf("writing a budget of %v days: %w", budget, err)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", s.def.Name, err)
	}
	return s.def.BindJSON(text)
}

// Bounds of a budget in days, and how often and how closely it is fitted.
const (
	leastBudget, mostBudget = 0.1, 365
	fitRounds               = 4
	fitClose                = 0.08
)

// tune warms the detector on the fit range, and for a rate looks for the budget that gives it there: the rate is about
// inverse to the budget, so each round scales the budget by what was measured over what is wanted.
func (s taskSubject) tune(ctx context.Context, e *evaluation, rate Rate) (setup, error) {
	budget := 0.0
	if rate > 0 {
		budget = min(max(2/float64(rate), leastBudget), mostBudget)
	}
	if e.options.Fit == (Range{}) {
		b, err := s.bind(budget)
		if err != nil {
			return setup{}, err
		}
		return setup{setting: describe(b, budget), start: s.starter(b, nil)}, nil
	}
	var best setup
	gap := math.Inf(1)
	for range fitRounds {
		b, err := s.bind(budget)
		if err != nil {
			return setup{}, err
		}
		fit, err := s.warm(ctx, e, b, rate)
		if err != nil {
			return setup{}, err
		}
		if rate == 0 {
			return fit, nil
		}
		ratio := max(fit.fitted.Value, 1e-3) / float64(rate)
		if g := math.Abs(math.Log(ratio)); g < gap {
			fit.setting = describe(b, budget)
			best, gap = fit, g
		}
		next := min(max(budget*ratio, leastBudget), mostBudget)
		if gap < fitClose || next == budget {
			break
		}
		budget = next
	}
	return best, nil
}

func describe(b *processor.Bound, budget float64) string {
	if budget == 0 {
		return "config " + string(b.ConfigJSON)
	}
	return fmt.Sprintf("budget %.3g days", budget)
}

// warm runs the detector over the fit range and keeps the state that every unit ends with.
func (s taskSubject) warm(ctx context.Context, e *evaluation, b *processor.Bound, rate Rate) (setup, error) {
	states := map[string]any{}
	alarms, days := 0, 0.0
	for _, unit := range s.units(e.options.Series) {
		m := newTaskMachine(b, e.options, symbolsOf(unit))
		bg, err := e.background(ctx, unit, m, e.options.Fit, s.coolDown(), e.least(rate))
		if err != nil {
			return setup{}, err
		}
		if bg.days() == 0 {
			continue // the series begins later
		}
		alarms += bg.alarms()
		days += bg.days()
		if states[unit[0].Symbol], err = m.save(); err != nil {
			return setup{}, err
		}
	}
	v := perDay(alarms, days)
	return setup{setting: describe(b, 0), fitted: &v, start: s.starter(b, states)}, nil
}

func (s taskSubject) starter(b *processor.Bound, states map[string]any) func([]Series) (machine, error) {
	return func(unit []Series) (machine, error) {
		m := newTaskMachine(b, s.options, symbolsOf(unit))
		if saved := states[unit[0].Symbol]; saved != nil {
			return m.fork(saved)
		}
		return m, nil
	}
}

// alarmsAt counts the alarms that a threshold gives in recorded scores.
func alarmsAt(series [][]scored, threshold float64) int {
	n := 0
	for _, s := range series {
		n += len(crossings(s, threshold))
	}
	return n
}

// crossings are the alarms that a threshold gives in the recorded scores of one member.
func crossings(scores []scored, threshold float64) []schemas.Time {
	var out []schemas.Time
	for _, v := range scores {
		if v.v >= threshold && (len(out) == 0 || v.at.Sub(out[len(out)-1]) >= coolDown) {
			out = append(out, v.at)
		}
	}
	return out
}
