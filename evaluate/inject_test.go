package evaluate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/tapewatch/tapewatch/detectors" // registers what is evaluated
	"github.com/tapewatch/tapewatch/schemas"
)

// walk writes a random walk of minute candles with some minutes missing and lively volume.
func walk(t testing.TB, symbol string, seed uint64, days int) Series {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	price := 1000.0
	var lines []string
	for i := range days * 24 * 60 {
		last := price
		price *= 1 + 0.0005*random.NormFloat64()
		if random.IntN(10) == 0 {
			continue
		}
		high, low := max(price, last)*1.0001, min(price, last)*0.9999
		lines = append(lines, fmt.Sprintf("%d,%.4f,%.4f,%.4f,%.5f", int64(minuteZero)/60e9+int64(i), price, high, low, 10*math.Exp(random.NormFloat64()/2)))
	}
	return Series{symbol, []string{write(t, symbol+".csv", lines...)}}
}

func options(detector string, series ...Series) Options {
	return Options{
		Detector: detector, Columns: DefaultColumns, Venue: "test", Series: series, Rates: []Rate{0}, Bar: 15 * time.Minute, Inject: true,
		Jumps: []float64{10}, Ramps: []float64{10}, Bursts: []float64{50}, Burst: 15 * time.Minute, Seed: 1, Before: 15 * time.Minute, After: 15 * time.Minute,
	}
}

// What no rule can miss is found at every position, at the time that the rule's definition gives.
func TestHugeInjectionsAreFound(t *testing.T) {
	for _, c := range []struct {
		detector string
		grade    string
		delay    float64
	}{
		{NaivePrice, "jump 10 %", 1},
		{NaivePrice, "ramp 10 %", 5},
		{NaiveVolume, "burst 50x", 15},
		{"price_anomaly", "jump 10 %", 0.2},
		{"price_anomaly", "ramp 10 %", 1},
		{"unusual_volume", "burst 50x", 3}, // one leg asks for more than a print, the other for three times an hour
	} {
		r, err := Run(t.Context(), options(c.detector, walk(t, "A-USD", 1, 9)))
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range r.Rates[0].Injections {
			if i.Grade != c.grade {
				continue
			}
			if i.N < 5 || i.Found.Value != 1 || math.Abs(i.Delay.Median-c.delay) > 1.5 {
				t.Errorf("%s %s: found %.2f of %d after %.1f min, want all after about %.1f", c.detector, c.grade, i.Found.Value, i.N, i.Delay.Median, c.delay)
			}
		}
		var text strings.Builder
		if err := r.Sheet().Text(&text); err != nil || !strings.Contains(text.String(), c.grade) {
			t.Errorf("%s: the table lacks %s, error %v", c.detector, c.grade, err)
		}
	}
}

// Injections leave the background alone, and the same seed gives the same report.
func TestInjectionsLeaveTheBackgroundAlone(t *testing.T) {
	series := walk(t, "A-USD", 2, 8)
	o := options("price_anomaly", series)
	o.Config = []byte(`{"threshold_pct": 0.7}`)
	with, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(with, again); d != "" {
		t.Errorf("two runs differ: %s", d)
	}
	o.Inject = false
	without, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if with.Rates[0].Keys[0].Alarms == 0 {
		t.Fatal("the background has no alarms: the test shows nothing")
	}
	if d := cmp.Diff(without.Rates[0].Keys, with.Rates[0].Keys); d != "" {
		t.Error(d)
	}
}

