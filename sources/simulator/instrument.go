package simulator

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
)

// Prices and quantities are integers times 10^-4.
const (
	priceExponent    = -4
	quantityExponent = -4
	unit             = 1e4 // a price of 1
)

const (
	sectors  = 4
	topShare = 0.25 // of the usual depth that stands at the best price
)

// instrument is one symbol: its price process, and what of it all records of the second are made from.
type instrument struct {
	index         int
	asset, symbol string

	moves      volatility // of the part of returns that is its own, and their draws
	flow, plan random
	// Loadings of a return on the market, its sector and itself; their squares sum to 1.
	market, own, sector float64
	sectorOf            int
	decoupled           schemas.Time // until then nothing but its own part moves it
	sigma               float64      // standard deviation of a second's return, long run
	base, price         float64      // price that it is drawn to, and without the anomaly in hand; in 10^-4
	tick                int64
	trades, quotes      float64 // a second, season aside
	lot                 float64 // mean quantity of a trade, in 10^-4
	event               event
	due                 schemas.Time // when the next anomaly may begin

	// Of the second in hand: the mid at its ends and per nanosecond, the return in deviations, half the usual
	// spread and how many times that it is, what was made.
	from, to, slope float64
	shock           float64
	half, wide      float64
	halted          bool
	lean            float64            // chance that a taker buys
	count           uint32             // trades
	seen            [venueCount]uint32 // quotes
	last            int64              // offset of the last trade
	side            schemas.Side

	// basis is how far the mid of each venue lies off, as a fraction; that of the first is 0.
	basis  [venueCount]float64
	listed int // venues that quote it
	turn   int // counts the quotes of all of them
	traded sequence
	quoted [venueCount]sequence
}

func newInstrument(cfg *Config, index int, start schemas.Time) *instrument {
	in := &instrument{
		index: index, asset: fmt.Sprintf("S%03d", index), moves: newVolatility(cfg.Seed, streamPrice, index),
		flow: newRandom(cfg.Seed, streamFlow, index), plan: newRandom(cfg.Seed, streamAnomaly, index), listed: 1, sectorOf: index % sectors,
	}
	in.symbol = in.asset + "-USD"
	r := &in.moves.random
	in.market, in.sector = r.between(0.65, 0.85), r.between(0.3, 0.4)
	in.own = math.Sqrt(1 - float64(in.market*in.market) - float64(in.sector*in.sector))
	in.sigma = cfg.VolatilityPerDay * fixed.Exp(0.3*r.normal()) / math.Sqrt(secondsPerDay)
	in.base = 10 * unit * fixed.Exp(6*r.uniform())
	in.price, in.from, in.to = in.base, in.base, in.base
	in.lot = 1e4 * fixed.Exp(r.normal())
	for in.tick = 1; float64(in.tick)*1e5 < in.base; in.tick *= 10 {
	}
	in.half = in.base * r.between(0.3e-4, 1e-4)
	if index < crossListed {
		in.listed = venueCount
	}
	in.due = start.Add(cfg.Calm).Add(in.plan.wait(cfg.AnomaliesPerDay))
	return in
}

// pull draws the price back to where it began, with a half-life of about sixty days, so that years stay in bounds.
const pull = 1.3e-7

// move goes on by the second that begins at now. market and sector are their parts of a return, each of unit variance, and level
// is the market's volatility: that of the own part follows it halfway, so that correlations stay near what the loadings give.
func (in *instrument) move(now schemas.Time, market, sector, level, season float64) {
	in.moves.next()
	own := float64(math.Sqrt(level*in.moves.level) * flowOf * in.moves.student())
	in.shock = own
	if now >= in.decoupled {
		in.shock = float64(in.market*market) + float64(in.sector*sector) + float64(in.own*own)
	}
	ret := float64(in.sigma*math.Sqrt(season)*in.shock) - float64(pull*(in.price/in.base-1))
	in.price *= 1 + max(ret, -0.5)
	end, shift := now.Add(time.Second), 1.0
	if in.event.kind != "" {
		shift = in.event.shift(end)
		if end >= in.event.end && shift != 1 { // it stays for good
			in.price *= shift
			shift, in.event.size = 1, 0
		}
	}
	in.from, in.to = in.to, float64(in.price*shift)
	in.wide = 1
	if in.event.kind == liquidityCut && now < in.event.end {
		in.wide += float64(3 * in.event.size)
	}
	in.slope = (in.to - in.from) / 1e9
	in.lean = 0.5 + max(-0.4, min(0.4, 200*(in.to/in.from-1)))
	in.count, in.last, in.seen = 0, 0, [venueCount]uint32{}
}

// at returns bid and ask at an offset into the second, in 10^-4.
func (in *instrument) at(offset int64, venue int) (bid, ask int64) {
	mid := in.from + float64(in.slope*float64(offset))
	mid += float64(mid * in.basis[venue])
	return in.around(mid)
}

func (in *instrument) around(mid float64) (bid, ask int64) {
	half := float64(in.half * in.wide)
	bid = max(int64(mid-half)/in.tick, 1) * in.tick
	return bid, bid + max(int64(2*half)/in.tick, 1)*in.tick
}

// trade fills the next trade, offset nanoseconds into the second.
func (in *instrument) trade(t *schemas.Trade, offset int64) {
	in.count++
	if offset != in.last { // one order that swept through several levels has one time and side
		in.last, in.side = offset, schemas.Side_SIDE_SELL
		if in.flow.uniform() < in.lean {
			in.side = schemas.Side_SIDE_BUY
		}
	}
	bid, ask := in.at(offset, 0)
	t.Price.Mantissa = bid
	if in.side == schemas.Side_SIDE_BUY {
		t.Price.Mantissa = ask
	}
	t.Quantity.Mantissa = 1 + int64(in.lot*in.flow.size())
	t.TakerSide = in.side
	t.Meta.Symbol = in.symbol
	t.Meta.Sequence, t.Meta.Id = in.traded.next()
}

// quote fills the next quote at a venue.
func (in *instrument) quote(q *schemas.Quote, venue int, now schemas.Time, offset int64) {
	q.BidPrice.Mantissa, q.AskPrice.Mantissa = in.at(offset, venue)
	top := in.lot * depthLots * topShare
	q.BidQuantity.Mantissa = 1 + int64(top*in.event.depth(schemas.Side_SIDE_BUY, now)*in.flow.size())
	q.AskQuantity.Mantissa = 1 + int64(top*in.event.depth(schemas.Side_SIDE_SELL, now)*in.flow.size())
	in.seen[venue]++
	q.Meta.Symbol = in.symbol
	q.Meta.Sequence, q.Meta.Id = in.quoted[venue].next()
}

// sequence counts the records of one stream and makes the texts of the numbers, many in one allocation.
type sequence struct {
	n    uint64
	size int
	text string
}

// maxIDs is how many texts one allocation holds once a stream has shown that it is busy.
const maxIDs = 256

func (s *sequence) next() (n uint64, id string) {
	s.n++
	if s.text == "" {
		s.size = min(2*s.size+2, maxIDs)
		var scratch [maxIDs * 21]byte // 20 digits and a space each
		b := scratch[:0]
		for i := range s.size {
			b = append(strconv.AppendUint(b, s.n+uint64(i), 10), ' ')
		}
		s.text = string(b)
	}
	id, s.text, _ = strings.Cut(s.text, " ")
	return s.n, id
}
