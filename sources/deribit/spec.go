package deribit

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
	streamURL = "wss://www.deribit.com/ws/api/v2"
	restURL   = "https://www.deribit.com"
)

// interval is the finest that is had without a login.
const interval = ".100ms"

// pingEvery is how often a connection shows that it lives. The venue asks for no answers (test_request) unless it is told
// to by set_heartbeat.
const pingEvery = 20 * time.Second

// listEvery is how often contracts are listed again: dated ones come and go.
const listEvery = time.Hour

// Spec describes the venue.
func (c Config) Spec() (*venue.Spec, error) {
	s := &venue.Spec{
		Venue: "deribit", Market: "derivatives", NewDecoder: func() venue.Decoder { return &decoder{} }, Contiguous: true, Channels: channels,
		Canonical: canonical, VenueSymbol: venueSymbol, Streams: streams, IsData: isData,
		Also: map[string][]string{
			venue.Trades: {"Liquidation"}, venue.Marks: {"OpenInterest", "VenueStatus"}, venue.Options: {"VenueStatus"},
		},
		Recorded: venue.Recorded{When: "2021-07", Channels: []string{venue.Book, venue.Options}},
		Topics: []schemas.Topic{
			schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.MarketDerivatives, schemas.MarketOptions, schemas.VenuesStatus,
		},
		Books:     venue.BookRules{Chain: venue.ChainPrevious, Proof: schemas.SequenceKind_SEQUENCE_KIND_IDENTITY},
		Contracts: contracts,
		Recover: func(v string) venue.Recovery {
			// A snapshot comes at subscription only.
			channel := []string{"book." + v + interval}
			return venue.Recovery{Send: [][]byte{request("public/unsubscribe", channel), request("public/subscribe", channel)}}
		},
	}
	return s, c.connect(s)
}

// contracts says of a canonical symbol that its amounts are US dollars, and so need the listing that says so.
func contracts(symbol string) bool {
	return strings.HasSuffix(symbol, "-USD-"+perpetual) || strings.Contains(symbol, "-USD-"+future+"-")
}

// connect adds the connections that carry all configured streams, and the lists of inverse contracts.
func (c Config) connect(s *venue.Spec) error {
	names, counted, err := c.names(s)
	if err != nil {
		return err
	}
	if len(names)+len(counted) == 0 && c.Play == "" && len(c.Symbols) > 0 {
		return fmt.Errorf("deribit.channels is %q: it must name at least one that the symbols have, of %v", c.Channels, channels)
	}
	address := streamURL
	if c.StreamURL != "" {
		address = c.StreamURL
	}
	for i, list := range [][]string{names, counted} {
		for part := range slices.Chunk(list, max(c.StreamsPerConn, 1)) {
			s.Connections = append(s.Connections, venue.Connection{
				URL: address, Send: [][]byte{request("public/subscribe", part)}, Ping: request("public/test", nil), PingEvery: pingEvery, Counts: i == 1,
			})
		}
	}
	return nil
}

// names lists the venue's channels, those of contracts that count dollars apart.
func (c Config) names(s *venue.Spec) (names, counted []string, err error) {
	rest, listed := restURL, map[string]bool{}
	if c.RestURL != "" {
		rest = c.RestURL
	}
	for _, symbol := range c.Symbols {
		v, err := venueSymbol(symbol)
		if err != nil {
			return nil, nil, err
		}
		k, err := parse(v)
		if err != nil {
			return nil, nil, err
		}
		if k.inverse() && !listed[k.base] {
			listed[k.base] = true
			s.Gets = append(s.Gets, venue.Get{URL: rest + "/api/v2/public/get_instruments?currency=" + k.base + "&kind=future&expired=false", Every: listEvery, Lists: true})
		}
		for _, channel := range c.Channels {
			switch name := channelOf(channel, v, k.option()); {
			case name == "":
			case k.inverse():
				counted = append(counted, name)
			default:
				names = append(names, name)
			}
		}
	}
	for _, channel := range c.Channels {
		if channel == venue.State {
			names = append(names, "platform_state")
		}
	}
	return names, counted, nil
}

// channelOf is the venue's channel of an instrument, empty where it has none. The ticker of an option has its quote and
// greeks, that of another contract its marks.
func channelOf(channel, v string, option bool) string {
	switch {
	case channel == venue.Trades:
		return "trades." + v + interval
	case channel == venue.Book:
		return "book." + v + interval
	case channel == venue.Quotes:
		return "quote." + v
	case channel == venue.Options && option, channel == venue.Marks && !option:
		return "ticker." + v + interval
	}
	return ""
}

// request is a JSON-RPC request. Nothing hangs on its number: what was subscribed to is seen by what comes.
func request(method string, names []string) []byte {
	type params struct {
		Channels []string `json:"channels,omitempty"`
	}
	b, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  params `json:"params"`
	}{"2.0", 1, method, params{names}})
	if err != nil {
		panic(err) // texts have no error
	}
	return b
}

// isData tells notifications from answers and heartbeats.
func isData(raw []byte) bool { return bytes.Contains(raw, []byte(`"method":"subscription"`)) }

// streams lists what a request subscribes to.
func streams(f capture.Frame) []venue.Stream {
	v := venue.Subscription(f, "method", "public/subscribe")
	var out []venue.Stream
	for _, name := range v.GetArray("params", "channels") {
		what, rest, _ := strings.Cut(string(name.GetStringBytes()), ".")
		symbol, _, _ := strings.Cut(rest, ".")
		if s := (venue.Stream{Symbol: symbol, Channel: streamOf(what, symbol)}); s.Channel != "" {
			out = append(out, s)
		}
	}
	return out
}

// streamOf is our name for a channel; empty when it is none that is read.
func streamOf(what, symbol string) string {
	switch what {
	case "trades":
		return venue.Trades
	case "book":
		return venue.Book
	case "quote":
		return venue.Quotes
	case "ticker":
		if c, err := parse(symbol); err == nil && c.option() {
			return venue.Options
		}
		return venue.Marks
	}
	return ""
}
