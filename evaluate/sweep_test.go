package evaluate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// lively writes a random walk of minute candles with moves and bursts of all sizes in it, up to 6 % and fifty times the volume.
func lively(t *testing.T, symbol string, days int) Series {
	t.Helper()
	random := rand.New(rand.NewPCG(8, 8))
	price, busy, times := 1000.0, 0, 1.0
	var lines []string
	for i := range days * 24 * 60 {
		last := price
		price *= 1 + 0.0005*random.NormFloat64()
		if random.IntN(300) == 0 {
			price *= 1 + 0.01*random.NormFloat64()*random.ExpFloat64()
		}
		if busy--; busy < 0 && random.IntN(400) == 0 {
			busy, times = 5+random.IntN(20), 2+50*math.Pow(random.Float64(), 3)
		}
		volume := 10 * math.Exp(random.NormFloat64()/2)
		if busy >= 0 {
			volume *= times
		}
		lines = append(lines, fmt.Sprintf("%d,%.4f,%.4f,%.4f,%.5f", int64(minuteZero)/60e9+int64(i), price, max(price, last)*1.0001, min(price, last)*0.9999, volume))
	}
	return Series{symbol, []string{write(t, symbol+".csv", lines...)}}
}

// swept are options whose runs have alarms of several severities, injections of several sizes, and labels near some of the alarms.
func swept(t *testing.T, detector string) Options {
	t.Helper()
	o := options(detector, lively(t, "A-USD", 12))
	o.Fit = Range{From: minuteZero, To: minuteZero.Add(3 * 24 * time.Hour)}
	o.Test = Range{From: o.Fit.To}
	o.Jumps, o.Ramps, o.Bursts = []float64{0.3, 0.6, 2}, []float64{0.6, 2}, []float64{3, 50}
	switch detector {
	case "price_anomaly":
		o.Config = []byte(`{"threshold_pct": 2}`)
	case "unusual_volume":
		o.Config = []byte(`{"multiplier": 2, "budget_days": 0.5}`)
	}
	lines := []string{"symbol,onset_utc"}
	for at := o.Test.From.Add(time.Hour); at < minuteZero.Add(12*24*time.Hour); at = at.Add(97 * time.Minute) {
		lines = append(lines, "AUSD,"+clock(at)+"Z")
	}
	o.Labels = write(t, "labels.csv", lines...)
	return o
}

func ran(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asPoint is a rate of a report as a sweep has it.
func asPoint(r *RateReport, name string, cut float64) SweepPoint {
	out := SweepPoint{Name: name, Cut: cut, PerDay: r.Background}
	for _, k := range r.Keys {
		out.Alarms += k.Alarms
	}
	for _, i := range r.Injections {
		i.Keys, i.Delay.All = nil, nil
		out.Injections = append(out.Injections, i)
	}
	if r.Labels != nil {
		l := *r.Labels
		l.Delay.All = nil
		out.Labels = &l
	}
	return out
}

// The first cut of a detector, and the knob of a rule, are what the report says.
func TestSweepsBeginWithTheReport(t *testing.T) {
	for _, detector := range []string{"price_anomaly", "unusual_volume", NaivePrice, NaiveVolume} {
		r := ran(t, swept(t, detector))
		one := &r.Rates[0]
		if r.Thresholds != nil {
			knob := map[string]float64{NaivePrice: 5, NaiveVolume: 3}[detector]
			for _, p := range r.Thresholds.Points {
				if p.Cut == knob {
					if d := cmp.Diff(asPoint(one, p.Name, knob), p); d != "" {
						t.Errorf("%s: %s", detector, d)
					}
				}
			}
			continue
		}
		if len(one.Sweeps) != 2 || r.Thresholds != nil {
			t.Fatalf("%s has %d sweeps: want one by severity and one by return period", detector, len(one.Sweeps))
		}
		for _, s := range one.Sweeps {
			if d := cmp.Diff(asPoint(one, everyAlarm, s.Points[0].Cut), s.Points[0]); d != "" {
				t.Errorf("%s by %s: %s", detector, s.By, d)
			}
		}
	}
}

// Beyond a severity the background and the labels are those of a whole run with that least severity. So are the injections, but for those
// that only a lesser alarm keeps busy.
func TestSeveritiesAreRuns(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	for _, detector := range []string{"price_anomaly", "unusual_volume"} {
		o := swept(t, detector)
		points := ran(t, o).Rates[0].Sweeps[0].Points
		if points[1].Alarms == 0 || points[1].Alarms == points[0].Alarms {
			t.Errorf("%s: %d alarms of medium and above, %d in all: the test shows little", detector, points[1].Alarms, points[0].Alarms)
		}
		for i, p := range points {
			o.MinSeverity = severityNames[i]
			want := asPoint(&ran(t, o).Rates[0], p.Name, p.Cut)
			for k := range want.Injections {
				if a, b := &p.Injections[k], &want.Injections[k]; a.N != b.N {
					if a.N > b.N || a.N+a.Busy != b.N+b.Busy {
						t.Errorf("%s, %s, %s: %d injections and %d busy, the run has %d and %d", detector, p.Name, a.Grade, a.N, a.Busy, b.N, b.Busy)
					}
					*b = *a
				}
			}
			if d := cmp.Diff(want, p); d != "" {
				t.Errorf("%s, %s: %s", detector, p.Name, d)
			}
		}
	}
}

// At each threshold a rule's sweep is a whole run at that threshold.
func TestThresholdsAreRuns(t *testing.T) {
	for _, detector := range []string{NaivePrice, NaiveVolume} {
		o := swept(t, detector)
		points := ran(t, o).Thresholds.Points
		e := &evaluation{options: o}
		var err error
		if e.columns, err = parseColumns(o.Columns); err != nil {
			t.Fatal(err)
		}
		if e.subject, err = subjectOf(o); err != nil {
			t.Fatal(err)
		}
		if e.labels, err = readLabels(o.Labels, detector, o.Test); err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			r, err := e.measure(t.Context(), 0, e.subject.(ruleSubject).at(p.Cut, nil))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(asPoint(r, p.Name, p.Cut), p); d != "" {
				t.Errorf("%s at %v: %s", detector, p.Cut, d)
			}
		}
		if len(points) < 10 || points[0].Alarms < 20 || points[len(points)-1].Alarms > 1 {
			t.Errorf("%s has %d thresholds, with %d alarms at the first and %d at the last: want 10 at least, from many to one", detector, len(points), points[0].Alarms,
				points[len(points)-1].Alarms)
		}
	}
}

