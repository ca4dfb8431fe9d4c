package schemas

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// MaxBandBasisPoints is the widest band that depth is counted in: half of the mid price.
const MaxBandBasisPoints = 5000

// check collects the first broken rule of one record. Whatever costs something to say is said only of a broken rule: books and
// quotes come by the thousand and are valid.
type check struct {
	m   Message
	err error
}

func (c *check) must(ok bool, field string, value any, rule string) {
	if !ok {
		c.fail(field, value, rule)
	}
}

func (c *check) fail(field string, value any, rule string) {
	if c.err == nil {
		c.err = invalid(TypeOf(c.m), field, value, rule)
	}
}

func (c *check) present(field string, d *Decimal) {
	c.must(d != nil, field, d, "present")
}

func (c *check) positive(field string, d *Decimal) {
	c.must(d.Sign() > 0, field, d, "greater than zero")
}

func (c *check) notNegative(field string, d *Decimal) {
	c.must(d.Sign() >= 0, field, d, "zero or more")
}

func (c *check) filled(field, v string) { c.must(v != "", field, `""`, "not empty") }

func (c *check) oneOf(field, v string, of ...string) {
	if !slices.Contains(of, v) {
		c.fail(field, fmt.Sprintf("%q", v), "one of "+strings.Join(of, ", "))
	}
}

func (c *check) time(field string, ns int64, zeroAllowed bool) {
	at := Time(ns)
	if (!zeroAllowed || ns != 0) && (at < MinTime || at > MaxTime) {
		c.fail(field, ns, "nanoseconds between 1990 and 2100")
	}
}

func (c *check) finite(field string, v *float64) {
	c.must(v == nil || !math.IsNaN(*v) && !math.IsInf(*v, 0), field, v, "a finite number")
}

var isoDate = regexp.MustCompile(`^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$`)

func (c *check) date(field, v string, emptyAllowed bool) {
	if (!emptyAllowed || v != "") && !isoDate.MatchString(v) {
		c.fail(field, fmt.Sprintf("%q", v), "a date YYYY-MM-DD")
	}
}

// validateSlow checks the records off the hot path.
func validateSlow(m Message) error {
	c := &check{m: m}
	if s, ok := m.(sourced); ok {
		if err := validateMeta(TypeOf(m), s.GetMeta()); err != nil {
			return err
		}
	}
	if c.numbers(m); c.err != nil {
		return c.err // what follows compares them
	}
	switch m := m.(type) {
	case *Gap:
		c.oneOf("channel", m.Channel, "trades", "book", "quotes", "derivatives", "options", "all")
		c.filled("cause", m.Cause)
		if m.From != 0 && m.To != 0 && m.From > m.To {
			c.fail("to", m.To, fmt.Sprintf("not before from (%d)", m.From))
		}
	case *Quote:
		c.quote(m)
	case *BookSnapshot:
		c.book(m)
	case *Bar:
		c.bar(m)
	case *Funding:
		c.present("rate", m.Rate)
		c.filled("asset", m.Asset)
		c.time("next_time", m.NextTime, true)
	case *OpenInterest:
		c.must(m.Quantity != nil && m.Quantity.Sign() >= 0, "quantity", m.Quantity, "zero or more")
		c.must(m.Unit != QuantityUnit_QUANTITY_UNIT_UNSPECIFIED, "unit", m.Unit, "contract, base or quote")
		c.filled("asset", m.Asset)
	case *Liquidation:
		c.positive("quantity", m.Quantity)
		c.must(m.PositionSide != Side_SIDE_UNSPECIFIED, "position_side", m.PositionSide, "buy (a long) or sell (a short)")
		c.filled("asset", m.Asset)
	case *Mark:
		c.present("mark_price", m.MarkPrice)
		c.filled("asset", m.Asset)
	case *OptionQuote:
		c.option(m)
	default:
		c.reference(m)
	}
	return c.err
}

// number is a field that is a decimal.
type number struct {
	field string
	of    *Decimal
}

func (c *check) exact(numbers ...number) {
	for _, n := range numbers {
		if !n.of.exact() && c.err == nil {
			c.err = inexact(TypeOf(c.m), n.field, n.of)
		}
	}
}

