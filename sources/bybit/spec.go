package bybit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

const (
	address = "wss://stream.bybit.com/v5/public/"
	// pingEvery is what the venue asks for: it cuts a client that is silent for longer than 20 s or so.
	pingEvery = 18 * time.Second
	// maxArgs is how many topics one request on the spot market may have.
	maxArgs = 10
)

// Spec describes a market.
func (c Config) Spec() (*venue.Spec, error) {
	linear := c.Market == Linear
	s := &venue.Spec{
		Venue: "bybit", Market: c.Market, NewDecoder: func() venue.Decoder { return &decoder{} }, Channels: c.channels(),
		Canonical:   func(v string) (string, error) { return canonical(v, linear) },
		VenueSymbol: func(symbol string) (string, error) { return venueSymbol(symbol, linear) },
		Streams:     streams, IsData: isData,
		Recorded: venue.Recorded{When: "2026-08", Channels: []string{venue.Trades, venue.Book}},
		Serves: func(url string) bool {
			return c.StreamURL != "" || strings.HasSuffix(url, "/"+c.Market) || !strings.Contains(url, "/v5/public/")
		},
		Topics: []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks},
		Books:  venue.BookRules{Chain: venue.ChainStep, Proof: schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC},
		Recover: func(v string) venue.Recovery {
			topic := "orderbook." + strconv.Itoa(c.BookTopic) + "." + v
			return venue.Recovery{Send: [][]byte{request("unsubscribe", topic), request("subscribe", topic)}}
		},
	}
	if linear {
		s.Recorded.Channels = append(s.Recorded.Channels, venue.Marks)
		s.Also = map[string][]string{venue.Marks: {"OpenInterest"}}
		s.Topics = append(s.Topics, schemas.MarketDerivatives)
	}
	s.Topics = append(s.Topics, schemas.VenuesStatus)
	return s, c.connect(s)
}

// connect parts the topics over connections.
func (c Config) connect(s *venue.Spec) error {
	var topics []string
	for _, channel := range c.Channels {
		for _, symbol := range c.Symbols {
			v, err := s.VenueSymbol(symbol)
			if err != nil {
				return err
			}
			topics = append(topics, c.topic(channel)+v)
		}
	}
	if len(topics) == 0 && c.Play == "" && len(c.Symbols) > 0 {
		return fmt.Errorf("bybit.channels is empty: it must name at least one of %v", c.channels())
	}
	base := c.StreamURL
	if base == "" {
		base = address + c.Market
	}
	for len(topics) > 0 {
		n := min(len(topics), c.StreamsPerConn)
		conn := venue.Connection{URL: base, Ping: []byte(`{"op":"ping"}`), PingEvery: pingEvery}
		for part := topics[:n]; len(part) > 0; {
			k := min(len(part), maxArgs)
			conn.Send = append(conn.Send, request("subscribe", part[:k]...))
			part = part[k:]
		}
		s.Connections = append(s.Connections, conn)
		topics = topics[n:]
	}
	return nil
}

// topic is a channel's part of a topic's name. The quote is the book's first level.
func (c Config) topic(channel string) string {
	switch channel {
	case venue.Trades:
		return "publicTrade."
	case venue.Quotes:
		return "orderbook.1."
	case venue.Book:
		return "orderbook." + strconv.Itoa(c.BookTopic) + "."
	case venue.Liquidations:
		return "allLiquidation."
	}
	return "tickers."
}

func request(op string, topics ...string) []byte {
	raw, err := json.Marshal(struct {
		Op   string   `json:"op"`
		Args []string `json:"args"`
	}{op, topics})
	if err != nil {
		panic(err) // strings always encode
	}
	return raw
}

// isData tells data from answers to requests.
func isData(raw []byte) bool { return bytes.Contains(raw, []byte(`"topic":`)) }

// streams lists what a subscription asks for.
func streams(f capture.Frame) []venue.Stream {
	v := venue.Subscription(f, "op", "subscribe")
	var out []venue.Stream
	for _, a := range v.GetArray("args") {
		name := string(a.GetStringBytes())
		if channel := channelOf(name); channel != "" {
			out = append(out, venue.Stream{Symbol: name[strings.LastIndexByte(name, '.')+1:], Channel: channel})
		}
	}
	return out
}

// channelOf tells what a topic carries, "" when it is none that is known.
func channelOf(topic string) string {
	switch kind, rest, _ := strings.Cut(topic, "."); kind {
	case "publicTrade":
		return venue.Trades
	case "orderbook":
		if strings.HasPrefix(rest, "1.") {
			return venue.Quotes
		}
		return venue.Book
	case "tickers":
		return venue.Marks
	case "allLiquidation":
		return venue.Liquidations
	case "kline":
		return venue.Bars
	}
	return ""
}

// quoteAssets split a spot symbol, which has no separator; longer ones first where one ends in another.
var quoteAssets = []string{"USDT", "USDC", "USDE", "BTC", "ETH", "EUR", "BRL", "TRY", "PLN", "DAI", "MNT", "USD"}

// canonical spells a venue symbol as BASE-QUOTE, with -PERP on the linear market. Dated contracts (BTCUSDT-26DEC25) are not
// read.
func canonical(v string, linear bool) (string, error) {
	if linear {
		if base, ok := strings.CutSuffix(v, "PERP"); ok && base != "" {
			return base + "-USDC-PERP", nil
		}
		if base, ok := strings.CutSuffix(v, "USDT"); ok && base != "" && !strings.Contains(base, "-") {
			return base + "-USDT-PERP", nil
		}
		return "", fmt.Errorf("symbol %q: it must be a perpetual, such as BTCUSDT or BTCPERP", v)
	}
	for _, quote := range quoteAssets {
		if base, ok := strings.CutSuffix(v, quote); ok && base != "" {
			return base + "-" + quote, nil
		}
	}
	return "", fmt.Errorf("symbol %q: it must end in one of %v", v, quoteAssets)
}

// venueSymbol spells a canonical symbol as Bybit does.
func venueSymbol(symbol string, linear bool) (string, error) {
	pair := symbol
	if linear {
		var ok bool
		if pair, ok = strings.CutSuffix(symbol, "-PERP"); !ok {
			return "", fmt.Errorf("symbol %q: it must be BASE-QUOTE-PERP on the linear market", symbol)
		}
	}
	base, quote, err := venue.Pair(pair, "-")
	switch {
	case err != nil:
		return "", err
	case !linear || quote == "USDT":
		return base + quote, nil
	case quote == "USDC":
		return base + "PERP", nil
	}
	return "", fmt.Errorf("symbol %q: linear contracts settle in USDT or USDC", symbol)
}
