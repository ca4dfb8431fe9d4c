// Package binance reads Binance: the spot market and the USD-margined futures, by their public WebSocket and REST
// interfaces, without keys.
//
// decode.go is the decode step, sync.go the synchronisation of a book, machine.go the state of a market, source.go the live
// connector and playback.go the same machine on a capture.
package binance

import (
	"fmt"
	"slices"
	"time"
)

// Markets.
const (
	Spot = "spot"
	USDM = "usdm"
)

// Config is one Binance source.
type Config struct {
	Name     string   `koanf:"name" doc:"Name of the source; it is the Meta.source of its records. Empty means binance.spot or binance.usdm."`
	Market   string   `koanf:"market" doc:"spot, or usdm for USD-margined perpetual contracts."`
	Symbols  []string `koanf:"symbols" doc:"Canonical symbols, such as BTC-USDT or BTC-USDT-PERP. Empty in playback: all that the recording has."`
	Channels []string `koanf:"channels" doc:"What to subscribe to: trades, quotes, book, and on usdm marks and liquidations."`
	Trades   string   `koanf:"trades" doc:"Stream that carries trades: trade (every fill) or aggTrade (fills of one order at one price). Empty means trade on spot, aggTrade on usdm."`

	BookDepth    int           `koanf:"book_depth" doc:"Levels a side in a published book."`
	BookInterval time.Duration `koanf:"book_interval" doc:"Least time between two publications of a book, besides the one ahead of a Tick."`

	StreamURL          string        `koanf:"stream_url" doc:"WebSocket address; empty means Binance's own."`
	RestURL            string        `koanf:"rest_url" doc:"REST address; empty means Binance's own."`
	StreamsPerConn     int           `koanf:"streams_per_connection" doc:"Streams on one connection, at most."`
	SnapshotLevels     int           `koanf:"snapshot_levels" doc:"Levels of a depth snapshot: 100, 500, 1000, and on spot 5000."`
	SnapshotsPerMinute int           `koanf:"snapshots_per_minute" doc:"Depth snapshots asked for in a minute, at most; the venue bans who asks too often."`
	Silence            time.Duration `koanf:"silence" doc:"A connection without any message for so long is dialled again."`
	MaxAge             time.Duration `koanf:"max_age" doc:"A connection is renewed at this age, before the venue cuts it at 24 h."`
	BackoffMax         time.Duration `koanf:"backoff_max" doc:"Longest wait before a connection is dialled again."`
	TickDelay          time.Duration `koanf:"tick_delay" doc:"How far Ticks lag behind the venue's time: what its streams run behind each other."`

	Capture string  `koanf:"capture" doc:"Folder to record raw frames in; empty records nothing."`
	Play    string  `koanf:"play" doc:"Capture file to play in place of the venue."`
	Speed   float64 `koanf:"speed" doc:"Pace of playback: 1 as recorded, 10 ten times that, 0 as fast as it goes."`
}

// Defaults reads BTC and ETH of the spot market.
func Defaults() Config {
	return Config{
		Market: Spot, Symbols: []string{"BTC-USDT", "ETH-USDT"}, Channels: []string{chTrades, chQuotes, chBook},
		BookDepth: 20, BookInterval: 100 * time.Millisecond, StreamsPerConn: 200, SnapshotLevels: 1000, SnapshotsPerMinute: 60,
		Silence: time.Minute, MaxAge: 23 * time.Hour, BackoffMax: time.Minute, TickDelay: 250 * time.Millisecond,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Market != Spot && c.Market != USDM {
		return fmt.Errorf("binance.market is %q: it must be spot or usdm", c.Market)
	}
	if len(c.Symbols) == 0 && c.Play == "" {
		return fmt.Errorf("binance.symbols is empty: it must name at least one symbol unless binance.play is set")
	}
	for _, s := range c.Symbols {
		if _, err := venueSymbol(s, c.Market == USDM); err != nil {
			return fmt.Errorf("binance.symbols: %w", err)
		}
	}
	for _, ch := range c.Channels {
		if !slices.Contains(c.channels(), ch) {
			return fmt.Errorf("binance.channels has %q: each must be one of %v on %s", ch, c.channels(), c.Market)
		}
	}
	if c.Trades != "" && c.Trades != "trade" && c.Trades != "aggTrade" {
		return fmt.Errorf("binance.trades is %q: it must be trade or aggTrade", c.Trades)
	}
	return c.validateNumbers()
}

func (c Config) validateNumbers() error {
	for _, f := range []struct {
		name      string
		value     time.Duration
		low, high time.Duration
	}{
		{"book_interval", c.BookInterval, 0, time.Minute},
		{"silence", c.Silence, time.Second, time.Hour},
		{"max_age", c.MaxAge, time.Minute, 24 * time.Hour},
		{"backoff_max", c.BackoffMax, 0, time.Hour},
		{"tick_delay", c.TickDelay, 0, time.Minute},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("binance.%s is %v: it must lie between %v and %v", f.name, f.value, f.low, f.high)
		}
	}
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"book_depth", c.BookDepth, 1, 1000},
		{"streams_per_connection", c.StreamsPerConn, 1, 1024},
		{"snapshot_levels", c.SnapshotLevels, 5, 5000},
		{"snapshots_per_minute", c.SnapshotsPerMinute, 1, 1200},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("binance.%s is %d: it must lie between %d and %d", f.name, f.value, f.low, f.high)
		}
	}
	if c.Speed < 0 {
		return fmt.Errorf("binance.speed is %v: it must not be negative", c.Speed)
	}
	return nil
}

// channels are those that the market has.
func (c Config) channels() []string {
	if c.Market == USDM {
		return []string{chTrades, chQuotes, chBook, chMarks, chLiquidations}
	}
	return []string{chTrades, chQuotes, chBook}
}
