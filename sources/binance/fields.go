package binance

import (
	"fmt"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// maxLevels bounds one side of a message: the largest snapshot has 5,000.
const maxLevels = 20_000

// sides reads the levels of both sides.
func (d *decoder) sides(v *fastjson.Value, bids, asks string) error {
	var err error
	if d.event.bids, err = d.levels(d.event.bids, v, bids); err != nil {
		return err
	}
	d.event.asks, err = d.levels(d.event.asks, v, asks)
	return err
}

func (d *decoder) levels(dst []book.Level, v *fastjson.Value, key string) ([]book.Level, error) {
	side := v.Get(key)
	if side == nil || side.Type() != fastjson.TypeArray {
		return dst, fmt.Errorf("%w: %s", errField, key)
	}
	rows, _ := side.Array()
	if len(rows) > maxLevels {
		return dst, fmt.Errorf("%w: %s has %d levels, at most %d", errShape, key, len(rows), maxLevels)
	}
	for _, row := range rows {
		pair, _ := row.Array()
		if len(pair) < 2 {
			return dst, fmt.Errorf("%w: a level of %s has not two parts", errShape, key)
		}
		price, err := d.parse(pair[0], key)
		if err != nil {
			return dst, err
		}
		quantity, err := d.parse(pair[1], key)
		if err != nil {
			return dst, err
		}
		if price.Mantissa < 0 || quantity.Mantissa < 0 {
			return dst, fmt.Errorf("%w: a level of %s is negative", errShape, key)
		}
		dst = append(dst, book.Level{Price: price, Quantity: quantity})
	}
	return dst, nil
}

// decimal reads a number that Binance sends as text, digit by digit.
func (d *decoder) decimal(v *fastjson.Value, key string) (book.Number, error) {
	f := v.Get(key)
	if f == nil {
		return book.Number{}, fmt.Errorf("%w: %s", errField, key)
	}
	return d.parse(f, key)
}

// optional reads a decimal that may be absent or empty.
func (d *decoder) optional(v *fastjson.Value, key string) (book.Number, bool, error) {
	f := v.Get(key)
	if f == nil || (f.Type() == fastjson.TypeString && len(f.GetStringBytes()) == 0) {
		return book.Number{}, false, nil
	}
	n, err := d.parse(f, key)
	return n, err == nil, err
}

func (d *decoder) parse(f *fastjson.Value, key string) (book.Number, error) {
	if f.Type() != fastjson.TypeString {
		return book.Number{}, fmt.Errorf("%w: %s", errField, key)
	}
	if err := d.text.Parse(f.GetStringBytes()); err != nil {
		return book.Number{}, fmt.Errorf("reading %s: %w", key, err)
	}
	return book.Number{Mantissa: d.text.Mantissa, Exponent: d.text.Exponent}, nil
}

func text(v *fastjson.Value, key string) ([]byte, error) {
	b := v.GetStringBytes(key)
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s", errField, key)
	}
	return b, nil
}

func number(v *fastjson.Value, key string) (uint64, error) {
	f := v.Get(key)
	if f == nil {
		return 0, fmt.Errorf("%w: %s", errField, key)
	}
	n, err := f.Uint64()
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", key, err)
	}
	return n, nil
}

// microseconds is where a stamp must be in microseconds (timeUnit=MICROSECOND): the year 5138 in milliseconds.
const microseconds = 100_000_000_000_000

// optionalStamp reads a time in milliseconds or microseconds since the epoch; 0 when absent or 0.
func optionalStamp(v *fastjson.Value, key string) (schemas.Time, error) {
	f := v.Get(key)
	if f == nil {
		return 0, nil
	}
	n, err := f.Uint64()
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", key, err)
	}
	unit := uint64(1_000_000)
	if n >= microseconds {
		unit = 1000
	}
	at := n * unit
	if n > 1<<62/unit || schemas.Time(at) > schemas.MaxTime || (n != 0 && schemas.Time(at) < schemas.MinTime) {
		return 0, fmt.Errorf("%w: %s is %d, not a time between 1990 and 2100", errShape, key, n)
	}
	return schemas.Time(at), nil
}
