package har

import (
	"math"
	"math/rand/v2"
	"testing"
)

// One bar ahead, Learn and Follow together are Add, but for the last bits of a clip.
func TestLearnAndFollowAreAdd(t *testing.T) {
	s := NewSteps(15 * minute)
	rnd := rand.New(rand.NewPCG(3, 3))
	var one, two Model
	x := 0.0
	for i := range 3000 {
		x += rnd.NormFloat64() - 0.1*x
		past := two.Past()
		f := two.ForecastFrom(&past)
		want := one.Add(s, x, 1.5)
		got := two.Learn(s, &past, x, 1.5)
		two.Follow(s, x, f, 3)
		if math.Abs(got-want) > 1e-9 {
			t.Fatalf("value %d: residual %v, Add gives %v", i, got, want)
		}
		for h := range Horizons {
			if math.Abs(one.Level(h)-two.Level(h)) > 1e-9 {
				t.Fatalf("value %d: level %d is %v, Add gives %v", i, h, two.Level(h), one.Level(h))
			}
		}
	}
}

// Further ahead, the weights learn what the levels are worth at that distance: a series that forgets in 20 bars is foreseen as
// its mean 200 bars later.
func TestForecastFarAhead(t *testing.T) {
	s := NewSteps(minute)
	rnd := rand.New(rand.NewPCG(4, 4))
	var m Model
	var pasts []Past
	x, own, last := 0.0, 0.0, 0.0
	var xs []float64
	for i := range 60000 {
		x += 0.3*rnd.NormFloat64() - 0.05*x
		xs = append(xs, x)
		if i >= 200 {
			r := m.Learn(s, &pasts[i-200], x, 5)
			if i > 20000 {
				own += r * r
				last += (x - xs[i-200]) * (x - xs[i-200])
			}
		}
		m.Follow(s, x, x, 5)
		pasts = append(pasts, m.Past())
	}
	if own > 0.6*last {
		t.Errorf("squared errors 200 bars ahead %v, of the value itself %v: want well below", own, last)
	}
}
