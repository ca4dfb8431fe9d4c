package evaluate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// An OutageReport is the outcome of the study of exchange_outage.
type OutageReport struct {
	Data  string  `json:"data"`
	Days  float64 `json:"days"`
	Limit int     `json:"silence_minutes"`
	// Silences are those of all symbols in the data of Limit minutes and more, joined where less than two hours lie between.
	Silences int         `json:"silences"`
	Rules    []OutageRow `json:"rules"`
	// Charts are of the first symbol: the whole range, some outages, and some alarms outside of any.
	Charts []sheet.Chart `json:"charts,omitempty"`
}

// An OutageRow is one rule: of a list of outages how many were found and how late, and how many alarms were false.
type OutageRow struct {
	Rule  string   `json:"rule"`
	N     int      `json:"n"`
	Found Interval `json:"found"`
	Delay Delay    `json:"delay"`
	// Longest is the largest delay in minutes; Missed are the begins of outages without an alarm.
	Longest float64  `json:"longest_min"`
	Missed  []string `json:"missed,omitempty"`
	False   Interval `json:"false_per_day"`
	// PerDay are all alarms, Precision is the share of them that lies in an outage or true silence.
	PerDay    Interval `json:"alarms_per_day"`
	Precision Interval `json:"precision"`
}

// An outage is a stretch in which a venue was silent.
type outage struct{ from, to schemas.Time }

// outageLabels ends the names of the rules that are held against labels.
const outageLabels = "labels"

// longSilence is from how many minutes on a silence of all symbols counts as an outage; what is shorter makes false alarms.
const longSilence = 5

// mostSilence bounds the minutes that the plain rule may wait in hindsight.
const mostSilence = 24 * 60

// outageStudy judges exchange_outage on minute candles of one venue: a symbol's feed says each minute whether anything traded, and
// other connections are always alive. Labels have start_utc and end_utc; without them, and beside them, the outages are the silences
// of all symbols of five minutes and more.
func outageStudy(ctx context.Context, o StudyOptions) (Result, error) {
	symbols, rows, err := minutesOf(o.Data)
	if err != nil {
		return nil, err
	}
	begun := slices.IndexFunc(rows, func(r row) bool { return !slices.ContainsFunc(r.candles, func(c candle) bool { return c.close == 0 }) })
	bound, err := with("exchange_outage", o.Config, map[string]any{"health_interval": "1m"})
	if err != nil {
		return nil, err
	}
	m := newTaskMachine(bound, Options{Venue: "venue"}, symbols)
	var events []*schemas.Event
	m.out.keep = func(e *schemas.Event) { events = append(events, e) }
	health := schemas.FeedHealth{Meta: &schemas.Meta{Source: source, Venue: "venue"}, Channel: "trades", Connected: true, OthersAlive: true}
	for k, r := range rows {
		if k%1440 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		end := r.start.Add(time.Minute)
		for j := range r.candles {
			if r.candles[j].close == 0 {
				continue
			}
			health.Meta.Symbol, health.Meta.EventTime, health.Records = symbols[j], int64(end), 0
			if r.candles[j].traded() {
				health.Records = 1
			}
			m.put("FeedHealth", &health)
		}
		m.putTick(end)
		m.take()
		if m.out.err != nil {
			return nil, m.out.err
		}
	}
	days := daysOf(rows[0].start, rows[len(rows)-1].start)
	silences := merged(silencesOf(rows, longSilence))
	out := &OutageReport{Data: fmt.Sprintf("%v, all of them from %v", symbols, rows[max(begun, 0)].start), Days: days, Limit: longSilence, Silences: len(silences)}
	lists := []struct {
		name string
		list []outage
	}{{fmt.Sprintf("silences of %d min", longSilence), silences}}
	if o.Labels != "" {
		labels, err := readOutages(o.Labels)
		if err != nil {
			return nil, err
		}
		labels = slices.DeleteFunc(labels, func(l outage) bool { return l.from < rows[0].start || l.from > rows[len(rows)-1].start })
		lists = append(lists, struct {
			name string
			list []outage
		}{outageLabels, labels})
	}
	plain := []struct {
		name    string
		minutes int
	}{{"naive", 2}, {"naive", 3}, {"naive", 5}, {"naive in hindsight", equalSilence(rows, len(alarmsOf(events, schemas.High)))}}
	for _, l := range lists {
		for _, severity := range []string{schemas.High, schemas.Medium} {
			alarms := alarmsOf(events, severity)
			out.Rules = append(out.Rules, judgeOutages("exchange_outage, "+severity+" and above, "+l.name, l.list, silences, alarms, days))
		}
		for _, p := range plain {
			out.Rules = append(out.Rules, judgeOutages(fmt.Sprintf("%s, all silent for %d min, %s", p.name, p.minutes, l.name), l.list, silences, afterSilence(rows, p.minutes), days))
		}
	}
	if o.Charts {
		out.Charts = outageCharts(symbols[0], rows, lists[len(lists)-1].list, silences, alertsOf(events))
	}
	return out, nil
}

