package calibration

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func plan(t testing.TB) *Plan {
	t.Helper()
	l, err := NewLayout(0.5, 64)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{Layout: l, Population: Population{Version: 1, Daily: 4, Weekly: 6}, Hours: 1, Alarms: 1, Eta: 0.2, Reach: 1}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCells(t *testing.T) {
	l := plan(t).Layout
	for i := 1; i < Cells; i++ {
		if e := l.edges[i]; l.Cell(e) != i || l.Cell(math.Nextafter(e, 0)) != i-1 {
			t.Fatalf("edge %d = %v falls into cells %d and %d", i, e, l.Cell(e), l.Cell(math.Nextafter(e, 0)))
		}
	}
	if l.Cell(math.NaN()) != 0 || l.Cell(-1) != 0 || l.Cell(1e99) != Cells-1 {
		t.Error("odd values fall into wrong cells")
	}
	for _, c := range [][2]float64{{0, 1}, {1, 1}, {1, math.Inf(1)}, {math.NaN(), 1}} {
		if _, err := NewLayout(c[0], c[1]); err == nil {
			t.Errorf("NewLayout(%v, %v) is accepted", c[0], c[1])
		}
	}
}

func TestMergeAndSubtract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (c Counts) {
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, Cells-1), 0, 50).Draw(t, name) {
				c[i]++
			}
			return c
		}
		a, b := draw("a"), draw("b")
		ab, ba := a, b
		ab.Merge(&b)
		ba.Merge(&a)
		if ab != ba || ab.Total() != a.Total()+b.Total() {
			t.Fatal("merging depends on order")
		}
		if ab.Subtract(&b); ab != a {
			t.Fatal("subtracting does not undo merging")
		}
	})
}

func TestRingForgetsAfterThirteenWeeks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Ring
		type entry struct {
			week int64
			cell int
		}
		var all []entry
		week := rapid.Int64Range(1, 3000).Draw(t, "start")
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			week += rapid.SampledFrom([]int64{0, 0, 1, 2, 15}).Draw(t, "step")
			r.Advance(week)
			c := rapid.IntRange(0, Cells-1).Draw(t, "cell")
			r.Add(c)
			all = append(all, entry{week, c})
		}
		var want Counts
		for _, e := range all {
			if e.week > week-Weeks {
				want[e.cell]++
			}
		}
		if *r.Sum() != want {
			t.Fatalf("sum %v, want %v", *r.Sum(), want)
		}
		var again Ring
		if rest, err := again.RestoreState(r.AppendState(nil)); err != nil || len(rest) != 0 || again != r {
			t.Fatalf("restore gives another ring: %v", err)
		}
	})
}

// TestQuantileAndReturn compares with order statistics of an exponential sample, and the tail with the law it was drawn from.
func TestQuantileAndReturn(t *testing.T) {
	l := plan(t).Layout
	rnd := rand.New(rand.NewPCG(1, 1))
	var c Counts
	var xs []float64
	for range 2184 {
		x := 1 + rnd.ExpFloat64()
		xs = append(xs, x)
		c[l.Cell(x)]++
	}
	slices.Sort(xs)
	for _, p := range []float64{0.1, 0.5, 0.9, 1 - 1.0/24, 1 - 1.0/168} {
		want := xs[int(p*float64(len(xs)))]
		if got := c.Quantile(l, p); math.Abs(got/want-1) > 0.05 {
			t.Errorf("quantile %v = %v, want %v within 5 %%", p, got, want)
		}
	}
	for _, v := range []float64{1.5, 3, 5, 9, 12} {
		got, want := c.Exceedance(l, v), math.Exp(1-v)
		if r := got / want; r < 0.4 || r > 2.5 {
			t.Errorf("P(score >= %v) = %v, the law has %v", v, got, want)
		}
	}
	last := 1.0
	for v := 0.0; v < 100; v += 0.01 {
		p := c.Exceedance(l, v)
		if !(p <= last && p >= 0) {
			t.Fatalf("P(score >= %v) = %v rises above %v", v, p, last)
		}
		last = p
	}
}

func drive(p *Plan, g *Leg, rnd *rand.Rand, from, hours int64, scale float64) (alarms int) {
	for h := from; h < from+hours; h++ {
		s := scale * (1 + rnd.ExpFloat64())
		if thr, _ := g.Threshold(); s >= thr {
			alarms++
			g.Alarm()
		}
		g.Observe(p, h*hour+7, s)
	}
	return alarms
}

