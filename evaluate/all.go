package evaluate

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// An AllReport sets all detectors side by side.
type AllReport struct {
	Rows []SummaryRow `json:"rows"`
	// Reports are the whole outcomes, by detector.
	Reports map[string]Result `json:"reports"`
	order   []string
}

// A SummaryRow is one rule against one reference. What does not apply is nil.
type SummaryRow struct {
	Detector string `json:"detector"`
	Rule     string `json:"rule"`
	Data     string `json:"data"`
	// PerDay are the alarms per key and day on the untouched data.
	PerDay *Interval `json:"per_day,omitempty"`
	// Reference is what was to be found, N times.
	Reference string    `json:"reference"`
	N         int       `json:"n"`
	Recall    Interval  `json:"recall"`
	Precision *Interval `json:"precision,omitempty"`
	Delay     *Delay    `json:"delay,omitempty"`
}

// onLabels is the reference of what is held against labels.
const onLabels = "labels"

// summed results give their rows of the table of all detectors.
type summed interface {
	Result
	summary() []SummaryRow
}

// A trial is how one detector is judged on the recorded data.
type trial struct {
	detector string
	// data are patterns of files below the folder, labels one file, of what labelled says.
	data             []string
	labels, labelled string
	// about says what the data are.
	about string
	// candles is set for what Run judges; studies need no more than the files.
	candles *Options
}

const (
	pairs2019   = "anomaly/bitfinex-1m/*_2019H1_chlv.csv.gz"
	aboutPairs  = "5 pairs, April to June 2019"
	labelFolder = "anomaly/labels/"
)

// trials are the eight detectors in the order of the table.
func trials() []trial {
	return []trial{
		{"price_anomaly", []string{pairs2019}, labelFolder + "price_moves_5pct_15min.csv", "labelled move of 5 %", aboutPairs, &Options{Jumps: []float64{2, 3}, Ramps: []float64{3}}},
		{"unusual_volume", []string{pairs2019}, "", "", aboutPairs, &Options{Bursts: []float64{5, 10}}},
		{"correlation_breakdown", []string{pairs2019}, "", "", aboutPairs, nil},
		{"exchange_outage", []string{pairs2019}, labelFolder + "outages_bitfinex.csv", "labelled outage", "5 pairs, January to June 2019", nil},
		{"liquidity_drop", []string{"hftbacktest/usdm/btcusdt_20240808.gz"}, "", "", "BTCUSDT futures, 6 minutes", nil},
		{"funding_rate", []string{"funding-supervik/*/*.csv.gz"}, "", "", "4 contracts, 2020 to 2023", nil},
		{
			"whale_movement",
			[]string{"ethereum-etl/blocks_17173049_17173050/expected_token_transfers.json.gz", "anomaly/whale/eth_address_labels.csv.gz"},
			"", "",
			"made-up background of real sizes, 90 days", nil,
		},
		{
			"earnings_anomaly",
			[]string{"anomaly/earnings/russell3000_2022q3.csv", "earnings/daniel-bassett_earnings_1993_2023.csv.gz"},
			labelFolder + "earnings_reaction_2022q3.csv", "", "Russell 3000, third quarter of 2022", nil,
		},
	}
}

// RunAll judges all detectors on the recorded data of a folder (the layout of docs/evaluation.md), each as shipped and beside its naive
// rule. config gives a detector's configuration.
func RunAll(ctx context.Context, dir string, seed uint64, charts bool, config func(detector string) ([]byte, error), progress func(text string)) (*AllReport, error) {
	out := &AllReport{Reports: map[string]Result{}}
	for _, t := range trials() {
		if progress != nil {
			progress("judging " + t.detector)
		}
		c, err := config(t.detector)
		if err != nil {
			return nil, err
		}
		r, err := t.run(ctx, dir, StudyOptions{Detector: t.detector, Config: c, Seed: seed, Charts: charts})
		if err != nil {
			return nil, fmt.Errorf("judging %s: %w", t.detector, err)
		}
		for _, row := range r.summary() {
			row.Detector, row.Data = t.detector, t.about
			if row.Reference == onLabels {
				row.Reference = t.labelled
			}
			out.Rows = append(out.Rows, row)
		}
		out.Reports[t.detector] = r
		out.order = append(out.order, t.detector)
	}
	return out, nil
}

