package okx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

const (
	streamAddress = "wss://ws.okx.com:8443/ws/v5/public"
	restAddress   = "https://www.okx.com"
	// pingEvery keeps a connection that is cut after 30 s without traffic.
	pingEvery = 20 * time.Second
	// listEvery is how often contracts are listed again: dated ones come and go.
	listEvery = time.Hour
)

// Spec describes the market.
func (c Config) Spec() (*venue.Spec, error) {
	s := &venue.Spec{
		Venue: "okx", Market: "public", NewDecoder: func() venue.Decoder { return &decoder{} }, Channels: channels(),
		Canonical: canonical, VenueSymbol: venueSymbol, Streams: streams, IsData: isData,
		Partial:   []string{venue.Liquidations}, // one a second and contract, at most
		Recorded:  venue.Recorded{When: "2022-05", Channels: []string{venue.Trades, venue.Quotes, venue.Book}},
		Topics:    []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.MarketDerivatives, schemas.VenuesStatus},
		Books:     venue.BookRules{Chain: venue.ChainPrevious, Proof: schemas.SequenceKind_SEQUENCE_KIND_IDENTITY, Checksum: checksum},
		Contracts: func(symbol string) bool { return strings.Count(symbol, "-") > 1 },
		Recover: func(v string) venue.Recovery {
			a := argument{Channel: "books", InstID: v}
			return venue.Recovery{Send: [][]byte{request("unsubscribe", a), request("subscribe", a)}}
		},
	}
	return s, c.connect(s)
}

// argument names a channel of an instrument, or of a type of instruments.
type argument struct {
	Channel  string `json:"channel"`
	InstID   string `json:"instId,omitempty"`
	InstType string `json:"instType,omitempty"`
}

// connect parts the channels over connections, those of contracts apart, and asks for what the contracts count.
func (c Config) connect(s *venue.Spec) error {
	var args, contracts []argument
	types := map[string]bool{}
	for _, symbol := range c.Symbols {
		v, err := venueSymbol(symbol)
		if err != nil {
			return err
		}
		kind := instType(v)
		add := func(a argument) { contracts = append(contracts, a) }
		if kind == spot {
			add = func(a argument) { args = append(args, a) }
		}
		for _, channel := range c.Channels {
			for _, name := range names(channel, kind) {
				add(argument{Channel: name, InstID: v})
			}
			if channel == venue.Liquidations && kind != spot && !types[kind] {
				add(argument{Channel: "liquidation-orders", InstType: kind})
			}
		}
		types[kind] = true
	}
	if len(args)+len(contracts) == 0 && c.Play == "" && len(c.Symbols) > 0 {
		return fmt.Errorf("okx.channels is empty: it must name at least one of %v", channels())
	}
	rest := c.RestURL
	if rest == "" {
		rest = restAddress
	}
	for _, kind := range []string{swap, futures} {
		if types[kind] {
			s.Gets = append(s.Gets, venue.Get{URL: rest + "/api/v5/public/instruments?instType=" + kind, Every: listEvery, Lists: true})
		}
	}
	if len(args)+len(contracts) > 0 {
		args = append(args, argument{Channel: "status"})
	}
	base := c.StreamURL
	if base == "" {
		base = streamAddress
	}
	for i, list := range [][]argument{args, contracts} {
		for part := range slices.Chunk(list, max(c.StreamsPerConn, 1)) {
			s.Connections = append(s.Connections, venue.Connection{
				URL: base, Send: [][]byte{request("subscribe", part...)}, Ping: []byte("ping"), PingEvery: pingEvery, Counts: i == 1,
			})
		}
	}
	return nil
}

// Types of instrument.
const (
	spot    = "SPOT"
	swap    = "SWAP"
	futures = "FUTURES"
)

// instType tells the type by the venue's spelling: BTC-USDT, BTC-USDT-SWAP, BTC-USD-220527.
func instType(v string) string {
	switch {
	case strings.HasSuffix(v, "-SWAP"):
		return swap
	case strings.Count(v, "-") > 1:
		return futures
	}
	return spot
}

