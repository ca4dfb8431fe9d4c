package probe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/sources/poll"
)

// Config is the probe.
type Config struct {
	Targets   []string          `koanf:"targets" doc:"Whose time or ping call is asked: binance, bybit, coinbase, deribit, kraken, kraken_futures, okx. Two at least: when none answers, it is we who are down."`
	Addresses map[string]string `koanf:"addresses" doc:"Addresses other than the venues' own, by target."`
	Every     time.Duration     `koanf:"every" doc:"Time between two rounds."`
	Timeout   time.Duration     `koanf:"timeout" doc:"How long an answer may take; shorter than every."`
}

// Defaults probe every venue that has a connector.
func Defaults() Config {
	return Config{Targets: slices.Sorted(maps.Keys(targets)), Every: 10 * time.Second, Timeout: 8 * time.Second}
}

// Validate checks the settings.
func (c Config) Validate() error {
	known := strings.Join(slices.Sorted(maps.Keys(targets)), ", ")
	for i, name := range c.Targets {
		if _, ok := targets[name]; !ok {
			return fmt.Errorf("probe.targets has %q: each must be one of %s", name, known)
		}
		if slices.Contains(c.Targets[:i], name) {
			return fmt.Errorf("probe.targets names %s twice", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Addresses)) {
		if _, ok := targets[name]; !ok {
			return fmt.Errorf("probe.addresses has %q: each must be one of %s", name, known)
		}
	}
	switch {
	case len(c.Targets) < 2:
		return fmt.Errorf("probe.targets has %d: there must be two at least, so that a fault of our own can be told from one of theirs", len(c.Targets))
	case c.Timeout < time.Second || c.Timeout >= c.Every:
		return fmt.Errorf("probe.timeout is %v: it must lie between 1s and probe.every (%v)", c.Timeout, c.Every)
	}
	return poll.Interval("probe.every", c.Every)
}
