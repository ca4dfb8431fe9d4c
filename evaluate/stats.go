package evaluate

import (
	"math"
	"slices"
	"time"
)

// z95 is the two-sided 95 % point of the normal distribution.
const z95 = 1.959963984540054

// An Interval is an estimate with its 95 % bounds.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Wilson is the share k/n with Wilson's score interval; zero when n is 0.
func Wilson(k, n int) Interval {
	if n == 0 {
		return Interval{}
	}
	p, m := float64(k)/float64(n), float64(n)
	d := 1 + z95*z95/m
	mid := (p + z95*z95/(2*m)) / d
	half := z95 / d * math.Sqrt(p*(1-p)/m+z95*z95/(4*m*m))
	return Interval{Value: p, Low: max(mid-half, 0), High: min(mid+half, 1)}
}

// perDay is a rate of k events in some days with Byar's approximation of the exact Poisson interval. Alarms cluster, so the
// true interval is wider.
func perDay(k int, days float64) Interval {
	if days <= 0 {
		return Interval{}
	}
	n := float64(k)
	cube := func(x float64) float64 { return x * x * x }
	low := 0.0
	if k > 0 {
		low = n * cube(1-1/(9*n)-z95/(3*math.Sqrt(n)))
	}
	high := (n + 1) * cube(1-1/(9*(n+1))+z95/(3*math.Sqrt(n+1)))
	return Interval{Value: n / days, Low: max(low, 0) / days, High: high / days}
}

// Delay is how late alarms came, in minutes; negative is early.
type Delay struct {
	Median float64 `json:"median_min"`
	P90    float64 `json:"p90_min"`
	// All are the single delays, ascending.
	All []float64 `json:"all_min,omitempty"`
}

func delayOf(all []time.Duration) Delay {
	if len(all) == 0 {
		return Delay{}
	}
	minutes := make([]float64, len(all))
	for i, d := range all {
		minutes[i] = d.Minutes()
	}
	slices.Sort(minutes)
	at := func(p float64) float64 { return minutes[int(math.Ceil(p*float64(len(minutes))))-1] }
	return Delay{Median: at(0.5), P90: at(0.9), All: minutes}
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Clone(all)
	slices.Sort(s)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
