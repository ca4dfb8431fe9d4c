package simulator

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

const (
	secondsPerDay = 86400
	// venueCount is how many venues there are: the configured one, which has the trades and books, and two that also quote
	// the first instruments and have their perpetuals.
	venueCount  = 3
	crossListed = 8
)

// Put takes a record, which is valid until the call returns.
type Put func(schemas.Topic, schemas.Message) error

// A part makes the records of one topic that have a cadence of their own.
type part interface {
	// perSecond is about how many it makes in a second of market time.
	perSecond() float64
	// second makes the records of (now, now+1s]; the instruments have moved already.
	second(now schemas.Time, put Put) error
}

// Market makes the records of one second after another. It does no I/O and knows no clock. Not for concurrent use.
type Market struct {
	cfg     Config
	source  string
	venues  [venueCount]string
	start   schemas.Time
	now     schemas.Time
	factor  volatility
	sectors [sectors]random
	level   float64 // of the market, 1 at the start
	items   []*instrument
	parts   []part
	down    [venueCount]bool
	label   func(Label)
	// The trades and quotes of a second: offset in ns, instrument, whether a quote; sorted, they are in order of time.
	keys []uint64
	// the messages that are handed out, used again
	trade schemas.Trade
	quote schemas.Quote
}

// A key holds 30 bits of nanoseconds, 17 of the instrument, and 1 that is set for a quote.
const (
	quoteBit     = 1
	indexShift   = 1
	offsetShift  = 18
	indexMask    = 1<<(offsetShift-indexShift) - 1
	sweepOneIn   = 8 // one in so many trades has the time and side of the one before
	quotesATrade = 2
)

// NewMarket begins at start, rounded down to a second. label gets every anomaly when it begins; it may be nil.
func NewMarket(cfg Config, start schemas.Time, label func(Label)) *Market {
	start = start.Floor(time.Second)
	m := &Market{
		cfg: cfg, source: cfg.Venue + ".simulator", start: start, now: start, level: 1, label: label,
		venues: [...]string{cfg.Venue, cfg.Venue + "2", cfg.Venue + "3"}, factor: newVolatility(cfg.Seed, streamMarket, 0),
	}
	if label == nil {
		m.label = func(Label) {}
	}
	for i := range m.sectors {
		m.sectors[i] = newRandom(cfg.Seed, streamSector, i)
	}
	for i := range cfg.Instruments {
		m.items = append(m.items, newInstrument(&m.cfg, i, start))
	}
	m.parts = newParts(m)
	m.share()
	m.trade = schemas.Trade{
		Meta: m.flowMeta(), Price: schemas.NewDecimal(0, priceExponent), Quantity: schemas.NewDecimal(0, quantityExponent),
	}
	m.quote = schemas.Quote{
		Meta: m.flowMeta(), BidPrice: schemas.NewDecimal(0, priceExponent), BidQuantity: schemas.NewDecimal(0, quantityExponent),
		AskPrice: schemas.NewDecimal(0, priceExponent), AskQuantity: schemas.NewDecimal(0, quantityExponent),
	}
	return m
}

func (m *Market) flowMeta() *schemas.Meta {
	meta := m.meta(0, "", 0)
	meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC
	return meta
}

// share gives every instrument its part of the rate: what the parts leave of it, and at least half. Activity falls off as the
// square root of the rank: a few are busy, all trade.
func (m *Market) share() {
	left := m.cfg.Rate
	for _, p := range m.parts {
		left -= p.perSecond()
	}
	left = max(left, m.cfg.Rate/2)
	trades, quotes := left, 0.0
	switch has := m.cfg.has; {
	case has(schemas.MarketTrades) && has(schemas.MarketQuotes):
		trades, quotes = left/(1+quotesATrade), left*quotesATrade/(1+quotesATrade)
	case has(schemas.MarketQuotes):
		trades, quotes = 0, left
	case !has(schemas.MarketTrades):
		trades = 0
	}
	total := 0.0
	for i := range m.items {
		total += 1 / math.Sqrt(float64(i+1))
	}
	for i, in := range m.items {
		weight := 1 / math.Sqrt(float64(i+1)) / total
		in.trades, in.quotes = trades*weight, quotes*weight
	}
}

