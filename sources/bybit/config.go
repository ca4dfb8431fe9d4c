// Package bybit reads Bybit's v5 public streams: the spot market and the linear (USDT and USDC margined) perpetuals,
// without keys.
//
// Source: https://bybit-exchange.github.io/docs/v5/ws/connect.
package bybit

import (
	"fmt"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// Markets.
const (
	Spot   = "spot"
	Linear = "linear"
)

// Config is one Bybit source.
type Config struct {
	venue.Config
	Market    string `koanf:"market" doc:"spot, or linear for USDT and USDC margined perpetual contracts."`
	BookTopic int    `koanf:"book_topic" doc:"Levels a side of the book stream: 50, 200 or 1000."`
}

// Defaults reads BTC and ETH of the spot market.
func Defaults() Config {
	return Config{
		Config: venue.Defaults([]string{"BTC-USDT", "ETH-USDT"}, []string{venue.Trades, venue.Quotes, venue.Book}), Market: Spot, BookTopic: 200,
	}
}

// LinearDefaults reads the perpetuals of BTC and ETH.
func LinearDefaults() Config {
	c := Defaults()
	c.Market, c.Symbols = Linear, []string{"BTC-USDT-PERP", "ETH-USDT-PERP"}
	c.Channels = c.channels()
	return c
}

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Market != Spot && c.Market != Linear {
		return fmt.Errorf("bybit.market is %q: it must be spot or linear", c.Market)
	}
	if c.BookTopic != 50 && c.BookTopic != 200 && c.BookTopic != 1000 {
		return fmt.Errorf("bybit.book_topic is %d: it must be 50, 200 or 1000", c.BookTopic)
	}
	return c.Config.Validate("bybit", c.channels(), func(s string) error {
		_, err := venueSymbol(s, c.Market == Linear)
		return err
	})
}

// channels are those that the market has. The linear tickers carry open interest too: it comes with marks.
func (c Config) channels() []string {
	if c.Market == Linear {
		return []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks, venue.Liquidations}
	}
	return []string{venue.Trades, venue.Quotes, venue.Book}
}