// Counted from the events themselves, each cut has as many episodes of which an event reaches it, and finds the same labels.
func TestReturnPeriodsFromTheEvents(t *testing.T) {
	o := swept(t, "price_anomaly")
	sweep := ran(t, o).Rates[0].Sweeps[1]
	b, err := with(o.Detector, o.Config, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseColumns(o.Columns)
	if err != nil {
		t.Fatal(err)
	}
	in, err := openStream(o.Series, c, Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	var events []*schemas.Event
	m := newTaskMachine(b, o, symbolsOf(o.Series))
	m.out.keep = func(e *schemas.Event) {
		if schemas.Time(e.EventTime) > o.Test.From && e.Status != schemas.Resolved {
			events = append(events, e)
		}
	}
	for {
		rows, err := in.look(1)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		if err := m.minute(rows[0]); err != nil {
			t.Fatal(err)
		}
		in.take()
	}
	labels, err := readLabels(o.Labels, o.Detector, o.Test)
	if err != nil {
		t.Fatal(err)
	}
	several := map[int]bool{} // numbers of alarms
	for _, p := range sweep.Points {
		first := map[string]schemas.Time{}
		for _, e := range events {
			if _, known := first[e.DedupKey]; !known && e.Evidence.GetReturnPeriodDays() >= p.Cut {
				first[e.DedupKey] = schemas.Time(e.EventTime)
			}
		}
		found := 0
		for _, l := range labels {
			for _, at := range first {
				if at >= l.at.Add(-o.Before) && at <= l.at.Add(o.After) {
					found++
					break
				}
			}
		}
		if p.Alarms != len(first) || p.Labels.Found != found {
			t.Errorf("%g days: %d alarms and %d labels found, the events have %d and %d", p.Cut, p.Alarms, p.Labels.Found, len(first), found)
		}
		several[p.Alarms] = true
	}
	if len(several) < 4 {
		t.Errorf("%d cuts differ: the test shows little", len(several))
	}
}

// A higher cut has fewer alarms, finds fewer of the same injections, and knows fewer labels: a label that is not found any more was found,
// or lay in an alarm or its cool-down, at the lower cut.
func TestSweepsFall(t *testing.T) {
	for _, detector := range []string{"price_anomaly", "unusual_volume"} {
		for _, s := range ran(t, swept(t, detector)).Rates[0].Sweeps {
			for i := 1; i < len(s.Points); i++ {
				a, b := &s.Points[i-1], &s.Points[i]
				if b.Cut <= a.Cut || b.Alarms > a.Alarms || b.PerDay.Value > a.PerDay.Value {
					t.Errorf("%s by %s: %d alarms at %g, %d at %g", detector, s.By, a.Alarms, a.Cut, b.Alarms, b.Cut)
				}
				for k := range a.Injections {
					if x, y := &a.Injections[k], &b.Injections[k]; x.N != y.N || y.Found.Value > x.Found.Value {
						t.Errorf("%s by %s, %s: %.3f of %d at %g, %.3f of %d at %g", detector, s.By, x.Grade, x.Found.Value, x.N, a.Cut, y.Found.Value, y.N, b.Cut)
					}
				}
				if known := func(l *LabelReport) int { return l.Found + l.Covered + l.Cooling }; known(b.Labels) > known(a.Labels) {
					t.Errorf("%s by %s: %d labels known at %g, %d at %g", detector, s.By, known(a.Labels), a.Cut, known(b.Labels), b.Cut)
				}
			}
		}
	}
}

// By hand: an alarm that grows is told when it reaches the cut, and one that does not reach it is not told.
func TestBeyond(t *testing.T) {
	at := func(minute int) schemas.Time { return minuteZero.Add(time.Duration(minute) * time.Minute) }
	event := func(minute, severity int, days float64) notice {
		return notice{at: at(minute), severity: severity, status: schemas.Update, score: days}
	}
	m := &member{
		symbol: "A-USD", first: at(0), last: at(1440), minutes: 1440,
		said:     [][]notice{{event(10, 1, 0), event(12, 3, 20)}, {event(100, 2, 2)}, {event(200, 1, 30), event(201, 4, 10)}},
		episodes: []Range{{at(10), at(40)}, {at(100), at(130)}, {at(200), 0}},
		tallies:  []tally{{busy: 2, tries: []try{{position: position{at: at(500)}, said: []notice{event(501, 1, 0), event(504, 3, 8)}}, {position: position{at: at(900)}}}}},
	}
	for name, c := range map[string]struct {
		reaches  func(notice) bool
		episodes []Range
		delays   []time.Duration
	}{
		"everything": {counted, m.episodes[:0:0], []time.Duration{time.Minute}},
		"high":       {func(n notice) bool { return n.severity >= 3 }, []Range{{at(12), at(40)}, {at(201), 0}}, []time.Duration{4 * time.Minute}},
		"critical":   {func(n notice) bool { return n.severity >= 4 }, []Range{{at(201), 0}}, nil},
		"7 days":     {func(n notice) bool { return n.score >= 7 }, []Range{{at(12), at(40)}, {at(200), 0}}, []time.Duration{4 * time.Minute}},
		"91 days":    {func(n notice) bool { return n.score >= 91 }, nil, nil},
	} {
		if name == "everything" {
			c.episodes = m.episodes
		}
		got := m.beyond(c.reaches)
		if d := cmp.Diff(c.episodes, got.episodes); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if x := &got.tallies[0]; x.n != 2 || x.busy != 2 || x.found != len(c.delays) || !slices.Equal(x.delays, c.delays) {
			t.Errorf("%s: %d of %d found after %v, %d busy: want %d of 2 after %v, 2 busy", name, x.found, x.n, x.delays, x.busy, len(c.delays), c.delays)
		}
		for i, e := range got.episodes {
			if got.alarms[i] != e.From {
				t.Errorf("%s: alarm %d is at %v, its episode begins at %v", name, i, got.alarms[i], e.From)
			}
		}
	}
}

// The table has a row for each named cut, once, and what has no alarm has no precision; the page draws the sweeps.
func TestSweepTable(t *testing.T) {
	o := swept(t, "price_anomaly")
	o.Naive = true
	r := ran(t, o)
	var b strings.Builder
	if err := r.Sheet().Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"medium and above", "critical ", "1 day and rarer", "91 days and rarer", "5 % "} {
		if n := strings.Count("\n"+b.String(), "\n"+name); n != 1 {
			t.Errorf("%d rows %q, want one:\n%s", n, name, b.String())
		}
	}
	if n := strings.Count(b.String(), "\n"+everyAlarm); n != 1 {
		t.Errorf("%d rows of every alarm, want one", n)
	}
	silent := SweepPoint{Name: "critical", Labels: &LabelReport{Labels: 3}}
	if got := fmt.Sprintln(silent.cells()...); strings.Count(got, "- - -") != 1 {
		t.Errorf("a cut without alarms prints %q, want no precision and no delay", got)
	}
	page := pageOf(t, r)
	for _, want := range []string{"price_anomaly at shipped, by return period, days", "price_anomaly at shipped, by severity", "naive_price, by threshold, %"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no curve %q", want)
		}
	}
	for _, s := range r.Rates[0].Sweeps {
		n := 0
		for _, p := range s.Points {
			if p.Alarms > 0 {
				n++
			}
		}
		l := s.line("x", 0, func(p *SweepPoint) (float64, Interval) { return p.PerDay.Value, p.Labels.Recall })
		if len(l.Points) != n {
			t.Errorf("the curve by %s has %d points, want the %d with alarms", s.By, len(l.Points), n)
		}
	}
}
