package evaluate

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Report is the outcome of an evaluation.
type Report struct {
	Detector string       `json:"detector"`
	Fit      string       `json:"fit"`
	Test     string       `json:"test"`
	Rates    []RateReport `json:"rates"`
}

// A RateReport is the outcome at one rate.
type RateReport struct {
	Rate        string `json:"rate"`
	Setting     string `json:"setting"`
	MinSeverity string `json:"min_severity"`
	// Fitted is the rate of alarms per key and day on the fit range.
	Fitted *Interval `json:"fitted,omitempty"`
	// Background is that on the untouched test range, over all keys; Median and Max are over the keys.
	Background Interval          `json:"background"`
	Median     float64           `json:"median"`
	Max        float64           `json:"max"`
	Keys       []KeyReport       `json:"keys"`
	Injections []InjectionReport `json:"injections,omitempty"`
	Labels     *LabelReport      `json:"labels,omitempty"`
}

// A KeyReport is the background of one key.
type KeyReport struct {
	Key    string   `json:"key"`
	Days   float64  `json:"days"`
	Alarms int      `json:"alarms"`
	PerDay Interval `json:"per_day"`
	// Quarters are the alarms per day of each quarter, oldest first.
	Quarters []QuarterReport `json:"quarters"`
}

// A QuarterReport is the background of one key in one quarter.
type QuarterReport struct {
	Quarter string `json:"quarter"`
	Alarms  int    `json:"alarms"`
}

// An InjectionReport is the outcome of one grade of injections.
type InjectionReport struct {
	Grade string `json:"grade"`
	N     int    `json:"n"`
	// Busy positions had an alarm or its cool-down on, and are not among the n.
	Busy  int      `json:"busy"`
	Found Interval `json:"found"`
	Delay Delay    `json:"delay"`
	// Keys are the shares found of each key.
	Keys []FoundReport `json:"keys"`
}

// A FoundReport is the outcome of one grade on one key.
type FoundReport struct {
	Key   string   `json:"key"`
	N     int      `json:"n"`
	Found Interval `json:"found"`
}

// A LabelReport is the outcome against labels.
type LabelReport struct {
	// Covered labels were not found but lay within an earlier alarm, Cooling ones within its cool-down.
	Labels, Found, Covered, Cooling int
	Recall                          Interval `json:"recall"`
	// RecallCovered counts labels at whose onset an earlier alarm was still on, too.
	RecallCovered Interval `json:"recall_covered"`
	Precision     Interval `json:"precision"`
	Delay         Delay    `json:"delay"`
}

func (e *evaluation) rateReport(rate Rate, s setup, all []*member, grades []grade) *RateReport {
	least := []string{schemas.Low, schemas.Medium, schemas.High, schemas.Critical}[e.least(rate)-1]
	out := &RateReport{Rate: rate.String(), Setting: s.setting, MinSeverity: least, Fitted: s.fitted}
	alarms, days := 0, 0.0
	var rates []float64
	for _, m := range all {
		k := KeyReport{Key: m.symbol, Days: float64(m.minutes) / (24 * 60), Alarms: len(m.alarms)}
		k.PerDay = perDay(k.Alarms, k.Days)
		k.Quarters = quarters(m.alarms)
		alarms += k.Alarms
		days += k.Days
		rates = append(rates, k.PerDay.Value)
		out.Keys = append(out.Keys, k)
	}
	out.Background = perDay(alarms, days)
	if len(rates) > 0 {
		out.Median, out.Max = median(rates), slices.Max(rates)
	}
	if e.options.Inject {
		for i, g := range grades {
			out.Injections = append(out.Injections, injectionReport(g, i, all))
		}
	}
	if e.options.Labels != "" {
		out.Labels = match(e.labels, all, e.options, e.subject.coolDown())
	}
	return out
}