// run judges one detector.
func (t trial) run(ctx context.Context, dir string, o StudyOptions) (summed, error) {
	for _, pattern := range t.data {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("folder %s has no %s: it must be laid out as docs/evaluation.md says", dir, pattern)
		}
		o.Data = append(o.Data, files...)
	}
	if t.labels != "" {
		o.Labels = filepath.Join(dir, t.labels)
	}
	if t.candles == nil {
		r, err := RunStudy(ctx, o)
		if err != nil {
			return nil, err
		}
		s, ok := r.(summed)
		if !ok {
			return nil, fmt.Errorf("study gives a %T: it must have a summary", r)
		}
		return s, nil
	}
	c := *t.candles
	var err error
	if c.Series, err = ParseSeries(o.Data); err != nil {
		return nil, err
	}
	if c.Fit, err = ParseRange("2019-01-01..2019-04-01"); err != nil {
		return nil, err
	}
	if c.Test, err = ParseRange("2019-04-01..2019-07-01"); err != nil {
		return nil, err
	}
	const window = 15 * time.Minute
	c.Detector, c.Config, c.Seed, c.Labels, c.Charts = o.Detector, o.Config, o.Seed, o.Labels, o.Charts
	c.Columns, c.Venue, c.Rates, c.Inject, c.Naive = DefaultColumns, "bitfinex", []Rate{0}, true, true
	c.Bar, c.Burst, c.Before, c.After = window, window, window, window
	return Run(ctx, c)
}

// Sheet is the table, as text alone; a page has what each detector's own report has as well.
func (r *AllReport) Sheet() *sheet.Sheet {
	t := sheet.NewTable("Detector", "Data", "Rule", "Alarms/day/key", "95 %", "To be found", "N", "Recall", "95 %", "Precision", "95 %", "Delay median", "P90")
	t.Group = 2
	var plots []sheet.Plot
	shares := sheet.Whiskers{X: "recall"}
	for i, one := range r.Rows {
		cells := []any{one.Detector, one.Data, one.Rule, "-", "-", one.Reference, one.N, figure(one.Recall.Value), bounds(one.Recall), "-", "-", "-", "-"}
		if one.PerDay != nil {
			cells[3], cells[4] = figure(one.PerDay.Value), bounds(*one.PerDay)
		}
		if one.Precision != nil {
			cells[9], cells[10] = figure(one.Precision.Value), bounds(*one.Precision)
		}
		if one.Delay != nil && len(one.Delay.All) > 0 {
			cells[11], cells[12] = minutes(one.Delay.Median), minutes(one.Delay.P90)
		}
		t.Row(cells...)
		series := 0
		if !strings.HasPrefix(one.Rule, one.Detector) {
			series = 1
		}
		shares.Title = one.Detector
		shares.Rows = append(shares.Rows, whisker(one.Rule+": "+one.Reference, one.Recall, series))
		if i+1 == len(r.Rows) || r.Rows[i+1].Detector != one.Detector {
			plots = append(plots, shares)
			shares.Rows = nil
		}
	}
	out := &sheet.Sheet{
		Title: "all detectors", Lead: "each as shipped, and its naive rule; what a row means is said in docs/evaluation.md",
		Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: plots}},
	}
	for _, name := range r.order {
		of := r.Reports[name].Sheet()
		for i, p := range of.Parts {
			p.PageOnly = true
			p.Title = strings.TrimSuffix(name+": "+p.Title, ": ")
			if i == 0 {
				p.Note = strings.TrimSuffix(of.Lead+"; "+p.Note, "; ")
			}
			out.Parts = append(out.Parts, p)
		}
	}
	return out
}

// count is how many of n a share is.
func count(share Interval, n int) int { return int(math.Round(share.Value * float64(n))) }

func (r *Report) summary() []SummaryRow {
	var out []SummaryRow
	rows := func(rule string, one *RateReport) {
		for i := range one.Injections {
			g := &one.Injections[i]
			out = append(out, SummaryRow{Rule: rule, PerDay: &one.Background, Reference: g.Grade, N: g.N, Recall: g.Found, Delay: &g.Delay})
		}
		if l := one.Labels; l != nil {
			out = append(out, SummaryRow{Rule: rule, PerDay: &one.Background, Reference: onLabels, N: l.Labels, Recall: l.Recall, Precision: &l.Precision, Delay: &l.Delay})
		}
	}
	for i := range r.Rates {
		rows(r.Detector, &r.Rates[i])
		if len(r.Naive) > i {
			rows(r.NaiveRule+", "+r.Naive[i].Setting, &r.Naive[i])
			rows(r.NaiveRule+hindsight+", "+r.Hindsight[i].Setting, &r.Hindsight[i])
		}
	}
	return out
}

func (r *CorrelationReport) summary() []SummaryRow {
	var out []SummaryRow
	for i := range r.Rules {
		one := &r.Rules[i]
		rule := one.Rule
		if !strings.HasPrefix(rule, "naive") {
			rule = "correlation_breakdown, " + rule
		}
		for k := range one.Breaks {
			if b := &one.Breaks[k]; b.Kind == (breaking{6 * time.Hour, 1}).String() {
				out = append(out, SummaryRow{Rule: rule, PerDay: &one.PerDay, Reference: b.Kind, N: b.N, Recall: b.Found, Delay: &b.Delay})
			}
		}
	}
	return out
}

