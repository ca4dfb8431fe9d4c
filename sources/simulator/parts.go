package simulator

import (
	"math"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// newParts makes the parts of the configured kinds, in the order in which they speak at the end of a second.
func newParts(m *Market) []part {
	parts := []part{newRare(m)}
	for _, p := range []struct {
		topic schemas.Topic
		make  func() part
	}{
		{schemas.MarketBooks, func() part { return newBooks(m) }},
		{schemas.MarketDerivatives, func() part { return newDerivatives(m) }},
		{schemas.MarketOptions, func() part { return newOptions(m) }},
		{schemas.ChainTransfers, func() part { return newTransfers(m) }},
		{schemas.ReferenceEquities, func() part { return newEquities(m) }},
		{schemas.MacroObservations, func() part { return newMacro(m) }},
		{schemas.NewsArticles, func() part { return newNews(m) }},
		{schemas.VenuesStatus, func() part { return newStatus(m) }},
	} {
		if m.cfg.has(p.topic) {
			parts = append(parts, p.make())
		}
	}
	return parts
}

// historian is a part that has a past when the market begins.
type historian interface {
	// history makes the records of (from, to], in steps of a day.
	history(from, to schemas.Time, put Put) error
}

// past is how long before the start slow data begin: eight quarters.
const past = 2 * 365 * 24 * time.Hour

// History makes the slow records of before the start: earnings, facts, daily bars, macroeconomic series. It comes before the
// first Tick, so that nothing of it is late.
func (m *Market) History(put Put) error {
	for _, p := range m.parts {
		if h, ok := p.(historian); ok {
			if err := h.history(m.start.Add(-past).Floor(day), m.start, put); err != nil {
				return err
			}
		}
	}
	return nil
}

const day = 24 * time.Hour

// due says whether a grid of steps has a point in the second that ends at end; shift staggers the members of a group.
func due(end schemas.Time, step time.Duration, shift int) bool {
	return (int64(end)/1e9+int64(shift))%int64(step/time.Second) == 0
}

func newStampID(at schemas.Time) string { return strconv.FormatInt(int64(at)/1e9, 10) }

// price is a positive number of 10^-4 as a decimal.
func price(mantissa float64) *schemas.Decimal {
	return schemas.NewDecimal(max(int64(math.RoundToEven(mantissa)), 1), priceExponent)
}

// decimal rounds a number to as many places as exponent says.
func decimal(v float64, exponent int32) *schemas.Decimal {
	return schemas.NewDecimal(int64(math.RoundToEven(v*math.Pow10(int(-exponent)))), exponent)
}

// plan is when the anomalies of one sort begin.
type plan struct {
	random
	next   schemas.Time
	perDay float64
	turns  int
}

func newPlan(m *Market, index int, perDay float64) plan {
	p := plan{random: newRandom(m.cfg.Seed, streamRare, index), perDay: perDay}
	p.next = m.start.Add(m.cfg.Calm).Add(p.wait(perDay))
	return p
}

// Plans that parts have; the number keeps their randomness apart.
const (
	planCorrelation = iota
	planDislocation
	planOutage
	planFunding
	planWhale
	planEarnings
)

// begins says whether one begins at now.
func (p *plan) begins(now schemas.Time) bool {
	if now < p.next {
		return false
	}
	p.next = now.Add(p.wait(p.perDay))
	return true
}

// turn goes through n variants, so that each has its turn soon.
func (p *plan) turn(n int) int {
	p.turns++
	return (p.turns - 1) % n
}

// rare makes no records: it breaks correlations and moves one venue's quotes off the others'.
type rare struct {
	*Market
	correlation, dislocation plan
	noise                    random
	off                      struct {
		in    *instrument
		venue int
		size  float64
		until schemas.Time
	}
}

func newRare(m *Market) *rare {
	r := &rare{Market: m, noise: newRandom(m.cfg.Seed, streamRare, 1<<16)}
	r.correlation = newPlan(m, planCorrelation, m.cfg.RareAnomaliesPerDay)
	r.dislocation = newPlan(m, planDislocation, m.cfg.RareAnomaliesPerDay)
	return r
}

func (r *rare) perSecond() float64 { return 0 }

func (r *rare) second(now schemas.Time, _ Put) error {
	end := now.Add(time.Second)
	if len(r.items) > 1 && r.correlation.begins(end) {
		r.decouple(end)
	}
	if !r.cfg.has(schemas.MarketQuotes) {
		return nil
	}
	for _, in := range r.items[:min(len(r.items), crossListed)] {
		for v := 1; v < venueCount; v++ { // a few tenths of a basis point, for seconds
			in.basis[v] += float64(1e-5*r.noise.normal()) - float64(0.1*in.basis[v])
		}
	}
	if r.off.in != nil && end < r.off.until {
		r.off.in.basis[r.off.venue] = r.off.size
	}
	if r.dislocation.begins(end) {
		r.dislocate(end)
	}
	return nil
}

// decouple takes one instrument off the common factors for hours.
func (r *rare) decouple(at schemas.Time) {
	p := &r.correlation
	in := r.items[p.below(len(r.items))]
	if at < in.decoupled {
		return
	}
	in.decoupled = at.Add(time.Duration(120+p.below(240)) * time.Minute)
	r.label(Label{
		Kind: "correlation_break", Detector: "correlation_breakdown", Key: "venue:" + r.cfg.Venue, Venue: r.cfg.Venue, Symbol: in.symbol,
		Size: in.market, Detail: "loading on the market lost",
	}.span(at, in.decoupled))
}

// dislocate moves the quotes of one instrument at one of the further venues.
func (r *rare) dislocate(at schemas.Time) {
	p := &r.dislocation
	r.off.in, r.off.venue = r.items[p.below(min(len(r.items), crossListed))], 1+p.below(venueCount-1)
	r.off.size, r.off.until = p.sign()*p.between(0.005, 0.02), at.Add(time.Duration(30+p.below(150))*time.Second)
	r.label(Label{
		Kind: "dislocation", Detector: "arbitrage_opportunity", Key: r.off.in.symbol, Venue: r.venues[r.off.venue], Symbol: r.off.in.symbol, Size: r.off.size,
	}.span(at, r.off.until))
}