func TestWarmUp(t *testing.T) {
	p, rnd := plan(t), rand.New(rand.NewPCG(2, 2))
	p.Eta = 0
	var g Leg
	drive(p, &g, rnd, 480000, 24, 1)
	if thr, from := g.Threshold(); !math.IsInf(thr, 1) || from != Cold || g.Calibrated() || g.ReturnDays(p, 9) != 0 {
		t.Errorf("after a day: threshold %v from %v", thr, from)
	}
	drive(p, &g, rnd, 480024, 24*9, 1)
	if thr, from := g.Threshold(); from != Shrunk || thr < 3.5 || thr > 5 {
		t.Errorf("after ten days: threshold %v from %v, want about 4 from the population", thr, from)
	}
	drive(p, &g, rnd, 480240, 24*90, 1)
	want := 1 + math.Log(24) // the law's own daily level
	if thr, from := g.Threshold(); from != Own || math.Abs(thr/want-1) > 0.15 {
		t.Errorf("after 100 days: threshold %v from %v, want %v", thr, from, want)
	}
	if r := g.ReturnDays(p, want); r < 0.7 || r > 1.4 {
		t.Errorf("return period of the daily level = %v days", r)
	}
	if r := g.ReturnDays(p, want+math.Log(7)); r < 3.5 || r > 14 {
		t.Errorf("return period of the weekly level = %v days", r)
	}
}

// TestTrackerHoldsTheRate: after scores grow by a fifth the adaptive threshold keeps the rate near one a day, within the clamp.
func TestTrackerHoldsTheRate(t *testing.T) {
	p, rnd := plan(t), rand.New(rand.NewPCG(3, 3))
	var g Leg
	drive(p, &g, rnd, 480000, 24*91, 1)
	alarms := drive(p, &g, rnd, 480000+24*91, 24*60, 1.2)
	if rate := float64(alarms) / 60; rate < 0.75 || rate > 1.35 {
		t.Errorf("%v alarms a day after the shift, want about 1", rate)
	}
	drive(p, &g, rnd, 480000+24*151, 24*30, 1000)
	if g.current > clampHigh*g.base*1.000001 || g.current < clampLow*g.base*0.999999 {
		t.Errorf("threshold %v has left the clamp around %v", g.current, g.base)
	}
}

// Scores that come in runs of six hours make a sixth of the alarms that their hours beyond the threshold would: the tracker counts alarms,
// so a budget of hours that is six times that of alarms keeps it, and one that is alike is steered to it as far as the clamp lets it.
func TestTrackerCountsAlarmsNotHours(t *testing.T) {
	run := func(hours float64, excused bool) float64 {
		p, rnd := plan(t), rand.New(rand.NewPCG(4, 4))
		p.Hours = hours
		var g Leg
		alarms, fired, s := 0, false, 0.0
		const warm, days = 91 * 24, 120
		for h := range int64(warm + days*24) {
			if h%6 == 0 {
				s, fired = 1+rnd.ExpFloat64(), false
			}
			if thr, _ := g.Threshold(); s >= thr && !fired {
				fired = true
				g.Alarm()
				if h >= warm {
					alarms++
				}
			}
			g.Observe(p, (480000+h)*hour, s)
			if excused && h%2 == 0 {
				g.Excuse()
			}
		}
		return float64(alarms) / days
	}
	uncharged := func(byHours bool) *Leg {
		p, rnd := plan(t), rand.New(rand.NewPCG(5, 5))
		p.ByHours = byHours
		var g Leg
		for h := range int64(120 * 24) {
			g.Observe(p, (480000+h)*hour, 1+rnd.ExpFloat64())
		}
		return &g
	}
	if rate := run(6, false); rate < 0.85 || rate > 1.15 {
		t.Errorf("six hours an alarm: %.2f alarms a day, want about 1", rate)
	}
	if low, _ := uncharged(false).Threshold(); low > 0.75*4 {
		t.Errorf("without an alarm in a month the threshold is %.2f, want 0.7 of about 4", low)
	}
	if high, _ := uncharged(true).Threshold(); high < 0.85*4 {
		t.Errorf("with hours counted it is %.2f, want about 4", high)
	}
	if rate := run(6, true); rate < 0.4 || rate > 0.65 {
		t.Errorf("half of the hours excused: %.2f alarms a day, want about a half", rate)
	}
	if rate := run(1, false); rate < 0.25 || rate > 0.8 {
		t.Errorf("an hour an alarm: %.2f alarms a day, want more than the sixth of the fixed threshold, as far as the clamp goes", rate)
	}
}

