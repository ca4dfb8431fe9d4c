package simulator

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// minutes are the closes and trade counts of one instrument by the minute.
type minutes struct{ close, trades []float64 }

func (m minutes) returns() []float64 {
	var out []float64
	for i := 1; i < len(m.close); i++ {
		out = append(out, math.Log(m.close[i]/m.close[i-1]))
	}
	return out
}

const factDays = 7

// simulated is a week of instruments from Monday on, from the trades that they publish.
func simulated(t *testing.T, instruments int) []minutes {
	t.Helper()
	cfg := tradesOnly()
	cfg.Instruments, cfg.Rate, cfg.AnomaliesPerDay = instruments, float64(2*instruments), 0
	m := NewMarket(cfg, monday, nil)
	out := make([]minutes, instruments)
	last, count := make([]float64, instruments), make([]float64, instruments)
	index := map[string]int{}
	for i, in := range m.items {
		index[in.symbol], last[i] = i, in.to/unit
	}
	put := func(_ schemas.Topic, msg schemas.Message) error {
		if tr, ok := msg.(*schemas.Trade); ok {
			i := index[tr.Meta.Symbol]
			last[i] = tr.Price.Float()
			count[i]++
		}
		return nil
	}
	for range factDays * 24 * 60 {
		for range 60 {
			if err := m.Second(put); err != nil {
				t.Fatal(err)
			}
		}
		for i := range out {
			out[i].close, out[i].trades = append(out[i].close, last[i]), append(out[i].trades, count[i])
			count[i] = 0
		}
	}
	return out
}

// gaussian is the control: a random walk of independent normal returns, with as many trades at any time.
func gaussian(instruments int) []minutes {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]minutes, instruments)
	for i := range out {
		p := 0.0
		for range factDays * 24 * 60 {
			p += 0.0008 * r.NormFloat64()
			out[i].close = append(out[i].close, math.Exp(p))
			out[i].trades = append(out[i].trades, math.Round(120+11*r.NormFloat64()))
		}
	}
	return out
}

func mean(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s / float64(len(x))
}

func kurtosis(x []float64) float64 {
	m, m2, m4 := mean(x), 0.0, 0.0
	for _, v := range x {
		d := (v - m) * (v - m)
		m2 += d
		m4 += d * d
	}
	return m4 / m2 / m2 * float64(len(x))
}

func correlation(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var xx, yy, xy float64
	for i := range x {
		xx += (x[i] - mx) * (x[i] - mx)
		yy += (y[i] - my) * (y[i] - my)
		xy += (x[i] - mx) * (y[i] - my)
	}
	return xy / math.Sqrt(xx*yy)
}

func autocorrelation(x []float64, lag int) float64 { return correlation(x[lag:], x[:len(x)-lag]) }

func absolute(x []float64) []float64 {
	var out []float64
	for _, v := range x {
		out = append(out, math.Abs(v))
	}
	return out
}

// hourShare is the mean of a weekday's hours over that of all of them.
func hourShare(m []minutes, hours ...int) float64 {
	want := map[int]bool{}
	for _, h := range hours {
		want[h] = true
	}
	var in, all []float64
	for _, one := range m {
		for i, n := range one.trades[:5*24*60] {
			all = append(all, n)
			if want[i/60%24] {
				in = append(in, n)
			}
		}
	}
	return mean(in) / mean(all)
}

