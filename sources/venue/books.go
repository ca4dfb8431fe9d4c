package venue

import (
	"slices"
	"strconv"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// book takes a book message of the stream.
func (m *Machine) book(in *instrument, e *Event, f capture.Frame, place int) (fresh bool, err error) {
	s := in.stream(m.core.Health, Book, f.Conn)
	in.conn = f.Conn
	digest := uint64(0)
	if in.sync.chain() == ChainNone || e.Kind == BookSnapshot {
		digest = feed.Fingerprint(f.Data, place)
	}
	at, timed := e.At, e.At != 0
	if !timed {
		at = m.core.Clock.Estimate(f.At)
	}
	before, overflows := s.Event(), in.sync.stats.Overflows
	out, inherited := known, in.elsewhere(f.Conn)
	switch {
	case m.behind:
	case inherited:
		out = m.inherit(in, e, f.Conn, digest)
	case e.Kind == BookSnapshot:
		if out = in.sync.snapshot(e, digest); out != known {
			in.source, in.resync = f.Conn, true
			in.request.done()
		}
	default:
		out = in.sync.update(e, digest)
		if in.anew != nil && out == applied {
			m.renewed(in, in.anew.update(e, digest))
		}
	}
	if out == known {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, at, timed)
	in.sync.at, in.timed = max(in.sync.at, at), timed
	switch out {
	case applied:
		in.change(f)
	case kept:
		m.waiting(in, f, in.sync.stats.Overflows > overflows)
	case lost, refetch:
		// On refetch no update had followed the snapshot yet: what it showed is the venue's book no more.
		err = m.lostBook(in, s, f.Conn, feed.Loss{Cause: "sequence", From: before})
	case corrupt:
		err = m.lostBook(in, s, f.Conn, feed.Loss{Cause: "corrupt", From: before})
	case mismatch:
		err = m.lostBook(in, s, f.Conn, feed.Loss{Cause: "checksum", From: before})
	case idle, stale, known:
	}
	// A snapshot of what we have says nothing of the time: it is as old as the last change.
	return !inherited || e.Kind != BookSnapshot, err
}

// waiting sees to it that a snapshot is on its way. In a stream it comes unasked after the subscription: only when it does
// not, it is asked for.
func (m *Machine) waiting(in *instrument, f capture.Frame, overflow bool) {
	switch {
	case m.spec.Books.Asked:
		if overflow {
			in.request.done() // the answer that is awaited would be too old by now
		}
		m.recover(in)
	case !in.request.wanted:
		in.request.expect(f.At)
	}
}

// bookAnswer takes the snapshot that was asked for.
func (m *Machine) bookAnswer(in *instrument, e *Event, f capture.Frame) error {
	in.request.done()
	if in.anew != nil {
		m.renewed(in, in.anew.answer(e))
		return nil
	}
	timed := e.At != 0
	if !timed {
		e.At = m.core.Clock.Estimate(f.At)
	}
	conn := in.conn
	s := in.stream(m.core.Health, Book, conn)
	switch in.sync.answer(e) {
	case applied:
		in.resync, in.timed = true, timed
		in.change(capture.Frame{At: f.At, Conn: conn})
	case refetch:
		m.recover(in)
	case lost:
		return m.lostBook(in, s, conn, feed.Loss{Cause: "sequence", From: s.Event()})
	case corrupt:
		return m.lostBook(in, s, conn, feed.Loss{Cause: "corrupt", From: s.Event()})
	case kept, idle, stale, known, mismatch:
	}
	return nil
}

// change notes that the book changed and is to be published.
func (in *instrument) change(f capture.Frame) {
	in.dirty, in.heard, in.conn = true, f.At, f.Conn
	in.updates++
}

// lostBook invalidates the book first, then says so ahead of what follows, then asks for a snapshot.
func (m *Machine) lostBook(in *instrument, s *feed.Stream, conn string, l feed.Loss) error {
	in.sync.invalidate()
	in.dirty, in.updates, in.heir, in.anew = false, 0, nil, nil
	if err := m.core.Gap(schemas.MarketBooks, s, "book", in.symbol, conn, l); err != nil {
		return err
	}
	m.recover(in)
	return nil
}

// recover asks for a snapshot unless one is on its way.
func (m *Machine) recover(in *instrument) {
	if !in.request.wanted && in.request.want(m.core.Clock.Now()) {
		m.hands.Recover(feed.Slot(in.conn), in.venueSymbol)
	}
}

// askAgain asks for the snapshots whose time has come, and again for those in the stream that did not come.
func (m *Machine) askAgain(at schemas.Time) {
	for _, in := range m.order {
		switch r := &in.request; {
		case r.later && at >= r.due:
			r.send(at)
			m.hands.Recover(feed.Slot(in.conn), in.venueSymbol)
		case !m.spec.Books.Asked && r.wanted && !r.later && at.Sub(r.sent) >= again:
			r.done()
			m.recover(in)
		}
	}
}

// lost says that a stream lost something: a message of its connection, or the connection.
func (m *Machine) lost(in *instrument, s *feed.Stream, conn, cause string) error {
	l := feed.Loss{Cause: cause, From: s.Event()}
	switch s.Channel {
	case Trades:
		in.cut = cause
		return m.core.Gap(schemas.MarketTrades, s, "trades", in.symbol, conn, l)
	case Quotes:
		return m.core.Gap(schemas.MarketQuotes, s, "quotes", in.symbol, conn, l)
	case Book:
		valid := in.sync.valid()
		if cause != "disconnect" {
			if !valid {
				return nil
			}
			return m.lostBook(in, s, conn, l)
		}
		in.sync.restart()
		in.dirty, in.updates, in.heir, in.anew = false, 0, nil, nil
		if !m.spec.Books.Asked {
			in.request.done()
		}
		if !valid {
			return nil
		}
		return m.core.Gap(schemas.MarketBooks, s, "book", in.symbol, conn, l)
	case Marks, Funding, Interest, Liquidations:
		return m.core.Gap(schemas.MarketDerivatives, s, "derivatives", in.asset, conn, l)
	case Options:
		return m.core.Gap(schemas.MarketOptions, s, "options", in.asset, conn, l)
	}
	return nil
}

// publishBook publishes the top of a book. One that was shed stays dirty and is offered again.
func (m *Machine) publishBook(in *instrument) error {
	s := in.stream(m.core.Health, Book, in.conn)
	b := m.out.book
	m.core.Meta(b.Meta, s, in.conn, in.sync.at, in.heard)
	if !in.timed {
		b.Meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	}
	b.Meta.SequenceKind, b.Meta.Sequence = in.sync.proof(), in.sync.last
	if b.Meta.Id = strconv.FormatUint(in.sync.last, 10); in.sync.chain() == ChainNone {
		b.Meta.Id = strconv.FormatInt(int64(in.sync.at), 10)
	}
	if in.resync {
		b.Meta.Flags = flagSnapshot
	}
	bids, asks := in.sync.book.Depth()
	var ok bool
	if b.Bids, ok = m.levels(in, b.Bids, min(bids, m.cfg.BookDepth), in.sync.book.Bid); !ok {
		in.dirty = false
		return nil
	}
	if b.Asks, ok = m.levels(in, b.Asks, min(asks, m.cfg.BookDepth), in.sync.book.Ask); !ok {
		in.dirty = false
		return nil
	}
	m.bands(in, b)
	b.Depth, b.Updates = uint32(m.cfg.BookDepth), in.updates
	if err := m.core.Publish(schemas.MarketBooks, b); err != nil {
		return ignoreShed(err)
	}
	in.dirty, in.resync, in.updates = false, false, 0
	return nil
}

// levels fills n levels of one side, best first.
func (m *Machine) levels(in *instrument, dst []*schemas.Level, n int, level func(i int) book.Level) ([]*schemas.Level, bool) {
	for len(dst) < n {
		if cap(dst) > len(dst) && dst[:len(dst)+1][len(dst)] != nil {
			dst = dst[:len(dst)+1]
			continue
		}
		dst = append(dst, &schemas.Level{Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}})
	}
	dst = dst[:n]
	for i := range dst {
		l := level(i)
		quantity, ok := m.quantity(in, l.Quantity, l.Price, nil)
		if !ok {
			return dst, false
		}
		put(dst[i].Price, l.Price)
		put(dst[i].Quantity, quantity)
	}
	return dst, true
}

