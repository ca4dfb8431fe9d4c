package simulator

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// equities makes companies: a daily bar at each midnight after a weekday, and every quarter earnings with the facts of the
// filing. The end of the calm falls into an earnings season: the companies announce one after the other, five minutes apart.
type equities struct {
	*Market
	companies []*company
	plan      plan    // which surprise is next
	seen      float64 // level of the market at the last bar
}

type company struct {
	random
	index   int
	symbol  string
	quarter int // that is announced next, counted from the month of the start
	lag     time.Duration
	beta    float64
	price   float64 // in 10^-4
	eps     float64 // what analysts expect, dollars
	shares  float64
	shock   float64 // of the last announcement, until the next bar
	// correction of the last announcement
	correct   *schemas.Earnings
	correctAt schemas.Time
}

const (
	companyCount  = 24
	announceApart = 5 * time.Minute
	correctAfter  = 20 * time.Minute
	quartersBack  = 8
)

func newEquities(m *Market) *equities {
	e := &equities{Market: m, seen: m.level, plan: newPlan(m, planEarnings, 0)}
	for i := range companyCount {
		c := &company{random: newRandom(m.cfg.Seed, streamEquity, i), index: i, symbol: fmt.Sprintf("E%03d", i), quarter: -quartersBack}
		c.beta, c.price, c.shares = c.between(0.2, 0.5), unit*c.between(20, 300), c.between(1e8, 5e9)
		c.eps = c.price / unit * c.between(0.01, 0.02)
		c.lag = m.start.Add(m.cfg.Calm).Add(time.Duration(i+1) * announceApart).Sub(m.periodEnd(i, 0))
		e.companies = append(e.companies, c)
	}
	return e
}

// periodEnd is midnight after the last day of a company's fiscal quarter; fiscal years of a third of the companies end in each of
// three months.
func (m *Market) periodEnd(company, quarter int) schemas.Time {
	at := m.start.UTC()
	return schemas.Time(time.Date(at.Year(), at.Month()+time.Month(3*quarter-company%3), 1, 0, 0, 0, 0, time.UTC).UnixNano())
}

func (e *equities) perSecond() float64 { return 0 } // some in a day

func (e *equities) history(from, to schemas.Time, put Put) error {
	for at := from; at < to; at = at.Add(day) {
		end := min(at.Add(day), to)
		if err := e.between(at, end, true, put); err != nil {
			return err
		}
	}
	return nil
}

func (e *equities) second(now schemas.Time, put Put) error {
	return e.between(now, now.Add(time.Second), false, put)
}

// between makes the records of (from, to], at most a day of them that does not pass midnight.
func (e *equities) between(from, to schemas.Time, past bool, put Put) error {
	for _, c := range e.companies {
		if at := e.periodEnd(c.index, c.quarter).Add(c.lag); at <= to {
			if at > from {
				if err := e.announce(c, at, past, put); err != nil {
					return err
				}
			}
			c.quarter++
		}
		if c.correct != nil && c.correctAt <= to {
			if err := put(schemas.ReferenceEquities, c.correct); err != nil {
				return err
			}
			c.correct = nil
		}
	}
	if to.Floor(day) != to || to.Add(-day).UTC().Weekday() == time.Saturday || to.Add(-day).UTC().Weekday() == time.Sunday {
		return nil
	}
	moved := e.level/e.seen - 1
	e.seen = e.level
	for _, c := range e.companies {
		if past { // no market was simulated then: each draws its own, which is as good
			moved = float64(0.01 * c.normal())
		}
		if err := put(schemas.ReferenceEquities, c.bar(e.Market, to, moved)); err != nil {
			return err
		}
	}
	return nil
}

// bar is the day that ends at a time; moved is the market's return.
func (c *company) bar(m *Market, end schemas.Time, moved float64) *schemas.Bar {
	open := float64(c.price * (1 + c.shock))
	ret := float64(c.beta*moved) + float64(0.012*c.student())
	c.price = float64(open * (1 + max(-0.5, ret)))
	wide := 1 + float64(0.008*c.size())
	volume := c.shares * 0.005 * c.size() * (1 + float64(20*max(ret, -ret)))
	c.shock = 0
	meta := m.stamp(0, c.symbol, end)
	meta.Id = "86400s/" + strconv.FormatInt(int64(end.Add(-day))/1e9, 10)
	return &schemas.Bar{
		Meta: meta, Start: int64(end.Add(-day)), End: int64(end), Open: price(open), Close: price(c.price),
		High: price(max(open, c.price) * wide), Low: price(min(open, c.price) / wide),
		Volume: decimal(math.Floor(volume), 0), Turnover: decimal(math.Floor(volume*c.price/unit), 0), Trades: uint32(volume/100) + 1,
	}
}

// surprises are the labelled kinds of announcement.
var surprises = [...]string{"earnings_beat", "earnings_miss", "earnings_sign_flip", "earnings_correction"}

