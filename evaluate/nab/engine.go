package nab

import (
	"fmt"

	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
)

// Times in ns.
const (
	minute = int64(60e9)
	hour   = 60 * minute
	day    = 24 * hour
)

// settings of the engine.
type settings struct {
	window   int64   // length of the sums
	halfLife int64   // of the level
	rate     float64 // alarms a day that the threshold is calibrated to
	quiet    int64   // after an alarm
}

// chosen is the one configuration for all series; the window is that of unusual_volume.
func chosen() settings {
	return settings{window: 15 * minute, halfLife: 2 * day, rate: 1.0 / 7, quiet: day}
}

// Constants that nobody has tuned.
const (
	meanLife   = 28 * day
	smoothing  = 0.05 // of the long mean, added before the logarithm is taken
	leastAdded = 0.5
	clipSigmas = 3
	leastReach = 0.1
	eta        = 0.2
	hours      = 24
	largest    = 20 // of a surprise, in logarithms
)

// A volume is the engine of unusual_volume for one plain series without peers: the logarithm of a sliding sum, less the profile of
// the hour of the day, less an exponentially weighted level that outliers move little; its exponential is the ratio to what was
// expected, and an alarm is a ratio beyond the threshold that hourly maxima of the last 13 weeks pass as rarely as is wanted.
type volume struct {
	settings settings
	level    series.EW
	mean     series.Level
	profile  *season.Profile
	calib    calibration.Leg
	plan     calibration.Plan
	ring     []float64
	n        int
	until    int64
	// What is left of the level and of the long mean after a bar.
	decay, meanDecay float64
}

// newVolume makes the engine for bars of a length in ns.
func newVolume(bar int64, s settings) (*volume, error) {
	if bar <= 0 {
		return nil, fmt.Errorf("length of a bar is %d ns: it must be above zero", bar)
	}
	layout, err := calibration.NewLayout(1, 128)
	if err != nil {
		return nil, err
	}
	v := &volume{
		settings: s, profile: season.NewProfile(hours), ring: make([]float64, max(s.window/bar, 1)),
		plan: calibration.Plan{
			Layout: layout, Population: calibration.Population{Version: 1, Daily: 2.5, Weekly: 4}, Hours: s.rate, Alarms: s.rate, Eta: eta, Reach: 1,
		},
		decay: fixed.Decay(bar, s.halfLife), meanDecay: fixed.Decay(bar, meanLife),
	}
	return v, v.plan.Validate()
}

// step takes the next value and reports whether it raises an alarm. Everything is judged by what was known before.
func (e *volume) step(at int64, value float64) bool {
	e.ring[e.n%len(e.ring)] = value
	e.n++
	sum := 0.0
	for _, x := range e.ring {
		sum += x
	}
	sum /= float64(min(e.n, len(e.ring)))
	x := fixed.Ln(sum + max(float64(smoothing*e.mean.Mean()), leastAdded))
	slot := int(at / hour % hours)
	off := e.profile.Offset(slot)
	surprise := 0.0
	if e.n > 1 {
		surprise = x - off - e.level.Mean()
	}
	ratio := fixed.Exp(min(surprise, largest))
	threshold, _ := e.calib.Threshold()
	alarm := ratio >= threshold && at >= e.until
	if alarm {
		e.until = at + e.settings.quiet
		e.calib.Alarm()
	}
	e.calib.Observe(&e.plan, at, ratio)
	e.profile.Add(slot, season.Hour(at), x-e.level.Mean())
	e.level.AddClipped(e.decay, x-off, clipSigmas, leastReach)
	e.mean.Add(e.meanDecay, value)
	return alarm
}
