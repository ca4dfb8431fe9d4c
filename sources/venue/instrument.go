package venue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// instrument is the state of one symbol.
type instrument struct {
	symbol, venueSymbol, asset string
	streams                    map[string]*feed.Stream // by channel

	multiplier Optional
	inverse    bool
	convert    func(book.Level) (Number, bool) // the quantity of a level in units of base

	tradeChannel string // the kind of trade stream that came first: others number differently
	tradeIDs     feed.Window
	tradeTexts   feed.Recent
	cut          string       // what was lost since the last trade: the connection, or a message of it
	beat         schemas.Time // receipt of the last heartbeat
	due          uint64       // the last trade that it named
	session      uint32

	quoteID     uint64
	quotePrint  uint64
	quotes      stamps
	quoteAt     schemas.Time
	quoteHeard  schemas.Time // receipt of the last one
	quoted      [4]Number    // price and quantity of bid and offer
	ticker      ticker
	reached     map[string]*stamps // by channel: streams without ids
	liquidation feed.Recent

	sync    bookSync
	source  string       // session that the snapshot in the stream came on: the book follows it alone; "" when it has ended
	alone   schemas.Time // receipt clock of that end
	heir    *heir        // the same book by the next session, until that has come as far
	anew    *bookSync    // the same book by the next snapshot, until that has come as far
	request request
	resync  bool // the next book published is the first since a snapshot
	dirty   bool
	timed   bool // the last change had a time of its own
	updates uint32
	heard   schemas.Time // receipt of the last change
	conn    string
}

// ticker is what a Derivative's absent fields stand for.
type ticker struct {
	mark, index, settle, rate, limit Optional
	interval                         uint32
	next                             schemas.Time
}

// stream returns the stream of a channel and notes the connection that carries it, unless that is not known.
func (in *instrument) stream(h *feed.Health, channel, conn string) *feed.Stream {
	s := in.streams[channel]
	if s == nil || (conn != "" && s.Conn() != feed.Slot(conn)) {
		s = h.Stream(in.symbol, in.venueSymbol, channel, conn)
		in.streams[channel] = s
	}
	return s
}

// newer moves a stream without ids on, unless the message came before.
func (in *instrument) newer(channel, conn string, at schemas.Time, digest uint64) bool {
	s := in.reached[channel]
	if s == nil {
		s = &stamps{}
		in.reached[channel] = s
	}
	return s.fresh(conn, at, digest)
}

// backfill is how old the first trade of a session may be without being marked as an old one.
const backfill = 5 * time.Second

// Bits of Meta.flags.
const (
	flagSnapshot = 1
	flagBackfill = 4
	flagPartial  = 8
)

// errContract says that a quantity cannot be expressed in units of base.
var errContract = errors.New("quantity cannot be converted to units of base")

// quantity converts to base units; a record whose quantity cannot be converted is rejected.
func (m *Machine) quantity(in *instrument, q, price Number, raw []byte) (Number, bool) {
	if !in.multiplier.Set && m.spec.Contracts != nil && m.spec.Contracts(in.symbol) {
		m.core.Reject("multiplier unknown", errContract, raw)
		return Number{}, false
	}
	n, ok := in.base(q, price)
	if !ok {
		m.core.Reject("quantity", errContract, raw)
	}
	return n, ok
}

