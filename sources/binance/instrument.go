package binance

import (
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// instrument is the state of one symbol.
type instrument struct {
	symbol, venueSymbol, asset string
	streams                    [6]*feed.Stream // by channel

	// Trades and aggregate trades number differently: the kind that comes first is the one published.
	tradeKind kind
	tradeIDs  feed.Window
	cut       bool // the connection was lost since the last trade
	session   uint32

	quoteID       uint64
	markAt        schemas.Time
	liquidationAt schemas.Time
	klineAt       schemas.Time

	sync    bookSync
	wanted  bool // a snapshot request is in flight
	resync  bool // the next book published is the first since a snapshot
	dirty   bool
	updates uint32
	heard   schemas.Time // receipt of the last change
	conn    string
}

// stream returns the stream of a channel and notes the connection that carries it, unless that is not known.
func (in *instrument) stream(h *feed.Health, channel, conn string) *feed.Stream {
	i := channelIndex(channel)
	if in.streams[i] == nil || (conn != "" && in.streams[i].Conn() != feed.Slot(conn)) {
		in.streams[i] = h.Stream(in.symbol, in.venueSymbol, channel, conn)
	}
	return in.streams[i]
}

func channelIndex(channel string) int {
	switch channel {
	case chTrades:
		return 0
	case chBook:
		return 1
	case chQuotes:
		return 2
	case chMarks:
		return 3
	case chLiquidations:
		return 4
	}
	return 5
}

// backfill is how old the first trade of a session may be without being marked as an old one.
const backfill = 5 * time.Second

// Bits of Meta.flags.
const (
	flagSnapshot = 1
	flagBackfill = 4
	flagPartial  = 8
)

func (m *machine) trade(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chTrades, f.Conn)
	if in.tradeKind == unknown {
		in.tradeKind = e.kind
	}
	if in.tradeKind != e.kind {
		m.core.Unknown("second trade stream", f.Data)
		return false, nil
	}
	isNew, missing := in.tradeIDs.Add(e.id)
	if !isNew {
		m.core.Duplicate(s)
		return false, nil
	}
	if missing > 0 {
		loss := feed.Loss{Cause: "sequence", From: s.Event(), To: e.at, Missing: missing, Counted: true}
		if in.cut {
			loss.Cause = "disconnect"
		}
		if err := m.core.Gap(schemas.MarketTrades, s, "trades", in.symbol, f.Conn, loss); err != nil {
			return false, err
		}
	}
	in.cut = false
	s.Record(f.At, e.at, true)

	t := m.out.trade
	m.core.Meta(t.Meta, s, f.Conn, e.at, f.At)
	t.Meta.Id = strconv.FormatUint(e.id, 10)
	t.Meta.SequenceKind, t.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC, e.id
	if epoch := m.core.Epoch(f.Conn); epoch != in.session {
		in.session = epoch
		if e.at < m.core.Clock.Estimate(f.At).Add(-backfill) {
			t.Meta.Flags = flagBackfill
		}
	}
	put(t.Price, e.price)
	put(t.Quantity, e.quantity)
	t.TakerSide, t.OffBook, t.Fills = schemas.Side_SIDE_BUY, e.offBook, e.fills
	if e.buyerMaker {
		t.TakerSide = schemas.Side_SIDE_SELL
	}
	return true, m.core.Publish(schemas.MarketTrades, t)
}

func (m *machine) quote(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chQuotes, f.Conn)
	if e.last <= in.quoteID {
		m.core.Duplicate(s)
		return false, nil
	}
	in.quoteID = e.last
	at, timed := e.at, e.at != 0
	if !timed {
		at = m.core.Clock.Estimate(f.At)
	}
	s.Record(f.At, at, timed)

	q := m.out.quote
	m.core.Meta(q.Meta, s, f.Conn, at, f.At)
	if !timed {
		q.Meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	}
	q.Meta.Id = strconv.FormatUint(e.last, 10)
	q.Meta.SequenceKind, q.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_NONE, e.last
	put(q.BidPrice, e.price)
	put(q.BidQuantity, e.quantity)
	put(q.AskPrice, e.askPrice)
	put(q.AskQuantity, e.askQuantity)
	if q.BidPrice.Cmp(q.AskPrice) > 0 {
		m.core.Reject("crossed", nil, f.Data)
		return true, nil
	}
	return true, ignoreShed(m.core.Publish(schemas.MarketQuotes, q))
}

func (m *machine) mark(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chMarks, f.Conn)
	if e.at <= in.markAt {
		m.core.Duplicate(s)
		return false, nil
	}
	in.markAt = e.at
	s.Record(f.At, e.at, true)
	k := &schemas.Mark{Meta: &schemas.Meta{}, Asset: in.asset, MarkPrice: e.price.Decimal()}
	m.core.Meta(k.Meta, s, f.Conn, e.at, f.At)
	k.Meta.Id = in.symbol + "/" + strconv.FormatInt(int64(e.at), 10)
	k.Meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_NONE
	if e.hasIndex {
		k.IndexPrice = e.index.Decimal()
	}
	if e.hasSettle {
		k.SettlePrice = e.settle.Decimal()
	}
	if err := m.core.Publish(schemas.MarketDerivatives, k); err != nil {
		return false, err
	}
	// Dated futures have no funding: no next time and an empty or zero rate.
	if !e.hasRate || e.next == 0 {
		return true, nil
	}
	return true, m.core.Publish(schemas.MarketDerivatives, &schemas.Funding{
		Meta: k.Meta, Asset: in.asset, Rate: e.rate.Decimal(), NextTime: int64(e.next), Kind: schemas.FundingKind_FUNDING_KIND_CURRENT,
	})
}

func (m *machine) liquidation(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chLiquidations, f.Conn)
	// The stream carries the latest per symbol and second only, so a later one has a later time.
	if e.at <= in.liquidationAt {
		m.core.Duplicate(s)
		return false, nil
	}
	in.liquidationAt = e.at
	s.Record(f.At, e.at, true)
	l := &schemas.Liquidation{
		Meta: &schemas.Meta{}, Asset: in.asset, LimitPrice: e.price.Decimal(), Price: e.price.Decimal(), Quantity: e.quantity.Decimal(),
		OrderSide: schemas.Side_SIDE_BUY, PositionSide: schemas.Side_SIDE_SELL,
	}
	if e.sell {
		l.OrderSide, l.PositionSide = schemas.Side_SIDE_SELL, schemas.Side_SIDE_BUY
	}
	if e.hasAverage {
		l.Price = e.average.Decimal()
	}
	if e.hasLast {
		l.Quantity = e.filled.Decimal()
	}
	m.core.Meta(l.Meta, s, f.Conn, e.at, f.At)
	l.Meta.Id = in.symbol + "/" + strconv.FormatInt(int64(e.at), 10)
	l.Meta.SequenceKind, l.Meta.Flags = schemas.SequenceKind_SEQUENCE_KIND_NONE, flagPartial
	return true, m.core.Publish(schemas.MarketDerivatives, l)
}

// kline counts the venue's own bars for the health of the stream; bars are made from trades by the bars stage.
func (m *machine) kline(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chBars, f.Conn)
	if e.at <= in.klineAt {
		m.core.Duplicate(s)
		return false, nil
	}
	in.klineAt = e.at
	s.Record(f.At, e.at, true)
	return true, nil
}

// put copies a number into a record field.
func put(d *schemas.Decimal, n book.Number) { d.Mantissa, d.Exponent = n.Mantissa, n.Exponent }

func ignoreShed(err error) error {
	if feed.Shed(err) {
		return nil
	}
	return err
}
