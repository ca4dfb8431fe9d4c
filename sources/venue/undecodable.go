package venue

import (
	"bytes"

	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// undecodable takes a message that could not be read: it becomes a dead letter, and whatever stream it was of has lost it.
// The decoder says what kind of message it was, as far as it got, and the message names symbols; of what neither tells, every
// stream of the connection may have lost something. about is where the symbols are looked for.
func (m *Machine) undecodable(err error, events []Event, about []byte, f capture.Frame) error {
	m.core.Undecodable(reasonOf(err), f.Conn, err, f.Data)
	m.behind = false
	for i := range events {
		if e := &events[i]; e.HasStream { // its number has come, though nothing else of it has
			if err := m.numbered(e.Stream, f); err != nil || m.behind {
				return err // a later one came before: it was told of as lost by then
			}
		}
	}
	carries, known := carried(events)
	if known && carries == 0 {
		return nil
	}
	named := false
	m.onSlot(f.Conn, func(in *instrument, _ *feed.Stream) { named = named || names(about, in.venueSymbol) })
	var lost []*feed.Stream
	m.onSlot(f.Conn, func(in *instrument, s *feed.Stream) {
		if (!known || carries&groupOf(s.Channel) != 0) && (!named || names(about, in.venueSymbol)) {
			lost = append(lost, s)
		}
	})
	for _, s := range lost {
		in := m.instruments[s.VenueSymbol]
		if s.Channel == Book && in.source != "" && in.source != f.Conn {
			m.disinherit(in, f.Conn) // a book that follows another session of the slot has lost nothing
			continue
		}
		// A stream of which nothing has come since it was told is not told again; a book says so by being invalid.
		if told := s.Told(); told && s.Channel != Book {
			continue
		}
		if err := m.lost(in, s, f.Conn, "undecodable"); err != nil {
			return err
		}
	}
	return nil
}

// onSlot calls fn for the streams of a connection that have had anything to lose.
func (m *Machine) onSlot(conn string, fn func(*instrument, *feed.Stream)) {
	_ = m.core.Health.OnSlot(conn, func(s *feed.Stream) error { // fn has no error
		if in := m.instruments[s.VenueSymbol]; in != nil && s.Event() != 0 {
			fn(in, s)
		}
		return nil
	})
}

// group is a set of channels that messages of one kind carry.
type group uint8

const (
	ofTrades group = 1 << iota // a trade may be a liquidation
	ofBook
	ofTicker // a ticker has a quote and whatever derivatives have
	ofBars
	ofStatus
)

func groupOf(channel string) group {
	switch channel {
	case Trades, Liquidations:
		return ofTrades
	case Book:
		return ofBook
	case Quotes, Marks, Funding, Interest, Options:
		return ofTicker
	case Bars:
		return ofBars
	}
	return ofStatus
}

// carried says what a message carries, by the events that were begun before it could be read no further. known is false when
// it came to none that tells.
func carried(events []Event) (all group, known bool) {
	for i := range events {
		switch events[i].Kind {
		case Trade, Liquidation:
			all |= ofTrades
		case BookSnapshot, BookUpdate, BookAnswer:
			all |= ofBook
		case Quote, Derivative, Option:
			all |= ofTicker
		case Bar:
			all |= ofBars
		case Status, Listing, Refusal, Heartbeat, Shutdown: // no stream has lost anything
		case Unknown, Note:
			continue
		}
		known = true
	}
	return all, known
}

// names says that a text holds a symbol, and not only as part of a longer one: BTC-USDT is not in BTC-USDT-SWAP.
func names(text []byte, symbol string) bool {
	for {
		i := bytes.Index(text, []byte(symbol))
		if i < 0 {
			return false
		}
		end := i + len(symbol)
		if (i == 0 || !spells(text[i-1])) && (end == len(text) || !spells(text[end])) {
			return true
		}
		text = text[end:]
	}
}

// spells says that a byte may be part of a symbol.
func spells(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/'
}