func (m *Machine) trade(in *instrument, e *Event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, Trades, f.Conn)
	if in.tradeChannel == "" {
		in.tradeChannel = e.Channel
	}
	if in.tradeChannel != e.Channel {
		m.core.Unknown("second trade stream", f.Data)
		return false, nil
	}
	var isNew, anew bool
	var missing uint64
	named := len(e.ID) > 0 && (e.Number == 0 || !m.spec.Contiguous) // the text alone tells trades apart
	if named {
		isNew = in.tradeTexts.Add(e.ID)
	} else if isNew, missing = in.tradeIDs.Add(e.Number); !isNew && e.At.Sub(s.Event()) >= anewAfter {
		// A trade that came before is not so much later than all that came: the venue numbers anew.
		in.tradeIDs = feed.Window{}
		isNew, _ = in.tradeIDs.Add(e.Number)
		anew = true
	}
	if !isNew {
		m.core.Duplicate(s)
		return false, nil
	}
	if (missing > 0 || anew) && m.spec.Contiguous {
		loss := feed.Loss{Cause: "sequence", From: s.Event(), To: e.At, Missing: missing, Counted: !anew}
		if in.cut != "" {
			loss.Cause = in.cut
		}
		if err := m.core.Gap(schemas.MarketTrades, s, "trades", in.symbol, f.Conn, loss); err != nil {
			return false, err
		}
	}
	in.cut = ""
	s.Record(f.At, e.At, !e.Old)
	quantity, ok := m.quantity(in, e.Quantity, e.Price, f.Data)
	if !ok {
		return true, nil
	}

	t := m.out.trade
	m.core.Meta(t.Meta, s, f.Conn, e.At, f.At)
	t.Meta.SequenceKind, t.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_NONE, e.Number
	if m.spec.Contiguous && !named {
		t.Meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC
	}
	if t.Meta.Id = string(e.ID); len(e.ID) == 0 {
		t.Meta.Id = strconv.FormatUint(e.Number, 10)
	}
	if epoch := m.core.Epoch(f.Conn); e.Old || epoch != in.session {
		in.session = epoch
		if e.Old || e.At < m.core.Clock.Estimate(f.At).Add(-backfill) {
			t.Meta.Flags = flagBackfill
		}
	}
	put(t.Price, e.Price)
	put(t.Quantity, quantity)
	t.TakerSide, t.OffBook, t.Fills = e.Side, e.OffBook, e.Fills
	return true, m.core.Publish(schemas.MarketTrades, t)
}

// heartbeat holds the trades against what the venue says was the last one. Trades and heartbeats may overtake each other:
// what the one before named must have come by this one.
func (m *Machine) heartbeat(in *instrument, e *Event, f capture.Frame) error {
	const least = 500 * time.Millisecond // closer ones are of two sessions, or one that came twice
	if f.At.Sub(in.beat) < least {
		return nil
	}
	due := in.due
	in.beat, in.due = f.At, e.Number
	missing := in.tradeIDs.Reach(due)
	if missing == 0 {
		return nil
	}
	s := in.stream(m.core.Health, Trades, f.Conn)
	loss := feed.Loss{Cause: "sequence", From: s.Event(), To: max(s.Event(), e.At), Missing: missing, Counted: true}
	return m.core.Gap(schemas.MarketTrades, s, "trades", in.symbol, f.Conn, loss)
}

// anewAfter is how long no record with a higher number may have come before one with a lower number counts: then the venue numbers
// anew. Until then it is an old one, of the other session of a renewal.
const anewAfter = 10 * time.Second

// fresher says that a quote is new: by its number, else by its time and what it says, else by what it says alone. received is its
// receipt.
func (in *instrument) fresher(e *Event, values [4]Number, conn string, received schemas.Time, digest uint64) bool {
	switch {
	case e.Last != 0:
		return e.Last > in.quoteID || (e.Last < in.quoteID && received.Sub(in.quoteHeard) >= anewAfter)
	case e.At != 0:
		return in.quotes.fresh(conn, e.At, digest) && (e.At != in.quoteAt || values != in.quoted)
	}
	return digest != in.quotePrint
}

