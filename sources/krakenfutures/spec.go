package krakenfutures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Addresses of the venue.
const (
	streamURL = "wss://futures.kraken.com/ws/v1"
	restURL   = "https://futures.kraken.com"
)

// listEvery is how often contracts are listed again: dated ones come and go.
const listEvery = time.Hour

// pingEvery is half of what the venue allows: it closes a connection on which no ping comes for a minute.
const pingEvery = 30 * time.Second

// Spec describes the market.
func (c Config) Spec() (*venue.Spec, error) {
	s := &venue.Spec{
		Venue: "kraken", Market: "futures", NewDecoder: func() venue.Decoder { return &decoder{} }, Contiguous: true, Channels: channels,
		Canonical: canonical, VenueSymbol: venueSymbol, Streams: streams, IsData: isData,
		// One feed has quotes and marks.
		Also: map[string][]string{
			venue.Trades: {"Liquidation"}, venue.Quotes: {"Mark", "Funding", "OpenInterest", "VenueStatus"}, venue.Marks: {"OpenInterest", "Quote", "VenueStatus"},
		},
		Recorded:  venue.Recorded{When: "2021-07", Channels: []string{venue.Trades, venue.Quotes, venue.Book}},
		Topics:    []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.MarketDerivatives, schemas.VenuesStatus},
		Books:     venue.BookRules{Chain: venue.ChainStep, Proof: schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC},
		Contracts: func(string) bool { return true },
		Recover: func(product string) venue.Recovery {
			// A snapshot comes at subscription only.
			products := []string{product}
			return venue.Recovery{Send: [][]byte{request("unsubscribe", "book", products), request("subscribe", "book", products)}}
		},
	}
	return s, c.connect(s)
}

// feeds are the venue's, by channel.
var feeds = map[string]string{venue.Trades: "trade", venue.Book: "book", venue.Quotes: "ticker", venue.Marks: "ticker"}

// connect adds the connections that carry all configured streams, one request for each feed, and the list of instruments.
func (c Config) connect(s *venue.Spec) error {
	var names []string
	for _, channel := range c.Channels {
		if feed := feeds[channel]; feed != "" && !slices.Contains(names, feed) {
			names = append(names, feed)
		}
	}
	if len(c.Symbols) == 0 {
		return nil
	}
	if len(names) == 0 && c.Play == "" {
		return fmt.Errorf("kraken_futures.channels is empty: it must name at least one of %v", channels)
	}
	var products []string
	for _, symbol := range c.Symbols {
		v, err := venueSymbol(symbol)
		if err != nil {
			return err
		}
		products = append(products, v)
	}
	address, rest := streamURL, restURL
	if c.StreamURL != "" {
		address = c.StreamURL
	}
	if c.RestURL != "" {
		rest = c.RestURL
	}
	s.Gets = []venue.Get{{URL: rest + "/derivatives/api/v3/instruments", Every: listEvery, Lists: true}}
	for len(products) > 0 && len(names) > 0 {
		n := min(len(products), max(c.StreamsPerConn/len(names), 1))
		// The heartbeat shows that a connection lives on which nothing trades.
		conn := venue.Connection{URL: address, Counts: true, PingEvery: pingEvery, Send: [][]byte{request("subscribe", "heartbeat", nil)}}
		for _, feed := range names {
			conn.Send = append(conn.Send, request("subscribe", feed, products[:n]))
		}
		s.Connections = append(s.Connections, conn)
		products = products[n:]
	}
	return nil
}

func request(event, feed string, products []string) []byte {
	b, err := json.Marshal(struct {
		Event    string   `json:"event"`
		Feed     string   `json:"feed"`
		Products []string `json:"product_ids,omitempty"`
	}{event, feed, products})
	if err != nil {
		panic(err) // texts have no error
	}
	return b
}

// isData tells data from what the venue says of the connection: acknowledgements name a feed too.
func isData(raw []byte) bool {
	return !bytes.HasPrefix(raw, []byte(`{"event"`)) && !bytes.Contains(raw, []byte(`"feed":"heartbeat"`))
}

// streams lists what a request subscribes to; products may be in small letters.
func streams(f capture.Frame) []venue.Stream {
	v := venue.Subscription(f, "event", "subscribe")
	var carried []string
	switch string(v.GetStringBytes("feed")) {
	case "trade":
		carried = []string{venue.Trades}
	case "book":
		carried = []string{venue.Book}
	case "ticker":
		carried = []string{venue.Marks, venue.Quotes}
	case "ticker_lite":
		carried = []string{venue.Quotes}
	}
	var out []venue.Stream
	for _, p := range v.GetArray("product_ids") {
		for _, channel := range carried {
			out = append(out, venue.Stream{Symbol: strings.ToUpper(string(p.GetStringBytes())), Channel: channel})
		}
	}
	return out
}
