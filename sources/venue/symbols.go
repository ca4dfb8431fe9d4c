package venue

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSymbol says that a symbol cannot be mapped.
var ErrSymbol = errors.New("symbol cannot be mapped")

// Pair parts a symbol into base and quote. Assets are made of capital letters and digits.
func Pair(symbol, separator string) (base, quote string, err error) {
	base, quote, ok := strings.Cut(symbol, separator)
	if !ok || !plain(base) || !plain(quote) {
		return "", "", fmt.Errorf("%w: %q: it must be BASE%sQUOTE in capital letters, such as BTC%sUSD", ErrSymbol, symbol, separator, separator)
	}
	return base, quote, nil
}

func plain(asset string) bool {
	for _, c := range asset {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return asset != "" && len(asset) <= 20
}