func (m *Machine) quote(in *instrument, e *Event, f capture.Frame, digest uint64) (fresh bool, err error) {
	s := in.stream(m.core.Health, Quotes, f.Conn)
	at, timed := e.At, e.At != 0
	if !timed {
		at = m.core.Clock.Estimate(f.At)
	}
	values := [...]Number{e.Price, e.Quantity, e.AskPrice, e.AskQuantity}
	if !in.fresher(e, values, f.Conn, f.At, digest) {
		m.core.Duplicate(s)
		return false, nil
	}
	in.quoteID, in.quotePrint, in.quoteAt, in.quoteHeard, in.quoted = e.Last, digest, at, f.At, values
	s.Record(f.At, at, timed)
	q := m.out.quote
	q.BidQuantity, q.AskQuantity = nil, nil
	if !e.Unsized {
		bid, ok := m.quantity(in, e.Quantity, e.Price, f.Data)
		if !ok {
			return true, nil
		}
		ask, ok := m.quantity(in, e.AskQuantity, e.AskPrice, f.Data)
		if !ok {
			return true, nil
		}
		q.BidQuantity, q.AskQuantity = m.out.bid, m.out.ask
		put(q.BidQuantity, bid)
		put(q.AskQuantity, ask)
	}
	m.core.Meta(q.Meta, s, f.Conn, at, f.At)
	if !timed {
		q.Meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	}
	if q.Meta.Id = strconv.FormatUint(e.Last, 10); e.Last == 0 {
		q.Meta.Id = strconv.FormatInt(int64(at), 10) + "/" + strconv.FormatUint(e.Number, 10)
	}
	q.Meta.SequenceKind, q.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_NONE, e.Last
	put(q.BidPrice, e.Price)
	put(q.AskPrice, e.AskPrice)
	if q.BidPrice.Cmp(q.AskPrice) > 0 {
		m.core.Reject("crossed", nil, f.Data)
		return true, nil
	}
	return true, ignoreShed(m.core.Publish(schemas.MarketQuotes, q))
}

// derivative publishes what the event has of mark, funding and open interest; what it has not, it had before.
func (m *Machine) derivative(in *instrument, e *Event, f capture.Frame, digest uint64) (fresh bool, err error) {
	channel := e.Channel
	if channel == "" {
		channel = Marks
	}
	s := in.stream(m.core.Health, channel, f.Conn)
	at, timed := e.At, e.At != 0
	if !timed {
		at = m.core.Clock.Estimate(f.At)
	}
	if !in.newer(channel, f.Conn, at, digest) {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, at, timed)
	in.ticker.merge(e)
	meta := func() *schemas.Meta {
		meta := &schemas.Meta{}
		m.core.Meta(meta, s, f.Conn, at, f.At)
		meta.Id = in.symbol + "/" + strconv.FormatInt(int64(at), 10)
		if e.Number != 0 {
			meta.Id += "/" + strconv.FormatUint(e.Number, 10)
		}
		meta.SequenceKind, meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_NONE, e.Number
		if !timed {
			meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
		}
		return meta
	}
	t := &in.ticker
	if (e.Mark.Set || e.Index.Set || e.Settle.Set) && t.mark.Set {
		err := m.core.Publish(schemas.MarketDerivatives, &schemas.Mark{
			Meta: meta(), Asset: in.asset, MarkPrice: t.mark.decimal(), IndexPrice: t.index.decimal(), SettlePrice: t.settle.decimal(),
		})
		if err != nil {
			return false, err
		}
	}
	if (e.Rate.Set || e.Cap.Set || e.Interval != 0) && t.rate.Set {
		kind := e.FundingKind
		if kind == schemas.FundingKind_FUNDING_KIND_UNSPECIFIED {
			kind = schemas.FundingKind_FUNDING_KIND_CURRENT
		}
		err := m.core.Publish(schemas.MarketDerivatives, &schemas.Funding{
			Meta: meta(), Asset: in.asset, Rate: t.rate.decimal(), IntervalSeconds: t.interval, NextTime: int64(t.next), Kind: kind, Cap: t.limit.decimal(),
		})
		if err != nil {
			return false, err
		}
	}
	if !e.OpenInterest.Set {
		return true, nil
	}
	o := &schemas.OpenInterest{Meta: meta(), Asset: in.asset, Quantity: e.OpenInterest.Decimal(), Unit: e.Unit}
	if e.Unit == schemas.QuantityUnit_QUANTITY_UNIT_CONTRACT && !in.inverse {
		o.Multiplier = in.multiplier.decimal()
	}
	return true, m.core.Publish(schemas.MarketDerivatives, o)
}

