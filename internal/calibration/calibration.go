package calibration

import (
	"fmt"
	"math"

	"github.com/tapewatch/tapewatch/internal/fixed"
)

// Event time is in ns since the epoch.
const (
	hour = int64(3600e9)
	day  = 24 * hour
	week = 7 * day
)

// Warm-up, in days of observed hours.
const (
	coldDays   = 2  // below: knob only
	ownDays    = 28 // from here: the key's own histogram alone
	priorDays  = 14 // weight of the population: n/(n + 14) is the key's
	hoursOfDay = 24
)

// Bounds of the factor that the tracker puts on the histogram's threshold, and their logarithms.
const (
	clampLow, clampHigh     = 0.7, 1.5
	lowestStep, highestStep = -0.35667494393873245, 0.4054651081081644
)

// A Population is the prior of a leg: versioned constants measured on many keys, never learned live, or one key's alarms would
// depend on another's records. Between and beyond the two points the log of the return period is linear in the score.
type Population struct {
	Version int     // raised whenever the numbers change; goes into the evidence
	Daily   float64 // score that is reached once a day
	Weekly  float64 // score that is reached once a week, above Daily
}

func (p Population) returnDays(score float64) float64 {
	return fixed.Exp(float64((score - p.Daily) / (p.Weekly - p.Daily) * ln7))
}

func (p Population) threshold(days float64) float64 {
	return math.Max(p.Daily+float64((p.Weekly-p.Daily)*(fixed.Ln(days)/ln7)), p.Daily/8)
}

const ln7 = 1.9459101490553132

// A Plan is what calibrations of one leg share; it comes from constants and configuration and is not part of the state.
type Plan struct {
	Layout     *Layout
	Population Population
	// Hours are the wanted hours a day whose maximum reaches the threshold, 0 < Hours < 24: where the histogram puts it.
	Hours float64
	// Alarms are the wanted alarms a day of the key, which the tracker steers to: hours in a row make one alarm, and so do legs that
	// fire together. Above 0.
	Alarms float64
	Eta    float64 // step of the tracker per alarm, usually 0.1 to 0.3; 0 switches it off
	// Reach is the power of the tracker's factor that moves this leg's threshold, 0 < Reach <= 1: what is 1.8 times as high once a week
	// as once a day needs longer steps than what is 1.25 times, and legs that are charged together are to become rarer alike.
	Reach float64
	// ByHours says that the tracker counts hours beyond the threshold instead of alarms: for scores of slow sums that several episodes share.
	ByHours bool
}

// Validate checks the plan.
func (p *Plan) Validate() error {
	switch {
	case p.Layout == nil:
		return fmt.Errorf("checking calibration plan: layout %v: must be set", p.Layout)
	case !(p.Hours > 0 && p.Hours < hoursOfDay):
		return fmt.Errorf("checking calibration plan: hours %v: must be above 0 and below 24 a day", p.Hours)
	case !(p.Alarms > 0) || math.IsInf(p.Alarms, 1):
		return fmt.Errorf("checking calibration plan: alarms %v: must be above 0 a day", p.Alarms)
	case !(p.Eta >= 0 && p.Eta <= 1):
		return fmt.Errorf("checking calibration plan: eta %v: must be 0..1", p.Eta)
	case !(p.Reach > 0 && p.Reach <= 1):
		return fmt.Errorf("checking calibration plan: reach %v: must be above 0, at most 1", p.Reach)
	case !(p.Population.Daily > 0 && p.Population.Weekly > p.Population.Daily):
		return fmt.Errorf("checking calibration plan: population %+v: must have 0 < daily < weekly", p.Population)
	}
	return nil
}

// An Origin says where a threshold comes from.
type Origin uint8

// Origins: a cold key has no threshold of its own, only the knob.
const (
	Cold     Origin = iota // under 2 days of data
	Shrunk                 // 2 to 28 days: population and own, weight n/(n + 14 days)
	Own                    // the key's histogram
	Adaptive               // the histogram's, moved by the tracker
)

// String returns the name used in evidence.
func (o Origin) String() string {
	if o > Adaptive {
		return "unknown"
	}
	return [...]string{"knob", "population", "histogram", "aci"}[o]
}

// A Leg calibrates one score of one key: it collects hourly maxima and gives a threshold and return periods. The zero value is
// empty; every method takes the same plan each time. It is not safe for concurrent use.
type Leg struct {
	ring    Ring
	hour    int64   // hour since the epoch that is being collected
	day     int64   // day of the last recomputation
	open    bool    // the hour has a score
	excused bool    // the key could raise no alarm of its own in the hour
	alarms  uint32  // raised in the hour
	highest float64 // score of the hour
	base    float64 // threshold at the last midnight; 0 when cold
	moved   float64 // logarithm of the tracker's factor
	current float64 // base times the factor to the power of the reach
}

