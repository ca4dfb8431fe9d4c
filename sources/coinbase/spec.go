package coinbase

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Addresses of the venue.
const (
	advancedAddress = "wss://advanced-trade-ws.coinbase.com"
	exchangeAddress = "wss://ws-feed.exchange.coinbase.com"
)

// Names of the channels with the venue.
var (
	advancedNames = map[string]string{venue.Trades: "market_trades", venue.Quotes: "ticker", venue.Book: "level2", venue.State: "status"}
	exchangeNames = map[string]string{venue.Trades: "matches", venue.Quotes: "ticker", venue.Book: "level2_batch", venue.State: "status"}
)

// Spec describes a market.
func (c Config) Spec() (*venue.Spec, error) {
	s := &venue.Spec{
		Venue: "coinbase", Market: c.Market, Channels: channels(), Numbered: c.Market != Exchange, NewDecoder: func() venue.Decoder { return &decoder{} },
		Topics:    []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.VenuesStatus},
		Canonical: canonical, VenueSymbol: func(symbol string) (string, error) { return venueSymbol(symbol, c.Market) },
		Streams: streams, IsData: isData, Contiguous: true,
		Recorded: venue.Recorded{When: "2026-08", Channels: []string{venue.Trades, venue.Quotes, venue.Book}},
		// The numbers of Advanced Trade prove the whole connection; those of Exchange say nothing of its books.
		Books:   venue.BookRules{Proof: schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC},
		Recover: func(v string) venue.Recovery { return venue.Recovery{Send: c.again(v)} },
	}
	if c.Market == Exchange {
		s.NewDecoder = func() venue.Decoder { return &exchangeDecoder{} }
		s.Books.Proof, s.Recorded = schemas.SequenceKind_SEQUENCE_KIND_NONE, venue.Recorded{}
	}
	return s, c.connect(s)
}

// connect adds the connections: each carries all channels of its symbols.
func (c Config) connect(s *venue.Spec) error {
	var products []string
	for _, symbol := range c.Symbols {
		v, err := s.VenueSymbol(symbol)
		if err != nil {
			return err
		}
		products = append(products, v)
	}
	for some := range slices.Chunk(products, max(1, c.StreamsPerConn/max(1, len(c.Channels)))) {
		conn := venue.Connection{URL: c.address()}
		if c.Market == Exchange {
			conn.Send = [][]byte{c.request("subscribe", some, append(c.exchangeChannels(), "heartbeat")...)}
		} else {
			for _, channel := range c.Channels {
				conn.Send = append(conn.Send, c.request("subscribe", some, advancedNames[channel]))
			}
			// Without it channels are closed after a minute or so of silence.
			conn.Send = append(conn.Send, c.request("subscribe", nil, "heartbeats"))
		}
		s.Connections = append(s.Connections, conn)
	}
	return nil
}

func (c Config) exchangeChannels() []string {
	var out []string
	for _, channel := range c.Channels {
		out = append(out, exchangeNames[channel])
	}
	return out
}

func (c Config) address() string {
	switch {
	case c.StreamURL != "":
		return c.StreamURL
	case c.Market == Exchange:
		return exchangeAddress
	}
	return advancedAddress
}

// again leaves a book and subscribes to it anew: a snapshot comes first.
func (c Config) again(productID string) [][]byte {
	name := advancedNames[venue.Book]
	if c.Market == Exchange {
		name = exchangeNames[venue.Book]
	}
	return [][]byte{c.request("unsubscribe", []string{productID}, name), c.request("subscribe", []string{productID}, name)}
}

// request asks for channels; Advanced Trade takes one at a time.
func (c Config) request(kind string, products []string, channels ...string) []byte {
	r := struct {
		Type     string   `json:"type"`
		Products []string `json:"product_ids,omitempty"`
		Channel  string   `json:"channel,omitempty"`
		Channels []string `json:"channels,omitempty"`
	}{Type: kind, Products: products}
	if c.Market == Exchange {
		r.Channels = channels
	} else {
		r.Channel = channels[0]
	}
	out, _ := json.Marshal(r) // texts: cannot fail
	return out
}

// streams lists what a subscription of either market asks for; states are silent while nothing changes.
func streams(f capture.Frame) []venue.Stream {
	v := venue.Subscription(f, "type", "subscribe")
	asked := []string{string(v.GetStringBytes("channel"))}
	for _, c := range v.GetArray("channels") {
		asked = append(asked, string(c.GetStringBytes()))
	}
	var out []venue.Stream
	for _, name := range asked {
		var channel string
		switch name {
		case "market_trades", "matches":
			channel = venue.Trades
		case "ticker":
			channel = venue.Quotes
		case "level2", "level2_batch":
			channel = venue.Book
		case "candles":
			channel = venue.Bars
		default:
			continue
		}
		for _, product := range v.GetArray("product_ids") {
			out = append(out, venue.Stream{Symbol: string(product.GetStringBytes()), Channel: channel})
		}
	}
	return out
}

// isData tells data from acknowledgements, heartbeats and states.
func isData(raw []byte) bool {
	const most = 64 // the type or channel is named at the beginning
	head := raw[:min(len(raw), most)]
	for _, name := range []string{`"heartbeat`, `"subscriptions"`, `"error"`, `"status"`} {
		if bytes.Contains(head, []byte(name)) {
			return false
		}
	}
	return true
}
