package detectors

import (
	"math"
	"strconv"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Names of the legs in evidence.
const (
	legKnob   = "knob"   // the rate reached the knob
	legRarity = "rarity" // it is far from what the contract usually has
	legCap    = "at_cap" // it stands at the venue's cap
)

const (
	rareEffect = 0.3  // rate over the knob that rarity needs
	exitKnob   = 0.5  // rate over the knob below which the knob leg ends
	exitScore  = 2.5  // score below which the rarity leg ends
	exitRare   = 0.15 // rate over the knob below which it ends whatever the score
	extreme    = 8    // score that is one severity more
	manyVenues = 3    // venues beyond the knob that are one severity more
	manyKnobs  = 3    // rate over the knob that is critical
	capShare   = 0.99 // of the cap, from which a rate stands at it
)

// A fundingVerdict is what one side is worth over all venues.
type fundingVerdict struct {
	severity alarm.Severity
	// settled says that a paid rate enters, stay that a running episode goes on, foreseen that a prediction would enter.
	settled, stay, foreseen bool
	knob, rare              bool
	// capped is the contract that stands at its venue's cap, the worst one where that does; nil for none.
	capped *contract
	// worst is the contract of the highest rate that enters, else of the highest one on this side; nil when none is known. rate is that
	// rate per 8 hours, score its distance from the usual one, and paid says that it was paid.
	worst       *contract
	rate, score float64
	paid        bool
	// ready says that the contract is known well enough for its score to count.
	ready bool
	// beyond counts the venues whose rate reaches the knob.
	beyond int
}

// weigh judges one side.
func (f *fundingRate) weigh(side int, now schemas.Time) fundingVerdict {
	var v fundingVerdict
	venue := ""
	for _, c := range f.contracts {
		if c.holds(c.predictedAt, now) && c.predictedAt > c.settled {
			knob, rare, _ := f.enters(c, side, c.per8h(c.predicted))
			v.foreseen = v.foreseen || knob || rare
		}
		// A rate that was lost sight of raises nothing, but neither is it over.
		if c.holds(c.settled, now) {
			f.add(&v, c, side, c.per8h(c.paid), true)
		}
		if c.accruing(now) {
			f.add(&v, c, side, c.per8h(c.rate), false)
		}
		if !c.blind && c.venue != venue && f.effect(c, side, now) >= reaches {
			venue = c.venue // contracts of one venue stand together
			v.beyond++
		}
	}
	v.severity = v.grade(side, f.cfg.ThresholdPct)
	return v
}

// effect is the largest rate of a contract on a side, over the knob.
func (f *fundingRate) effect(c *contract, side int, now schemas.Time) float64 {
	e := math.Inf(-1)
	if c.holds(c.settled, now) {
		e = signed(side, c.per8h(c.paid))
	}
	if c.accruing(now) {
		e = max(e, signed(side, c.per8h(c.rate)))
	}
	return 100 * e / f.cfg.ThresholdPct
}

// signed is a rate as the paying side sees it.
func signed(side int, rate float64) float64 {
	if side == shortsPay {
		return -rate
	}
	return rate
}

// enters reports which legs a rate would raise on a side, and its score.
func (f *fundingRate) enters(c *contract, side int, rate float64) (knob, rare bool, score float64) {
	median, scale, ok := c.usual()
	score = signed(side, rate-median) / scale
	effect := 100 * signed(side, rate) / f.cfg.ThresholdPct
	return effect >= reaches, ok && !f.cfg.Strict && score >= f.cfg.MinScore && effect >= rareEffect*reaches, score
}

// add counts one rate of a contract.
func (f *fundingRate) add(v *fundingVerdict, c *contract, side int, rate float64, paid bool) {
	knob, rare, score := f.enters(c, side, rate)
	effect := 100 * signed(side, rate) / f.cfg.ThresholdPct
	_, _, ready := c.usual()
	v.stay = v.stay || effect >= exitKnob*reaches || (!f.cfg.Strict && ready && score >= exitScore && effect >= exitRare)
	if c.blind {
		return
	}
	entering := knob || rare
	if v.worst == nil || entering && !v.knob && !v.rare || (entering || !v.knob && !v.rare) && signed(side, rate) > signed(side, v.rate) {
		v.worst, v.rate, v.score, v.paid, v.ready = c, rate, score, paid, ready
	}
	if !entering {
		return
	}
	v.knob, v.rare = v.knob || knob, v.rare || rare
	v.settled = v.settled || paid
	raw := c.rate
	if paid {
		raw = c.paid
	}
	if c.cap > 0 && math.Abs(raw) >= capShare*c.cap*reaches && (v.capped == nil || v.worst == c) {
		v.capped = c
	}
}

// grade is the severity of a side.
func (v *fundingVerdict) grade(side int, thresholdPct float64) alarm.Severity {
	switch {
	case v.capped != nil, 100*math.Abs(v.rate)/thresholdPct >= manyKnobs*reaches && v.knob:
		return alarm.Critical
	case v.knob && (v.beyond >= manyVenues || v.ready && v.score >= extreme || side == shortsPay):
		return alarm.High
	case v.knob, v.rare && v.score >= extreme:
		return alarm.Medium
	case v.rare:
		return alarm.Low
	}
	return alarm.None
}

// report publishes an event of a side's episode.
func (f *fundingRate) report(side int, now schemas.Time, v fundingVerdict, status string, emit processor.Emit) {
	s := &f.sides[side]
	ev := &schemas.Evidence{Threshold: new(f.cfg.ThresholdPct), ThresholdOrigin: originKnob, WindowEnd: int64(now), LateRecords: f.late}
	for _, leg := range []struct {
		fired bool
		name  string
	}{{v.knob, legKnob}, {v.rare, legRarity}, {v.capped != nil, legCap}} {
		if leg.fired {
			ev.Legs = append(ev.Legs, leg.name)
		}
	}
	if v.rare && !v.knob {
		ev.Threshold, ev.ThresholdOrigin = new(f.cfg.MinScore), "quantiles"
	}
	f.late = 0
	venue := ""
	if v.worst != nil {
		f.explain(ev, now, &v)
		if v.beyond <= 1 {
			venue = v.worst.venue
		}
	} else {
		ev.Notes = append(ev.Notes, "no_data")
	}
	if s.foreseen > 0 && status == schemas.Open {
		ev.Notes = append(ev.Notes, "foreseen")
		ev.Measures = append(ev.Measures, &schemas.Measure{Name: "foreseen_seconds", Value: now.Sub(s.foreseen).Seconds(), Unit: "seconds"})
	}
	emit(&schemas.Event{
		Type: fundingRateType, Severity: v.severity.String(), Status: status, Venue: venue, Assets: []string{f.key.Symbol}, EventTime: int64(now), Evidence: ev,
		DedupKey:    schemas.DedupKey(fundingRateName, fundingRateVersion, f.key.String()+"/"+strconv.Itoa(side), schemas.Time(s.episode.Onset())),
		Description: f.sentence(side, v, status),
	})
}

// explain fills in the figures that a person needs to check the event by hand.
func (f *fundingRate) explain(ev *schemas.Evidence, now schemas.Time, v *fundingVerdict) {
	c := v.worst
	median, scale, _ := c.usual()
	ev.Value, ev.Expected, ev.Z = new(100*v.rate), new(100*median), new(v.score)
	ev.Ratio = new(100 * math.Abs(v.rate) / f.cfg.ThresholdPct)
	ev.SampleSize, ev.Calibrated = uint64(c.filled), c.filled >= ownSlots
	p := c.rarity(v.rate)
	ev.P, ev.ReturnPeriodDays = new(p), new(standard.Hours()/24/p)
	ev.WindowStart = int64(now) - c.seconds()*1e9
	for k := min(c.filled, 12) - 1; k >= 0; k-- {
		ev.Series = append(ev.Series, 100*rateUnit*float64(c.ago(k)))
	}
	f.consensus(ev, now)
	list := measures(ev.Measures)
	raw := c.rate
	if v.paid {
		raw = c.paid
	}
	list.add("funding_rate_pct", 100*raw, "percent")
	list.add("interval_hours", float64(c.seconds())/3600, "hours")
	if c.interval == 0 {
		ev.Notes = append(ev.Notes, "interval_assumed")
	}
	if !v.paid {
		ev.Notes = append(ev.Notes, "accruing")
	}
	if c.cap > 0 {
		list.add("cap_pct", 100*c.cap, "percent")
	}
	list.add("scale_pct", 100*scale, "percent")
	list.add("threshold_pct", f.cfg.ThresholdPct, "percent")
	list.add("venues_beyond", float64(v.beyond), "")
	for _, o := range f.contracts {
		if o.known(now) {
			list.add("by_exchange:"+o.venue+":"+o.symbol, 100*o.inForce(now), "percent")
		}
	}
	ev.Measures = list
}

// consensus adds the mean of the contracts in force, weighted by open interest where all have one, and how far they lie apart.
func (f *fundingRate) consensus(ev *schemas.Evidence, now schemas.Time) {
	weighted := true
	n := 0
	for _, c := range f.contracts {
		if c.known(now) {
			n++
			weighted = weighted && c.interest > 0
		}
	}
	if n == 0 {
		return
	}
	sum, weights := 0.0, 0.0
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range f.contracts {
		if !c.known(now) {
			continue
		}
		w := 1.0
		if weighted {
			w = c.interest
		}
		r := c.inForce(now)
		sum += float64(w * r)
		weights += w
		low, high = min(low, r), max(high, r)
	}
	if !weighted && n > 1 {
		ev.Notes = append(ev.Notes, "equal_weights")
	}
	list := measures(ev.Measures)
	list.add("avg_funding_rate", sum/weights, "")
	list.add("dispersion_pct", 100*(high-low), "percent")
	list.add("contracts", float64(n), "")
	ev.Measures = list
}

func (f *fundingRate) sentence(side int, v fundingVerdict, status string) string {
	who := [sides]string{"Longs of ", "Shorts of "}[side] + f.key.Symbol
	switch {
	case v.worst == nil:
		return "Nothing has been known of the funding of " + f.key.Symbol + " for a day: the episode ends."
	case status == schemas.Resolved && signed(side, v.rate) < 0:
		return who + " pay no funding any more: they are paid " + number(100*math.Abs(v.rate), 4) + " % per 8 hours at least."
	case status == schemas.Resolved:
		return who + " pay usual funding again: " + number(100*v.rate, 4) + " % per 8 hours at most."
	}
	text := who + " pay " + number(100*math.Abs(v.rate), 4) + " % per 8 hours on " + v.worst.venue
	if v.beyond > 1 {
		text += ", beyond the threshold on " + strconv.Itoa(v.beyond) + " venues"
	}
	if v.capped != nil {
		text += ", at the cap"
		if v.capped.venue != v.worst.venue {
			text += " of " + v.capped.venue
		}
	}
	return text + "; " + number(v.score, 3) + " times its usual spread from its median."
}
