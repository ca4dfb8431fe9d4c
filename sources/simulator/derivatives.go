package simulator

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Rates per eight hours of the perpetuals.
const (
	interest   = 0.0001
	clamp      = 0.0005
	fundingCap = 0.003
	funding8h  = 8 * time.Hour
	rateDigits = -8
)

// intervals are the venues' times between settlements, which lie on the multiples of them.
var intervals = [venueCount]time.Duration{8 * time.Hour, 4 * time.Hour, time.Hour}

// derivatives makes marks, funding, open interest and liquidations of the perpetuals of the first instruments at every venue.
type derivatives struct {
	*Market
	plan plan
	all  []*perpetual
}

type perpetual struct {
	random
	in       *instrument
	index    int
	venue    int
	symbol   string
	premium  float64 // mark over index, as a fraction
	mean     float64 // of the premium, which the rate comes from
	interest float64 // open interest, in base units
	minute   float64 // price of the index a minute ago
	count    uint64  // liquidations

	spike float64 // rate per eight hours until spikeEnd
	until schemas.Time
}

func newDerivatives(m *Market) *derivatives {
	d := &derivatives{Market: m, plan: newPlan(m, planFunding, m.cfg.RareAnomaliesPerDay)}
	for _, in := range m.items[:min(len(m.items), crossListed)] {
		for venue := range venueCount {
			p := &perpetual{
				random: newRandom(m.cfg.Seed, streamPerpetual, len(d.all)), in: in, index: len(d.all), venue: venue, symbol: in.symbol + "-PERP", minute: in.to,
			}
			p.interest = 1000 * in.lot / unit * p.between(1, 5)
			p.mean = 1e-4
			d.all = append(d.all, p)
		}
	}
	return d
}

// Cadences of the records.
const (
	markEvery     = 5 * time.Second
	fundingEvery  = time.Minute
	interestEvery = 30 * time.Second
)

func (d *derivatives) perSecond() float64 {
	return float64(len(d.all)) * (1/markEvery.Seconds() + 1/fundingEvery.Seconds() + 1/interestEvery.Seconds())
}

func (d *derivatives) second(now schemas.Time, put Put) error {
	end := now.Add(time.Second)
	if d.plan.begins(end) {
		d.spike(end)
	}
	for _, p := range d.all {
		p.step(end)
		if d.down[p.venue] {
			continue
		}
		if err := d.records(p, end, put); err != nil {
			return err
		}
	}
	return nil
}

// step moves the premium: towards what the rate in force implies during a spike, else about zero.
func (p *perpetual) step(end schemas.Time) {
	target := 0.0
	if end < p.until {
		target = p.spike
	}
	p.premium += float64(1e-5*p.normal()) - float64(0.01*(p.premium-target))
	p.mean += float64(0.001 * (p.premium - p.mean))
}

// rate is the funding per eight hours: the mean premium and the interest, the latter within a clamp, so that it is exactly the
// interest most of the time.
func (p *perpetual) rate(at schemas.Time) float64 {
	if at <= p.until {
		return p.spike
	}
	r := p.mean + max(-clamp, min(clamp, interest-p.mean))
	return max(-fundingCap, min(fundingCap, r))
}

