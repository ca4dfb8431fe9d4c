package detectors

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
)

// Shares of the parts of the variance, and what is left of them after a minute: 2^(-1/minutes) of their half-lives.
const (
	fastShare, middleShare, slowShare = 0.45, 0.35, 0.20

	fastDecay   = 0.98851402035289614 // 1 hour
	middleDecay = 0.99855698552190264 // 8 hours
	slowDecay   = 0.99983956213529024 // 3 days

	// clipSigmas bounds what one return may do to the baselines.
	clipSigmas = 4
	// leastSigma is the floor of a minute's volatility, to which half a tick is added.
	leastSigma = 1e-5
)

// volatility is the usual size of a minute's return: a mix of three exponentially weighted variances of the return with its
// hour of the week taken out. Only returns before the one that is judged are in it.
type volatility struct {
	fast, middle, slow series.Level
	profile            *season.Profile
	// minutes counts the returns.
	minutes uint64
}

func newVolatility() volatility { return volatility{profile: season.NewProfile(season.HoursOfWeek)} }

// level is the volatility apart from the hour of the week.
func (v *volatility) level() float64 {
	return math.Sqrt(float64(fastShare*v.fast.Mean()) + float64(middleShare*v.middle.Mean()) + float64(slowShare*v.slow.Mean()))
}

// season is the factor of the hour of the week.
func (v *volatility) season(at schemas.Time) float64 {
	return v.profile.Factor(season.HourOfWeek(int64(at)))
}

// sigma is the usual size of a minute's return at a time, never below floor.
func (v *volatility) sigma(at schemas.Time, floor float64) float64 {
	return max(float64(v.level()*v.season(at)), floor)
}

// add takes the return of the minute that starts at at.
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
	v.fast.Add(fastDecay, square)
	v.middle.Add(middleDecay, square)
	v.slow.Add(slowDecay, square)
	v.minutes++
}

// drift is the statistic of a drift burst: the mean return over about five minutes against the size of returns over about 25.
type drift struct{ mean, square series.Level }

const (
	meanDecay   = 0.81873075307798182 // e^(-1/5)
	squareDecay = 0.96078943915232318 // e^(-1/25)
	driftFactor = 3.1622776601683795  // sqrt(10): makes the mean of independent returns a unit normal
	// driftLeast is the weight from which the size of returns is known well enough: 25 minutes.
	driftLeast = 16
)

func (d *drift) add(r float64) {
	d.mean.Add(meanDecay, r)
	d.square.Add(squareDecay, float64(r*r))
}

// known says whether the statistic has seen enough minutes.
func (d *drift) known() bool { return d.square.Weight() >= driftLeast }

// score is 0 until the statistic is known.
func (d *drift) score(floor float64) float64 {
	if !d.known() {
		return 0
	}
	return float64(driftFactor*math.Abs(d.mean.Mean())) / max(math.Sqrt(d.square.Mean()), floor)
}