// numbers checks that every decimal of a record has an exponent that decimals may have.
func (c *check) numbers(m Message) {
	switch m := m.(type) {
	case *Quote:
		c.exact(number{"bid_price", m.BidPrice}, number{"bid_quantity", m.BidQuantity}, number{"ask_price", m.AskPrice}, number{"ask_quantity", m.AskQuantity})
	case *BookSnapshot:
		for _, side := range [2][]*Level{m.Bids, m.Asks} {
			for _, l := range side {
				if !l.GetPrice().exact() || !l.GetQuantity().exact() {
					c.exact(number{"levels.price", l.GetPrice()}, number{"levels.quantity", l.GetQuantity()})
				}
			}
		}
		for _, b := range m.Bands {
			c.exact(
				number{"bands.bid_quantity", b.GetBidQuantity()}, number{"bands.ask_quantity", b.GetAskQuantity()},
				number{"bands.bid_capped", b.GetBidCapped()}, number{"bands.ask_capped", b.GetAskCapped()},
			)
		}
	case *Bar:
		c.exact(
			number{"open", m.Open}, number{"high", m.High}, number{"low", m.Low}, number{"close", m.Close}, number{"volume", m.Volume},
			number{"buy_volume", m.BuyVolume}, number{"turnover", m.Turnover},
		)
	case *Funding:
		c.exact(number{"rate", m.Rate}, number{"cap", m.Cap})
	case *OpenInterest:
		c.exact(number{"quantity", m.Quantity}, number{"multiplier", m.Multiplier})
	case *Liquidation:
		c.exact(number{"limit_price", m.LimitPrice}, number{"price", m.Price}, number{"quantity", m.Quantity})
	case *Mark:
		c.exact(number{"mark_price", m.MarkPrice}, number{"index_price", m.IndexPrice}, number{"settle_price", m.SettlePrice})
	case *OptionQuote:
		c.exact(
			number{"strike", m.Strike}, number{"bid_price", m.BidPrice}, number{"ask_price", m.AskPrice}, number{"mark_price", m.MarkPrice},
			number{"underlying_price", m.UnderlyingPrice}, number{"open_interest", m.OpenInterest}, number{"volume", m.Volume},
		)
	case *Transfer:
		c.exact(
			number{"amount", m.Amount}, number{"usd_value", m.UsdValue}, number{"usd_volume_24h", m.UsdVolume_24H}, number{"gross_amount", m.GrossAmount},
		)
	case *Earnings:
		c.exact(
			number{"eps_actual", m.EpsActual}, number{"eps_estimate", m.EpsEstimate}, number{"revenue_actual", m.RevenueActual},
			number{"revenue_estimate", m.RevenueEstimate}, number{"estimate_sd", m.EstimateSd}, number{"price", m.Price},
		)
	case *FundamentalFact:
		c.exact(number{"value", m.Value})
	case *MacroObservation:
		c.exact(number{"value", m.Value})
	}
}

func (c *check) quote(q *Quote) {
	c.notNegative("bid_quantity", q.BidQuantity)
	c.notNegative("ask_quantity", q.AskQuantity)
	if q.BidPrice != nil && q.AskPrice != nil && q.BidPrice.Cmp(q.AskPrice) > 0 {
		c.fail("bid_price", q.BidPrice, "at most ask_price ("+text(q.AskPrice)+")")
	}
}

func (c *check) book(b *BookSnapshot) {
	c.levels("bids", b.Bids, -1)
	c.levels("asks", b.Asks, 1)
	if len(b.Bids) > 0 && len(b.Asks) > 0 && b.Bids[0].Price.Cmp(b.Asks[0].Price) >= 0 {
		c.fail("bids[0].price", b.Bids[0].Price, "less than the best ask ("+text(b.Asks[0].Price)+"): the book is crossed")
	}
	c.bands(b.Bands)
}

// bands checks the depth by band: a wider band holds what a narrower one does, and is not known where that is not.
func (c *check) bands(bands []*DepthBand) {
	last := &DepthBand{BidComplete: true, AskComplete: true}
	for i, b := range bands {
		name := func(field string) string { return fmt.Sprintf("bands[%d].%s", i, field) }
		switch {
		case b.BasisPoints <= last.BasisPoints || b.BasisPoints > MaxBandBasisPoints:
			c.fail(name("basis_points"), b.BasisPoints, fmt.Sprintf("more than %d, narrowest first, and at most %d", last.BasisPoints, MaxBandBasisPoints))
		case b.BidQuantity == nil || b.BidQuantity.Sign() < 0 || b.BidQuantity.Cmp(last.BidQuantity) < 0:
			c.fail(name("bid_quantity"), b.BidQuantity, "zero or more, and at least that of the narrower band")
		case b.AskQuantity == nil || b.AskQuantity.Sign() < 0 || b.AskQuantity.Cmp(last.AskQuantity) < 0:
			c.fail(name("ask_quantity"), b.AskQuantity, "zero or more, and at least that of the narrower band")
		case b.BidComplete && !last.BidComplete:
			c.fail(name("bid_complete"), true, "false where the narrower band is not complete")
		case b.AskComplete && !last.AskComplete:
			c.fail(name("ask_complete"), true, "false where the narrower band is not complete")
		case b.BidCapped != nil && (b.BidCapped.Sign() < 0 || b.BidCapped.Cmp(b.BidQuantity) > 0):
			c.fail(name("bid_capped"), b.BidCapped, "zero or more, and at most bid_quantity")
		case b.AskCapped != nil && (b.AskCapped.Sign() < 0 || b.AskCapped.Cmp(b.AskQuantity) > 0):
			c.fail(name("ask_capped"), b.AskCapped, "zero or more, and at most ask_quantity")
		}
		last = b
	}
}

