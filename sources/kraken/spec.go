package kraken

import (
	"bytes"
	"encoding/json"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

const address = "wss://ws.kraken.com/v2"

// Spec describes the spot market.
func (c Config) Spec() (*venue.Spec, error) {
	s := &venue.Spec{
		Venue: "kraken", Market: "spot", Channels: channels,
		Topics:     []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.VenuesStatus},
		NewDecoder: func() venue.Decoder { return &decoder{depth: c.Depth} },
		Canonical:  canonical, VenueSymbol: venueSymbol, Streams: streams, IsData: isData,
		Recorded: venue.Recorded{When: "2021-04 (v1)", Channels: []string{venue.Trades, venue.Quotes, venue.Book}},
		Books:    venue.BookRules{Proof: schemas.SequenceKind_SEQUENCE_KIND_CHECKSUM, Checksum: checksum},
		// "The trade identifier is a sequence number, unique per book."
		Contiguous: true,
		Recover: func(v string) venue.Recovery {
			return venue.Recovery{Send: [][]byte{c.request("unsubscribe", venue.Book, v), c.request("subscribe", venue.Book, v)}}
		},
	}
	return s, c.connect(s)
}

// connect adds the connections: each carries all channels of its symbols.
func (c Config) connect(s *venue.Spec) error {
	var symbols []string
	for _, symbol := range c.Symbols {
		v, err := venueSymbol(symbol)
		if err != nil {
			return err
		}
		symbols = append(symbols, v)
	}
	url := address
	if c.StreamURL != "" {
		url = c.StreamURL
	}
	for some := range slices.Chunk(symbols, max(1, c.StreamsPerConn/max(1, len(c.Channels)))) {
		conn := venue.Connection{URL: url}
		for _, channel := range c.Channels {
			switch {
			case channel != venue.State:
				conn.Send = append(conn.Send, c.request("subscribe", channel, some...))
			case len(s.Connections) == 0: // that of all instruments is one stream
				conn.Send = append(conn.Send, c.request("subscribe", channel))
			}
		}
		s.Connections = append(s.Connections, conn)
	}
	return nil
}

// request asks for a channel, or asks to leave it.
func (c Config) request(method, channel string, symbols ...string) []byte {
	type params struct {
		Channel  string   `json:"channel"`
		Symbol   []string `json:"symbol,omitempty"`
		Depth    int      `json:"depth,omitempty"`
		Trigger  string   `json:"event_trigger,omitempty"`
		Snapshot bool     `json:"snapshot,omitempty"`
	}
	p := params{Channel: names[channel], Symbol: symbols, Snapshot: method == "subscribe"}
	switch channel {
	case venue.Book:
		p.Depth = c.Depth
	case venue.Quotes:
		p.Trigger = "bbo"
	}
	out, _ := json.Marshal(struct { // strings and numbers: cannot fail
		Method string `json:"method"`
		Params params `json:"params"`
	}{method, p})
	return out
}

// names are the venue's own for the channels, in both versions.
var names = map[string]string{venue.Trades: "trade", venue.Quotes: "ticker", venue.Book: "book", venue.Bars: "ohlc", venue.State: "instrument"}

// streams lists what a subscription of v2 or v1 asks for; that of all instruments' states is silent while nothing changes.
func streams(f capture.Frame) []venue.Stream {
	if f.Kind != capture.Send {
		return nil
	}
	v, err := fastjson.ParseBytes(f.Data)
	if err != nil {
		return nil
	}
	name, symbols := string(v.GetStringBytes("params", "channel")), v.GetArray("params", "symbol")
	switch {
	case string(v.GetStringBytes("method")) == "subscribe":
	case string(v.GetStringBytes("event")) == "subscribe":
		name, symbols = string(v.GetStringBytes("subscription", "name")), v.GetArray("pair")
	default:
		return nil
	}
	var out []venue.Stream
	for channel, known := range names { // one of them at most
		for _, symbol := range symbols {
			if known == name {
				out = append(out, venue.Stream{Symbol: current(string(symbol.GetStringBytes())), Channel: channel})
			}
		}
	}
	return out
}

// isData tells data from acknowledgements, which name their channel too, heartbeats and states.
func isData(raw []byte) bool {
	const most = 64 // the channel is named at the beginning
	head := raw[:min(len(raw), most)]
	if bytes.Contains(head, []byte(`"method"`)) {
		return false
	}
	return bytes.HasPrefix(head, []byte("[")) || bytes.Contains(head, []byte(`"book"`)) || bytes.Contains(head, []byte(`"trade"`)) ||
		bytes.Contains(head, []byte(`"ticker"`))
}

// checksum is CRC-32 (IEEE) over the ten best asks, then the ten best bids: price and quantity as they were written, without
// the point and the zeros ahead.
func checksum(b *book.Book) uint32 {
	const levels, most = 10, 40 * 19
	bids, asks := b.Depth()
	text := make([]byte, 0, most)
	for i := range min(asks, levels) {
		text = digits(text, b.Ask(i))
	}
	for i := range min(bids, levels) {
		text = digits(text, b.Bid(i))
	}
	return crc32.ChecksumIEEE(text)
}

// digits are those of the mantissa: the text is kept as it came, so that zeros at its end are in there.
func digits(text []byte, l book.Level) []byte {
	return strconv.AppendInt(strconv.AppendInt(text, l.Price.Mantissa, 10), l.Quantity.Mantissa, 10)
}

// depthOf is the N of v1's book-N.
func depthOf(name []byte) int {
	_, n, _ := strings.Cut(string(name), "-")
	depth, err := strconv.Atoi(n)
	if err != nil || depth < 0 {
		return depths[0]
	}
	return depth
}