func TestRestoreContinuesAlike(t *testing.T) {
	p := plan(t)
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		n := rapid.Int64Range(0, 24*120).Draw(t, "hours")
		var g, again Leg
		drive(p, &g, rand.New(rand.NewPCG(seed, 0)), 480000, n, 1)
		state := g.AppendState(nil)
		if len(state) > 600 {
			t.Fatalf("state of %d bytes", len(state))
		}
		if rest, err := again.RestoreState(state); err != nil || len(rest) != 0 {
			t.Fatal(err, rest)
		}
		drive(p, &g, rand.New(rand.NewPCG(seed, 1)), 480000+n, 200, 1)
		drive(p, &again, rand.New(rand.NewPCG(seed, 1)), 480000+n, 200, 1)
		if !bytes.Equal(g.AppendState(nil), again.AppendState(nil)) {
			t.Fatal("the restored leg goes on differently")
		}
	})
}

func TestRingKeepsEveryCell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r, again Ring
		r.Advance(2800)
		for range rapid.IntRange(0, 30).Draw(t, "cells") {
			cell, count := rapid.IntRange(0, Cells-1).Draw(t, "cell"), rapid.Uint32Range(1, 100_000).Draw(t, "count")
			s := &r.slots[rapid.IntRange(0, Weeks-1).Draw(t, "week")]
			r.sum[cell] += count - s[cell]
			s[cell] = count
		}
		if rest, err := again.RestoreState(r.AppendState(nil)); err != nil || len(rest) != 0 || again != r {
			t.Fatalf("restored %v, %d bytes left, error %v", again, len(rest), err)
		}
	})
}

func TestInterruptDropsTheHour(t *testing.T) {
	p := plan(t)
	var g Leg
	g.Observe(p, 480000*hour, 5)
	g.Interrupt()
	g.Advance(p, 480001*hour)
	if g.ring.sum.Total() != 0 {
		t.Error("an interrupted hour was counted")
	}
}

func TestValidate(t *testing.T) {
	for _, bad := range []func(*Plan){
		func(p *Plan) { p.Layout = nil }, func(p *Plan) { p.Hours = 0 }, func(p *Plan) { p.Hours = 24 }, func(p *Plan) { p.Alarms = 0 },
		func(p *Plan) { p.Reach = 0 }, func(p *Plan) { p.Reach = 1.1 }, func(p *Plan) { p.Eta = -1 }, func(p *Plan) { p.Eta = math.NaN() }, func(p *Plan) { p.Population.Weekly = 1 },
	} {
		p := plan(t)
		if bad(p); p.Validate() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := plan(t)
	var g Leg
	at := 480000 * hour
	if n := testing.AllocsPerRun(5000, func() {
		at += hour / 4
		g.Observe(p, at, float64(at>>30%97)/10)
		g.ReturnDays(p, 5)
	}); n != 0 {
		t.Errorf("%v allocations per update, want 0", n)
	}
}

func FuzzRestoreState(f *testing.F) {
	p := plan(f)
	var g Leg
	f.Add(g.AppendState(nil))
	drive(p, &g, rand.New(rand.NewPCG(9, 9)), 480000, 24*30, 1)
	f.Add(g.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g, again Leg
		if _, err := g.RestoreState(b); err != nil {
			return
		}
		if _, err := again.RestoreState(g.AppendState(nil)); err != nil || again != g {
			t.Fatalf("restored state does not round-trip: %v", err)
		}
		g.Observe(p, 480000*hour, 3)
		g.Observe(p, 490000*hour, 3)
		g.ReturnDays(p, 3)
	})
}

func BenchmarkObserve(b *testing.B) {
	p := plan(b)
	var g Leg
	at := 480000 * hour
	for b.Loop() {
		at += hour / 60
		g.Observe(p, at, float64(at>>33&63)/10)
	}
}

func BenchmarkReturnDays(b *testing.B) {
	p := plan(b)
	var g Leg
	drive(p, &g, rand.New(rand.NewPCG(9, 9)), 480000, 24*91, 1)
	for b.Loop() {
		g.ReturnDays(p, 5)
	}
}

// A quantile beyond the sample ends for every sample size: want < 1 used to come back as 1 - 1/n, which rounds below one sample.
func TestQuantileBeyondTheSampleEnds(t *testing.T) {
	l, err := NewLayout(1, 128)
	if err != nil {
		t.Fatal(err)
	}
	var c Counts
	last := 0.0
	for n := 1; n < 3000; n++ {
		c[l.Cell(float64(1+n%40))]++
		q := c.Quantile(l, 1-1e-4/float64(n))
		if !(q >= c.Quantile(l, 0.5)) || math.IsInf(q, 0) {
			t.Fatalf("%d samples: quantile %v after %v", n, q, last)
		}
		last = q
	}
}