// A fork says what a whole run with the same injection says: for a detector of trades, one of baskets, and a rule.
func TestForksAreExact(t *testing.T) {
	for _, detector := range []string{"price_anomaly", "unusual_volume", NaivePrice} {
		unit := []Series{walk(t, "A-USD", 3, 4), walk(t, "B-USD", 4, 4)}
		if detector != "unusual_volume" {
			unit = unit[:1]
		}
		o := options(detector, unit...)
		s, err := subjectOf(o)
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseColumns(o.Columns)
		if err != nil {
			t.Fatal(err)
		}
		set, err := s.tune(t.Context(), &evaluation{options: o, columns: c, subject: s}, 0)
		if err != nil {
			t.Fatal(err)
		}
		onset := minuteZero.Add(3*24*time.Hour + 7*time.Hour + 30*time.Minute)
		run := func(fork bool) []notice {
			m, err := set.start(unit)
			if err != nil {
				t.Fatal(err)
			}
			in, err := openStream(unit, c, Range{})
			if err != nil {
				t.Fatal(err)
			}
			defer in.close()
			var out []notice
			for {
				rows, err := in.look(1)
				if err != nil {
					t.Fatal(err)
				}
				if len(rows) == 0 {
					return out
				}
				now := rows[0]
				if i := int(now.start.Sub(onset) / time.Minute); now.start >= onset {
					if fork && i == 0 {
						saved, err := m.save()
						if err != nil {
							t.Fatal(err)
						}
						if m, err = m.fork(saved); err != nil {
							t.Fatal(err)
						}
					}
					g := grade{kindJump, 10, priceWindow}
					now.candles[0] = grade{kindBurst, 50, 15 * time.Minute}.perturb(g.perturb(now.candles[0], i, 1, 10), i, 1, 10)
				}
				if err := m.minute(now); err != nil {
					t.Fatal(err)
				}
				out = append(out, m.take()...)
				in.take()
			}
		}
		whole, forked := run(false), run(true)
		if len(whole) == 0 {
			t.Fatalf("%s says nothing: the test shows nothing", detector)
		}
		if d := cmp.Diff(whole, forked, cmp.AllowUnexported(notice{})); d != "" {
			t.Errorf("%s: %s", detector, d)
		}
	}
}

func TestPositionsAreADayApart(t *testing.T) {
	r := Range{From: minuteZero, To: minuteZero.Add(181 * 24 * time.Hour)}
	all := positions(7, "BTC-USD", r, 15*time.Minute)
	if len(all) < 170 {
		t.Errorf("%d positions in half a year, want 170 at least", len(all))
	}
	hours, signs := map[int]bool{}, 0.0
	for i, p := range all {
		if p.at < r.From || p.at >= r.To || p.at.Floor(15*time.Minute) != p.at {
			t.Errorf("position %v is out of range or off the quarter hours", p.at)
		}
		if i > 0 && p.at.Sub(all[i-1].at) < 24*time.Hour {
			t.Errorf("positions %v and %v are less than a day apart", all[i-1].at, p.at)
		}
		hours[p.at.UTC().Hour()] = true
		signs += p.sign
	}
	if len(hours) != 24 || math.Abs(signs) > 50 {
		t.Errorf("%d hours of the day and a balance of signs of %.0f: want 24 and about 0", len(hours), signs)
	}
	if d := cmp.Diff(all, positions(7, "BTC-USD", r, 15*time.Minute), cmp.AllowUnexported(position{})); d != "" {
		t.Errorf("the same seed gives others: %s", d)
	}
}

func TestDayMean(t *testing.T) {
	var d dayMean
	var all []float64
	random := rand.New(rand.NewPCG(5, 5))
	for i := range 5000 {
		all = append(all, 1e6*random.ExpFloat64())
		d.add(all[i])
		want := 0.0
		last := all[max(0, len(all)-1440):]
		for _, v := range last {
			want += v / float64(len(last))
		}
		if math.Abs(d.mean()-want) > 1e-6*want {
			t.Fatalf("after %d values the mean is %v, want %v", i+1, d.mean(), want)
		}
	}
}

// The fitted threshold keeps the rate, and the next lower score would not.
func TestThresholdForARate(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	var series [][]scored
	const days = 60
	for range 2 {
		var s []scored
		for i := range days * 96 {
			s = append(s, scored{schemas.Time(i) * schemas.Time(15*time.Minute), random.ExpFloat64()})
		}
		series = append(series, s)
	}
	at := thresholdFor(0.5, series, 2*days)
	if n := alarmsAt(series, at); n > 60 || n < 58 {
		t.Errorf("threshold %v gives %d alarms, want 60", at, n)
	}
	if n := alarmsAt(series, at*0.98); n <= 60 {
		t.Errorf("a lower threshold gives %d alarms, want more than 60", n)
	}
}