// levels checks one side of a book; order is how a price must compare with the one before it.
func (c *check) levels(side string, levels []*Level, order int) {
	for i, l := range levels {
		if l.GetQuantity().Sign() <= 0 {
			c.fail(fmt.Sprintf("%s[%d].quantity", side, i), l.GetQuantity(), "greater than zero")
		}
		if i > 0 && l.Price.Cmp(levels[i-1].Price) != order {
			c.fail(fmt.Sprintf("%s[%d].price", side, i), l.Price, "in order, best first")
		}
	}
}

func (c *check) bar(b *Bar) {
	c.time("start", b.Start, false)
	c.time("end", b.End, false)
	if b.Start >= b.End {
		c.fail("end", b.End, fmt.Sprintf("after start (%d)", b.Start))
	}
	c.must(b.Volume != nil && b.Volume.Sign() >= 0, "volume", b.Volume, "zero or more")
	if b.High == nil || b.Low == nil {
		return
	}
	if b.High.Cmp(b.Low) < 0 {
		c.fail("high", b.High, "at least low ("+text(b.Low)+")")
	}
	for i, d := range [2]*Decimal{b.Open, b.Close} {
		if d != nil && (d.Cmp(b.High) > 0 || d.Cmp(b.Low) < 0) {
			c.fail([2]string{"open", "close"}[i], d, "between low and high")
		}
	}
}

func (c *check) option(o *OptionQuote) {
	c.filled("underlying", o.Underlying)
	c.positive("strike", o.Strike)
	c.time("expiry", o.Expiry, false)
	c.must(o.Right != OptionRight_OPTION_RIGHT_UNSPECIFIED, "right", o.Right, "call or put")
	for i, v := range []*float64{o.BidIv, o.AskIv, o.MarkIv, o.Delta, o.Gamma, o.Vega, o.Theta, o.Rho} {
		c.finite([]string{"bid_iv", "ask_iv", "mark_iv", "delta", "gamma", "vega", "theta", "rho"}[i], v)
	}
}

// reference checks slow data and what tapewatch itself puts out.
func (c *check) reference(m Message) {
	switch m := m.(type) {
	case *Transfer:
		c.filled("chain", m.Chain)
		c.filled("asset", m.Asset)
		c.filled("tx_hash", m.TxHash)
		c.must(m.Amount != nil && m.Amount.Sign() >= 0, "amount", m.Amount, "zero or more")
		c.must(m.UsdValue == nil || m.PriceTime != 0, "price_time", m.PriceTime, "set where usd_value is")
	case *FeedHealth:
		c.filled("channel", m.Channel)
	case *VenueStatus:
		c.oneOf("state", m.State, "online", "degraded", "maintenance", "down")
		c.oneOf("reporter", m.Reporter, "stream", "status_page", "probe")
	case *Earnings:
		c.date("period_end", m.PeriodEnd, false)
		c.must(m.Basis != EarningsBasis_EARNINGS_BASIS_UNSPECIFIED, "basis", m.Basis, "GAAP or street")
	case *FundamentalFact:
		c.filled("concept", m.Concept)
		c.date("period_end", m.PeriodEnd, false)
		c.date("period_start", m.PeriodStart, true)
		c.date("filed", m.Filed, false)
		c.present("value", m.Value)
	case *MacroObservation:
		c.filled("series", m.Series)
		c.filled("region", m.Region)
		c.date("date", m.Date, false)
		c.date("vintage", m.Vintage, true)
	case *Article:
		c.filled("title", m.Title)
		c.time("first_seen_at", m.FirstSeenAt, false)
	case *Event:
		c.event(m)
	case *Analysis:
		c.filled("worker", m.Worker)
		c.must(m.Score == nil || *m.Score >= 0 && *m.Score <= 10, "score", m.Score, "between 0 and 10")
		c.must(m.Coverage >= 0 && m.Coverage <= 1, "coverage", m.Coverage, "between 0 and 1")
	case *Heartbeat:
		c.filled("instance", m.Instance)
	case *PollState:
		c.filled("source", m.Source)
		c.filled("job", m.Job)
	case *Trial:
		c.filled("study", m.Study)
		if m.Start >= m.End {
			c.fail("end", m.End, fmt.Sprintf("after start (%d)", m.Start))
		}
	case *TrialResult:
		c.filled("study", m.Study)
		c.oneOf("state", m.State, "complete", "pruned", "failed")
	}
}

func (c *check) event(e *Event) {
	c.filled("id", e.Id)
	c.filled("detector", e.Detector)
	c.filled("type", e.Type)
	c.filled("dedup_key", e.DedupKey)
	c.oneOf("severity", e.Severity, Low, Medium, High, Critical)
	c.oneOf("status", e.Status, Open, Update, Resolved)
	c.time("event_time", e.EventTime, false)
	c.must(e.Evidence != nil, "evidence", "absent", "present: an event explains itself")
}
