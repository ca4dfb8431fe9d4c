// Package deribit reads Deribit: options, futures and perpetual contracts, by its public JSON-RPC interface over WebSocket,
// without keys.
//
// What quantities count follows from the instrument. Perpetuals and futures quoted in USD are inverse: amounts are US
// dollars, and a record has them divided by the price. Those quoted in USDC or USDT, and all options, count coins of the
// base. Options quoted in USD have premiums in coins of the base, as the venue sends them: a price of 0.05 is 0.05 BTC for
// an option on one.
//
// Source: https://docs.deribit.com/articles/notifications and the pages of the channels beside it.
package deribit

import (
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Config is the Deribit source.
type Config struct {
	venue.Config
}

// channels are those that the venue has. Forced closes are flags on trades: they come with them.
var channels = []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks, venue.Options, venue.State}

// Defaults reads the perpetual contracts on BTC and ETH. Options are named one by one, such as BTC-USD-PUT-20210924-8000.
func Defaults() Config {
	return Config{Config: venue.Defaults([]string{"BTC-USD-PERP", "ETH-USD-PERP"}, channels)}
}

// Validate checks the settings.
func (c Config) Validate() error {
	return c.Config.Validate("deribit", channels, func(s string) error {
		_, err := venueSymbol(s)
		return err
	})
}
