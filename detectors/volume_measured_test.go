package detectors

import (
	"slices"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

var pairs = []string{"BTCUSD", "ETHUSD", "LTCUSD", "XRPUSD", "EOSUSD"}

// A burst is an injected volume: times - 1 times the mean of the last day, for 15 minutes from start.
type burst struct {
	member int
	start  int64
}

// runVolumes runs unusual_volume over a basket of five recordings of 2019 H1, with a burst in each once in 26 hours after the
// burn-in when times is not 0.
func runVolumes(t *testing.T, config string, times float64) (b *bench, bursts []burst, days float64) {
	t.Helper()
	b = newBench(t, "unusual_volume", "venue:bitfinex", config)
	volumes := make([]map[int64]candle, len(pairs))
	first, last := int64(1<<60), int64(0)
	for i, name := range pairs {
		volumes[i] = map[int64]candle{}
		for _, c := range candles(t, name+"_2019H1") {
			volumes[i][c.minute] = c
			first, last = min(first, c.minute), max(last, c.minute)
		}
	}
	start := first + burnIn*minutesOfDay
	var mean, extra [5]float64
	var until, next [5]int64
	for i := range next {
		next[i] = start + int64(311*i)
	}
	for m := first; m <= last; m++ {
		end := schemas.Time((m + 1) * 60e9)
		for i, name := range pairs {
			c := volumes[i][m]
			mean[i] += (c.volume - mean[i]) / minutesOfDay
			if times > 0 && m >= next[i] {
				until[i], next[i], extra[i] = m+15, m+26*60+17, (times-1)*mean[i]
				bursts = append(bursts, burst{i, m})
			}
			if m < until[i] {
				c.volume += extra[i]
			}
			b.record(&schemas.Bar{
				Meta:  &schemas.Meta{Source: "s", Venue: "bitfinex", Symbol: name[:3] + "-USD", EventTime: int64(end)},
				Start: int64(end) - 60e9, End: int64(end), Volume: decimalOf(c.volume), Close: decimalOf(c.close), Basket: "venue:bitfinex",
			})
		}
		b.to(end)
	}
	b.events = slices.DeleteFunc(b.events, func(e *schemas.Event) bool { return e.EventTime < start*60e9 })
	return b, bursts, float64(last-start) / minutesOfDay
}

// Two legs with a budget of one a day each raise about one alarm a day and instrument, on data that nothing was fitted on.
func TestVolumeAlarmRates(t *testing.T) {
	testservices.Study(t)
	b, _, days := runVolumes(t, `{}`, 0)
	for _, name := range pairs {
		n := 0
		for _, e := range b.events {
			if e.Status == schemas.Open && e.Symbol == name[:3]+"-USD" {
				n++
			}
		}
		rate := float64(n) / days
		t.Logf("%s: %.2f events/day", name, rate)
		if rate < 0.5 || rate > 1.6 {
			t.Errorf("%s raises %.2f events a day: want 0.5 to 1.6", name, rate)
		}
	}
	if size := len(b.p.AppendState(nil)) / len(pairs); size > 4000 {
		t.Errorf("the state of a member is %d bytes: want at most 4000", size)
	} else {
		t.Logf("the state of a member is %d bytes", size)
	}
}

// The market residual is what finds bursts: without peers far fewer are.
func TestVolumeFindsInjectedBursts(t *testing.T) {
	testservices.Study(t)
	found := func(config string, times float64) float64 {
		b, bursts, _ := runVolumes(t, config, times)
		n := 0
		for _, j := range bursts {
			from := schemas.Time(j.start * 60e9)
			if slices.ContainsFunc(b.events, func(e *schemas.Event) bool {
				at := schemas.Time(e.EventTime)
				return e.Status == schemas.Open && e.Symbol == pairs[j.member][:3]+"-USD" && at > from && at <= from.Add(17*time.Minute)
			}) {
				n++
			}
		}
		p := float64(n) / float64(len(bursts))
		t.Logf("%s, bursts of %v times the mean: found %d of %d, %.2f", config, times, n, len(bursts), p)
		return p
	}
	five, ten, alone := found(`{}`, 5), found(`{}`, 10), found(`{"min_peers":1000}`, 10)
	if five < 0.5 || ten < 0.75 {
		t.Errorf("found %.2f and %.2f: want at least 0.5 of 5 times and 0.75 of 10 times", five, ten)
	}
	if alone > ten-0.1 {
		t.Errorf("without peers %.2f are found, with them %.2f: want a clear gain", alone, ten)
	}
}
