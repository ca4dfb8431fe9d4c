package schemas

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every validation error: the record is poison.
var ErrInvalid = errors.New("invalid record")

// Event times outside this window are broken clocks or broken units, not data.
const (
	MinTime Time = 631152000e9  // 1990-01-01
	MaxTime Time = 4102444800e9 // 2100-01-01
)

// invalid reports a broken rule: the field, its value, and what it must be.
func invalid(typeName, field string, value any, must string) error {
	if d, ok := value.(*Decimal); ok {
		value = text(d)
	}
	return fmt.Errorf("%w: %s.%s is %v: it must be %s", ErrInvalid, typeName, field, value, must)
}

// inexact reports a number whose exponent is out of range: it would count as 0, and cost any time to compare.
func inexact(typeName, field string, d *Decimal) error {
	return invalid(typeName, field+".exponent", d.GetExponent(), fmt.Sprintf("between %d and %d", -maxExponent, maxExponent))
}

// Validate checks the rules that every record of a type obeys, and names the field, its value and the rule it breaks.
func Validate(m Message) error {
	switch m := m.(type) {
	case *Trade:
		return validateTrade(m)
	case *Tick:
		return validateTick(m)
	}
	return validateSlow(m)
}

func validateTrade(t *Trade) error {
	if err := validateMeta("Trade", t.GetMeta()); err != nil {
		return err
	}
	if !t.Price.exact() {
		return inexact("Trade", "price", t.Price)
	}
	if !t.Quantity.exact() {
		return inexact("Trade", "quantity", t.Quantity)
	}
	if t.Price == nil || t.Price.Mantissa == 0 {
		return invalid("Trade", "price", t.Price, "present and not zero")
	}
	if t.Quantity.Sign() <= 0 {
		return invalid("Trade", "quantity", t.Quantity, "greater than zero")
	}
	if t.TakerSide < 0 || t.TakerSide > Side_SIDE_SELL {
		return invalid("Trade", "taker_side", int32(t.TakerSide), "buy, sell or unspecified")
	}
	return nil
}

func validateTick(t *Tick) error {
	if t.GetSource() == "" {
		return invalid("Tick", "source", `""`, "the name of a source")
	}
	if at := Time(t.GetTime()); at < MinTime || at > MaxTime {
		return invalid("Tick", "time", t.GetTime(), "nanoseconds between 1990 and 2100")
	}
	if t.Partitions > 0 && t.Partition >= t.Partitions {
		return invalid("Tick", "partition", t.Partition, fmt.Sprintf("less than partitions (%d)", t.Partitions))
	}
	if t.Partitions > 1<<16 {
		return invalid("Tick", "partitions", t.Partitions, "at most 65536")
	}
	return nil
}

func validateMeta(typeName string, m *Meta) error {
	switch {
	case m == nil:
		return invalid(typeName, "meta", "absent", "present")
	case m.Source == "":
		return invalid(typeName, "meta.source", `""`, "the name of the source whose Ticks move the record's time")
	case m.Venue == "":
		return invalid(typeName, "meta.venue", `""`, "a venue in lower case")
	case m.Symbol == "":
		return invalid(typeName, "meta.symbol", `""`, "a canonical symbol such as BTC-USDT")
	}
	if at := Time(m.EventTime); at < MinTime || at > MaxTime {
		return invalid(typeName, "meta.event_time", m.EventTime, "nanoseconds between 1990 and 2100")
	}
	return nil
}

func text(d *Decimal) string {
	if d == nil {
		return "absent"
	}
	return d.Text()
}
