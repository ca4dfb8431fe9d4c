package binance

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Addresses of the venue.
const (
	spotStreams    = "wss://stream.binance.com:9443"
	spotRest       = "https://api.binance.com"
	futuresStreams = "wss://fstream.binance.com"
	futuresRest    = "https://fapi.binance.com"
)

// Spec describes a market.
func (c Config) Spec() (*venue.Spec, error) {
	futures := c.Market == USDM
	s := &venue.Spec{
		Venue: "binance", Market: c.Market, NewDecoder: func() venue.Decoder { return &decoder{} }, Contiguous: true, Channels: c.channels(),
		Canonical:   func(v string) (string, error) { return canonical(v, futures) },
		VenueSymbol: func(symbol string) (string, error) { return venueSymbol(symbol, futures) },
		Streams:     streams, IsData: isData,
		Recorded: venue.Recorded{When: "2021-10", Channels: []string{venue.Trades, venue.Quotes, venue.Book}},
		Topics:   []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks},
		Books:    venue.BookRules{Chain: venue.ChainRange, Proof: schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC, Asked: true},
		Recover:  func(v string) venue.Recovery { return venue.Recovery{Get: c.snapshotURL(v)} },
	}
	if futures {
		s.Topics = append(s.Topics, schemas.MarketDerivatives)
		s.Recorded.When = "2024-08"
		s.Partial = []string{venue.Liquidations} // the latest of a second and symbol, at most
		s.Books.Chain, s.Books.Proof = venue.ChainOverlap, schemas.SequenceKind_SEQUENCE_KIND_IDENTITY
	}
	s.Topics = append(s.Topics, schemas.VenuesStatus)
	return s, c.connect(s)
}

// connect adds the addresses that carry all configured streams. USD-M parts them: books and quotes come by /public, the
// rest by /market; on the retired address without a part, the others are acknowledged and never sent.
func (c Config) connect(s *venue.Spec) error {
	groups, parts := map[string][]string{}, []string{""}
	if c.Market == USDM {
		parts = []string{"/public", "/market"}
	}
	for _, channel := range c.Channels {
		for _, symbol := range c.Symbols {
			v, err := s.VenueSymbol(symbol)
			if err != nil {
				return err
			}
			if channel == venue.Interest {
				s.Gets = append(s.Gets, venue.Get{URL: c.rest() + "/fapi/v1/openInterest?symbol=" + v, Every: c.InterestEvery})
				continue
			}
			part := c.part(channel)
			groups[part] = append(groups[part], strings.ToLower(v)+"@"+c.suffix(channel))
		}
	}
	for _, part := range parts {
		for names := groups[part]; len(names) > 0; {
			n := min(len(names), c.StreamsPerConn)
			s.Connections = append(s.Connections, venue.Connection{URL: c.stream() + part + "/stream?streams=" + strings.Join(names[:n], "/")})
			names = names[n:]
		}
	}
	if len(s.Connections) == 0 && c.Play == "" && len(c.Symbols) > 0 {
		return fmt.Errorf("binance.channels is empty: it must name at least one of %v", c.channels())
	}
	return nil
}

// part is the path that carries a channel.
func (c Config) part(channel string) string {
	switch {
	case c.Market == Spot:
		return ""
	case channel == venue.Book || channel == venue.Quotes:
		return "/public"
	}
	return "/market"
}

func (c Config) stream() string {
	switch {
	case c.StreamURL != "":
		return c.StreamURL
	case c.Market == USDM:
		return futuresStreams
	}
	return spotStreams
}

func (c Config) rest() string {
	switch {
	case c.RestURL != "":
		return c.RestURL
	case c.Market == USDM:
		return futuresRest
	}
	return spotRest
}

// suffix is a channel's part of a stream name; names are case-sensitive.
func (c Config) suffix(channel string) string {
	switch channel {
	case venue.Book:
		return "depth@100ms"
	case venue.Quotes:
		return "bookTicker"
	case venue.Marks:
		return "markPrice@1s"
	case venue.Liquidations:
		return "forceOrder"
	}
	if c.Trades != "" {
		return c.Trades
	}
	if c.Market == USDM {
		return "aggTrade"
	}
	return "trade"
}

// snapshotURL is where the depth snapshot of a venue symbol is.
func (c Config) snapshotURL(venueSymbol string) string {
	path := "/api/v3/depth"
	if c.Market == USDM {
		path = "/fapi/v1/depth"
	}
	return c.rest() + path + "?" + url.Values{"symbol": {venueSymbol}, "limit": {strconv.Itoa(c.SnapshotLevels)}}.Encode()
}

// isData tells data from answers to requests.
func isData(raw []byte) bool {
	return !bytes.HasPrefix(raw, []byte(`{"result"`)) && !bytes.HasPrefix(raw, []byte(`{"error"`)) && !bytes.HasPrefix(raw, []byte(`{"id"`))
}

// streams lists what an address or a SUBSCRIBE request asks for.
func streams(f capture.Frame) []venue.Stream {
	names := streamsIn(f.URL)
	if f.Kind == capture.Send {
		names = subscribed(f)
	}
	var out []venue.Stream
	for _, name := range names {
		if s := streamOf(name); s.Channel != "" {
			out = append(out, s)
		}
	}
	return out
}

// subscribed lists the streams of a SUBSCRIBE request.
func subscribed(f capture.Frame) []string {
	var out []string
	for _, p := range venue.Subscription(f, "method", "SUBSCRIBE").GetArray("params") {
		out = append(out, string(p.GetStringBytes()))
	}
	return out
}

// streamsIn lists the streams that an address subscribes to: ?streams=a/b or /ws/a/b.
func streamsIn(address string) []string {
	if _, list, ok := strings.Cut(address, "streams="); ok {
		list, _, _ = strings.Cut(list, "&")
		return strings.Split(list, "/")
	}
	if _, list, ok := strings.Cut(address, "/ws/"); ok {
		return strings.Split(list, "/")
	}
	return nil
}

// streamOf tells what a stream name (btcusdt@depth@100ms) carries; the channel is empty when it is none that is known.
func streamOf(stream string) venue.Stream {
	name, rest, ok := strings.Cut(stream, "@")
	if !ok || name == "" || strings.HasPrefix(name, "!") {
		return venue.Stream{}
	}
	what, _, _ := strings.Cut(rest, "@")
	s := venue.Stream{Symbol: strings.ToUpper(name)}
	switch {
	case what == "trade" || what == "aggTrade":
		s.Channel = venue.Trades
	case strings.HasPrefix(what, "depth"):
		s.Channel = venue.Book
	case what == "bookTicker":
		s.Channel = venue.Quotes
	case what == "markPrice":
		s.Channel = venue.Marks
	case what == "forceOrder":
		s.Channel = venue.Liquidations
	case strings.HasPrefix(what, "kline"):
		s.Channel = venue.Bars
	}
	return s
}
