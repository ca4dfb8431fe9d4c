// Package kraken reads Kraken's spot market by its public WebSocket v2 interface, without keys. Recordings of v1 play too.
//
// Source: https://docs.kraken.com/exchange/api-reference/spot-websocket and
// https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2.
package kraken

import (
	"fmt"
	"slices"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// Config is a Kraken source.
type Config struct {
	venue.Config
	Depth int `koanf:"depth" doc:"Levels a side that the venue keeps us in step with: 10, 25, 100, 500 or 1000."`
}

// depths are those that can be subscribed to.
var depths = []int{10, 25, 100, 500, 1000}

// channels are those that the market has.
var channels = []string{venue.Trades, venue.Quotes, venue.Book, venue.State}

// Defaults reads BTC and ETH in US dollars.
func Defaults() Config {
	return Config{Config: venue.Defaults([]string{"BTC-USD", "ETH-USD"}, slices.Clone(channels)), Depth: 100}
}

// Validate checks the settings.
func (c Config) Validate() error {
	if !slices.Contains(depths, c.Depth) {
		return fmt.Errorf("kraken.depth is %d: it must be one of %v", c.Depth, depths)
	}
	if c.BookDepth > c.Depth {
		return fmt.Errorf("kraken.book_depth is %d: it must be at most kraken.depth (%d)", c.BookDepth, c.Depth)
	}
	return c.Config.Validate("kraken", channels, func(s string) error {
		_, err := venueSymbol(s)
		return err
	})
}