func TestLabels(t *testing.T) {
	path := write(t, "labels.csv", "symbol,onset_utc,move", "AUSD,2019-01-01 10:00Z,5", "AUSD,2019-01-02 10:00Z,5", "AUSD,2019-01-03 10:00Z,5", "AUSD,2019-01-02 12:00Z,5", "BUSD,2019-01-01 10:00Z,5", "AUSD,2020-01-01 10:00Z,5")
	labels, err := readLabels(path, NaivePrice, Range{From: minuteZero, To: minuteZero.Add(100 * 24 * time.Hour)})
	if err != nil || len(labels) != 5 {
		t.Fatalf("%d labels, %v, want 5", len(labels), err)
	}
	at := func(day, hour, minute int) schemas.Time {
		return minuteZero.Add(time.Duration(day*24+hour)*time.Hour + time.Duration(minute)*time.Minute)
	}
	m := &member{symbol: "A-USD", first: at(0, 0, 0), last: at(90, 0, 0), alarms: []schemas.Time{at(0, 9, 50), at(0, 10, 5), at(1, 8, 0), at(50, 0, 0)}}
	m.episodes = []Range{{at(0, 9, 50), at(0, 10, 0)}, {at(0, 10, 5), at(0, 11, 0)}, {at(1, 8, 0), at(1, 10, 30)}, {at(50, 0, 0), 0}}
	got := match(labels, []*member{m}, Options{Before: 15 * time.Minute, After: 15 * time.Minute}, 2*time.Hour)
	want := &LabelReport{
		Labels: 4, Found: 1, Covered: 1, Cooling: 1, Recall: Wilson(1, 4), RecallCovered: Wilson(2, 4), Precision: Wilson(2, 4), Delay: Delay{-10, -10, []float64{-10}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWatch(t *testing.T) {
	w := newWatch(2, time.Hour)
	at := minuteZero
	for i, step := range []struct {
		n           notice
		alarm, busy bool
	}{
		{notice{at: at, severity: 1, status: schemas.Open, episode: "a"}, false, true},
		{notice{at: at + 1, severity: 2, status: schemas.Update, episode: "a"}, true, true},
		{notice{at: at + 2, severity: 3, status: schemas.Update, episode: "a"}, false, true},
		{notice{at: at + 3, severity: 4, status: schemas.Resolved, episode: "unknown"}, false, true},
		{notice{at: at + 4, severity: 3, status: schemas.Resolved, episode: "a"}, false, true},
		{notice{at: at.Add(2 * time.Hour), severity: 3, status: schemas.Resolved, episode: "a"}, false, false},
	} {
		if got := w.see(step.n); got != step.alarm {
			t.Errorf("step %d: alarm %v, want %v", i, got, step.alarm)
		}
		if got := w.busy(step.n.at); got != step.busy {
			t.Errorf("step %d: busy %v, want %v", i, got, step.busy)
		}
	}
}

func TestOptionsNameWhatIsWrong(t *testing.T) {
	good := options(NaivePrice, Series{Symbol: "A-USD"})
	for want, spoil := range map[string]func(*Options){
		"--data":         func(o *Options) { o.Series = nil },
		"rates":          func(o *Options) { o.Rates = nil },
		"least severity": func(o *Options) { o.MinSeverity = "huge" },
		"burst":          func(o *Options) { o.Burst = time.Second },
		"align":          func(o *Options) { o.Align = -1 },
		"no fit range":   func(o *Options) { o.Rates = []Rate{1} },
		"out of bounds":  func(o *Options) { o.Jumps = []float64{-1} },
		"is open":        func(o *Options) { o.Fit = Range{From: 1} },
		"lie before":     func(o *Options) { o.Fit = Range{From: 1, To: 9}; o.Test = Range{From: 5, To: 10} },
	} {
		o := good
		spoil(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	o := good
	for _, name := range []string{"nonesuch", "bars_of_iron"} {
		o.Detector = name
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("detector %q is taken", name)
		}
	}
}
