package evaluate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Options say what to evaluate, on what and how.
type Options struct {
	// Detector is the name of a registered detector, or NaivePrice or NaiveVolume.
	Detector string
	// Config is the detector's configuration as JSON over its defaults.
	Config []byte
	// Bar is the length of the bars of NaiveVolume.
	Bar time.Duration
	// Venue names the venue of the records and, for detectors of baskets, the basket of all series.
	Venue   string
	Series  []Series
	Columns string
	// Fit is where thresholds are fitted and detectors warmed, empty for none; Test is where everything is measured.
	Fit, Test Range
	Rates     []Rate
	// Ignore names legs: an event that no other leg fired is no alarm.
	Ignore []string
	// MinSeverity is the least severity of an event that counts; empty for low, and medium where the rate is 1/week or less.
	MinSeverity string
	// Inject asks for injections; sizes are percents for jumps and ramps, factors for bursts.
	Inject               bool
	Jumps, Ramps, Bursts []float64
	// Burst is how long a burst lasts. Bursts begin at multiples of Align; 0 takes Burst, the best case for rules on fixed bars.
	Burst, Align time.Duration
	Seed         uint64
	// Labels is a CSV of symbol and onset, or the simulator's labels as .jsonl; empty for none. An alarm from Before the onset to After it finds a label.
	Labels        string
	Before, After time.Duration
	// Budget is Half or Quarter for RunBudget, over periods of which it sets alarms against budgets; empty for Run.
	Budget string
	// Naive asks for the naive rule beside the detector, and Charts for the candles of each key and of some of what was found and missed.
	Naive, Charts bool
	// Progress, when set, is told what is done.
	Progress func(text string)
}

// Validate checks the options.
func (o Options) Validate() error {
	switch {
	case len(o.Series) == 0:
		return errors.New("--data is empty: it must name at least one file, such as BTCUSD_2018.csv.gz")
	case len(o.Rates) == 0:
		return errors.New("rates is empty: at least one must be named, such as shipped")
	case o.MinSeverity != "" && schemas.SeverityRank(o.MinSeverity) == 0:
		return fmt.Errorf("least severity is %q: it must be low, medium, high or critical", o.MinSeverity)
	case o.Inject && (o.Burst < time.Minute || o.Burst%time.Minute != 0 || o.Burst > 24*time.Hour):
		return fmt.Errorf("burst is %v: it must be whole minutes, at most a day", o.Burst)
	case o.Align < 0 || o.Align%time.Minute != 0:
		return fmt.Errorf("align is %v: it must be whole minutes", o.Align)
	case o.Fit.To > o.Test.From && o.Fit != (Range{}):
		return fmt.Errorf("fit range %v ends after the test range %v begins: it must lie before", o.Fit, o.Test)
	case o.Fit != (Range{}) && o.Fit.To == 0:
		return fmt.Errorf("fit range %v is open: it must have an end", o.Fit)
	}
	if o.Budget != "" && o.Budget != Half && o.Budget != Quarter {
		return fmt.Errorf("period of the budget is %q: it must be %s or %s", o.Budget, Half, Quarter)
	}
	for _, r := range o.Rates {
		if r > 0 && o.Budget == "" && o.Fit == (Range{}) {
			return fmt.Errorf("rate %v has no fit range: it must be fitted on one", r)
		}
	}
	for _, size := range slices.Concat(o.Jumps, o.Ramps, o.Bursts) {
		if !(size > 0 && size < 1000) {
			return fmt.Errorf("size %v of an injection is out of bounds: it must be above 0 and below 1000", size)
		}
	}
	return nil
}

// evaluation is one run.
type evaluation struct {
	options Options
	columns columns
	subject subject
	labels  []label
	// thresholds is the sweep of a naive rule, once one was measured; it is the same at every rate.
	thresholds *Sweep
}