// afterSilence are the alarms of the plain rule: all silent for so many minutes.
func afterSilence(rows []row, minutes int) []schemas.Time {
	var out []schemas.Time
	for _, s := range silencesOf(rows, minutes) {
		out = append(out, s.from.Add(time.Duration(minutes)*time.Minute))
	}
	return out
}

// equalSilence are the minutes that the plain rule must wait to have no more alarms than that.
func equalSilence(rows []row, alarms int) int {
	for minutes := 2; minutes < mostSilence; minutes++ {
		if len(silencesOf(rows, minutes)) <= alarms {
			return minutes
		}
	}
	return mostSilence
}

// outageCharts are of the first symbol: the range as a whole, outages of a list, and alarms in none.
func outageCharts(symbol string, rows []row, list, silences []outage, alerts []sheet.Alert) []sheet.Chart {
	const around, ofOutages = time.Hour, 4
	chart := func(title string, from, to schemas.Time) sheet.Chart {
		plan := chartPlan{step: max(sheet.Step(to.Sub(from), mostCandles), time.Minute), chart: sheet.Chart{Title: title, Unit: symbol + ", volume below", From: from, To: to}}
		last := 0.0
		for _, r := range rows {
			plan.add(r.candles[0], last)
			last = r.candles[0].close
		}
		for _, a := range alerts {
			if a.At >= from && a.At <= to {
				plan.chart.Alerts = append(plan.chart.Alerts, a)
			}
		}
		for _, l := range list {
			if l.to >= from && l.from <= to {
				plan.chart.Spans = append(plan.chart.Spans, sheet.Span{From: l.from, To: l.to, Onset: l.from, Name: "outage"})
			}
		}
		return plan.chart
	}
	out := []sheet.Chart{chart("The whole range", rows[0].start, rows[len(rows)-1].start)}
	for _, l := range evenly(list, ofOutages) {
		out = append(out, chart("Outage of "+clock(l.from), l.from.Add(-around), l.to.Add(around)))
	}
	wrong := slices.DeleteFunc(slices.Clone(alerts), func(a sheet.Alert) bool {
		in := func(l outage) bool { return a.At > l.from && a.At <= l.to.Add(time.Minute) }
		return slices.ContainsFunc(list, in) || slices.ContainsFunc(silences, in)
	})
	for _, a := range evenly(wrong, ofEachKind) {
		out = append(out, chart("Alarm outside of an outage, "+clock(a.At), a.At.Add(-around), a.At.Add(around)))
	}
	return out
}

// alarmsOf are the times at which episodes first reached a severity.
func alarmsOf(events []*schemas.Event, least string) []schemas.Time {
	seen := map[string]bool{}
	var out []schemas.Time
	for _, e := range events {
		if e.Type != "exchange_outage" || e.Status == schemas.Resolved || schemas.SeverityRank(e.Severity) < schemas.SeverityRank(least) || seen[e.DedupKey] {
			continue
		}
		seen[e.DedupKey] = true
		out = append(out, schemas.Time(e.EventTime))
	}
	return out
}

