package evaluate

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Kinds of injection.
const (
	kindJump  = "jump"  // every price is shifted from one minute to the next
	kindRamp  = "ramp"  // the shift is reached over ten minutes
	kindBurst = "burst" // volume of (k-1) times the mean of the last 24 hours is added to every minute
)

const (
	rampMinutes = 10
	// priceWindow is how long after its onset a shift counts as found. Shifts last longer, so what becomes of the price later
	// plays no part.
	priceWindow = 20 * time.Minute
	// spacing of positions: a day and an hour each, the position at random within the hour, so that two are a day apart at
	// least and every hour of the day has its share.
	spacing = 25 * time.Hour
)

// A grade is one kind and size of injection.
type grade struct {
	kind string
	// size is a shift in percent, or the factor of a burst.
	size   float64
	length time.Duration
}

func (g grade) String() string {
	unit := " %"
	if g.kind == kindBurst {
		unit = "x"
	}
	return g.kind + " " + strconv.FormatFloat(g.size, 'g', 4, 64) + unit
}

// window is how long after the onset an alarm counts as finding it.
func (g grade) window() time.Duration {
	if g.kind == kindBurst {
		return g.length
	}
	return priceWindow
}

func gradesFor(price bool, o Options) []grade {
	var out []grade
	if !price {
		for _, k := range o.Bursts {
			out = append(out, grade{kindBurst, k, o.Burst})
		}
		return out
	}
	for _, s := range o.Jumps {
		out = append(out, grade{kindJump, s, priceWindow})
	}
	for _, s := range o.Ramps {
		out = append(out, grade{kindRamp, s, priceWindow})
	}
	return out
}

// perturb returns the candle of the i-th minute of an injection. sign is that of a shift, mean the mean volume of a minute over
// the last 24 hours.
func (g grade) perturb(c candle, i int, sign, mean float64) candle {
	switch g.kind {
	case kindBurst:
		if i < int(g.length/time.Minute) {
			c.volume += (g.size - 1) * mean
		}
		return c
	case kindRamp:
		sign *= min(float64(i+1)/rampMinutes, 1)
	}
	f := 1 + sign*g.size/100
	c.open *= f
	c.high *= f
	c.low *= f
	c.close *= f
	if g.kind == kindRamp && i < rampMinutes {
		c.open = 0
	}
	return c
}

// positions are the minutes of a range at which a member is perturbed, seeded by the symbol; multiples of align.
func positions(seed uint64, symbol string, r Range, align time.Duration) []position {
	h := seed
	for _, b := range []byte(symbol) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	random := rand.New(rand.NewPCG(h, 0x9e3779b97f4a7c15))
	var out []position
	for slot := r.From; slot.Add(spacing) <= r.To; slot = slot.Add(spacing) {
		at := slot.Add(time.Duration(random.Int64N(int64(time.Hour)))).Floor(align)
		sign := float64(1 - 2*random.IntN(2))
		out = append(out, position{at, sign})
	}
	return out
}

// A position is where an injection begins.
type position struct {
	at   schemas.Time
	sign float64
}

// tally counts what became of the injections of one grade.
type tally struct {
	found, busy, n int
	delays         []time.Duration
	tries          []try
	// all are the tries of a rule, busy ones among them.
	all []try
}

// A try is one injection: mean is the volume of a minute that it was measured by, said what was heard of it, and alarm what of that found
// it, nil for nothing.
type try struct {
	position
	mean  float64
	said  []notice
	alarm *notice
}

// take counts a try, which is found by the first of what was said that reaches a cut.
func (t *tally) take(one try, reaches func(n notice) bool) {
	t.n++
	one.alarm = nil
	if i := slices.IndexFunc(one.said, reaches); i >= 0 {
		one.alarm = &one.said[i]
		t.found++
		t.delays = append(t.delays, one.alarm.at.Sub(one.at))
	}
	t.tries = append(t.tries, one)
}

// dayMean is the mean volume of a minute over the last 24 hours.
type dayMean struct {
	ring [24 * 60]float64
	n    int
	sum  float64
}

func (d *dayMean) add(v float64) {
	i := d.n % len(d.ring)
	d.sum += v - d.ring[i]
	d.ring[i] = v
	d.n++
	if i == 0 {
		// Summed anew once a round, so that rounding does not pile up.
		d.sum = 0
		for _, x := range &d.ring {
			d.sum += x
		}
	}
}

func (d *dayMean) mean() float64 { return d.sum / float64(max(min(d.n, len(d.ring)), 1)) }
