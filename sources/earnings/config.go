// Package earnings polls what companies earned against what was expected: Finnhub or Alpha Vantage, by key.
//
// Shapes: https://finnhub.io/docs/api/company-earnings and .../earnings-calendar; https://www.alphavantage.co/documentation/,
// function EARNINGS.
package earnings

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Providers.
const (
	Finnhub      = "finnhub"
	AlphaVantage = "alphavantage"
)

// Config is the earnings source.
type Config struct {
	Provider  string        `koanf:"provider" doc:"finnhub or alphavantage."`
	Key       secret.Secret `koanf:"key" doc:"API key of the provider; both have free ones."`
	Symbols   []string      `koanf:"symbols" doc:"Tickers to follow."`
	Every     time.Duration `koanf:"every" doc:"Time between two looks at a ticker; 0 takes an hour with finnhub and a day with alphavantage."`
	PerMinute int           `koanf:"per_minute" doc:"Requests a minute, at most; 0 takes 30 with finnhub (60 are free) and 5 with alphavantage (25 a day are free)."`
	URL       string        `koanf:"url" doc:"Address of the provider; empty means its own."`
}

// Defaults follow a dozen large companies at Finnhub.
func Defaults() Config {
	return Config{
		Provider: Finnhub,
		Symbols:  []string{"AAPL", "MSFT", "NVDA", "GOOGL", "AMZN", "META", "TSLA", "JPM", "JNJ", "WMT", "XOM", "COIN"},
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.Provider != Finnhub && c.Provider != AlphaVantage:
		return fmt.Errorf("earnings.provider is %q: it must be finnhub or alphavantage", c.Provider)
	case len(c.Symbols) == 0:
		return errors.New("earnings.symbols is empty: it must name at least one ticker")
	case c.PerMinute < 0 || c.PerMinute > 1200:
		return fmt.Errorf("earnings.per_minute is %d: it must lie between 0 and 1200", c.PerMinute)
	}
	seen := map[string]bool{}
	for _, s := range c.Symbols {
		if s == "" || strings.ContainsAny(s, "/ &?") || seen[strings.ToUpper(s)] {
			return fmt.Errorf("earnings.symbols has %q: each must be a ticker, once", s)
		}
		seen[strings.ToUpper(s)] = true
	}
	if c.Every == 0 {
		return nil
	}
	return poll.Interval("earnings.every", c.Every)
}

// filled has the provider's own values where none are set.
func (c Config) filled() Config {
	every, perMinute, address := time.Hour, 30, "https://finnhub.io/api/v1"
	if c.Provider == AlphaVantage {
		every, perMinute, address = 24*time.Hour, 5, "https://www.alphavantage.co"
	}
	if c.Every == 0 {
		c.Every = every
	}
	if c.PerMinute == 0 {
		c.PerMinute = perMinute
	}
	if c.URL == "" {
		c.URL = address
	}
	return c
}
