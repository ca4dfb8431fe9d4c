package evaluate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// What charts show: at most so many candles, from so long before what they are about to so long after it, and so many of each kind.
const (
	mostCandles = 240
	chartBefore = 100 * time.Minute
	chartAfter  = 60 * time.Minute
	ofEachKind  = 2
)

// A chartPlan is a chart whose candles are still to be read.
type chartPlan struct {
	member *member
	chart  sheet.Chart
	// step is the length of a candle, and perturb the injection that the chart shows.
	step    time.Duration
	perturb func(c candle, i int) candle
	onset   schemas.Time
}

// charts reads the test range once more: each key as a whole, and some of each kind of what was found and missed, the same ones for the same run.
func (e *evaluation) charts(all []*member, grades []grade) ([]sheet.Chart, error) {
	var plans []*chartPlan
	for _, m := range all {
		if m.minutes == 0 {
			continue
		}
		from, to := m.first, m.last.Add(time.Minute)
		step := max(sheet.Step(to.Sub(from), mostCandles), time.Minute)
		plans = append(plans, &chartPlan{member: m, step: step, chart: m.chart(m.symbol+", the whole test range", from, to, 0)})
	}
	plans = append(plans, e.labelCharts(all)...)
	if e.options.Inject {
		for i, g := range grades {
			plans = append(plans, tryCharts(all, i, g)...)
		}
	}
	for _, s := range e.options.Series {
		of := slices.DeleteFunc(slices.Clone(plans), func(p *chartPlan) bool { return p.member.symbol != s.Symbol })
		if err := e.readCharts(s, of); err != nil {
			return nil, err
		}
	}
	var out []sheet.Chart
	for _, p := range plans {
		if len(p.chart.Candles) > 0 {
			out = append(out, p.chart)
		}
	}
	return out, nil
}

// chart is a stretch of a member with the alarms of the untouched stream up to a time, 0 for all.
func (m *member) chart(title string, from, to, until schemas.Time) sheet.Chart {
	c := sheet.Chart{Title: title, Unit: "price, volume below", From: from, To: to}
	for i, at := range m.alarms {
		if at >= from && at <= to && (until == 0 || at < until) {
			c.Alerts = append(c.Alerts, sheet.Alert{At: at, Severity: severityNames[m.peaks[i]-1]})
		}
	}
	return c
}

// evenly picks so many of a list, spread over it.
func evenly[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	out := make([]T, n)
	for i := range out {
		out[i] = all[(2*i+1)*len(all)/(2*n)]
	}
	return out
}

// labelCharts are of labels by what became of them, and of alarms without one; without labels they are of alarms by their severity.
func (e *evaluation) labelCharts(all []*member) []*chartPlan {
	type moment struct {
		m  *member
		at schemas.Time
	}
	kinds := []string{wasFound, wasMissed, wasCovered, wasCooling, wasFalse}
	if len(e.labels) == 0 {
		kinds = nil
		for _, s := range severityNames {
			kinds = append(kinds, "Alarm, "+s)
		}
	}
	by := map[string][]moment{}
	for _, m := range all {
		for _, o := range m.outcomes {
			by[o.became] = append(by[o.became], moment{m, o.at})
		}
		for i, at := range m.alarms {
			kind := "Alarm, " + severityNames[m.peaks[i]-1]
			by[kind] = append(by[kind], moment{m, at})
		}
	}
	var out []*chartPlan
	for _, kind := range kinds {
		for _, o := range evenly(by[kind], ofEachKind) {
			c := o.m.chart(fmt.Sprintf("%s: %s, %s", kind, o.m.symbol, clock(o.at)), o.at.Add(-chartBefore), o.at.Add(chartAfter), 0)
			for _, l := range e.labels {
				if l.symbol == o.m.symbol && l.at >= c.From && l.at <= c.To {
					c.Spans = append(c.Spans, sheet.Span{From: l.at.Add(-e.options.Before), To: l.at.Add(e.options.After), Onset: l.at, Name: "label, where an alarm finds it"})
				}
			}
			out = append(out, &chartPlan{member: o.m, step: time.Minute, chart: c})
		}
	}
	return out
}

// tryCharts are of one injection of a grade that was found and one that was not, as the detector saw them.
func tryCharts(all []*member, i int, g grade) []*chartPlan {
	type moment struct {
		m *member
		try
	}
	var by [2][]moment
	for _, m := range all {
		for _, t := range m.tallies[i].tries {
			k := 0
			if t.alarm == nil {
				k = 1
			}
			by[k] = append(by[k], moment{m, t})
		}
	}
	var out []*chartPlan
	for k, became := range []string{"found", "missed"} {
		for _, t := range evenly(by[k], 1) {
			c := t.m.chart(fmt.Sprintf("Injected %v, %s: %s, %s", g, became, t.m.symbol, clock(t.at)), t.at.Add(-chartBefore), t.at.Add(chartAfter), t.at)
			c.Spans = []sheet.Span{{From: t.at, To: t.at.Add(g.window()), Onset: t.at, Name: "injected, where an alarm finds it"}}
			if t.alarm != nil {
				c.Alerts = append(c.Alerts, sheet.Alert{At: t.alarm.at, Severity: severityNames[t.alarm.severity-1]})
			}
			out = append(out, &chartPlan{
				member: t.m, step: time.Minute, chart: c, onset: t.at,
				perturb: func(c candle, i int) candle { return g.perturb(c, i, t.sign, t.mean) },
			})
		}
	}
	return out
}

// readCharts fills the charts of one series.
func (e *evaluation) readCharts(one Series, plans []*chartPlan) error {
	if len(plans) == 0 {
		return nil
	}
	s, err := openStream([]Series{one}, e.columns, e.options.Test)
	if err != nil {
		return err
	}
	defer s.close()
	last := 0.0
	for {
		rows, err := s.look(1)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, p := range plans {
			p.add(rows[0].candles[0], last)
		}
		last = rows[0].candles[0].close
		s.take()
	}
}

// add takes a minute, whose open is the last close where the data have none.
func (p *chartPlan) add(c candle, last float64) {
	if !c.traded() || c.start < p.chart.From || c.start >= p.chart.To {
		return
	}
	c.open = cmp.Or(c.open, last, c.close)
	if p.perturb != nil && c.start >= p.onset {
		c = p.perturb(c, int(c.start.Sub(p.onset)/time.Minute))
		c.open = cmp.Or(c.open, c.close)
	}
	at := c.start.Floor(p.step)
	n := len(p.chart.Candles)
	if n == 0 || p.chart.Candles[n-1].At != at {
		p.chart.Candles = append(p.chart.Candles, sheet.Candle{At: at, Length: p.step})
		n++
	}
	p.chart.Candles[n-1].Add(sheet.Candle{Open: c.open, High: max(c.high, c.open), Low: min(c.low, c.open), Close: c.close, Volume: c.volume})
}

// clock is a time as a title says it.
func clock(at schemas.Time) string { return at.UTC().Format("2006-01-02 15:04") }
