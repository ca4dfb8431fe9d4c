package detectors

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// Rates are compared per 8 hours, as the large venues settle.
const (
	standard     = 8 * time.Hour
	standardSecs = int64(standard / time.Second)
	// slots of 8 hours that a contract's usual rates are remembered over: 90 days.
	slots = 270
	// rateUnit is what rates are rounded to: venues quote eight digits, so equal rates stay equal.
	rateUnit = 1e-8
	// largestRate bounds a rate per 8 hours: no position outlives 200 %.
	largestRate = 2.0
)

// A contract is one perpetual contract: its rate in force, and its rates of the last 90 days.
type contract struct {
	venue, symbol string

	// paid is the rate of the last payment, a fraction per interval, and settled its time, 0 before the first.
	paid    float64
	settled schemas.Time
	// rate is what accrues, at when it was said, 0 before the first, and next when it will be paid, 0 when unknown.
	rate     float64
	at, next schemas.Time
	// predicted is what the venue expects later, and predictedAt when it said so.
	predicted   float64
	predictedAt schemas.Time
	// cap on the absolute rate per interval, 0 when unknown.
	cap float64
	// interval between payments in seconds, 0 when unknown; told says that the feed names it. spacing is the last distance of payments.
	interval, spacing int64
	told              bool
	// interest is the open interest in units of the base, 0 when unknown; mark the mark price.
	interest, mark float64
	// blind says that records were lost and none came since.
	blind bool

	// slot collects the payments of 8 hours: their sum and number, in rate units; spoilt that some are missing.
	slot   int64
	sum, n int64
	spoilt bool
	ring   [slots]int32
	filled int
	newest int
	// usual rates, from the ring.
	median, low, high float64
}

func newContract(venue, symbol string) *contract {
	return &contract{venue: strings.Clone(venue), symbol: strings.Clone(symbol)}
}

func (c *contract) compare(venue, symbol string) int {
	return cmp.Or(strings.Compare(c.venue, venue), strings.Compare(c.symbol, symbol))
}

// take reads a funding record; false when it is a payment that a newer one has overtaken.
func (c *contract) take(m *schemas.Funding, at schemas.Time) bool {
	rate := m.Rate.Float()
	if !(math.Abs(rate) <= largestRate) {
		return true
	}
	newest := at >= c.latest()
	if over := int64(m.IntervalSeconds); over > 0 && over <= 7*24*3600 {
		if newest || !c.told {
			c.every(over)
		}
		rate = rescaled(rate, over, c.interval)
	}
	if m.Cap.Sign() > 0 && (newest || c.cap == 0) {
		c.cap = m.Cap.Float()
	}
	switch m.Kind {
	case schemas.FundingKind_FUNDING_KIND_PREDICTED:
		if at > c.predictedAt {
			c.predicted, c.predictedAt = rate, at
		}
		return true
	case schemas.FundingKind_FUNDING_KIND_SETTLED:
		return c.pay(at, rate, true)
	default:
		c.accrue(m, rate, at)
		return true
	}
}

// every takes an interval that the feed names. Rates that were told for another one stay what they are per 8 hours.
func (c *contract) every(seconds int64) {
	if c.told && c.interval > 0 {
		for _, rate := range [...]*float64{&c.paid, &c.rate, &c.predicted} {
			*rate = rescaled(*rate, c.interval, seconds)
		}
	}
	c.interval, c.told = seconds, true
}

// rescaled makes a rate per an interval one per another.
func rescaled(rate float64, from, to int64) float64 {
	if from == to {
		return rate
	}
	return float64(rate*float64(to)) / float64(from)
}

// sampled is how shortly before a payment an accruing rate must have been seen to stand for what was paid.
const sampled = 15 * time.Minute

// accrue takes a rate that may still change. When its payment lies beyond that of the one before, that one was paid.
func (c *contract) accrue(m *schemas.Funding, rate float64, at schemas.Time) {
	if at <= c.at {
		return
	}
	next := schemas.Time(m.NextTime)
	if c.next != 0 && next > c.next {
		if c.next.Sub(c.at) <= sampled && !c.blind {
			c.pay(c.next, c.rate, false)
		} else if c.next > c.settled {
			c.spoilt = true
		}
	}
	c.rate, c.at, c.next, c.blind = rate, at, next, false
}

