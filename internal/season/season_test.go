package season

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlotsAgainstTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64Range(-1e18, 4e18).Draw(t, "at")
		u := time.Unix(0, at).UTC()
		if got, want := HourOfWeek(at), (int(u.Weekday())+6)%7*24+u.Hour(); got != want {
			t.Fatalf("HourOfWeek(%v) = %d, want %d", u, got, want)
		}
	})
}

func feed(p *Profile, rnd *rand.Rand, from, hours int64, spikes bool) {
	for h := from; h < from+hours; h++ {
		for m := range int64(4) {
			at := h*hour + m*15*minute
			s := HourOfWeek(at)
			x := truth(s) * rnd.ExpFloat64()
			if spikes && rnd.IntN(400) == 0 {
				x = 1e5
			}
			p.Add(s, Hour(at), x)
		}
	}
}

func truth(slot int) float64 { return 1 + 0.5*math.Sin(2*math.Pi*float64(slot%24)/24) }

func TestProfileLearnsFactors(t *testing.T) {
	for _, spikes := range []bool{false, true} {
		p := NewProfile(HoursOfWeek)
		if p.Factor(3) != 1 || p.Offset(3) != 0 || p.Center() != 0 {
			t.Fatal("an empty profile is not neutral")
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		feed(p, rnd, 480000, 168*4, false)
		feed(p, rnd, 480000+168*4, 168*26, spikes)
		worst, sum := 0.0, 0.0
		for s := range HoursOfWeek {
			d := math.Abs(p.Factor(s) - truth(s))
			worst, sum = max(worst, d), sum+d
		}
		t.Logf("spikes %v: mean error %.3f, worst %.3f", spikes, sum/HoursOfWeek, worst)
		if sum/HoursOfWeek > 0.25 {
			t.Errorf("spikes %v: factors are off by %v on average", spikes, sum/HoursOfWeek)
		}
	}
}

func TestRestoreContinuesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, n := rapid.Uint64().Draw(t, "seed"), rapid.Int64Range(0, 500).Draw(t, "hours")
		p, again := NewProfile(HoursOfWeek), NewProfile(HoursOfWeek)
		feed(p, rand.New(rand.NewPCG(seed, 0)), 480000, n, true)
		state := p.AppendState(nil)
		if len(state) > 168*5+60 {
			t.Fatalf("state of %d bytes", len(state))
		}
		if rest, err := again.RestoreState(state); err != nil || len(rest) != 0 {
			t.Fatal(err, rest)
		}
		feed(p, rand.New(rand.NewPCG(seed, 1)), 480000+n, 30, true)
		feed(again, rand.New(rand.NewPCG(seed, 1)), 480000+n, 30, true)
		if !bytes.Equal(p.AppendState(nil), again.AppendState(nil)) {
			t.Fatal("the restored profile goes on differently")
		}
	})
}

func TestNoAllocations(t *testing.T) {
	p, at := NewProfile(HoursOfWeek), int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		at += 20 * minute
		p.Add(HourOfWeek(at), Hour(at), 1.5)
		_ = p.Factor(5)
	}); n != 0 {
		t.Errorf("%v allocations per update, want 0", n)
	}
}

func FuzzRestoreState(f *testing.F) {
	p := NewProfile(12)
	f.Add(p.AppendState(nil))
	p.Add(3, 1, 1)
	p.Add(4, 2, 1)
	f.Add(p.AppendState(nil))
	f.Fuzz(func(_ *testing.T, b []byte) {
		p := NewProfile(12)
		if _, err := p.RestoreState(b); err == nil {
			p.Add(1, 1, 1)
			p.Add(2, 2, 1)
			_ = p.Factor(1)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	p, at := NewProfile(HoursOfWeek), int64(0)
	for b.Loop() {
		at += minute
		p.Add(HourOfWeek(at), Hour(at), 1.5)
	}
}
