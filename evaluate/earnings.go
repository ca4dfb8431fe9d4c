package evaluate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// largeMove is the two-day abnormal return that counts as a reaction.
const largeMove = 0.08

// An earning is one announcement and what the detector and the market made of it.
type earning struct {
	ticker           string
	announced        schemas.Time
	period           string
	estimate, actual *schemas.Decimal
	// severity is that of its event, 0 without one; sue its standardised surprise, alone that without the ticker's history.
	severity   int
	sue, alone float64
	history    uint64
	// known says that the market's reaction is known: the close before and the two-day abnormal return.
	known           bool
	price, reaction float64
}

// large says that the reaction is a large move, where it is known.
func (e *earning) large() bool { return e.known && math.Abs(e.reaction) >= largeMove }

func (e *earning) surprise() float64 { return e.actual.Float() - e.estimate.Float() }

// pct is the surprise in percent of the consensus, which counts as floor where it is nearer to zero; 0 on a consensus of zero
// without a floor.
func (e *earning) pct(floor float64) float64 {
	base := max(math.Abs(e.estimate.Float()), floor)
	if base == 0 {
		return 0
	}
	return 100 * e.surprise() / base
}

// earningsStudy judges earnings_anomaly on announcements of one quarter: CSV with ticker, date, period_ending, estimate and reported.
// A CSV with dates, ticker, eps_estimate and eps_actual is the tickers' history, of which what lies before the quarter is told as
// such. Labels have ticker, close_before and two_day_abnormal_return.
func earningsStudy(_ context.Context, o StudyOptions) (Result, error) {
	var all []*earning
	history := map[string][]*earning{}
	for _, path := range o.Data {
		f, err := readHeaded(path)
		if err != nil {
			return nil, err
		}
		switch {
		case f.has("ticker", "date", "period_ending", "estimate", "reported"):
			all, err = f.announcements()
		case f.has("dates", "ticker", "eps_estimate", "eps_actual"):
			err = f.history(history)
		default:
			err = fmt.Errorf("header of %s is %q: it must have ticker, date, period_ending, estimate, reported, or dates, ticker, eps_estimate, eps_actual", path, f.head)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("data hold no announcements: one file must have ticker, date, period_ending, estimate and reported")
	}
	if err := readReactions(all, o.Labels); err != nil {
		return nil, err
	}
	if err := judgeEarnings(all, history, o); err != nil {
		return nil, err
	}
	return earningsReport(all), nil
}

// announcements reads the quarter, sorted by day.
func (f *headed) announcements() ([]*earning, error) {
	ticker, date, period, estimate, actual := f.at("ticker"), f.at("date"), f.at("period_ending"), f.at("estimate"), f.at("reported")
	var out []*earning
	for _, row := range f.rows {
		at, err := day("2-Jan-2006", date(row))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.path, err)
		}
		end, err := time.Parse("Jan 2006", period(row))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.path, err)
		}
		e := &earning{ticker: ticker(row), announced: at, period: end.AddDate(0, 1, -1).Format(time.DateOnly)}
		if err := e.read(estimate(row), actual(row)); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.path, err)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *earning) int { return cmp.Compare(a.announced, b.announced) })
	return out, nil
}

func (e *earning) read(estimate, actual string) (err error) {
	if e.estimate, err = schemas.ParseDecimal([]byte(estimate)); err != nil {
		return err
	}
	e.actual, err = schemas.ParseDecimal([]byte(actual))
	return err
}

// history adds the announcements that have both figures; the day of the announcement stands in for the end of the period.
func (f *headed) history(by map[string][]*earning) error {
	ticker, date, estimate, actual := f.at("ticker"), f.at("dates"), f.at("eps_estimate"), f.at("eps_actual")
	for _, row := range f.rows {
		if estimate(row) == "" || actual(row) == "" {
			continue
		}
		at, err := day(time.DateOnly, date(row))
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.path, err)
		}
		e := &earning{ticker: ticker(row), announced: at, period: date(row)}
		if err := e.read(estimate(row), actual(row)); err != nil {
			return fmt.Errorf("reading %s: %w", f.path, err)
		}
		by[e.ticker] = append(by[e.ticker], e)
	}
	return nil
}