// pay takes a payment; false when a newer one is known. One that the feed tells stands for one that was taken from what accrued.
func (c *contract) pay(at schemas.Time, rate float64, told bool) bool {
	at = at.Add(30 * time.Second).Floor(time.Minute) // venues stamp it some milliseconds late
	if at <= c.settled {
		if at == c.settled && told {
			c.correct(rate)
		}
		return at == c.settled
	}
	if c.settled > 0 {
		c.learnInterval(int64(at.Sub(c.settled) / time.Second))
	}
	c.paid, c.settled, c.blind = rate, at, false
	if c.interval == 0 {
		return true // what it is per 8 hours shows with the next payment
	}
	if slot := int64(at / schemas.Time(standard)); slot != c.slot {
		c.closeSlot()
		c.slot = slot
	}
	c.sum += c.units(rate)
	c.n++
	return true
}

// units is a rate per interval as sum has it: per 8 hours, in rateUnits.
func (c *contract) units(rate float64) int64 { return int64(math.Round(c.per8h(rate) / rateUnit)) }

// correct changes the rate of the last payment.
func (c *contract) correct(rate float64) {
	if c.n > 0 {
		c.sum += c.units(rate) - c.units(c.paid)
	}
	c.paid = rate
}

// learnInterval takes the distance of two payments: it is the interval when it was seen twice, or is shorter than what was thought.
func (c *contract) learnInterval(seconds int64) {
	if !c.told && (c.interval == 0 || seconds < c.interval || seconds == c.spacing) && seconds >= 60 && seconds <= 24*3600 {
		c.interval = seconds
	}
	c.spacing = seconds
}

// closeSlot remembers the mean of the payments of 8 hours.
func (c *contract) closeSlot() {
	if c.n > 0 && !c.spoilt {
		if c.newest++; c.newest >= slots {
			c.newest = 0
		}
		c.ring[c.newest] = int32(c.sum / c.n)
		c.filled = min(c.filled+1, slots)
		c.measure()
	}
	c.sum, c.n, c.spoilt = 0, 0, false
}

// measure takes the quantiles of the remembered rates.
func (c *contract) measure() {
	if c.filled == 0 {
		return
	}
	var sorted [slots]int32
	s := sorted[:c.filled]
	for k := range s {
		s[k] = c.ago(k)
	}
	slices.Sort(s)
	at := func(p float64) float64 {
		h := float64(p * float64(len(s)-1))
		i := int(h)
		v := float64(s[i])
		if i+1 < len(s) {
			v += float64((h - float64(i)) * float64(s[i+1]-s[i]))
		}
		return v * rateUnit
	}
	c.low, c.median, c.high = at(0.1), at(0.5), at(0.9)
}

// ago returns the remembered rate of k slots before the newest.
func (c *contract) ago(k int) int32 { return c.ring[(c.newest+slots-k)%slots] }

// lose forgets the rate in force after a gap, until a record comes.
func (c *contract) lose() { c.blind, c.spoilt = true, true }

func (c *contract) openInterest(m *schemas.OpenInterest) {
	v := m.Quantity.Float()
	switch m.Unit {
	case schemas.QuantityUnit_QUANTITY_UNIT_BASE:
	case schemas.QuantityUnit_QUANTITY_UNIT_CONTRACT:
		v *= m.Multiplier.Float() // absent: 0, not known
	case schemas.QuantityUnit_QUANTITY_UNIT_QUOTE:
		if c.mark == 0 {
			return
		}
		v /= c.mark
	default:
		return
	}
	c.interest = v
}

// seconds is the interval between payments, 8 hours where it is not known.
func (c *contract) seconds() int64 {
	if c.interval > 0 {
		return c.interval
	}
	return standardSecs
}

// per8h makes a rate per interval one per 8 hours, in whole rate units.
func (c *contract) per8h(rate float64) float64 {
	v := float64(rate*float64(standardSecs)) / float64(c.seconds())
	return math.Round(min(max(v, -largestRate), largestRate)/rateUnit) * rateUnit
}

func (c *contract) latest() schemas.Time { return max(c.at, c.settled, c.predictedAt) }

// holds reports whether what was said at a time still holds: it does for one and a half intervals.
func (c *contract) holds(at, now schemas.Time) bool {
	return at > 0 && now.Sub(at) <= time.Duration(c.seconds())*3/2*time.Second
}