// Run evaluates a detector at every rate.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("checking the evaluation: %w", err)
	}
	e := &evaluation{options: o}
	var err error
	if e.columns, err = parseColumns(o.Columns); err != nil {
		return nil, err
	}
	if e.subject, err = subjectOf(o); err != nil {
		return nil, err
	}
	if o.Labels != "" {
		if e.labels, err = readLabels(o.Labels, o.Detector, o.Test); err != nil {
			return nil, err
		}
	}
	report := &Report{Detector: o.Detector, Fit: o.Fit.String(), Test: o.Test.String()}
	if o.Fit == (Range{}) {
		report.Fit = "none"
	}
	if o.Detector == NaiveVolume {
		report.Detector = fmt.Sprintf("%s, bars of %v", NaiveVolume, o.Bar)
	}
	var naive *evaluation
	if o.Naive {
		if naive, err = e.beside(); err != nil {
			return nil, err
		}
		report.NaiveRule = naive.options.Detector
	}
	for _, rate := range o.Rates {
		one, err := e.at(ctx, rate)
		if err != nil {
			return nil, err
		}
		report.Rates = append(report.Rates, *one)
		if naive == nil {
			continue
		}
		if one.Fitted != nil {
			rate = Rate(one.Fitted.Value)
		}
		plain, err := naive.at(ctx, rate)
		if err != nil {
			return nil, err
		}
		report.Naive = append(report.Naive, *plain)
		if plain, err = naive.hindsight(ctx, Rate(max(one.Background.Value, 1e-3))); err != nil {
			return nil, err
		}
		report.Hindsight = append(report.Hindsight, *plain)
	}
	report.Thresholds = e.thresholds
	if naive != nil {
		report.Thresholds = naive.thresholds
	}
	return report, nil
}

// hindsight measures the naive rule with its threshold fitted on the test range itself.
func (e *evaluation) hindsight(ctx context.Context, rate Rate) (*RateReport, error) {
	rule, ok := e.subject.(ruleSubject)
	if !ok {
		return nil, fmt.Errorf("subject %s is no naive rule: only one can be fitted in hindsight", e.options.Detector)
	}
	s, err := rule.fit(ctx, e, e.options.Test, rate)
	if err != nil {
		return nil, fmt.Errorf("fitting %s to %v in hindsight: %w", e.options.Detector, rate, err)
	}
	s.fitted = nil
	return e.measure(ctx, rate, s)
}

// beside is the evaluation of the naive rule on the same data.
func (e *evaluation) beside() (*evaluation, error) {
	s, ok := e.subject.(taskSubject)
	if !ok {
		return nil, fmt.Errorf("detector %s is the naive rule itself: it can stand beside a registered one only", e.options.Detector)
	}
	out := *e
	out.options.Detector = NaiveVolume
	if s.def.Input.Name == schemas.MarketTrades.Name {
		out.options.Detector = NaivePrice
	}
	var err error
	out.subject, err = subjectOf(out.options)
	return &out, err
}

// at fits and measures at one rate.
func (e *evaluation) at(ctx context.Context, rate Rate) (*RateReport, error) {
	e.say(fmt.Sprintf("%s at %v: fitting", e.options.Detector, rate))
	s, err := e.subject.tune(ctx, e, rate)
	if err != nil {
		return nil, fmt.Errorf("fitting %s to %v: %w", e.options.Detector, rate, err)
	}
	out, err := e.measure(ctx, rate, s)
	if err != nil {
		return nil, fmt.Errorf("measuring %s at %v: %w", e.options.Detector, rate, err)
	}
	return out, nil
}

func (e *evaluation) say(text string) {
	if e.options.Progress != nil {
		e.options.Progress(text)
	}
}

// least is the rank of the least severity that counts at a rate.
func (e *evaluation) least(rate Rate) int {
	switch {
	case e.options.MinSeverity != "":
		return schemas.SeverityRank(e.options.MinSeverity)
	case rate > 0 && rate <= 1.0/7:
		return schemas.SeverityRank(schemas.Medium)
	}
	return schemas.SeverityRank(schemas.Low)
}

// measure runs a setup over the test range.
func (e *evaluation) measure(ctx context.Context, rate Rate, s setup) (*RateReport, error) {
	grades := e.subject.grades(e.options)
	var all []*member
	for _, unit := range e.subject.units(e.options.Series) {
		e.say(fmt.Sprintf("%s at %v: testing %v", e.options.Detector, rate, symbolsOf(unit)))
		m, err := s.start(unit)
		if err != nil {
			return nil, err
		}
		r, err := e.newRun(unit, m, e.options.Test, e.subject.coolDown(), e.least(rate))
		if err != nil {
			return nil, err
		}
		if e.options.Inject {
			r.prepare(grades)
		}
		if err := r.all(ctx); err != nil {
			return nil, err
		}
		all = append(all, r.members...)
	}
	out := e.rateReport(rate, s, all, grades)
	if rule, ok := e.subject.(ruleSubject); ok && e.thresholds == nil {
		e.thresholds = rule.sweep(e, all, grades)
	}
	if e.options.Charts {
		var err error
		if out.Charts, err = e.charts(all, grades); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// background runs a machine over a range without injections.
func (e *evaluation) background(ctx context.Context, unit []Series, m machine, r Range, coolDown time.Duration, least int) (*run, error) {
	out, err := e.newRun(unit, m, r, coolDown, least)
	if err != nil {
		return nil, err
	}
	if err := out.all(ctx); err != nil {
		return nil, err
	}
	return out, nil
}
