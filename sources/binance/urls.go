package binance

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Addresses of the venue.
const (
	spotStreams    = "wss://stream.binance.com:9443"
	spotRest       = "https://api.binance.com"
	futuresStreams = "wss://fstream.binance.com"
	futuresRest    = "https://fapi.binance.com"
)

// connections lists the addresses that carry all configured streams. USD-M parts them: books and quotes come by /public,
// the rest by /market; on the retired address without a part, the others are acknowledged and never sent.
func (c Config) connections() ([]string, error) {
	groups, parts := map[string][]string{}, []string{""}
	if c.Market == USDM {
		parts = []string{"/public", "/market"}
	}
	for _, channel := range c.Channels {
		part := ""
		if c.Market == USDM {
			part = "/market"
			if channel == chBook || channel == chQuotes {
				part = "/public"
			}
		}
		for _, s := range c.Symbols {
			v, err := venueSymbol(s, c.Market == USDM)
			if err != nil {
				return nil, err
			}
			groups[part] = append(groups[part], strings.ToLower(v)+"@"+c.suffix(channel))
		}
	}
	base := c.StreamURL
	if base == "" {
		base = spotStreams
		if c.Market == USDM {
			base = futuresStreams
		}
	}
	var out []string
	for _, part := range parts {
		for streams := groups[part]; len(streams) > 0; {
			n := min(len(streams), c.StreamsPerConn)
			out = append(out, base+part+"/stream?streams="+strings.Join(streams[:n], "/"))
			streams = streams[n:]
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("binance.channels is empty: it must name at least one of %v", c.channels())
	}
	return out, nil
}

// suffix is a channel's part of a stream name; names are case-sensitive.
func (c Config) suffix(channel string) string {
	switch channel {
	case chBook:
		return "depth@100ms"
	case chQuotes:
		return "bookTicker"
	case chMarks:
		return "markPrice@1s"
	case chLiquidations:
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

// snapshotSymbol tells whose depth an address asks for; ok is false for other requests.
func snapshotSymbol(address string) (symbol string, ok bool) {
	u, err := url.Parse(address)
	if err != nil || !strings.HasSuffix(u.Path, "/depth") {
		return "", false
	}
	return u.Query().Get("symbol"), true
}

// snapshotURL is where the depth snapshot of a venue symbol is.
func (c Config) snapshotURL(venueSymbol string) string {
	base, path := c.RestURL, "/api/v3/depth"
	if c.Market == USDM {
		path = "/fapi/v1/depth"
	}
	if base == "" {
		base = spotRest
		if c.Market == USDM {
			base = futuresRest
		}
	}
	q := url.Values{"symbol": {venueSymbol}, "limit": {strconv.Itoa(c.SnapshotLevels)}}
	return base + path + "?" + q.Encode()
}