// accruing reports whether a rate is known that will be paid next: one newer than the last payment.
func (c *contract) accruing(now schemas.Time) bool { return c.at > c.settled && c.holds(c.at, now) }

// known reports whether a rate is known: paid or accruing lately, and no record lost since.
func (c *contract) known(now schemas.Time) bool {
	return !c.blind && (c.holds(c.settled, now) || c.accruing(now))
}

// inForce is the rate that counts for comparisons between venues, per 8 hours: the accruing one, else the last paid.
func (c *contract) inForce(now schemas.Time) float64 {
	if c.accruing(now) {
		return c.per8h(c.rate)
	}
	return c.per8h(c.paid)
}

// Population of contracts, version 1: median and scale (10 % to 90 %, over 2.56) of four contracts, 2020 to 2023. A young contract is
// shrunk to it with the weight of 14 days.
const (
	populationRate   = 1e-4
	populationSpread = 1.5e-4
	leastSpread      = 2e-5
	coldSlots        = 2 * 3
	priorSlots       = 14 * 3
	ownSlots         = 28 * 3
)

// usual returns the centre and the scale that a rate is judged by; not ok in the first two days.
func (c *contract) usual() (median, scale float64, ok bool) {
	median, scale = c.median, (c.high-c.low)/2.56
	if c.filled < ownSlots {
		w := float64(c.filled) / float64(c.filled+priorSlots)
		median = float64(w*median) + float64((1-w)*populationRate)
		scale = math.Sqrt(float64(w*float64(scale*scale)) + float64((1-w)*float64(populationSpread*populationSpread)))
	}
	return median, max(scale, leastSpread), c.filled >= coldSlots
}

// rarity is the share of the last 90 days whose rate was at least as far from the median on that side.
func (c *contract) rarity(rate float64) float64 {
	bound := int32(math.Round(rate / rateUnit))
	n := 0
	for k := range c.filled {
		if v := c.ago(k); rate >= 0 && v >= bound || rate < 0 && v <= bound {
			n++
		}
	}
	return float64(n+1) / float64(c.filled+1)
}

func (c *contract) appendTo(dst []byte) []byte {
	dst = pack.String(pack.String(dst, c.venue), c.symbol)
	dst = pack.Int(pack.Float(dst, c.paid), int64(c.settled))
	dst = pack.Int(pack.Int(pack.Float(dst, c.rate), int64(c.at)), int64(c.next))
	dst = pack.Int(pack.Float(dst, c.predicted), int64(c.predictedAt))
	dst = pack.Float(dst, c.cap)
	dst = pack.Bool(pack.Int(pack.Int(dst, c.interval), c.spacing), c.told)
	dst = pack.Float(pack.Float(dst, c.interest), c.mark)
	dst = pack.Bool(pack.Bool(dst, c.blind), c.spoilt)
	dst = pack.Int(pack.Int(pack.Int(dst, c.slot), c.sum), c.n)
	dst = pack.Uint(dst, uint64(c.filled))
	last := int32(0)
	for k := c.filled - 1; k >= 0; k-- {
		v := c.ago(k)
		dst = pack.Int(dst, int64(v)-int64(last))
		last = v
	}
	return dst
}

func (c *contract) restore(r *pack.Reader) {
	c.venue, c.symbol = r.String(), r.String()
	c.paid, c.settled = r.Float(), schemas.Time(r.Int())
	c.rate, c.at, c.next = r.Float(), schemas.Time(r.Int()), schemas.Time(r.Int())
	c.predicted, c.predictedAt = r.Float(), schemas.Time(r.Int())
	c.cap = r.Float()
	c.interval, c.spacing, c.told = min(max(r.Int(), 0), 7*24*3600), r.Int(), r.Bool()
	c.interest, c.mark = r.Float(), r.Float()
	c.blind, c.spoilt = r.Bool(), r.Bool()
	c.slot, c.sum, c.n = r.Int(), r.Int(), r.Int()
	c.filled = r.Count(slots)
	last := int64(0)
	for k := range c.filled {
		last += r.Int()
		c.ring[k] = int32(last)
	}
	c.newest = max(c.filled-1, 0)
	c.measure()
}