// merge takes what an event has.
func (t *ticker) merge(e *Event) {
	for _, p := range [...]struct {
		to   *Optional
		from Optional
	}{{&t.mark, e.Mark}, {&t.index, e.Index}, {&t.settle, e.Settle}, {&t.rate, e.Rate}, {&t.limit, e.Cap}} {
		if p.from.Set {
			*p.to = p.from
		}
	}
	if e.Interval != 0 {
		t.interval = e.Interval
	}
	if e.Next != 0 {
		t.next = e.Next
	}
}

func (m *Machine) liquidate(in *instrument, e *Event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, Liquidations, f.Conn)
	id := e.ID
	if len(id) == 0 { // there may be several at one time: what they are, and their number, tell them apart
		id = fmt.Appendf(nil, "%d/%d/%s/%s/%d", e.At, e.Side, e.Price.Decimal().Text(), e.Quantity.Decimal().Text(), e.Number)
	}
	if !in.liquidation.Add(id) {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, e.At, !e.Old)
	quantity, ok := m.quantity(in, e.Quantity, e.Price, f.Data)
	if !ok {
		return true, nil
	}
	l := &schemas.Liquidation{
		Meta: &schemas.Meta{}, Asset: in.asset, LimitPrice: e.LimitPrice.decimal(), Price: e.Price.Decimal(), Quantity: quantity.Decimal(),
		OrderSide: e.Side, PositionSide: opposite(e.Side), Complete: !e.Partial,
	}
	m.core.Meta(l.Meta, s, f.Conn, e.At, f.At)
	l.Meta.Id, l.Meta.SequenceKind = in.symbol+"/"+string(id), schemas.SequenceKind_SEQUENCE_KIND_NONE
	if e.Partial {
		l.Meta.Flags = flagPartial
	}
	if e.Old {
		l.Meta.Flags |= flagBackfill
	}
	return true, m.core.Publish(schemas.MarketDerivatives, l)
}

// opposite is the side of the position that an order closes.
func opposite(s schemas.Side) schemas.Side {
	switch s {
	case schemas.Side_SIDE_BUY:
		return schemas.Side_SIDE_SELL
	case schemas.Side_SIDE_SELL:
		return schemas.Side_SIDE_BUY
	default:
		return s
	}
}

func (m *Machine) option(in *instrument, e *Event, f capture.Frame, digest uint64) (fresh bool, err error) {
	s := in.stream(m.core.Health, Options, f.Conn)
	if !in.newer(Options, f.Conn, e.At, digest) {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, e.At, true)
	o := &e.Option
	q := &schemas.OptionQuote{
		Meta: &schemas.Meta{}, Underlying: in.asset, Strike: o.Strike.Decimal(), Expiry: int64(o.Expiry), Right: o.Right,
		BidPrice: o.Bid.decimal(), AskPrice: o.Ask.decimal(), MarkPrice: o.Mark.decimal(), UnderlyingPrice: o.Underlying.decimal(),
		BidIv: o.BidIV, AskIv: o.AskIV, MarkIv: o.MarkIV, Delta: o.Delta, Gamma: o.Gamma, Vega: o.Vega, Theta: o.Theta, Rho: o.Rho,
		OpenInterest: o.Interest.decimal(), Volume: o.Volume.decimal(),
	}
	m.core.Meta(q.Meta, s, f.Conn, e.At, f.At)
	q.Meta.Id = in.symbol + "/" + strconv.FormatInt(int64(e.At), 10)
	if e.Number != 0 {
		q.Meta.Id += "/" + strconv.FormatUint(e.Number, 10)
	}
	q.Meta.SequenceKind, q.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_NONE, e.Number
	return true, m.core.Publish(schemas.MarketOptions, q)
}

// bar counts the venue's own bars for the health of the stream.
func (m *Machine) bar(in *instrument, e *Event, f capture.Frame, digest uint64) (fresh bool, err error) {
	s := in.stream(m.core.Health, Bars, f.Conn)
	if !in.newer(Bars, f.Conn, e.At, digest) {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, e.At, !e.Old)
	return true, nil
}

// asset is the first part of a canonical symbol.
func asset(symbol string) string {
	base, _, _ := strings.Cut(symbol, "-")
	return base
}

func ignoreShed(err error) error {
	if feed.Shed(err) {
		return nil
	}
	return err
}
