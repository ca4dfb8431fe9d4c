package krakenfutures

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// kind pairs a prefix of the venue with the type of canonical symbols.
type kind struct {
	prefix, name string
	dated        bool
}

var kinds = []kind{{"PI_", "PERP", false}, {"FI_", "FUT", true}, {"PF_", "LPERP", false}, {"FF_", "LFUT", true}}

// quote is that of all contracts.
const quote = "USD"

// The forms of a date.
const (
	venueDate     = "060102"
	canonicalDate = "20060102"
)

// inverse says that a product counts US dollars.
func inverse(product []byte) bool {
	return len(product) > 1 && product[1] == 'I'
}

// perpetual says that a product has no end, and so has funding.
func perpetual(product []byte) bool { return len(product) > 0 && product[0] == 'P' }

// canonical spells a product as BASE-USD-TYPE[-EXPIRY]: FI_ETHUSD_211231 is ETH-USD-FUT-20211231. The venue writes XBT for
// BTC.
func canonical(product string) (string, error) {
	wrong := fmt.Errorf("%w: %q: it must be like PI_XBTUSD, PF_XBTUSD or FI_XBTUSD_211231", venue.ErrSymbol, product)
	i := slices.IndexFunc(kinds, func(k kind) bool { return strings.HasPrefix(product, k.prefix) })
	if i < 0 {
		return "", wrong
	}
	k := kinds[i]
	pair, date, dated := strings.Cut(product[len(k.prefix):], "_")
	base, ok := strings.CutSuffix(pair, quote)
	switch base {
	case "XBT":
		base = "BTC"
	case "BTC":
		return "", wrong // would come back as XBT
	}
	symbol := base + "-" + quote
	if _, _, err := venue.Pair(symbol, "-"); !ok || dated != k.dated || err != nil {
		return "", wrong
	}
	symbol += "-" + k.name
	if !dated {
		return symbol, nil
	}
	end, err := time.Parse(venueDate, date)
	if err != nil {
		return "", wrong
	}
	return symbol + "-" + end.Format(canonicalDate), nil
}

// venueSymbol spells a canonical symbol as the venue does.
func venueSymbol(symbol string) (string, error) {
	wrong := fmt.Errorf("%w: %q: it must be like BTC-USD-PERP (inverse), BTC-USD-LPERP (linear) or BTC-USD-FUT-20211231", venue.ErrSymbol, symbol)
	parts := strings.Split(symbol, "-")
	if len(parts) < 3 || parts[1] != quote {
		return "", wrong
	}
	base := parts[0]
	if base == "BTC" {
		base = "XBT"
	}
	for _, k := range kinds {
		if k.name != parts[2] {
			continue
		}
		product := k.prefix + base + quote
		if k.dated && len(parts) == 4 {
			end, err := time.Parse(canonicalDate, parts[3])
			if err != nil {
				return "", wrong
			}
			product += "_" + end.Format(venueDate)
		}
		if again, err := canonical(product); err == nil && again == symbol {
			return product, nil
		}
	}
	return "", wrong
}