// injectionReport adds up what became of the i-th grade on every member.
func injectionReport(g grade, i int, all []*member) InjectionReport {
	var sum tally
	out := InjectionReport{Grade: g.String()}
	for _, m := range all {
		t := &m.tallies[i]
		sum.n += t.n
		sum.busy += t.busy
		sum.found += t.found
		sum.delays = append(sum.delays, t.delays...)
		out.Keys = append(out.Keys, FoundReport{Key: m.symbol, N: t.n, Found: Wilson(t.found, t.n)})
	}
	out.N, out.Busy, out.Found, out.Delay = sum.n, sum.busy, Wilson(sum.found, sum.n), delayOf(sum.delays)
	return out
}

func quarters(alarms []schemas.Time) []QuarterReport {
	var out []QuarterReport
	for _, at := range alarms {
		t := (at - 1).UTC() // an alarm at midnight is about the minute before
		name := fmt.Sprintf("%dQ%d", t.Year(), (int(t.Month())+2)/3)
		if len(out) == 0 || out[len(out)-1].Quarter != name {
			out = append(out, QuarterReport{Quarter: name})
		}
		out[len(out)-1].Alarms++
	}
	return out
}

// Write prints the report as plain tables.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; fitted on %s, tested on %s\n", r.Detector, r.Fit, r.Test)
	for i := range r.Rates {
		r.Rates[i].write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *RateReport) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nat %s: %s; events of %s and above\n", r.Rate, r.Setting, r.MinSeverity)
	table(b, "KEY\tDAYS\tALARMS\tALARMS/DAY\t95 %\tBY QUARTER", func(row func(...any)) {
		for _, k := range r.Keys {
			var by []string
			for _, q := range k.Quarters {
				by = append(by, fmt.Sprintf("%s %d", q.Quarter, q.Alarms))
			}
			row(k.Key, fmt.Sprintf("%.1f", k.Days), k.Alarms, figure(k.PerDay.Value), bounds(k.PerDay), strings.Join(by, ", "))
		}
		row("all", "", "", figure(r.Background.Value), bounds(r.Background), fmt.Sprintf("median %s, max %s", figure(r.Median), figure(r.Max)))
		if r.Fitted != nil {
			row("fit range", "", "", figure(r.Fitted.Value), bounds(*r.Fitted), "")
		}
	})
	if len(r.Injections) > 0 {
		table(b, "INJECTED\tN\tBUSY\tFOUND\t95 %\tDELAY MEDIAN\tP90\tFOUND BY KEY", func(row func(...any)) {
			for _, i := range r.Injections {
				var by []string
				for _, k := range i.Keys {
					by = append(by, fmt.Sprintf("%s %.2f", k.Key, k.Found.Value))
				}
				row(i.Grade, i.N, i.Busy, figure(i.Found.Value), bounds(i.Found), minutes(i.Delay.Median), minutes(i.Delay.P90), strings.Join(by, ", "))
			}
		})
	}
	if l := r.Labels; l != nil {
		table(b, "LABELS\tFOUND\tIN ALARM\tIN COOL-DOWN\tRECALL\t95 %\tWITH RUNNING ALARMS\tPRECISION\t95 %\tDELAY MEDIAN\tP90", func(row func(...any)) {
			row(l.Labels, l.Found, l.Covered, l.Cooling, figure(l.Recall.Value), bounds(l.Recall), figure(l.RecallCovered.Value), figure(l.Precision.Value), bounds(l.Precision),
				minutes(l.Delay.Median), minutes(l.Delay.P90))
		})
	}
}

func table(b *strings.Builder, head string, rows func(row func(...any))) {
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, head)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, c)
		}
		fmt.Fprintln(t)
	})
	_ = t.Flush() // a Builder takes everything
}

func figure(v float64) string { return fmt.Sprintf("%.3f", v) }

func bounds(i Interval) string { return fmt.Sprintf("%.3f-%.3f", i.Low, i.High) }

func minutes(v float64) string {
	return time.Duration(v * float64(time.Minute)).Round(time.Second).String()
}