func (r *OutageReport) summary() []SummaryRow {
	var out []SummaryRow
	for i := range r.Rules {
		one := &r.Rules[i]
		rule, labelled := strings.CutSuffix(one.Rule, ", "+outageLabels)
		if labelled {
			out = append(out, SummaryRow{Rule: rule, PerDay: &one.PerDay, Reference: onLabels, N: one.N, Recall: one.Found, Precision: &one.Precision, Delay: &one.Delay})
		}
	}
	return out
}

// summary takes the cuts of seven tenths, of both sides together.
func (r *LiquidityReport) summary() []SummaryRow {
	const reference = 70
	var out []SummaryRow
	for i := range r.Rules {
		one := &r.Rules[i]
		rate := perDay(one.Alarms, one.Hours/24)
		rule := fmt.Sprintf("%s, band %g %%", one.Rule, one.Band)
		if strings.HasPrefix(rule, "as shipped") {
			rule = "liquidity_drop, " + one.Rule
		}
		row := SummaryRow{Rule: rule, PerDay: &rate, Reference: "cut of 70 % within 5 s"}
		n := 0
		var delays []time.Duration
		for k := range one.Cuts {
			if c := &one.Cuts[k]; math.Round(c.Pct) == reference && !c.Whole {
				row.N += c.N
				n += count(c.Five, c.N)
				for _, d := range c.Delay.All {
					delays = append(delays, time.Duration(d*float64(time.Minute)))
				}
			}
		}
		late := delayOf(delays)
		row.Recall, row.Delay = Wilson(n, row.N), &late
		out = append(out, row)
	}
	return out
}

// summary takes one payment of 0.05 % on one venue, of all assets together.
func (r *FundingReport) summary() []SummaryRow {
	const reference = 0.05
	days, naive, detector := 0.0, 0, 0
	for _, n := range r.Naive {
		days += float64(n.Payments) / 3
		naive += n.Episodes
	}
	for _, d := range r.Detector {
		detector += d.Episodes
	}
	n, found, byKnob, equal := 0, 0, 0, 0
	for i := range r.Injections {
		g := &r.Injections[i]
		if g.Rate != reference || g.Length != 1 || g.Venues != 1 {
			continue
		}
		n += g.N
		found += count(g.Found, g.N)
		if g.Naive {
			byKnob += g.N
		}
		if reference >= 100*r.Equal.Threshold {
			equal += g.N
		}
	}
	ours, plain, same := perDay(detector, days), perDay(naive, days), perDay(r.Equal.Episodes, days)
	const what = "one payment of +0.05 %"
	return []SummaryRow{
		{Rule: "funding_rate", PerDay: &ours, Reference: what, N: n, Recall: Wilson(found, n)},
		{Rule: "naive, 0.1 % either way", PerDay: &plain, Reference: what, N: n, Recall: Wilson(byKnob, n)},
		{Rule: fmt.Sprintf("naive in hindsight, %.3g %% either way", 100*r.Equal.Threshold), PerDay: &same, Reference: what, N: n, Recall: Wilson(equal, n)},
	}
}

// summary takes the largest size, whole and in 20 pieces over an hour.
func (r *WhaleReport) summary() []SummaryRow {
	var out []SummaryRow
	for i := range r.Assets {
		a := &r.Assets[i]
		for k, g := range whaleGrades() {
			if g.share != 0.9999 || g.internal || g.fresh || g.pieces != 1 && (g.pieces != 20 || g.span != time.Hour) {
				continue
			}
			one := &a.Grades[k]
			ours := SummaryRow{Rule: "whale_movement, " + a.Asset, PerDay: &a.Medium, Reference: one.Grade, N: one.N, Recall: one.Found, Delay: &one.Delay}
			hits := 0
			if one.Naive {
				hits = one.N
			}
			naive := SummaryRow{Rule: fmt.Sprintf("naive, transfers of $%.1fM, %s", a.NaiveUSD/1e6, a.Asset), PerDay: &a.Medium, Reference: one.Grade, N: one.N, Recall: Wilson(hits, one.N)}
			out = append(out, ours, naive)
		}
	}
	return out
}

// summary takes large moves: what share of them a rule picks, and what share of what it picks has one.
func (r *EarningsReport) summary() []SummaryRow {
	var out []SummaryRow
	for i := range r.Selections {
		s := &r.Selections[i]
		rule, ours := strings.CutPrefix(s.Rule, "detector: ")
		if !slices.Contains([]string{"documented rule: 10 %", "detector: any event", "detector: high and critical"}, s.Rule) {
			continue
		}
		if ours {
			rule = "earnings_anomaly, " + rule
		} else {
			rule = "naive, " + rule
		}
		out = append(out, SummaryRow{
			Rule: rule, Reference: fmt.Sprintf("moves of %.0f %% after", 100*largeMove), N: r.LargeMoves, Recall: Wilson(count(s.Large, s.Known), r.LargeMoves), Precision: &s.Large,
		})
	}
	return out
}
