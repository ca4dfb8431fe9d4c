package simulator

import (
	"fmt"
	"math"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
)

// options makes the option chains of the first two instruments: four expiries (the next day and the Fridays after 1, 30 and 90
// days, all at 08:00 UTC), nine strikes each, calls and puts, every 30 seconds.
type options struct {
	*Market
	random
	chains []*chain
}

// chain is one expiry of one underlying.
type chain struct {
	in      *instrument
	ahead   time.Duration // at least so far lies the next expiry
	expiry  schemas.Time
	strikes [9]float64
	open    [9][2]float64 // open interest of calls and puts, contracts
}

const (
	optionVenue  = 0
	chainEvery   = 30 * time.Second
	riskFree     = 0.03
	year         = 365 * 24 * time.Hour
	optionSpread = 0.01 // of implied volatility, either side, at the money
)

func newOptions(m *Market) *options {
	o := &options{Market: m, random: newRandom(m.cfg.Seed, streamOption, 0)}
	for _, in := range m.items[:min(len(m.items), 2)] {
		for _, days := range []int{0, 1, 30, 90} {
			o.chains = append(o.chains, &chain{in: in, ahead: time.Duration(days) * day})
		}
	}
	return o
}

func (o *options) perSecond() float64 { return float64(len(o.chains)) * 18 / chainEvery.Seconds() }

func (o *options) second(now schemas.Time, put Put) error {
	end := now.Add(time.Second)
	if o.down[optionVenue] {
		return nil
	}
	for i, c := range o.chains {
		if !due(end, chainEvery, i) {
			continue
		}
		if end >= c.expiry {
			c.list(end, &o.random)
		}
		for k := range c.strikes {
			for right := range 2 {
				if err := put(schemas.MarketOptions, o.quoteOf(c, k, right, end)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// list begins the next expiry, with strikes around the price of now.
func (c *chain) list(now schemas.Time, r *random) {
	c.expiry = now.Add(c.ahead).Floor(day).Add(8 * time.Hour)
	for c.expiry <= now.Add(c.ahead) || c.ahead > 0 && c.expiry.UTC().Weekday() != time.Friday {
		c.expiry = c.expiry.Add(day)
	}
	spot := c.in.to / unit
	width := max(0.02, c.in.sigma*math.Sqrt(c.expiry.Sub(now).Seconds())/2) // half a deviation of the time left
	step := 1e-3
	for step*10 <= spot*width {
		step *= 10
	}
	for k := range c.strikes {
		c.strikes[k] = max(math.RoundToEven(spot*(1+float64(float64(k-4)*width))/step), float64(k+1)) * step
		c.open[k] = [2]float64{r.between(10, 1000), r.between(10, 1000)}
	}
}

var rights = [2]schemas.OptionRight{schemas.OptionRight_OPTION_RIGHT_CALL, schemas.OptionRight_OPTION_RIGHT_PUT}

// quoteOf is one option's quote, from a surface of implied volatility with a skew and a smile.
func (o *options) quoteOf(c *chain, k, right int, at schemas.Time) *schemas.OptionQuote {
	s := blackScholes{spot: c.in.to / unit, strike: c.strikes[k], years: float64(c.expiry.Sub(at)) / float64(year), call: right == 0}
	atm := c.in.sigma * math.Sqrt(year.Seconds()) * (0.7 + float64(0.3*(o.factor.level+c.in.moves.level)/2))
	x := fixed.Ln(s.strike/s.spot) / (atm * math.Sqrt(max(s.years, 1.0/365)))
	x = max(-3, min(3, x))
	iv := atm * (1 - float64(0.05*x) + float64(0.03*x*x))
	spread := float64(optionSpread * (1 + max(x, -x)))
	s.solve(iv)
	mark, greeks := s.value, s
	s.solve(iv * (1 - spread))
	bid, bidIV := s.value, s.vol
	s.solve(iv * (1 + spread))
	c.open[k][right] *= 1 + float64(0.001*o.normal())
	strike := decimal(s.strike, -3)
	name := [2]string{"CALL", "PUT"}[right]
	meta := o.stamp(optionVenue, fmt.Sprintf("%s-%s-%s-%s", c.in.symbol, name, c.expiry.UTC().Format("20060102"), trimmed(strike)), at)
	meta.Id = meta.Symbol + "/" + meta.Id
	q := &schemas.OptionQuote{
		Meta: meta, Underlying: c.in.asset, Strike: strike, Expiry: int64(c.expiry), Right: rights[right],
		AskPrice: schemas.NewDecimal(int64(math.Ceil(s.value*unit)), priceExponent), MarkPrice: decimal(mark, priceExponent),
		UnderlyingPrice: price(c.in.to), BidIv: &bidIV, AskIv: &s.vol, MarkIv: &greeks.vol,
		Delta: &greeks.delta, Gamma: &greeks.gamma, Vega: &greeks.vega, Theta: &greeks.theta, Rho: &greeks.rho,
		OpenInterest: decimal(c.open[k][right], 0), Volume: decimal(c.open[k][right]/10, 0),
	}
	if b := int64(bid * unit); b > 0 {
		q.BidPrice = schemas.NewDecimal(b, priceExponent)
	}
	return q
}

// trimmed prints a decimal without the zeros behind its point.
func trimmed(d *schemas.Decimal) string {
	m, e := d.Mantissa, d.Exponent
	for e < 0 && m%10 == 0 {
		m, e = m/10, e+1
	}
	return schemas.NewDecimal(m, e).Text()
}

// blackScholes prices a European option without dividends: value and greeks for a volatility.
type blackScholes struct {
	spot, strike, years, vol, value float64
	delta, gamma, vega, theta, rho  float64
	call                            bool
}

func (b *blackScholes) solve(vol float64) {
	root := math.Sqrt(b.years)
	discounted := float64(b.strike * fixed.Exp(-riskFree*b.years))
	d1 := float64(fixed.Ln(b.spot/discounted)/(vol*root)) + float64(vol*root/2)
	d2 := d1 - float64(vol*root)
	n1, n2, sign := cumulative(d1), cumulative(d2), 1.0
	if !b.call {
		n1, n2, sign = cumulative(-d1), cumulative(-d2), -1.0
	}
	density := density(d1)
	b.vol = vol
	b.value = max(0, sign*(float64(b.spot*n1)-float64(discounted*n2)))
	b.delta = sign * n1
	b.gamma = density / (b.spot * vol * root)
	b.vega = b.spot * density * root / 100
	b.theta = (-float64(b.spot*density*vol/(2*root)) - float64(sign*riskFree*discounted*n2)) / 365
	b.rho = sign * discounted * b.years * n2 / 100
}

func density(x float64) float64 { return fixed.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

// cumulative is the standard normal distribution function, by the series of Marsaglia, Journal of Statistical Software 11 (2004).
func cumulative(x float64) float64 {
	if x < -8 {
		return 0
	}
	if x > 8 {
		return 1
	}
	sum, term := x, x
	for k := 3.0; sum+term != sum; k += 2 {
		term = float64(term * x * x / k)
		sum += term
	}
	return 0.5 + float64(sum*density(x))
}
