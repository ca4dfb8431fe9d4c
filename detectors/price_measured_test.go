package detectors

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// burnIn is how many days of a recording only warm the baselines up.
const burnIn = 40

// An injected move is multiplied into the candles: at once or over ten minutes, for six hours, and faded over the next six.
type injected struct {
	size float64
	ramp bool
}

func (j injected) factor(minutes int64, sign float64) float64 {
	d := float64(minutes)
	switch {
	case j.ramp && minutes < 10:
		return 1 + sign*j.size*(d+1)/10
	case minutes < 360:
		return 1 + sign*j.size
	case minutes < 720:
		return 1 + sign*j.size*(720-d)/360
	}
	return 1
}

// runPrices runs price_anomaly over a recording, with a move injected once in 26 hours after the burn-in.
func runPrices(t *testing.T, name, config string, move injected) (b *bench, positions []schemas.Time, days float64) {
	t.Helper()
	b = newBench(t, "price_anomaly", "bitfinex:X-USD", config)
	all := candles(t, name)
	start := all[0].minute + burnIn*minutesOfDay
	next, at, sign, last := start, int64(0), 1.0, all[0].close
	for _, c := range all {
		if move.size > 0 && c.minute >= next {
			at, next, sign = c.minute, c.minute+26*60+17, -sign
			positions = append(positions, c.start())
		}
		if at > 0 {
			f := move.factor(c.minute-at, sign)
			c.close, c.high, c.low = c.close*f, c.high*f, c.low*f
		}
		b.trades(c, last)
		last = c.close
	}
	b.events = slices.DeleteFunc(b.events, func(e *schemas.Event) bool { return e.EventTime < start*60e9 })
	return b, positions, float64(all[len(all)-1].minute-start) / minutesOfDay
}

// The calibrated legs keep near the budget, on data that nothing was fitted on.
func TestPriceAlarmRates(t *testing.T) {
	testservices.Study(t)
	for _, name := range []string{"BTCUSD_2019H1", "EOSUSD_2019H1"} {
		b, _, days := runPrices(t, name, `{}`, injected{})
		count, charged := map[string]float64{}, map[string]bool{}
		for _, e := range b.events {
			if e.Status == schemas.Open {
				for _, leg := range e.Evidence.Legs {
					count[leg] += 1 / days
				}
				count["open"] += 1 / days
			}
			if slices.Contains(e.Evidence.Legs, legJump) || slices.Contains(e.Evidence.Legs, legDrift) {
				charged[e.DedupKey] = true
			}
		}
		t.Logf("%s: %.2f events/day: jump %.2f, drift burst %.2f, early warning %.2f, absolute %.3f", name, count["open"], count[legJump], count[legDrift],
			count[legWarning], count[legAbsolute])
		if r := float64(len(charged)) / days; r < 0.5 || r > 1.5 {
			t.Errorf("%s: %.2f alarms a day of the calibrated legs: want 0.5 to 1.5 of the budget of 1", name, r)
		}
		if count["open"] > 2.5 {
			t.Errorf("%s: %.2f events a day: want at most 2.5", name, count["open"])
		}
	}
}

// Moves far below the knob are found: the knob alone finds one in a hundred of 3 %.
func TestPriceFindsInjectedMoves(t *testing.T) {
	testservices.Study(t)
	for _, c := range []struct {
		move   injected
		config string
		least  float64
	}{
		{injected{size: 0.02}, `{}`, 0.75},
		{injected{size: 0.03}, `{}`, 0.88},
		{injected{size: 0.03, ramp: true}, `{}`, 0.8},
		{injected{size: 0.03}, `{"strict":true}`, 0},
	} {
		found, n := 0, 0
		for _, name := range []string{"ETHUSD_2019H1", "LTCUSD_2019H1"} {
			b, positions, _ := runPrices(t, name, c.config, c.move)
			for _, at := range positions {
				n++
				if slices.ContainsFunc(b.events, func(e *schemas.Event) bool {
					return e.Status != schemas.Resolved && schemas.Time(e.EventTime) > at && schemas.Time(e.EventTime) <= at.Add(21*time.Minute)
				}) {
					found++
				}
			}
		}
		p := float64(found) / float64(n)
		t.Logf("%+v %s: found %d of %d within 20 min, %.2f", c.move, c.config, found, n, p)
		if p < c.least || (c.least == 0 && p > 0.1) {
			t.Errorf("%+v %s: found %.2f, want at least %.2f (strict: at most 0.1)", c.move, c.config, p, c.least)
		}
	}
}

// Every labelled move of 5 % in 15 minutes lies in an episode or in the cool-down of one.
func TestPriceFindsLabelledMoves(t *testing.T) {
	testservices.Study(t)
	file, err := os.Open(filepath.Join(testservices.DataDir(t), "anomaly", "labels", "price_moves_5pct_15min.csv"))
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	const name = "EOSUSD_2019H1"
	b, _, _ := runPrices(t, name, `{}`, injected{})
	var lead []float64
	first := schemas.Time(b.events[0].EventTime)
	for _, r := range rows {
		onset, err := time.Parse("2006-01-02 15:04Z", r[1])
		if err != nil || r[0] != name[:6] || schemas.Time(onset.UnixNano()) < first {
			continue
		}
		at := schemas.Time(onset.UnixNano()).Add(time.Minute) // the label is the minute that closes the move
		opened := schemas.Time(0)
		for _, e := range b.events {
			switch when := schemas.Time(e.EventTime); {
			case when > at.Add(time.Minute):
			case e.Status == schemas.Open:
				opened = when
			case e.Status == schemas.Resolved && at.Sub(when) > time.Hour:
				opened = 0
			}
		}
		if opened == 0 {
			t.Errorf("no episode at the labelled move of %v", onset)
			continue
		}
		lead = append(lead, at.Sub(opened).Minutes())
	}
	slices.Sort(lead)
	if len(lead) == 0 {
		t.Fatal("no label in the recording: nothing was tested")
	}
	t.Logf("%d labelled moves, all found; the episode was open a median of %.0f minutes before the move was complete", len(lead), lead[len(lead)/2])
}