// silencesOf lists the stretches of at least n minutes in which no series that has begun traded.
func silencesOf(rows []row, n int) []outage {
	var out []outage
	from := -1
	for k := range rows {
		quiet := !slices.ContainsFunc(rows[k].candles, func(c candle) bool { return c.traded() })
		switch {
		case quiet && from < 0:
			from = k
		case !quiet && from >= 0:
			if k-from >= n {
				out = append(out, outage{rows[from].start, rows[k].start})
			}
			from = -1
		}
	}
	return out
}

// merged joins silences that lie within two hours of each other: a venue that comes back in fits was down once.
func merged(all []outage) []outage {
	var out []outage
	for _, s := range all {
		if n := len(out); n > 0 && s.from.Sub(out[n-1].to) <= 2*time.Hour {
			out[n-1].to = s.to
			continue
		}
		out = append(out, s)
	}
	return out
}

// judgeOutages sets alarms against a list of outages: each is found by the first alarm within it, and by one that was on. An alarm
// that lies in none of them, nor in another true silence, is false.
func judgeOutages(rule string, list, silences []outage, alarms []schemas.Time, days float64) OutageRow {
	out := OutageRow{Rule: rule, N: len(list)}
	within := func(l outage, at schemas.Time) bool { return at > l.from && at <= l.to.Add(time.Minute) }
	found := 0
	var delays []time.Duration
	for _, l := range list {
		i := slices.IndexFunc(alarms, func(at schemas.Time) bool { return within(l, at) })
		if i < 0 {
			out.Missed = append(out.Missed, l.from.String())
			continue
		}
		found++
		delays = append(delays, alarms[i].Sub(l.from))
	}
	wrong := 0
	for _, at := range alarms {
		in := func(l outage) bool { return within(l, at) }
		if !slices.ContainsFunc(list, in) && !slices.ContainsFunc(silences, in) {
			wrong++
		}
	}
	out.Found, out.Delay, out.False = Wilson(found, len(list)), delayOf(delays), perDay(wrong, days)
	out.PerDay, out.Precision = perDay(len(alarms), days), Wilson(len(alarms)-wrong, len(alarms))
	if len(delays) > 0 {
		out.Longest = slices.Max(delays).Minutes()
	}
	return out
}

// readOutages reads labels.
func readOutages(path string) ([]outage, error) {
	f, err := readHeaded(path)
	if err != nil {
		return nil, err
	}
	if !f.has("start_utc", "end_utc") {
		return nil, fmt.Errorf("header of %s is %q: it must have start_utc and end_utc", path, f.head)
	}
	from, to := f.at("start_utc"), f.at("end_utc")
	var out []outage
	for _, r := range f.rows {
		a, err1 := parseTime(strings.Replace(from(r), "T", " ", 1))
		b, err2 := parseTime(strings.Replace(to(r), "T", " ", 1))
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		out = append(out, outage{a, b})
	}
	slices.SortFunc(out, func(a, b outage) int { return cmp.Compare(a.from, b.from) })
	return out, nil
}

// Sheet shows the report.
func (r *OutageReport) Sheet() *sheet.Sheet {
	t := sheet.NewTable("Rule", "N", "Found", "95 %", "Delay median", "P90", "Longest", "False/day", "95 %", "Missed")
	shares, late := sheet.Whiskers{Title: "Outages found", X: "share"}, sheet.Delays{Title: "How late"}
	for _, one := range r.Rules {
		t.Row(one.Rule, one.N, figure(one.Found.Value), bounds(one.Found), minutes(one.Delay.Median), minutes(one.Delay.P90), minutes(one.Longest), figure(one.False.Value),
			bounds(one.False), strings.Join(one.Missed, " "))
		series := 0
		if strings.HasPrefix(one.Rule, "naive") {
			series = 1
		}
		shares.Rows = append(shares.Rows, whisker(one.Rule, one.Found, series))
		late.Rows = append(late.Rows, sheet.DelayRow{Name: one.Rule, Values: one.Delay.All})
	}
	return &sheet.Sheet{
		Title: "exchange_outage", Lead: fmt.Sprintf("%s; %.0f days, %d silences of %d min and more", r.Data, r.Days, r.Silences, r.Limit),
		Parts: []sheet.Part{{Tables: []*sheet.Table{t}, Plots: append([]sheet.Plot{shares, late}, plotsOf(r.Charts)...)}},
	}
}
