package kraken

import (
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/venue"
)

func TestSymbols(t *testing.T) {
	for theirs, ours := range map[string]string{"BTC/USD": "BTC-USD", "DOGE/EUR": "DOGE-EUR", "1INCH/USDT": "1INCH-USDT"} {
		if got, err := canonical(theirs); got != ours || err != nil {
			t.Errorf("%s is %s, %v, want %s", theirs, got, err, ours)
		}
		if got, err := venueSymbol(ours); got != theirs || err != nil {
			t.Errorf("%s is %s, %v, want %s", ours, got, err, theirs)
		}
	}
	for old, now := range map[string]string{"XBT/CHF": "BTC/CHF", "ADA/XBT": "ADA/BTC", "XDG/XBT": "DOGE/BTC", "KSM/EUR": "KSM/EUR"} {
		if got := current(old); got != now {
			t.Errorf("%s of v1 is %s, want %s", old, got, now)
		}
	}
	for _, s := range []string{"BTCUSD", "AAPLx/USD", "/USD", "BTC/", ""} {
		if got, err := canonical(s); err == nil {
			t.Errorf("%q is %s", s, got)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"kraken.symbols: symbol cannot be mapped": func(c *Config) { c.Symbols = []string{"XBT/USD"} },
		"kraken.symbols is empty":                 func(c *Config) { c.Symbols = nil },
		"kraken.channels":                         func(c *Config) { c.Channels = []string{"liquidations"} },
		"kraken.depth is 50":                      func(c *Config) { c.Depth = 50 },
		"kraken.book_depth is 20":                 func(c *Config) { c.Depth = 10 },
		"kraken.speed is -1":                      func(c *Config) { c.Speed = -1 },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	if s, err := venue.New(Defaults(), nil, sources.NewMetrics(nil)); err != nil || s.Name() != "kraken.spot" {
		t.Errorf("defaults: %v", err)
	}
}
