package depth

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func capped(levels []float64) float64 {
	sum, largest := 0.0, 0.0
	for _, q := range levels {
		sum, largest = sum+q, max(largest, q)
	}
	return Capped(len(levels), sum, largest, func(i int) float64 { return levels[i] })
}

func even(n int, q float64) []float64 { return slices.Repeat([]float64{q}, n) }

func TestCapped(t *testing.T) {
	for _, c := range []struct {
		name   string
		levels []float64
		want   float64
	}{
		{"none", nil, 0},
		{"nothing", even(300, 0), 0},
		{"even levels", even(300, 2), 600},
		{"a wall of ten times the rest", append(even(300, 1), 3000), 300 + 300.0/19},
		{"two walls", append(even(300, 1), 3000, 500), 300 + 2*300.0/18},
		{"one of few levels", append(even(9, 1), 1000), 1009},
		{"one of a hundred", append(even(99, 1), 1000), 99 + 10*99.0/90},
		{"twenty that are all there is", append(even(20, 5), even(300, 0)...), 100},
	} {
		if got := capped(c.levels); math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The definition: the sum of what each level counts for, none above the limit that follows from that sum.
func TestCappedIsItsOwnLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.Custom(func(t *rapid.T) float64 { return math.Exp2(rapid.Float64Range(-10, 20).Draw(t, "log")) })
		levels := rapid.SliceOfN(level, 1, 400).Draw(t, "levels")
		got := capped(levels)
		limit, sum := got*max(1.0/mostOf, meanTimes/float64(len(levels))), 0.0
		for _, q := range levels {
			sum += min(q, limit)
		}
		if math.Abs(sum-got) > 1e-9*got {
			t.Fatalf("%v: its levels, none above %v, have %v", got, limit, sum)
		}
		factor := rapid.Float64Range(0.01, 100).Draw(t, "factor")
		scaled := slices.Clone(levels)
		for i := range scaled {
			scaled[i] *= factor
		}
		if more := capped(scaled); math.Abs(more-factor*got) > 1e-9*more {
			t.Fatalf("%v of the levels times %v, want %v", more, factor, factor*got)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	levels := append(even(700, 0.2), 500, 500)
	if n := testing.AllocsPerRun(100, func() { _ = capped(levels) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkCapped(b *testing.B) {
	levels := append(even(700, 0.2), 500, 500)
	for b.Loop() {
		_ = capped(levels)
	}
}