// Observe takes a score at an event time, ns. When the hour has changed, the finished hour's maximum enters the histogram, its alarms
// the tracker; when the day has changed, the threshold is recomputed. Call it after Threshold and ReturnDays have judged the score.
func (g *Leg) Observe(p *Plan, at int64, score float64) {
	g.Advance(p, at)
	if score != score {
		return
	}
	if !g.open || score > g.highest {
		g.highest = score
	}
	g.open = true
}

// Advance moves event time without a score, as a Tick does.
func (g *Leg) Advance(p *Plan, at int64) {
	h := floorDiv(at, hour)
	if h <= g.hour {
		return
	}
	if g.open {
		g.ring.Advance(floorDiv(g.hour, 7*hoursOfDay))
		g.ring.Add(p.Layout.Cell(g.highest))
	}
	g.track(p)
	g.hour, g.open, g.highest, g.excused, g.alarms = h, false, 0, false, 0
	if d := floorDiv(at, day); d > g.day {
		g.day = d
		g.ring.Advance(floorDiv(at, week))
		g.recompute(p)
	}
}

// Interrupt forgets the hour that is being collected: a gap made it incomplete.
func (g *Leg) Interrupt() { g.open, g.highest = false, 0 }

// Alarm charges the hour with an alarm of the key.
func (g *Leg) Alarm() { g.alarms++ }

// Excuse takes the hour out of the time in which the key may raise alarms: another one speaks for it.
func (g *Leg) Excuse() { g.excused = true }

// track is the adaptive-conformal step, ln factor += eta (alarms - budget x dt), one hour at a time. It counts what was raised and not what
// was beyond the threshold: the budget is kept whatever makes the one of the other.
func (g *Leg) track(p *Plan) {
	if g.base == 0 || p.Eta == 0 {
		return
	}
	over := float64(g.alarms)
	if p.ByHours && g.open && g.highest >= g.current {
		over = 1
	}
	if g.open && !g.excused {
		over -= p.Alarms / hoursOfDay
	}
	g.moved = min(max(g.moved+float64(p.Eta*over), lowestStep), highestStep)
	g.move(p)
}

// move puts the threshold where the tracker wants it.
func (g *Leg) move(p *Plan) {
	g.current = g.base
	if g.moved != 0 {
		g.current *= fixed.Exp(float64(p.Reach * g.moved))
	}
}

func (g *Leg) recompute(p *Plan) {
	n := g.Days()
	if n < coldDays {
		g.base, g.moved, g.current = 0, 0, 0
		return
	}
	base := g.ring.sum.Quantile(p.Layout, 1-p.Hours/hoursOfDay)
	if n < ownDays {
		base = blend(n, base, p.Population.threshold(1/p.Hours))
	}
	g.base = max(base, p.Layout.edges[1])
	g.move(p)
}

// blend is the geometric mean of the key's own and the population's value, weight n/(n + 14) on the own.
func blend(n, own, population float64) float64 {
	w := n / (n + priorDays)
	return fixed.Exp(float64(w*fixed.Ln(max(own, 1e-300))) + float64((1-w)*fixed.Ln(population)))
}

// Days returns the sample size in days of observed hours.
func (g *Leg) Days() float64 { return float64(g.ring.sum.Total()) / hoursOfDay }

// Threshold returns the threshold in force and where it comes from; +Inf while the key is cold.
func (g *Leg) Threshold() (threshold float64, from Origin) {
	switch {
	case g.base == 0:
		return math.Inf(1), Cold
	case g.moved != 0:
		return g.current, Adaptive
	case g.Days() < ownDays:
		return g.current, Shrunk
	}
	return g.current, Own
}

// Calibrated reports whether the key has left its cold phase.
func (g *Leg) Calibrated() bool { return g.base != 0 }

// ReturnDays returns R, the mean time between hours whose maximum reaches the score: 1/(24 P(hourly max >= score)), in days; 0
// while the key is cold. The tracker does not enter: it moves the threshold, not the rarity.
func (g *Leg) ReturnDays(p *Plan, score float64) float64 {
	if g.base == 0 {
		return 0
	}
	own := 1 / max(float64(hoursOfDay*g.ring.sum.Exceedance(p.Layout, score)), 1e-12)
	if n := g.Days(); n < ownDays {
		return blend(n, own, max(p.Population.returnDays(score), 1e-12))
	}
	return own
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
