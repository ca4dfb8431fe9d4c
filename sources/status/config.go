// Package status polls what venues say of themselves: status pages of Atlassian's make, and the status calls of their APIs.
// No keys.
//
// Shapes: https://www.atlassianstatus.com/api (summary.json); Kraken SystemStatus, Bybit /v5/system/status, OKX
// /api/v5/system/status, Binance /sapi/v1/system/status, Deribit public/status.
package status

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/sources/poll"
)

// Config is the status source.
type Config struct {
	Pages     []string          `koanf:"pages" doc:"Status pages of Atlassian's make, each VENUE=ADDRESS."`
	APIs      []string          `koanf:"apis" doc:"Venues whose status call is asked: binance, bybit, deribit, kraken, okx."`
	Addresses map[string]string `koanf:"addresses" doc:"Addresses of APIs other than the venues' own, by venue."`
	Every     time.Duration     `koanf:"every" doc:"Time between two looks."`
	PerMinute int               `koanf:"per_minute" doc:"Requests a minute to each host, at most."`
}

// Defaults look at the venues that have connectors here.
func Defaults() Config {
	return Config{
		Pages: []string{"coinbase=https://status.coinbase.com", "kraken=https://status.kraken.com"},
		APIs:  slices.Sorted(maps.Keys(apis)), Every: time.Minute, PerMinute: 30,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	for _, text := range c.Pages {
		venue, address, ok := strings.Cut(text, "=")
		if !ok || venue == "" || venue != strings.ToLower(venue) || !strings.HasPrefix(address, "http") {
			return fmt.Errorf("status.pages has %q: each must be VENUE=ADDRESS, such as coinbase=https://status.coinbase.com", text)
		}
	}
	known := strings.Join(slices.Sorted(maps.Keys(apis)), ", ")
	for _, venue := range c.APIs {
		if apis[venue].decode == nil {
			return fmt.Errorf("status.apis has %q: each must be one of %s", venue, known)
		}
	}
	for _, venue := range slices.Sorted(maps.Keys(c.Addresses)) {
		if apis[venue].decode == nil {
			return fmt.Errorf("status.addresses has %q: each must be one of %s", venue, known)
		}
	}
	switch {
	case len(c.Pages)+len(c.APIs) == 0:
		return errors.New("status.pages and status.apis are empty: there must be one entry at least")
	case c.PerMinute < 1 || c.PerMinute > 600:
		return fmt.Errorf("status.per_minute is %d: it must lie between 1 and 600", c.PerMinute)
	}
	return poll.Interval("status.every", c.Every)
}
