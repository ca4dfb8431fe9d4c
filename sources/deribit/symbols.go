package deribit

import (
	"fmt"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// contract is what an instrument's name says.
type contract struct {
	base, quote string
	kind        string // the type part of a canonical symbol
	expiry      time.Time
	strike      string
}

// The types.
const (
	perpetual = "PERP"
	future    = "FUT"
	call      = "CALL"
	put       = "PUT"
)

// The forms of a date: the venue's 6AUG21 and the canonical 20210806. Contracts end at 08:00 UTC.
const (
	venueDate     = "2Jan06"
	canonicalDate = "20060102"
	expiryHour    = 8 * time.Hour
)

func (c *contract) option() bool { return c.kind == call || c.kind == put }

// inverse contracts count US dollars.
func (c *contract) inverse() bool { return c.quote == "USD" && !c.option() }

// end is when the contract expires.
func (c *contract) end() schemas.Time { return schemas.Time(c.expiry.Add(expiryHour).UnixNano()) }

func (c *contract) right() schemas.OptionRight {
	if c.kind == call {
		return schemas.OptionRight_OPTION_RIGHT_CALL
	}
	return schemas.OptionRight_OPTION_RIGHT_PUT
}

// parse reads an instrument's name: BTC-PERPETUAL, BTC-24SEP21, BTC-24SEP21-8000-P, with the quote after the base where
// it is not USD (SOL_USDC-PERPETUAL), and d for the point of a strike (XRP_USDC-30JUN23-0d5-C). Spot pairs and
// combinations are not read.
func parse(name string) (contract, error) {
	var c contract
	pair, rest, _ := strings.Cut(name, "-")
	var quoted bool
	if c.base, c.quote, quoted = strings.Cut(pair, "_"); !quoted {
		c.quote = "USD"
	}
	date, option, isOption := strings.Cut(rest, "-")
	var err error
	switch {
	case rest == "PERPETUAL":
		c.kind = perpetual
	case !isOption:
		c.kind = future
		c.expiry, err = time.Parse(venueDate, date)
	default:
		c.expiry, err = time.Parse(venueDate, date)
		var right string
		c.strike, right, _ = strings.Cut(option, "-")
		c.strike = strings.Replace(c.strike, "d", ".", 1)
		c.kind = map[string]string{"C": call, "P": put}[right]
	}
	if _, _, perr := venue.Pair(c.base+"-"+c.quote, "-"); err != nil || perr != nil || c.kind == "" || c.venue() != name {
		return contract{}, fmt.Errorf("%w: %q: it must be like BTC-PERPETUAL, BTC-24SEP21 or BTC-24SEP21-8000-P", venue.ErrSymbol, name)
	}
	if err := c.check(name); err != nil {
		return contract{}, err
	}
	return c, nil
}

// check holds the strike of an option to be a number.
func (c *contract) check(name string) error {
	if !c.option() {
		return nil
	}
	if n, err := schemas.ParseDecimal([]byte(c.strike)); err != nil || n.Sign() <= 0 {
		return fmt.Errorf("%w: %q: the strike must be a number greater than zero", venue.ErrSymbol, name)
	}
	return nil
}

// venue spells the contract as the venue does.
func (c *contract) venue() string {
	name := c.base
	if c.quote != "USD" {
		name += "_" + c.quote
	}
	if c.kind == perpetual {
		return name + "-PERPETUAL"
	}
	name += "-" + strings.ToUpper(c.expiry.Format(venueDate))
	if c.option() {
		name += "-" + strings.Replace(c.strike, ".", "d", 1) + "-" + c.kind[:1]
	}
	return name
}

// canonical spells a venue symbol as BASE-QUOTE-TYPE[-EXPIRY[-STRIKE]]: BTC-USD-PERP, BTC-USD-FUT-20210924,
// BTC-USD-PUT-20210924-8000.
func canonical(name string) (string, error) {
	c, err := parse(name)
	if err != nil {
		return "", err
	}
	symbol := c.base + "-" + c.quote + "-" + c.kind
	if c.kind != perpetual {
		symbol += "-" + c.expiry.Format(canonicalDate)
	}
	if c.option() {
		symbol += "-" + c.strike
	}
	return symbol, nil
}

// venueSymbol spells a canonical symbol as the venue does.
func venueSymbol(symbol string) (string, error) {
	wrong := func() (string, error) {
		return "", fmt.Errorf("%w: %q: it must be like BTC-USD-PERP, BTC-USD-FUT-20210924 or BTC-USD-PUT-20210924-8000", venue.ErrSymbol, symbol)
	}
	parts := strings.Split(symbol, "-")
	if len(parts) < 3 {
		return wrong()
	}
	c := contract{base: parts[0], quote: parts[1], kind: parts[2]}
	want, known := map[string]int{perpetual: 3, future: 4, call: 5, put: 5}[c.kind]
	if !known || len(parts) != want {
		return wrong()
	}
	if want > 3 {
		var err error
		if c.expiry, err = time.Parse(canonicalDate, parts[3]); err != nil {
			return wrong()
		}
	}
	if want > 4 {
		c.strike = parts[4]
	}
	name := c.venue()
	if again, err := canonical(name); err != nil || again != symbol {
		return wrong()
	}
	return name, nil
}
