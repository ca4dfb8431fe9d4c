package binance

import (
	"errors"
	"fmt"
	"strings"
)

// perpetual is the type part of a canonical symbol of the futures market.
const perpetual = "-PERP"

// quotes are the quote assets that an unlisted symbol is split by, longest first.
var quoteAssets = []string{"FDUSD", "USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD"}

var errSymbol = errors.New("symbol cannot be split into base and quote")

// canonical spells a venue symbol as base-quote, with -PERP on the futures market.
func canonical(venueSymbol string, futures bool) (string, error) {
	for _, quote := range quoteAssets {
		if base, ok := strings.CutSuffix(venueSymbol, quote); ok && base != "" && plainAsset(base) {
			if futures {
				return base + "-" + quote + perpetual, nil
			}
			return base + "-" + quote, nil
		}
	}
	return "", fmt.Errorf("%w: %q", errSymbol, venueSymbol)
}

// plainAsset says that a name is made of what asset names are made of.
func plainAsset(s string) bool {
	for _, c := range s {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(s) <= 20
}

// venueSymbol spells a canonical symbol as Binance does.
func venueSymbol(symbol string, futures bool) (string, error) {
	pair := symbol
	if futures {
		var ok bool
		if pair, ok = strings.CutSuffix(symbol, perpetual); !ok {
			return "", fmt.Errorf("symbol %q: it must be BASE-QUOTE-PERP on the futures market", symbol)
		}
	}
	base, quote, ok := strings.Cut(pair, "-")
	if !ok || base == "" || quote == "" || !plainAsset(base) || !plainAsset(quote) {
		return "", fmt.Errorf("symbol %q: it must be BASE-QUOTE in capital letters, such as BTC-USDT", symbol)
	}
	return base + quote, nil
}
