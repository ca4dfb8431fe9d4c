package venue

import (
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// Kind says what an event is.
type Kind uint8

// The kinds of event.
const (
	// Unknown is a message that the decoder has no case for; Detail names its type.
	Unknown Kind = iota
	// Trade is one trade, or one aggregate of fills.
	Trade
	// Quote is the best bid and offer.
	Quote
	// BookSnapshot is a whole book, or its top, sent in the stream.
	BookSnapshot
	// BookUpdate changes levels of a book.
	BookUpdate
	// BookAnswer is a whole book that was asked for by HTTP.
	BookAnswer
	// Derivative is any of mark, index, funding and open interest; what is absent did not change.
	Derivative
	// Liquidation is a forced close.
	Liquidation
	// Option is the quote of an option.
	Option
	// Bar is the venue's own bar: counted for the health of its stream; bars are made from trades.
	Bar
	// Status is what the venue says of itself or of an instrument.
	Status
	// Listing describes an instrument: its multiplier, what it settles in.
	Listing
	// Note is an acknowledgement, a heartbeat, an answer to a ping: no data.
	Note
	// Refusal is the venue's answer that it will not do what was asked; Detail says why.
	Refusal
	// Heartbeat says how far the trades of an instrument have come: Number is the id of the last one.
	Heartbeat
	// Shutdown says that the venue is about to close the connection.
	Shutdown
)

// An Event is one decoded piece of a message, the same for every venue. The bytes and levels in it are valid until the
// decoder's next call.
type Event struct {
	Kind Kind
	// Channel overrides the stream that the event counts for; empty takes that of its kind.
	Channel string
	// Symbol is the venue's spelling; empty where the event speaks of the venue as a whole.
	Symbol []byte
	// Sent is when the venue sent the message, At when it happened; 0 when the venue does not say.
	Sent, At schemas.Time

	// ID is the native id where it is text; Number where it is a number that grows. Of contiguous trades with both, the
	// number proves that none is missing, and ID names the record.
	ID     []byte
	Number uint64
	// First, Last and Prev are the sequence numbers of a book message; Last alone that of a quote.
	First, Last, Prev uint64
	// Unnumbered marks a snapshot of a book whose messages have no sequence numbers, though the venue's have them now.
	Unnumbered bool
	// Old marks what the venue sends again at subscription.
	Old bool

	// Price and Quantity are of a trade, a liquidation (fill) or the bid of a quote. Quantities count contracts where the
	// instrument has a multiplier.
	Price, Quantity Number
	// AskPrice and AskQuantity are the offer of a quote. An Unsized quote has prices only.
	AskPrice, AskQuantity Number
	Unsized               bool
	// Side is the taker's of a trade, the order's of a liquidation.
	Side    schemas.Side
	OffBook schemas.OffBook
	Fills   uint32
	// LimitPrice is of a liquidation's order.
	LimitPrice Optional
	// Partial marks a feed that drops some: an "at least".
	Partial bool
	// Wide marks a subscription to all instruments of a type: one that is not followed is passed over.
	Wide bool

	// Bids and Asks are levels; quantity zero removes one. Depth, when set, is how many a side the subscription keeps or, of a
	// BookAnswer, how many it has at most: beyond them the venue's book goes on.
	Bids, Asks []book.Level
	Depth      int
	// Checksum of the book behind this message.
	Checksum    uint32
	HasChecksum bool

	// Derivatives.
	Mark, Index, Settle, Rate, Cap, OpenInterest Optional
	Interval                                     uint32 // seconds between settlements, 0 unknown
	Next                                         schemas.Time
	FundingKind                                  schemas.FundingKind
	Unit                                         schemas.QuantityUnit
	// Liquidity of an option: what a Derivative does not have.
	Option OptionFields

	// Status: state is one of those of VenueStatus. With a Symbol the scope is that instrument, and one that is not followed
	// is passed over; else Scope says what it applies to.
	State, Scope string
	Starts, Ends schemas.Time

	// Listing.
	Multiplier Optional
	// Inverse contracts count the quote currency: base = contracts x multiplier / price.
	Inverse bool

	// Stream numbers every message of the connection, from 0 on, where the venue does so.
	Stream    uint64
	HasStream bool

	Detail []byte
}

// Number is a decimal by value, as the venue wrote it.
type Number = book.Number

// An Optional number may be absent, which is not zero.
type Optional struct {
	Number
	Set bool
}

// Some is a number that is there.
func Some(n Number) Optional { return Optional{n, true} }

// decimal returns a record field, nil when absent.
func (o Optional) decimal() *schemas.Decimal {
	if !o.Set {
		return nil
	}
	return o.Decimal()
}

// OptionFields are what is known of an option; a nil pointer or an unset number is not known.
type OptionFields struct {
	Strike                                       Number
	Expiry                                       schemas.Time
	Right                                        schemas.OptionRight
	Bid, Ask, Mark, Underlying, Interest, Volume Optional
	BidIV, AskIV, MarkIV                         *float64
	Delta, Gamma, Vega, Theta, Rho               *float64
}

// A Batch holds the events of one message, and their memory for the next.
type Batch struct{ events []Event }

// Reset empties the batch.
func (b *Batch) Reset() { b.events = b.events[:0] }

// Next adds an empty event of a kind.
func (b *Batch) Next(k Kind) *Event {
	if len(b.events) < cap(b.events) {
		b.events = b.events[:len(b.events)+1]
	} else {
		b.events = append(b.events, Event{})
	}
	e := &b.events[len(b.events)-1]
	*e = Event{Kind: k, Bids: e.Bids[:0], Asks: e.Asks[:0]}
	return e
}

// Events returns what was added since Reset.
func (b *Batch) Events() []Event { return b.events }

// A Decoder turns raw frames into events. It holds memory only, no state: the result depends on the frame alone.
// After an error nothing of the frame is used; the events that were begun then say by their kind, and by the number that they
// have on the connection, what it was of.
type Decoder interface {
	// Message decodes a message of the stream.
	Message(raw []byte) ([]Event, error)
	// Answer decodes the body of a GET.
	Answer(url string, body []byte) ([]Event, error)
}