func (d *derivatives) records(p *perpetual, end schemas.Time, put Put) error {
	interval := intervals[p.venue]
	share := float64(interval) / float64(funding8h)
	funding := func(kind schemas.FundingKind, next schemas.Time) error {
		meta := d.identified(p, end)
		meta.Id = kind.String() + "/" + meta.Id
		return put(schemas.MarketDerivatives, &schemas.Funding{
			Meta: meta, Rate: decimal(p.rate(end)*share, rateDigits), IntervalSeconds: uint32(interval / time.Second), NextTime: int64(next), Kind: kind,
			Cap: decimal(fundingCap*share, rateDigits), Asset: p.in.asset,
		})
	}
	if due(end, interval, 0) {
		if err := funding(schemas.FundingKind_FUNDING_KIND_SETTLED, end.Add(interval)); err != nil {
			return err
		}
	}
	if due(end, fundingEvery, p.index) {
		if err := funding(schemas.FundingKind_FUNDING_KIND_CURRENT, end.Floor(interval).Add(interval)); err != nil {
			return err
		}
	}
	if due(end, markEvery, p.index) {
		if err := put(schemas.MarketDerivatives, &schemas.Mark{
			Meta: d.identified(p, end), MarkPrice: price(p.in.to * (1 + p.premium)), IndexPrice: price(p.in.to), Asset: p.in.asset,
		}); err != nil {
			return err
		}
	}
	if err := d.liquidations(p, end, put); err != nil {
		return err
	}
	if !due(end, interestEvery, p.index) {
		return nil
	}
	p.interest *= 1 + float64(0.002*p.normal())
	return put(schemas.MarketDerivatives, &schemas.OpenInterest{
		Meta: d.identified(p, end), Quantity: decimal(p.interest, quantityExponent), Unit: schemas.QuantityUnit_QUANTITY_UNIT_BASE, Asset: p.in.asset,
	})
}

// identified is stamp with an id that is unique among the venues, which share a key.
func (d *derivatives) identified(p *perpetual, at schemas.Time) *schemas.Meta {
	meta := d.stamp(p.venue, p.symbol, at)
	meta.Id = meta.Venue + "/" + meta.Id
	return meta
}

// liquidations follow moves of a minute beyond 3 deviations of it: longs when the price fell.
func (d *derivatives) liquidations(p *perpetual, end schemas.Time, put Put) error {
	moved := (p.in.to/p.minute - 1) / (p.in.sigma * 7.746) // sqrt 60
	p.minute += float64((p.in.to - p.minute) / 60)
	position, order, strength := schemas.Side_SIDE_SELL, schemas.Side_SIDE_BUY, moved
	if moved < 0 {
		position, order, strength = schemas.Side_SIDE_BUY, schemas.Side_SIDE_SELL, -moved
	}
	for range min(p.poisson(0.05*(strength-3)), 3) {
		p.count++
		quantity := float64(p.in.lot / unit * 5 * p.size())
		p.interest = max(p.interest-quantity, quantity)
		meta := d.meta(p.venue, p.symbol, end)
		meta.Id = d.venues[p.venue] + "/" + strconv.FormatUint(p.count, 10)
		fill := p.in.to * (1 + p.premium)
		if err := put(schemas.MarketDerivatives, &schemas.Liquidation{
			Meta: meta, PositionSide: position, OrderSide: order, Price: price(fill), Quantity: price(quantity * unit), Complete: true, Asset: p.in.asset,
		}); err != nil {
			return err
		}
	}
	return nil
}

// spike sets the rates of one asset at one venue or all, within the cap or at it, for one to three settlements.
func (d *derivatives) spike(at schemas.Time) {
	r := &d.plan
	first := r.below(len(d.all)/venueCount) * venueCount
	members := d.all[first : first+venueCount]
	variant := r.turn(4)
	if variant < 2 {
		v := r.below(venueCount)
		members = members[v : v+1]
	}
	size, detail := r.sign()*r.between(0.0012, 0.0025), fmt.Sprintf("%d of %d venues", len(members), venueCount)
	if variant == 3 {
		size, detail = r.sign()*fundingCap, detail+", at the cap"
	}
	last, settlements := at, r.below(3)
	for _, p := range members {
		p.spike, p.until = size, at.Floor(intervals[p.venue]).Add(time.Duration(1+settlements)*intervals[p.venue])
		last = max(last, p.until)
	}
	l := Label{Kind: "funding_spike", Detector: "funding_rate", Key: members[0].in.asset, Symbol: members[0].symbol, Size: size, Detail: detail}
	if len(members) == 1 {
		l.Venue = d.venues[members[0].venue]
	}
	d.label(l.span(at, last))
}
