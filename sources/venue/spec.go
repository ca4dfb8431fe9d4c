// Package venue is what all venue connectors share: the contract of a decoder, the state behind it (books in step with the
// venue's, de-duplication by native id, gaps), and the source that runs them live or from a capture.
//
// A connector is a Spec: where the venue is, how one subscribes, and a pure decoder from frames to Events. Everything
// behind the Events is here, once.
package venue

import (
	"slices"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// Names of channels in configuration and FeedHealth.
const (
	Trades       = "trades"
	Book         = "book"
	Quotes       = "quotes"
	Marks        = "marks"   // mark and index prices, funding; on some venues open interest
	Funding      = "funding" // where it is a stream of its own
	Interest     = "open_interest"
	Liquidations = "liquidations"
	Options      = "options"
	Bars         = "bars"
	State        = "status"
)

// A Spec describes one market of a venue.
type Spec struct {
	// Venue is the Meta.venue of the records; Market makes the source's name, venue.market.
	Venue, Market string
	// Channels are all that the market has; Partial those of them that the venue sends a part of only.
	Channels, Partial []string
	// Also are the types of record that the messages of a channel have besides the channel's own.
	Also map[string][]string
	// Recorded says which of them a recording of the venue proves.
	Recorded Recorded
	// Topics are those that the market's keys live on.
	Topics []schemas.Topic
	// NewDecoder makes the decoder of one machine.
	NewDecoder func() Decoder
	// Canonical spells a venue symbol as BASE-QUOTE[-TYPE[-EXPIRY[-STRIKE]]]; VenueSymbol is the way back.
	Canonical   func(venueSymbol string) (string, error)
	VenueSymbol func(symbol string) (string, error)
	// Streams lists the streams that a Connect or Send frame asks for.
	Streams func(f capture.Frame) []Stream
	// Serves tells the market's own addresses from those of another in the same capture; nil takes all.
	Serves func(address string) bool
	// IsData tells data from acknowledgements and heartbeats.
	IsData func(raw []byte) bool

	Books BookRules
	// Contiguous says that the numbers of trades grow by one: a missing one is a loss.
	Contiguous bool
	// Numbered says that the messages of a connection are numbered: a missing one may have been of any of its streams.
	Numbered bool
	// Contracts says that an instrument's quantities count contracts, so that they mean nothing before its Listing is known.
	Contracts func(symbol string) bool

	// Grace is how long the venue's first time is waited for, before the source runs on the receipt clock; 0 is the usual. A venue
	// that plays a recording has times of long ago: what comes behind such a start would be late for good.
	Grace time.Duration

	// Connections are what a live run dials; Gets what it asks for by HTTP.
	Connections []Connection
	Gets        []Get
	// Recover says how to get a fresh snapshot of a book.
	Recover func(venueSymbol string) Recovery
}

// Recorded names the channels whose decoding and state a recording of the venue proves, and the month that it is of, with the
// interface where the venue has a newer one by now. The others are held to documented examples.
type Recorded struct {
	When     string
	Channels []string
}

// Of is when a channel was recorded, empty where it was not.
func (r Recorded) Of(channel string) string {
	if slices.Contains(r.Channels, channel) {
		return r.When
	}
	return ""
}

// A Stream is a channel of an instrument, by the venue's spelling.
type Stream struct{ Symbol, Channel string }

// Subscription reads a request to the venue; it is nil when the frame is none, or key does not have the verb that subscribes.
func Subscription(f capture.Frame, key, verb string) *fastjson.Value {
	if f.Kind != capture.Send {
		return nil
	}
	v, err := fastjson.ParseBytes(f.Data)
	if err != nil || string(v.GetStringBytes(key)) != verb {
		return nil
	}
	return v
}

// A Connection is an address with the requests that go out after each dial.
type Connection struct {
	URL  string
	Send [][]byte
	// Ping goes out as a message every so often, where the venue wants that; where it is empty, a ping of the protocol does.
	// PingEvery 0 sends none.
	Ping      []byte
	PingEvery time.Duration
	// Counts says that it carries quantities of contracts: it is dialled once what they count is listed, so that no record comes
	// that cannot be understood.
	Counts bool
}

// A Get is an address asked for at the start, and again every so often unless Every is 0.
type Get struct {
	URL   string
	Every time.Duration
	// Lists says that the answer lists what contracts count.
	Lists bool
}

// Recovery is an address to get, or requests to send on the connection of the book.
type Recovery struct {
	Get  string
	Send [][]byte
}

// SourceName is the Meta.source of the market's records.
func (s *Spec) SourceName() string { return s.Venue + "." + s.Market }

// own are the types of record of each channel.
var own = map[string][]string{
	Trades: {"Trade"}, Book: {"BookSnapshot"}, Quotes: {"Quote"}, Marks: {"Mark", "Funding"}, Interest: {"OpenInterest"}, Liquidations: {"Liquidation"},
	Options: {"OptionQuote"}, State: {"VenueStatus"},
}

// Records lists the types of record that a channel gives.
func (s *Spec) Records(channel string) []string { return slices.Concat(own[channel], s.Also[channel]) }

// Proof names what shows the loss of a single message of a channel: arithmetic, identity, checksum, connection or none.
func (s *Spec) Proof(channel string) string {
	switch {
	case s.Numbered:
		return "connection"
	case channel == Trades && s.Contiguous:
		return "arithmetic"
	case channel == Book:
		switch s.Books.Proof {
		case schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC:
			return "arithmetic"
		case schemas.SequenceKind_SEQUENCE_KIND_IDENTITY:
			return "identity"
		case schemas.SequenceKind_SEQUENCE_KIND_CHECKSUM:
			return "checksum"
		case schemas.SequenceKind_SEQUENCE_KIND_UNSPECIFIED, schemas.SequenceKind_SEQUENCE_KIND_NONE:
		}
	}
	return "none"
}
