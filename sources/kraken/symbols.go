package kraken

import (
	"strings"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// canonical spells BTC/USD as BTC-USD.
func canonical(venueSymbol string) (string, error) {
	base, quote, err := venue.Pair(venueSymbol, "/")
	return base + "-" + quote, err
}

// venueSymbol spells BTC-USD as BTC/USD.
func venueSymbol(symbol string) (string, error) {
	base, quote, err := venue.Pair(symbol, "-")
	return base + "/" + quote, err
}

// current spells a pair of v1 as v2 does: XBT/USD is BTC/USD there, XDG/USD is DOGE/USD.
func current(pair string) string {
	base, quote, _ := strings.Cut(pair, "/")
	return asset(base) + "/" + asset(quote)
}

func asset(name string) string {
	switch name {
	case "XBT":
		return "BTC"
	case "XDG":
		return "DOGE"
	}
	return name
}
