package binance

import (
	"strconv"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// depth takes a difference of a book.
func (m *machine) depth(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	s := in.stream(m.core.Health, chBook, f.Conn)
	in.conn = f.Conn
	before, overflows := s.Event(), in.sync.stats.overflows
	out := in.sync.difference(e)
	if out == known {
		m.core.Duplicate(s)
		return false, nil
	}
	s.Record(f.At, e.at, true)
	switch out {
	case applied:
		in.change(f)
	case kept:
		if in.sync.stats.overflows > overflows {
			in.wanted = false // the answer that is awaited would be too old by now
		}
		m.fetch(in)
	case lost, refetch:
		// On refetch no difference had followed the snapshot yet: what it showed is the venue's book no more.
		err = m.lostBook(in, s, f.Conn, feed.Loss{Cause: "sequence", From: before})
	case crossed:
		err = m.lostBook(in, s, f.Conn, feed.Loss{Cause: "corrupt", From: before})
	case stale, known:
	}
	return true, err
}

// snapshot takes the answer to a depth request.
func (m *machine) snapshot(in *instrument, e *event, f capture.Frame) error {
	conn := in.conn
	s := in.stream(m.core.Health, chBook, conn)
	switch in.sync.snapshot(e) {
	case applied:
		in.resync = true
		in.change(capture.Frame{At: f.At, Conn: conn})
	case refetch:
		m.fetch(in)
	case lost:
		return m.lostBook(in, s, conn, feed.Loss{Cause: "sequence", From: s.Event()})
	case crossed:
		return m.lostBook(in, s, conn, feed.Loss{Cause: "corrupt", From: s.Event()})
	case kept, stale, known:
	}
	return nil
}

// change notes that the book changed and is to be published.
func (in *instrument) change(f capture.Frame) {
	in.dirty, in.heard, in.conn = true, f.At, f.Conn
	in.updates++
}

// lostBook invalidates the book first, then says so ahead of what follows, then asks for a snapshot.
func (m *machine) lostBook(in *instrument, s *feed.Stream, conn string, l feed.Loss) error {
	in.dirty, in.updates = false, 0
	if err := m.core.Gap(schemas.MarketBooks, s, "book", in.symbol, conn, l); err != nil {
		return err
	}
	m.fetch(in)
	return nil
}

// fetch asks for a snapshot unless one is on its way.
func (m *machine) fetch(in *instrument) {
	if !in.wanted {
		in.wanted = true
		m.want(in.venueSymbol)
	}
}

// disconnected takes the loss of the connection that carried a stream.
func (m *machine) disconnected(in *instrument, s *feed.Stream, conn string) error {
	l := feed.Loss{Cause: "disconnect", From: s.Event()}
	switch s.Channel {
	case chTrades:
		in.cut = true
		return m.core.Gap(schemas.MarketTrades, s, "trades", in.symbol, conn, l)
	case chQuotes:
		return m.core.Gap(schemas.MarketQuotes, s, "quotes", in.symbol, conn, l)
	case chBook:
		valid := in.sync.valid()
		in.sync.restart()
		in.dirty, in.updates = false, 0
		if !valid {
			return nil
		}
		return m.core.Gap(schemas.MarketBooks, s, "book", in.symbol, conn, l)
	case chMarks, chLiquidations:
		return m.core.Gap(schemas.MarketDerivatives, s, "derivatives", in.asset, conn, l)
	}
	return nil
}

// publishBook publishes the top of a book. One that was shed stays dirty and is offered again.
func (m *machine) publishBook(in *instrument) error {
	s := in.stream(m.core.Health, chBook, in.conn)
	b := m.out.book
	m.core.Meta(b.Meta, s, in.conn, in.sync.at, in.heard)
	b.Meta.Id = strconv.FormatUint(in.sync.last, 10)
	b.Meta.SequenceKind, b.Meta.Sequence = schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC, in.sync.last
	if m.futures {
		b.Meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_IDENTITY
	}
	if in.resync {
		b.Meta.Flags = flagSnapshot
	}
	bids, asks := in.sync.book.Depth()
	b.Bids = m.out.levels(b.Bids, min(bids, m.cfg.BookDepth), in.sync.book.Bid)
	b.Asks = m.out.levels(b.Asks, min(asks, m.cfg.BookDepth), in.sync.book.Ask)
	b.Depth, b.Updates = uint32(m.cfg.BookDepth), in.updates
	if err := m.core.Publish(schemas.MarketBooks, b); err != nil {
		return ignoreShed(err)
	}
	in.dirty, in.resync, in.updates = false, false, 0
	return nil
}

// records are the messages that are filled again and again.
type records struct {
	trade *schemas.Trade
	quote *schemas.Quote
	book  *schemas.BookSnapshot
}

func newRecords() records {
	return records{
		trade: &schemas.Trade{Meta: &schemas.Meta{}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}},
		quote: &schemas.Quote{
			Meta: &schemas.Meta{}, BidPrice: &schemas.Decimal{}, BidQuantity: &schemas.Decimal{},
			AskPrice: &schemas.Decimal{}, AskQuantity: &schemas.Decimal{},
		},
		book: &schemas.BookSnapshot{Meta: &schemas.Meta{}},
	}
}

// levels fills n levels of one side, best first.
func (records) levels(dst []*schemas.Level, n int, level func(i int) book.Level) []*schemas.Level {
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
		put(dst[i].Price, l.Price)
		put(dst[i].Quantity, l.Quantity)
	}
	return dst
}
