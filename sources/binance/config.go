// Package binance reads Binance: the spot market and the USD-margined futures, by their public WebSocket and REST
// interfaces, without keys.
//
// Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and
// https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams.
package binance

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// Markets.
const (
	Spot = "spot"
	USDM = "usdm"
)

// Config is one Binance source.
type Config struct {
	venue.Config
	Market         string        `koanf:"market" doc:"spot, or usdm for USD-margined perpetual contracts."`
	Trades         string        `koanf:"trades" doc:"Stream that carries trades: trade (every fill) or aggTrade (fills of one order at one price). Empty means trade on spot, aggTrade on usdm."`
	SnapshotLevels int           `koanf:"snapshot_levels" doc:"Levels of a depth snapshot: 100, 500, 1000, and on spot 5000. Spot counts 1000 as 50 and 5000 as 250 of the 6000 that an address has a minute: with 5000, requests_per_minute must be below 24."`
	InterestEvery  time.Duration `koanf:"open_interest_every" doc:"How often open interest is asked for, which no stream carries; usdm with channel open_interest."`
}

// futuresLevels are the limits of a depth snapshot that the futures market takes; it refuses any other.
var futuresLevels = []int{5, 10, 20, 50, 100, 500, 1000}

// Defaults reads BTC and ETH of the spot market.
func Defaults() Config {
	return Config{
		Config: venue.Defaults([]string{"BTC-USDT", "ETH-USDT"}, []string{venue.Trades, venue.Quotes, venue.Book}),
		Market: Spot, SnapshotLevels: 1000, InterestEvery: time.Minute,
	}
}

// FuturesDefaults reads BTC and ETH of the USD-margined futures.
func FuturesDefaults() Config {
	c := Defaults()
	c.Market, c.Symbols = USDM, []string{"BTC-USDT-PERP", "ETH-USDT-PERP"}
	c.Channels = c.channels()
	return c
}

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Market != Spot && c.Market != USDM {
		return fmt.Errorf("binance.market is %q: it must be spot or usdm", c.Market)
	}
	if c.Trades != "" && c.Trades != "trade" && c.Trades != "aggTrade" {
		return fmt.Errorf("binance.trades is %q: it must be trade or aggTrade", c.Trades)
	}
	if c.Market == Spot && (c.SnapshotLevels < 5 || c.SnapshotLevels > mostLevels) {
		return fmt.Errorf("binance.snapshot_levels is %d: it must lie between 5 and %d", c.SnapshotLevels, mostLevels)
	}
	if c.Market == USDM && !slices.Contains(futuresLevels, c.SnapshotLevels) {
		return fmt.Errorf("binance.snapshot_levels is %d: it must be one of %v on the futures market", c.SnapshotLevels, futuresLevels)
	}
	if c.InterestEvery < time.Second || c.InterestEvery > time.Hour {
		return fmt.Errorf("binance.open_interest_every is %v: it must lie between 1s and 1h", c.InterestEvery)
	}
	return c.Config.Validate("binance", c.channels(), func(s string) error {
		_, err := venueSymbol(s, c.Market == USDM)
		return err
	})
}

// channels are those that the market has.
func (c Config) channels() []string {
	if c.Market == USDM {
		return []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks, venue.Liquidations, venue.Interest}
	}
	return []string{venue.Trades, venue.Quotes, venue.Book}
}
