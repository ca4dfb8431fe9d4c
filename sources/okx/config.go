// Package okx reads OKX's v5 public streams: spot pairs, perpetual swaps and dated futures, without keys.
//
// Source: https://www.okx.com/docs-v5/en/#public-data-websocket and #order-book-trading-market-data.
package okx

import (
	"github.com/tapewatch/tapewatch/sources/venue"
)

// Config is one OKX source.
type Config struct {
	venue.Config
}

// Defaults reads BTC and ETH, spot and perpetual.
func Defaults() Config {
	return Config{Config: venue.Defaults([]string{"BTC-USDT", "ETH-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP"}, channels())}
}

// channels are those that the venue has. Marks, open interest and liquidations are of contracts only.
func channels() []string {
	return []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks, venue.Interest, venue.Liquidations}
}

// Validate checks the settings.
func (c Config) Validate() error {
	return c.Config.Validate("okx", channels(), func(s string) error {
		_, err := venueSymbol(s)
		return err
	})
}