// TestStylisedFacts checks what markets have in common (Cont, Quantitative Finance 1, 2001) on a week of minutes of six
// instruments. Each bound is one that the random walk breaks, except the last: neither has a memory of signs.
func TestStylisedFacts(t *testing.T) {
	testservices.Study(t)
	market, walk := simulated(t, 6), gaussian(6)
	each := func(f func(r []float64) float64) func([]minutes) float64 {
		return func(m []minutes) float64 {
			s := 0.0
			for _, one := range m {
				s += f(one.returns())
			}
			return s / float64(len(m))
		}
	}
	for _, fact := range []struct {
		name        string
		of          func([]minutes) float64
		least, most float64
		shared      bool // also true of the random walk
	}{
		{"kurtosis of minutes (normal 3)", each(kurtosis), 6, 60, false},
		{"autocorrelation of absolute returns, 1 minute", each(func(r []float64) float64 { return autocorrelation(absolute(r), 1) }), 0.15, 0.6, false},
		{"1 hour", each(func(r []float64) float64 { return autocorrelation(absolute(r), 60) }), 0.05, 0.5, false},
		{"4 hours", each(func(r []float64) float64 { return autocorrelation(absolute(r), 240) }), 0.02, 0.4, false},
		{"trades follow absolute returns: correlation", func(m []minutes) float64 {
			s := 0.0
			for _, one := range m {
				s += correlation(absolute(one.returns()), one.trades[1:]) / float64(len(m))
			}
			return s
		}, 0.2, 0.9, false},
		{"trades at the American open and close, share of the mean", func(m []minutes) float64 { return hourShare(m, 13, 14, 19, 20) }, 1.2, 2, false},
		{"trades over the open and close, in between", func(m []minutes) float64 { return hourShare(m, 16, 17) / hourShare(m, 13, 14, 19, 20) }, 0.4, 0.9, false},
		{"correlation of returns, one sector", func(m []minutes) float64 { return correlation(m[0].returns(), m[4].returns()) }, 0.5, 0.85, false},
		{"correlation of returns, two sectors", func(m []minutes) float64 { return correlation(m[0].returns(), m[1].returns()) }, 0.35, 0.75, false},
		{"mean |autocorrelation| of returns, 2 to 20 minutes", each(func(r []float64) float64 {
			s := 0.0
			for lag := 2; lag <= 20; lag++ {
				s += math.Abs(autocorrelation(r, lag)) / 19
			}
			return s
		}), 0, 0.03, true},
	} {
		got, control := fact.of(market), fact.of(walk)
		t.Logf("%-55s %7.3f, random walk %7.3f", fact.name, got, control)
		if got < fact.least || got > fact.most {
			t.Errorf("%s: %.3f, want %v to %v", fact.name, got, fact.least, fact.most)
		}
		if inside := control >= fact.least && control <= fact.most; inside != fact.shared {
			t.Errorf("%s: the random walk has %.3f: the bound tells nothing", fact.name, control)
		}
	}
}

// A week's activity has the mean 1; that of a Saturday's noon is 0.7 of a Friday's.
func TestSeason(t *testing.T) {
	var all []float64
	for second := range schemas.Time(7 * secondsPerDay) {
		all = append(all, season(monday+second*1e9))
	}
	if m := mean(all); math.Abs(m-1) > 1e-6 {
		t.Errorf("the mean of a week is %v, want 1", m)
	}
	noon := 12 * 3600
	if r := all[5*secondsPerDay+noon] / all[4*secondsPerDay+noon]; math.Abs(r-weekend) > 1e-9 {
		t.Errorf("Saturday is %v of Friday, want %v", r, weekend)
	}
}

// The correlation of a pair is that of its loadings, on the mean of some markets, and a break takes it away. Returns are clipped
// at 4 deviations: a single shock of a fat tail would weigh more than all else.
func TestCorrelations(t *testing.T) {
	testservices.Study(t)
	pairs := [][2]int{{0, 1}, {0, 4}, {1, 5}, {2, 3}, {0, 8}, {4, 8}}
	got, want := make([]float64, len(pairs)), make([]float64, len(pairs))
	const seeds = 8
	for seed := range seeds {
		cfg := tradesOnly()
		cfg.Seed, cfg.Instruments, cfg.AnomaliesPerDay, cfg.Rate = uint64(seed), 9, 0, 1
		m := NewMarket(cfg, monday, nil)
		broken := m.items[8]
		broken.decoupled = monday.Add(100 * time.Hour)
		returns, last := make([][]float64, len(m.items)), make([]float64, len(m.items))
		for second := range secondsPerDay {
			if err := m.Second(func(schemas.Topic, schemas.Message) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if second%60 == 0 {
				for i, in := range m.items {
					returns[i], last[i] = append(returns[i], in.to/max(last[i], 1)-1), in.to
				}
			}
		}
		for i, pair := range pairs {
			a, b := m.items[pair[0]], m.items[pair[1]]
			if a != broken && b != broken {
				want[i] += a.market * b.market / seeds
				if a.sectorOf == b.sectorOf {
					want[i] += a.sector * b.sector / seeds
				}
			}
			got[i] += correlation(clipped(returns[pair[0]][1:]), clipped(returns[pair[1]][1:])) / seeds
		}
	}
	for i, pair := range pairs {
		t.Logf("instruments %v: correlation %.2f, loadings give %.2f", pair, got[i], want[i])
		if math.Abs(got[i]-want[i]) > 0.1 {
			t.Errorf("instruments %v: correlation %.2f, want %.2f", pair, got[i], want[i])
		}
	}
}

func clipped(x []float64) []float64 {
	bound := 0.0
	for _, v := range x {
		bound += v * v
	}
	bound = 4 * math.Sqrt(bound/float64(len(x)))
	var out []float64
	for _, v := range x {
		out = append(out, max(-bound, min(bound, v)))
	}
	return out
}
