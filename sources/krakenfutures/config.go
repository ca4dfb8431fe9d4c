// Package krakenfutures reads the futures market of Kraken, by its public WebSocket interface, without keys.
//
// PI_ and FI_ are inverse: a contract is 1 US dollar, settled in coins of the base. PF_ and FF_ are linear: a contract is a
// coin of the base, settled in US dollars. Both are quoted in USD, so the type of a canonical symbol tells them apart.
// PERP and FUT are the inverse ones, as at other venues with contracts on BTC-USD; LPERP and LFUT are the linear ones:
// PI_XBTUSD is BTC-USD-PERP, PF_XBTUSD is BTC-USD-LPERP.
//
// Source: https://docs.kraken.com/exchange/api-reference/futures-websocket/ticker and the pages of the feeds beside it.
package krakenfutures

import (
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Config is the Kraken Futures source.
type Config struct {
	venue.Config
}

// channels are those that the market has. One feed carries quotes and marks; forced closes come as trades.
var channels = []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks}

// Defaults reads the perpetual contracts on BTC and ETH, linear and inverse.
func Defaults() Config {
	return Config{Config: venue.Defaults([]string{"BTC-USD-LPERP", "ETH-USD-LPERP", "BTC-USD-PERP", "ETH-USD-PERP"}, channels)}
}

// Validate checks the settings.
func (c Config) Validate() error {
	return c.Config.Validate("kraken_futures", channels, func(s string) error {
		_, err := venueSymbol(s)
		return err
	})
}
