package sheet

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A scale maps values onto a stretch of the drawing.
type scale struct {
	low, high, from, to float64
	log                 bool
}

func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	if high <= low {
		return (s.from + s.to) / 2
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

// ticks are round values within the scale, about n of them.
func (s scale) ticks(n int) []float64 {
	if s.log {
		return s.powers()
	}
	if !(s.high > s.low) {
		return []float64{s.low}
	}
	step := roundUp((s.high - s.low) / float64(n))
	var out []float64
	for k := math.Ceil(s.low/step - 1e-9); k*step <= s.high+step*1e-9; k++ {
		out = append(out, k*step+0) // no -0
	}
	return out
}

// powers are the ticks of a logarithmic scale: 1, 2 and 5 in every decade.
func (s scale) powers() []float64 {
	var out []float64
	for e := math.Floor(math.Log10(s.low)); e <= math.Ceil(math.Log10(s.high)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= s.low*(1-1e-9) && v <= s.high*(1+1e-9) {
				out = append(out, v)
			}
		}
	}
	if len(out) > 8 {
		out = slices.DeleteFunc(out, func(v float64) bool { return math.Abs(math.Log10(v)-math.Round(math.Log10(v))) > 1e-9 })
	}
	return out
}

// roundUp is the next of 1, 2, 2.5, 5 times a power of ten.
func roundUp(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*p >= v*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// reach is a linear scale that has room for all values.
func reach(from, to, low, high float64) scale {
	if high <= low {
		pad := max(math.Abs(low)*0.01, 1e-9)
		low, high = low-pad, high+pad
	}
	return scale{low: low, high: high, from: from, to: to}
}

// number prints a tick: four digits at most, thousands as k and millions as M.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case a >= 1e5:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	case a >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// A moment is a tick of a time axis.
type moment struct {
	at   schemas.Time
	text string
}

// steps of time axes and candles.
var steps = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour,
}

// Step is the least round length of which at most n lie in a stretch of time, a week at most.
func Step(stretch time.Duration, n int) time.Duration {
	for _, s := range steps {
		if stretch <= time.Duration(n)*s {
			return s
		}
	}
	return steps[len(steps)-1]
}

// moments are the ticks between two times: round hours or days, or the beginnings of months.
func moments(from, to schemas.Time) []moment {
	const most = 5
	var out []moment
	if span := to.Sub(from); span < 60*24*time.Hour {
		step := Step(span, most)
		layout := "15:04"
		switch {
		case step >= 24*time.Hour:
			layout = "2 Jan"
		case step < time.Minute:
			layout = "15:04:05"
		case span >= 24*time.Hour:
			layout = "2 Jan 15:04"
		}
		for at := from.Add(step - 1).Floor(step); at <= to; at = at.Add(step) {
			out = append(out, moment{at, at.UTC().Format(layout)})
		}
		return out
	}
	months := 1
	for _, months = range []int{1, 2, 3, 6, 12, 24, 60, 120} {
		if to.Sub(from) <= time.Duration(most*months)*30*24*time.Hour {
			break
		}
	}
	first := from.UTC()
	for m := time.Date(first.Year(), time.January, 1, 0, 0, 0, 0, time.UTC); ; m = m.AddDate(0, months, 0) {
		at := schemas.Time(m.UnixNano())
		if at > to {
			return out
		}
		if at >= from {
			out = append(out, moment{at, m.Format("Jan 2006")})
		}
	}
}
