// Package coinbase reads Coinbase by its two public WebSocket interfaces, without keys: Advanced Trade, whose messages are
// numbered over the whole connection, and Exchange, whose heartbeats name the last trade.
//
// Source: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels and
// https://docs.cdp.coinbase.com/exchange/websocket-feed/channels.
package coinbase

import (
	"fmt"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// Markets: the same order books, by two interfaces.
const (
	Advanced = "advanced"
	Exchange = "exchange"
)

// Config is one Coinbase source.
type Config struct {
	venue.Config
	Market string `koanf:"market" doc:"advanced, where a lost message is seen in all channels, or exchange, where it is seen in trades only."`
}

// channels are those that both have.
func channels() []string { return []string{venue.Trades, venue.Quotes, venue.Book, venue.State} }

// Defaults reads BTC and ETH in US dollars by Advanced Trade.
func Defaults() Config {
	return Config{Config: venue.Defaults([]string{"BTC-USD", "ETH-USD"}, channels()), Market: Advanced}
}

// ExchangeDefaults reads the same by Exchange.
func ExchangeDefaults() Config {
	c := Defaults()
	c.Market = Exchange
	return c
}

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Market != Advanced && c.Market != Exchange {
		return fmt.Errorf("coinbase.market is %q: it must be advanced or exchange", c.Market)
	}
	return c.Config.Validate("coinbase", channels(), func(s string) error {
		_, err := venueSymbol(s, c.Market)
		return err
	})
}