// Source names what the records and Ticks come from.
func (m *Market) Source() string { return m.source }

// Now is the market time up to which all records have been made.
func (m *Market) Now() schemas.Time { return m.now }

// meta is that of a record without a sequence.
func (m *Market) meta(venue int, symbol string, at schemas.Time) *schemas.Meta {
	return &schemas.Meta{
		Source: m.source, Venue: m.venues[venue], Symbol: symbol, EventTime: int64(at), ReceiveTime: int64(at),
		TimeSource: schemas.TimeSource_TIME_SOURCE_EXCHANGE, SequenceKind: schemas.SequenceKind_SEQUENCE_KIND_NONE,
	}
}

// stamp is meta with the time as id, for records of which a key has one at a time.
func (m *Market) stamp(venue int, symbol string, at schemas.Time) *schemas.Meta {
	meta := m.meta(venue, symbol, at)
	meta.Id = strconv.FormatInt(int64(at)/1e9, 10)
	return meta
}

// Second makes the records of the next second, (now, now+1s]: trades and quotes in order of time, then those of its end.
func (m *Market) Second(put Put) error {
	season := season(m.now)
	m.factor.next()
	common := float64(m.factor.level * m.factor.student())
	m.level *= 1 + float64(m.cfg.VolatilityPerDay/math.Sqrt(secondsPerDay)*math.Sqrt(season)*common)
	var sector [sectors]float64
	for i := range sector {
		sector[i] = float64(m.factor.level * m.sectors[i].student())
	}
	m.keys = m.keys[:0]
	for _, in := range m.items {
		in.anomaly(&m.cfg, m.now, m.label)
		in.move(m.now, common, sector[in.sectorOf], m.factor.level, season)
		flow := season * flowOf * (m.factor.level + in.moves.level) / 2 * in.event.activity(m.now)
		m.draw(in, in.flow.poisson(in.trades*flow), false)
		m.draw(in, in.flow.poisson(in.quotes*flow), true)
	}
	slices.Sort(m.keys)
	for _, key := range m.keys {
		if err := m.emit(key, put); err != nil {
			return err
		}
	}
	for _, p := range m.parts {
		if err := p.second(m.now, put); err != nil {
			return err
		}
	}
	m.now = m.now.Add(time.Second)
	return nil
}

// draw adds the times of n trades or quotes of the second, spread over it with jitter: strictly after its begin, at most its end.
func (m *Market) draw(in *instrument, n int, quotes bool) {
	if n == 0 || in.halted {
		return
	}
	low := uint64(in.index) << indexShift
	if quotes {
		low |= quoteBit
	}
	width := int(time.Second) / n
	at := 0
	for i := range n {
		if quotes || i == 0 || in.flow.below(sweepOneIn) != 0 {
			at = i*width + 1 + in.flow.below(width)
		}
		m.keys = append(m.keys, uint64(at)<<offsetShift|low)
	}
}

// emit makes the record of a key.
func (m *Market) emit(key uint64, put Put) error {
	in := m.items[key>>indexShift&indexMask]
	offset := int64(key >> offsetShift)
	at := int64(m.now) + offset
	if key&quoteBit == 0 {
		if m.down[0] {
			return nil
		}
		m.trade.Meta.EventTime, m.trade.Meta.ReceiveTime = at, at
		in.trade(&m.trade, offset)
		return put(schemas.MarketTrades, &m.trade)
	}
	venue := in.turn % in.listed
	in.turn++
	if m.down[venue] {
		return nil
	}
	m.quote.Meta.EventTime, m.quote.Meta.ReceiveTime, m.quote.Meta.Venue = at, at, m.venues[venue]
	in.quote(&m.quote, venue, m.now, offset)
	return put(schemas.MarketQuotes, &m.quote)
}