// names are the venue's names of a channel that go by instrument.
func names(channel, kind string) []string {
	switch {
	case channel == venue.Trades:
		return []string{"trades"}
	case channel == venue.Quotes:
		return []string{"tickers"}
	case channel == venue.Book:
		return []string{"books"}
	case channel == venue.Marks && kind == swap:
		return []string{"mark-price", "funding-rate"}
	case channel == venue.Marks && kind == futures:
		return []string{"mark-price"}
	case channel == venue.Interest && kind != spot:
		return []string{"open-interest"}
	}
	return nil
}

// channelOf tells what a channel of the venue carries, "" when it is none that is known.
func channelOf(name string) string {
	switch name {
	case "trades":
		return venue.Trades
	case "tickers":
		return venue.Quotes
	case "books":
		return venue.Book
	case "mark-price":
		return venue.Marks
	case "funding-rate":
		return venue.Funding
	case "open-interest":
		return venue.Interest
	}
	return ""
}

func request(op string, args ...argument) []byte {
	raw, err := json.Marshal(struct {
		Op   string     `json:"op"`
		Args []argument `json:"args"`
	}{op, args})
	if err != nil {
		panic(err) // strings always encode
	}
	return raw
}

// isData tells data from answers to requests.
func isData(raw []byte) bool { return bytes.Contains(raw, []byte(`"data":`)) }

// streams lists what a subscription asks for.
func streams(f capture.Frame) []venue.Stream {
	v := venue.Subscription(f, "op", "subscribe")
	var out []venue.Stream
	for _, a := range v.GetArray("args") {
		if channel := channelOf(string(a.GetStringBytes("channel"))); channel != "" {
			out = append(out, venue.Stream{Symbol: string(a.GetStringBytes("instId")), Channel: channel})
		}
	}
	return out
}

// checksum is the CRC32 of the best 25 levels as the venue writes them, bid and ask in turn, joined by colons. The venue sent
// it until 2025; it sends 0 now, which is read as absent.
func checksum(b *book.Book) uint32 {
	const depth = 25
	var text []byte
	bids, asks := b.Depth()
	level := func(l book.Level) {
		if len(text) > 0 {
			text = append(text, ':')
		}
		text = append(text, l.Price.Decimal().Text()...)
		text = append(text, ':')
		text = append(text, l.Quantity.Decimal().Text()...)
	}
	for i := range depth {
		if i < bids {
			level(b.Bid(i))
		}
		if i < asks {
			level(b.Ask(i))
		}
	}
	return crc32.ChecksumIEEE(text)
}

// dated is how a dated future is spelt: the venue YYMMDD, canonical YYYYMMDD.
const (
	venueDate     = "060102"
	canonicalDate = "20060102"
)

// canonical spells BTC-USDT as it is, BTC-USDT-SWAP as BTC-USDT-PERP and BTC-USD-220527 as BTC-USD-FUT-20220527.
func canonical(v string) (string, error) {
	pair, kind, contract := cutPair(v)
	if _, _, err := venue.Pair(pair, "-"); err != nil {
		return "", err
	}
	switch {
	case !contract:
		return pair, nil
	case kind == "SWAP":
		return pair + "-PERP", nil
	}
	day, err := time.Parse(venueDate, kind)
	if err != nil {
		return "", fmt.Errorf("%w: %q: it must be a pair, a swap or a dated future", venue.ErrSymbol, v)
	}
	return pair + "-FUT-" + day.Format(canonicalDate), nil
}

// venueSymbol spells a canonical symbol as OKX does.
func venueSymbol(symbol string) (string, error) {
	pair, kind, contract := cutPair(symbol)
	if _, _, err := venue.Pair(pair, "-"); err != nil {
		return "", err
	}
	date, future := strings.CutPrefix(kind, "FUT-")
	switch {
	case !contract:
		return pair, nil
	case kind == "PERP":
		return pair + "-SWAP", nil
	case future:
		if day, err := time.Parse(canonicalDate, date); err == nil {
			return pair + "-" + day.Format(venueDate), nil
		}
	}
	return "", fmt.Errorf("%w: %q: it must be BASE-QUOTE, BASE-QUOTE-PERP or BASE-QUOTE-FUT-YYYYMMDD", venue.ErrSymbol, symbol)
}

// cutPair parts a symbol behind base and quote.
func cutPair(symbol string) (pair, rest string, more bool) {
	first := strings.IndexByte(symbol, '-')
	if first < 0 {
		return symbol, "", false
	}
	quote, rest, more := strings.Cut(symbol[first+1:], "-")
	return symbol[:first+1] + quote, rest, more
}
