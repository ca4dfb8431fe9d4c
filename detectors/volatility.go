package detectors

import (
	"math"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
)

// Shares of the parts of the variance.
const (
	fastShare, middleShare, slowShare = 0.45, 0.35, 0.20

	// clipSigmas bounds what one return may do to the baselines.
	clipSigmas = 4
	// leastSigma is the floor of a minute's volatility, to which half a tick is added.
	leastSigma = 1e-5
)

// fading is what is left of the three parts after a bar.
type fading [3]float64

// fadingOf is the fading of bars of a length: half-lives of an hour, 8 hours and 3 days.
func fadingOf(bar time.Duration) fading {
	var f fading
	for i, halfLife := range [...]time.Duration{time.Hour, 8 * time.Hour, 72 * time.Hour} {
		f[i] = fixed.Decay(int64(bar), int64(halfLife))
	}
	return f
}

// volatility is the usual size of a bar's return: a mix of three exponentially weighted variances of the return with its
// hour of the week taken out. Only returns before the one that is judged are in it.
type volatility struct {
	fast, middle, slow series.Level
	fading             fading
	profile            *season.Profile
	// minutes counts the returns, of a minute each where price_anomaly keeps them.
	minutes uint64
}

func newVolatility() volatility {
	return volatility{fading: fadingOf(time.Minute), profile: season.NewProfile(season.HoursOfWeek)}
}

// level is the volatility apart from the hour of the week.
func (v *volatility) level() float64 {
	return math.Sqrt(float64(fastShare*v.fast.Mean()) + float64(middleShare*v.middle.Mean()) + float64(slowShare*v.slow.Mean()))
}

// season is the factor of the hour of the week.
func (v *volatility) season(at schemas.Time) float64 {
	return v.profile.Factor(season.HourOfWeek(int64(at)))
}

// sigma is the usual size of a bar's return at a time, never below floor.
func (v *volatility) sigma(at schemas.Time, floor float64) float64 {
	return max(float64(v.level()*v.season(at)), floor)
}

// add takes the return of the bar that starts at at.
func (v *volatility) add(at schemas.Time, r, floor float64) {
	factor, level := v.season(at), v.level()
	size := math.Abs(r)
	if v.minutes > 0 {
		size = min(size, float64(clipSigmas*max(float64(level*factor), floor)))
	}
	if level > 0 {
		v.profile.Add(season.HourOfWeek(int64(at)), season.Hour(int64(at)), min(size/level, clipSigmas))
	}
	size /= factor
	square := float64(size * size)
	v.fast.Add(v.fading[0], square)
	v.middle.Add(v.fading[1], square)
	v.slow.Add(v.fading[2], square)
	v.minutes++
}