// bands states the depth of the whole book that is kept.
func (m *Machine) bands(in *instrument, b *schemas.BookSnapshot) {
	convert := in.convert
	if !in.multiplier.Set && !in.inverse {
		convert = nil
	}
	m.out.bands = in.sync.book.Bands(m.out.bands[:0], m.cfg.BookBands, convert)
	b.Bands = b.Bands[:0]
	for i, d := range m.out.bands {
		if b.Bands = slices.Grow(b.Bands, 1)[:i+1]; b.Bands[i] == nil {
			b.Bands[i] = &schemas.DepthBand{BidQuantity: &schemas.Decimal{}, AskQuantity: &schemas.Decimal{}}
			m.out.capped = append(m.out.capped, &schemas.Decimal{}, &schemas.Decimal{})
		}
		to := b.Bands[i]
		put(to.BidQuantity, d.Bid.Quantity)
		put(to.AskQuantity, d.Ask.Quantity)
		to.BasisPoints, to.BidComplete, to.AskComplete = uint32(m.cfg.BookBands[i]), d.Bid.Complete, d.Ask.Complete
		to.BidCapped, to.AskCapped = capped(m.out.capped[2*i], d.Bid), capped(m.out.capped[2*i+1], d.Ask)
	}
}

// capped fills d with the capped quantity; nil where it is the quantity itself.
func capped(d *schemas.Decimal, of book.Depth) *schemas.Decimal {
	if of.Capped == of.Quantity {
		return nil
	}
	put(d, of.Capped)
	return d
}

// records are the messages that are filled again and again.
type records struct {
	trade *schemas.Trade
	quote *schemas.Quote
	book  *schemas.BookSnapshot
	bands []book.Band
	// capped are those of the bids and of the asks, band by band.
	capped []*schemas.Decimal
	// The quantities of quote, where it has any.
	bid, ask *schemas.Decimal
}

func newRecords() records {
	return records{
		trade: &schemas.Trade{Meta: &schemas.Meta{}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}},
		quote: &schemas.Quote{Meta: &schemas.Meta{}, BidPrice: &schemas.Decimal{}, AskPrice: &schemas.Decimal{}},
		bid:   &schemas.Decimal{}, ask: &schemas.Decimal{},
		book: &schemas.BookSnapshot{Meta: &schemas.Meta{}},
	}
}