// announce makes the earnings of a quarter and the facts of its filing. Half of the announcements after the calm are a surprise;
// all others stay within 8 % of the consensus.
func (e *equities) announce(c *company, at schemas.Time, past bool, put Put) error {
	estimate := math.RoundToEven(c.eps*100) / 100
	actual := estimate * (1 + max(-0.08, min(0.08, 0.015+float64(0.03*c.normal()))))
	kind := ""
	if !past && e.cfg.RareAnomaliesPerDay > 0 && c.below(2) == 0 {
		i := e.plan.turn(len(surprises))
		kind = surprises[i]
		switch i {
		case 0:
			actual = estimate * c.between(1.25, 2)
		case 1:
			actual = estimate * c.between(0.2, 0.7)
		case 2:
			actual = -estimate * c.between(0.2, 1)
		}
	}
	out := e.earnings(c, at, estimate, actual)
	shown := actual
	if kind == "earnings_correction" {
		shown = estimate * c.between(0.3, 0.6)
		c.correctAt = at.Add(correctAfter)
		c.correct = e.earnings(c, c.correctAt, estimate, shown)
		c.correct.Correction, c.correct.AnnouncedAt = true, int64(at)
	}
	if kind != "" {
		begin := at
		if c.correct != nil {
			begin = c.correctAt
		}
		e.label(Label{
			Kind: kind, Detector: "earnings_anomaly", Key: c.symbol, Venue: e.cfg.Venue, Symbol: c.symbol, Size: shown/estimate - 1, Detail: out.PeriodEnd,
		}.span(begin, begin.Add(time.Second)))
	}
	c.shock = max(-0.2, min(0.2, float64(0.3*(shown/estimate-1))))
	c.eps *= 1 + float64(0.02*c.normal()) + 0.01
	if err := put(schemas.ReferenceEquities, out); err != nil {
		return err
	}
	return e.filing(c, at, out.PeriodEnd, actual, put)
}

func (e *equities) earnings(c *company, at schemas.Time, estimate, actual float64) *schemas.Earnings {
	end := e.periodEnd(c.index, c.quarter).Add(-day).UTC().Format(time.DateOnly)
	meta := e.stamp(0, c.symbol, at)
	meta.Id = end + "/" + meta.Id
	return &schemas.Earnings{
		Meta: meta, PeriodEnd: end, Basis: schemas.EarningsBasis_EARNINGS_BASIS_STREET, EpsActual: decimal(actual, -2), EpsEstimate: decimal(estimate, -2),
		RevenueActual: decimal(c.shares*actual*10, 0), RevenueEstimate: decimal(c.shares*estimate*10, 0),
		Estimates: uint32(5 + c.index%20), EstimateSd: decimal(estimate*0.05, -4), Price: price(c.price), AnnouncedAt: int64(at), FiledAt: int64(at),
	}
}

// filing makes the facts of a quarter as first filed: what a balance and an income statement have, in proportions that do not change.
func (e *equities) filing(c *company, at schemas.Time, periodEnd string, eps float64, put Put) error {
	start := e.periodEnd(c.index, c.quarter-1).UTC().Format(time.DateOnly)
	income := c.shares * eps
	size := float64(c.shares * c.eps * 10)
	filed := at.UTC().Format(time.DateOnly)
	for _, f := range []struct {
		concept, unit string
		value         float64
		places        int32
		instant       bool
	}{
		{"us-gaap/EarningsPerShareDiluted", "USD/shares", eps, -2, false},
		{"us-gaap/Revenues", "USD", size, 0, false},
		{"us-gaap/NetIncomeLoss", "USD", income, 0, false},
		{"us-gaap/OperatingIncomeLoss", "USD", income * 1.3, 0, false},
		{"us-gaap/Assets", "USD", size * 8, 0, true},
		{"us-gaap/AssetsCurrent", "USD", size * 3, 0, true},
		{"us-gaap/Liabilities", "USD", size * 4.5, 0, true},
		{"us-gaap/LiabilitiesCurrent", "USD", size * 2, 0, true},
		{"us-gaap/StockholdersEquity", "USD", size * 3.5, 0, true},
		{"us-gaap/NetCashProvidedByUsedInOperatingActivities", "USD", income * 1.2, 0, false},
		{"dei/EntityCommonStockSharesOutstanding", "shares", c.shares, 0, true},
	} {
		meta := e.stamp(0, c.symbol, at)
		meta.Id = f.concept + "/" + periodEnd
		fact := &schemas.FundamentalFact{
			Meta: meta, Concept: f.concept, Unit: f.unit, PeriodStart: start, PeriodEnd: periodEnd, Value: decimal(f.value, f.places),
			Accession: fmt.Sprintf("%010d-%s-%06d", c.index+1, filed[2:4], c.quarter+1000), Form: "10-Q", Filed: filed,
		}
		if f.instant {
			fact.PeriodStart = ""
		}
		if err := put(schemas.ReferenceEquities, fact); err != nil {
			return err
		}
	}
	return nil
}
