package coinbase

import (
	"fmt"
	"strings"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// canonical checks a product id: spot products are spelt as we do. Futures (BIT-26SEP25-CDE) are not read.
func canonical(productID string) (string, error) {
	_, _, err := venue.Pair(productID, "-")
	return productID, err
}

// venueSymbol is the product id of a symbol. Advanced Trade sends the data of BTC-USD for BTC-USDC, since the two share a
// book; USDT-USDC and EURC-USDC have their own.
func venueSymbol(symbol, market string) (string, error) {
	base, _, err := venue.Pair(symbol, "-")
	if err != nil {
		return "", err
	}
	if market == Advanced && strings.HasSuffix(symbol, "-USDC") && base != "USDT" && base != "EURC" {
		return "", fmt.Errorf("%w: %q has the order book of %s-USD: name that", venue.ErrSymbol, symbol, base)
	}
	return symbol, nil
}