// readReactions adds the market's reaction.
func readReactions(all []*earning, path string) error {
	if path == "" {
		return nil
	}
	f, err := readHeaded(path)
	if err != nil {
		return err
	}
	if !f.has("ticker", "close_before", "two_day_abnormal_return") {
		return fmt.Errorf("header of %s is %q: it must have ticker, close_before and two_day_abnormal_return", path, f.head)
	}
	ticker, price, reaction := f.at("ticker"), f.at("close_before"), f.at("two_day_abnormal_return")
	rows := map[string][]string{}
	for _, row := range f.rows {
		rows[ticker(row)] = row
	}
	for _, e := range all {
		row := rows[e.ticker]
		if row == nil {
			continue
		}
		p, err1 := strconv.ParseFloat(price(row), 64)
		r, err2 := strconv.ParseFloat(reaction(row), 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		e.known, e.price, e.reaction = true, p, r
	}
	return nil
}

// judgeEarnings runs the announcements through the detector three times: as configured, for the severities; with every threshold at
// nothing, for the standardised surprise of each; and so without the history.
func judgeEarnings(all []*earning, history map[string][]*earning, o StudyOptions) error {
	const open = `{"threshold_pct":1e-9,"min_surprise":0}`
	for _, pass := range []struct {
		config  []byte
		history map[string][]*earning
		take    func(e *earning, ev *schemas.Event)
	}{
		{o.Config, history, func(e *earning, ev *schemas.Event) {
			e.severity = schemas.SeverityRank(ev.Severity)
		}},
		{[]byte(open), history, func(e *earning, ev *schemas.Event) {
			e.sue, e.history = ev.Evidence.GetZ(), ev.Evidence.SampleSize
		}},
		{[]byte(open), nil, func(e *earning, ev *schemas.Event) { e.alone = ev.Evidence.GetZ() }},
	} {
		p, err := newPlayer(o.Detector, pass.config)
		if err != nil {
			return err
		}
		if err := p.announce(all, pass.history); err != nil {
			return err
		}
		by := map[string]*earning{}
		for _, e := range all {
			by[e.ticker] = e
		}
		for _, ev := range p.events {
			if ev.Status == schemas.Open {
				pass.take(by[ev.Key], ev)
			}
		}
	}
	return nil
}

// announce tells the history, then the quarter day by day.
func (p *player) announce(all []*earning, history map[string][]*earning) error {
	first := map[string]string{}
	for _, e := range all {
		first[e.ticker] = e.period
	}
	for _, ticker := range slices.Sorted(maps.Keys(history)) {
		for _, e := range history[ticker] {
			if e.period >= first[ticker] {
				continue // of the quarter itself, of a later one, or of a ticker that does not report
			}
			if err := p.play(e.record(4)); err != nil {
				return err
			}
		}
	}
	for i, e := range all {
		if i == 0 || e.announced != all[i-1].announced {
			if err := p.tick(e.announced - 1); err != nil {
				return err
			}
		}
		if err := p.play(e.record(0)); err != nil {
			return err
		}
	}
	return p.tick(all[len(all)-1].announced.Add(30 * 24 * time.Hour))
}

func (e *earning) record(flags uint32) *schemas.Earnings {
	return &schemas.Earnings{
		Meta:      &schemas.Meta{Venue: "us", Symbol: e.ticker, Id: e.ticker + "/" + e.period, EventTime: int64(e.announced), Flags: flags},
		PeriodEnd: e.period, Basis: schemas.EarningsBasis_EARNINGS_BASIS_STREET, EpsActual: e.actual, EpsEstimate: e.estimate,
	}
}

// An EarningsReport is what earnings_anomaly made of a quarter.
type EarningsReport struct {
	Announcements int `json:"announcements"`
	WithHistory   int `json:"with_history"`
	Reactions     int `json:"reactions"`
	LargeMoves    int `json:"large_moves"`
	// Selections are rules, each with what it picks and how the market reacted.
	Selections []Selection `json:"selections"`
	Rankings   []Ranking   `json:"rankings"`
}

// A Selection is the announcements that a rule picks.
type Selection struct {
	Rule  string   `json:"rule"`
	N     int      `json:"n"`
	Share Interval `json:"share"`
	// Known is how many of them have a known reaction; Move is its mean size, With its mean in the direction of the surprise, Large the
	// share of large moves; Agrees is how often it has the sign of the surprise; Beat and Miss are its means by that sign. Fractions.
	Known  int      `json:"known"`
	Move   float64  `json:"mean_abs_move"`
	With   float64  `json:"mean_with_surprise"`
	Large  Interval `json:"large"`
	Agrees Interval `json:"agrees"`
	Beat   float64  `json:"mean_beat"`
	Miss   float64  `json:"mean_miss"`
}

func earningsReport(all []*earning) *EarningsReport {
	r := &EarningsReport{Announcements: len(all)}
	for _, e := range all {
		if e.history > 0 {
			r.WithHistory++
		}
		if e.known {
			r.Reactions++
			if e.large() {
				r.LargeMoves++
			}
		}
	}
	const exact = 1e-9
	beyond := func(e *earning) bool { return math.Abs(e.pct(0)) >= 10-exact }
	size := func(e *earning) float64 { return math.Abs(e.estimate.Float()) }
	for _, rule := range []struct {
		name string
		of   func(*earning) bool // what the share is of; nil for all
		pick func(*earning) bool
	}{
		{"any surprise", nil, func(e *earning) bool { return math.Abs(e.surprise()) > exact }},
		{"documented rule: 10 %", nil, beyond},
		{"same, estimate below 0.10", func(e *earning) bool { return size(e) < 0.1-exact }, beyond},
		{"same, 0.10 to 0.50", func(e *earning) bool { return size(e) >= 0.1-exact && size(e) < 0.5-exact }, beyond},
		{"same, above", func(e *earning) bool { return size(e) >= 0.5-exact }, beyond},
		{"population z >= 3", nil, func(e *earning) bool { return math.Abs(e.alone) >= 3 }},
		{"population z >= 5", nil, func(e *earning) bool { return math.Abs(e.alone) >= 5 }},
		{"own and population z >= 3", nil, func(e *earning) bool { return math.Abs(e.sue) >= 3 }},
		{"detector: any event", nil, func(e *earning) bool { return e.severity > 0 }},
		{"detector: low", nil, func(e *earning) bool { return e.severity == 1 }},
		{"detector: medium", nil, func(e *earning) bool { return e.severity == 2 }},
		{"detector: high", nil, func(e *earning) bool { return e.severity == 3 }},
		{"detector: critical", nil, func(e *earning) bool { return e.severity == 4 }},
		{"detector: high and critical", nil, func(e *earning) bool { return e.severity >= 3 }},
	} {
		r.Selections = append(r.Selections, selection(rule.name, all, rule.of, rule.pick))
	}
	for _, score := range []struct {
		name string
		of   func(*earning) float64
	}{
		{"surprise / price", func(e *earning) float64 { return e.surprise() / e.price }},
		{"percent", func(e *earning) float64 { return e.pct(0) }},
		{"percent, floor 0.05", func(e *earning) float64 { return e.pct(0.05) }},
		{"scaled: population z", func(e *earning) float64 { return e.alone }},
		{"own and population z", func(e *earning) float64 { return e.sue }},
		{"raw surprise", (*earning).surprise},
		{bySeverity, func(e *earning) float64 { return float64(e.severity) }},
	} {
		r.Rankings = append(r.Rankings, ranking(score.name, all, score.of))
	}
	return r
}

func selection(name string, all []*earning, of, pick func(*earning) bool) Selection {
	s := Selection{Rule: name}
	base, agrees, large := 0, 0, 0
	var n [2]int
	for _, e := range all {
		if of != nil && !of(e) {
			continue
		}
		base++
		if !pick(e) {
			continue
		}
		s.N++
		if !e.known {
			continue
		}
		s.Known++
		s.Move += math.Abs(e.reaction)
		if e.large() {
			large++
		}
		if e.surprise()*e.reaction > 0 {
			agrees++
		}
		if e.surprise() > 0 {
			s.With += e.reaction
			s.Beat += e.reaction
			n[0]++
		} else {
			s.With -= e.reaction
			s.Miss += e.reaction
			n[1]++
		}
	}
	s.Share, s.Agrees, s.Large = Wilson(s.N, base), Wilson(agrees, s.Known), Wilson(large, s.Known)
	s.Move, s.With = s.Move/float64(max(s.Known, 1)), s.With/float64(max(s.Known, 1))
	s.Beat, s.Miss = s.Beat/float64(max(n[0], 1)), s.Miss/float64(max(n[1], 1))
	return s
}

// Sheet shows the report.
func (r *EarningsReport) Sheet() *sheet.Sheet {
	pct := func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
	t := sheet.NewTable("Rule", "N", "Share", "Known", "Mean move", "With surprise", "Large", "Direction agrees", "Mean after beat", "After miss")
	large := sheet.Whiskers{Title: "Large moves after what a rule picks", X: "share of large moves"}
	agrees := sheet.Whiskers{Title: "Moves in the direction of the surprise", X: "share that agrees"}
	for _, s := range r.Selections {
		t.Row(s.Rule, s.N, pct(s.Share.Value), s.Known, pct(s.Move), pct(s.With), pct(s.Large.Value), pct(s.Agrees.Value), pct(s.Beat), pct(s.Miss))
		series := 1
		if strings.HasPrefix(s.Rule, "detector") {
			series = 0
		}
		large.Rows = append(large.Rows, whisker(s.Rule, s.Large, series))
		agrees.Rows = append(agrees.Rows, whisker(s.Rule, s.Agrees, series))
	}
	return &sheet.Sheet{
		Title: "earnings_anomaly",
		Lead: fmt.Sprintf("%d announcements, %d with a history; %d reactions known, %d of them of %.0f %% or more", r.Announcements, r.WithHistory, r.Reactions, r.LargeMoves,
			100*largeMove),
		Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: []sheet.Plot{large, agrees}}, {Tables: []*sheet.Table{r.rankTable()}, Plots: []sheet.Plot{r.rankCurve()}}},
	}
}
