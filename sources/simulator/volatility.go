package simulator

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
)

// volatility is the stochastic volatility of one factor: its logarithm is the sum of a fast and a slow mean-reverting walk, so
// that calm and wild times last from minutes to days, and the autocorrelation of absolute returns decays slowly.
type volatility struct {
	random
	fast, slow float64
	level      float64 // multiple of the long-run volatility; mean square 1
}

// The two walks: half-lives of 15 minutes and 8 hours, and their standard deviations.
const (
	fastPull, fastDev = math.Ln2 / (15 * 60), 0.35
	slowPull, slowDev = math.Ln2 / (8 * 3600), 0.45
	logVariance       = fastDev*fastDev + slowDev*slowDev
)

var fastStep, slowStep = fastDev * math.Sqrt(2*fastPull), slowDev * math.Sqrt(2*slowPull)

// flowOf makes the mean of levels 1, as that of their squares is: volume follows volatility.
var flowOf = fixed.Exp(logVariance / 2)

func newVolatility(seed uint64, stream, index int) volatility {
	v := volatility{random: newRandom(seed, stream, index)}
	v.fast, v.slow = float64(fastDev*v.normal()), float64(slowDev*v.normal())
	v.next()
	return v
}

// next moves on by a second.
func (v *volatility) next() {
	v.fast += float64(fastStep*v.normal()) - float64(fastPull*v.fast)
	v.slow += float64(slowStep*v.normal()) - float64(slowPull*v.slow)
	v.level = fixed.Exp(v.fast + v.slow - logVariance)
}

// hours are the shares of activity of the hours of a day, UTC: a U over the American session (13:30 to 20:00), quiet Asian
// mornings, as in markets that never close.
var hours = [24]float64{
	0.95, 0.90, 0.80, 0.75, 0.70, 0.70, 0.80, 0.95, 1.05, 1.05, 0.95, 0.90,
	1.05, 1.70, 1.60, 1.30, 1.15, 1.05, 1.05, 1.35, 1.55, 0.95, 0.85, 0.85,
}

const (
	weekend = 0.7
	// weekMean makes the mean over a week 1.
	weekMean = 24.95 / 24 * (5 + 2*weekend) / 7
)

// season is the activity of a time of the week, of mean 1; the variance of prices follows it too.
func season(at schemas.Time) float64 {
	second := int64(at) / 1e9
	hour, within := second/3600, float64(second%3600)/3600
	a, b := hours[hour%24], hours[(hour+1)%24]
	s := (a + float64((b-a)*within)) / weekMean
	if day := (hour/24 + 3) % 7; day >= 5 { // 1970-01-01 was a Thursday; Monday is 0
		s *= weekend
	}
	return s
}
