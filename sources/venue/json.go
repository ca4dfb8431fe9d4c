package venue

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// Errors of decoders.
var (
	ErrShape = errors.New("message has not the documented shape")
	ErrField = errors.New("field is missing or of another type")
)

// maxLevels bounds one side of a message: the largest snapshots have some 30,000.
const maxLevels = 100_000

// JSON reads the fields of messages: text, numbers and times, digit by digit. The zero value is ready; not for concurrent
// use.
type JSON struct {
	parser fastjson.Parser
	text   schemas.Decimal
	raw    []byte
}

// Parse parses a message; the value is valid until the next call.
func (j *JSON) Parse(raw []byte) (*fastjson.Value, error) {
	v, err := j.parser.ParseBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	return v, nil
}

// Object parses a message that must be an object.
func (j *JSON) Object(raw []byte) (*fastjson.Value, error) {
	v, err := j.Parse(raw)
	if err != nil {
		return nil, err
	}
	if v.Type() != fastjson.TypeObject {
		return nil, fmt.Errorf("%w: %s in place of an object", ErrShape, v.Type())
	}
	return v, nil
}

// Decimal reads a number that is written as text or as a JSON number, as it is written.
func (j *JSON) Decimal(v *fastjson.Value, key string) (Number, error) {
	f := v.Get(key)
	if f == nil {
		return Number{}, fmt.Errorf("%w: %s", ErrField, key)
	}
	return j.Number(f, key)
}

// Quote reads the four numbers of a best bid and offer. While a side of the book is empty there is none, and the event becomes a
// Note: venues write null, an empty text or 0 for its price then. A price that is not there at all is an error.
func (j *JSON) Quote(e *Event, v *fastjson.Value, bid, bidQuantity, ask, askQuantity string) (err error) {
	for _, f := range [...]struct {
		to  *Number
		key string
	}{{&e.Price, bid}, {&e.AskPrice, ask}} {
		price, err := j.Optional(v, f.key)
		switch {
		case err != nil:
			return err
		case price.Mantissa != 0:
			*f.to = price.Number
		case v.Exists(f.key):
			*e = Event{Kind: Note}
			return nil
		default:
			return fmt.Errorf("%w: %s", ErrField, f.key)
		}
	}
	if e.Quantity, err = j.Decimal(v, bidQuantity); err != nil {
		return err
	}
	e.AskQuantity, err = j.Decimal(v, askQuantity)
	return err
}

// Optional reads a decimal that may be absent, null or empty.
func (j *JSON) Optional(v *fastjson.Value, key string) (Optional, error) {
	f := v.Get(key)
	if f == nil || f.Type() == fastjson.TypeNull || (f.Type() == fastjson.TypeString && len(f.GetStringBytes()) == 0) {
		return Optional{}, nil
	}
	n, err := j.Number(f, key)
	return Optional{n, err == nil}, err
}

// rateDecimals is what a rate of more digits than a decimal has room for is rounded to.
const rateDecimals = 15

// Rate reads an optional number that the venue computed and prints as a binary fraction, such as 1.234567890123456e-06:
// where it has more digits than a decimal has room for, it is rounded to 15 decimals.
func (j *JSON) Rate(v *fastjson.Value, key string) (Optional, error) {
	o, err := j.Optional(v, key)
	if err == nil {
		return o, nil
	}
	f := v.Get(key)
	if f.Type() != fastjson.TypeNumber {
		return o, err
	}
	j.raw = strconv.AppendFloat(j.raw[:0], f.GetFloat64(), 'f', rateDecimals, 64)
	if err := j.text.Parse(j.raw); err != nil {
		return Optional{}, fmt.Errorf("reading %s: %w", key, err)
	}
	return Some(Number{Mantissa: j.text.Mantissa, Exponent: j.text.Exponent}), nil
}

// Number reads a value that is a decimal, as text or as a JSON number; key names it in errors.
func (j *JSON) Number(f *fastjson.Value, key string) (Number, error) {
	var digits []byte
	switch f.Type() {
	case fastjson.TypeString:
		digits = f.GetStringBytes()
	case fastjson.TypeNumber:
		j.raw = f.MarshalTo(j.raw[:0])
		digits = j.raw
	default:
		return Number{}, fmt.Errorf("%w: %s is %s, not a number", ErrField, key, f.Type())
	}
	if err := j.text.Parse(digits); err != nil {
		return Number{}, fmt.Errorf("reading %s: %w", key, err)
	}
	return Number{Mantissa: j.text.Mantissa, Exponent: j.text.Exponent}, nil
}

// Levels appends [price, quantity, ...] rows.
func (j *JSON) Levels(dst []book.Level, v *fastjson.Value, key string) ([]book.Level, error) {
	side := v.Get(key)
	if side == nil || side.Type() != fastjson.TypeArray {
		return dst, fmt.Errorf("%w: %s", ErrField, key)
	}
	rows, _ := side.Array()
	if len(rows) > maxLevels {
		return dst, fmt.Errorf("%w: %s has %d levels, at most %d", ErrShape, key, len(rows), maxLevels)
	}
	for _, row := range rows {
		pair, _ := row.Array()
		if len(pair) < 2 {
			return dst, fmt.Errorf("%w: a level of %s has not two parts", ErrShape, key)
		}
		var err error
		if dst, err = j.Level(dst, pair[0], pair[1], key); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Sides reads the levels of both sides into an event.
func (j *JSON) Sides(e *Event, v *fastjson.Value, bids, asks string) (err error) {
	if e.Bids, err = j.Levels(e.Bids, v, bids); err != nil {
		return err
	}
	e.Asks, err = j.Levels(e.Asks, v, asks)
	return err
}

// Level appends one level.
func (j *JSON) Level(dst []book.Level, price, quantity *fastjson.Value, key string) ([]book.Level, error) {
	if price == nil || quantity == nil {
		return dst, fmt.Errorf("%w: a level of %s has not price and quantity", ErrShape, key)
	}
	p, err := j.Number(price, key)
	if err != nil {
		return dst, err
	}
	q, err := j.Number(quantity, key)
	if err != nil {
		return dst, err
	}
	if p.Mantissa < 0 || q.Mantissa < 0 {
		return dst, fmt.Errorf("%w: a level of %s is negative", ErrShape, key)
	}
	return append(dst, book.Level{Price: p, Quantity: q}), nil
}

// Text reads a text that must be there.
func Text(v *fastjson.Value, key string) ([]byte, error) {
	b := v.GetStringBytes(key)
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrField, key)
	}
	return b, nil
}

// Integer reads a whole number that is not negative, as a JSON number or as text.
func Integer(v *fastjson.Value, key string) (uint64, error) {
	f := v.Get(key)
	if f == nil {
		return 0, fmt.Errorf("%w: %s", ErrField, key)
	}
	if f.Type() == fastjson.TypeString {
		return digits(f.GetStringBytes(), key)
	}
	n, err := f.Uint64()
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", key, err)
	}
	return n, nil
}

func digits(text []byte, key string) (uint64, error) {
	const most = 19
	if len(text) == 0 || len(text) > most {
		return 0, fmt.Errorf("%w: %s has %d digits, 1 to %d make a number", ErrField, key, len(text), most)
	}
	var n uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%w: %s is %q, not a whole number", ErrField, key, text)
		}
		n = n*10 + uint64(c-'0')
	}
	return n, nil
}

// microseconds and nanoseconds are where a stamp must be in that unit: the year 5138 in the one before.
const (
	microseconds = 100_000_000_000_000
	nanoseconds  = 100_000_000_000_000_000
)

// Millis reads a time since the epoch in milliseconds, microseconds or nanoseconds, told apart by size; 0 when absent, null
// or 0.
func Millis(v *fastjson.Value, key string) (schemas.Time, error) {
	f := v.Get(key)
	if f == nil || f.Type() == fastjson.TypeNull || (f.Type() == fastjson.TypeString && len(f.GetStringBytes()) == 0) {
		return 0, nil
	}
	n, err := Integer(v, key)
	if err != nil {
		return 0, err
	}
	unit := uint64(1_000_000)
	switch {
	case n >= nanoseconds:
		unit = 1
	case n >= microseconds:
		unit = 1000
	}
	return inRange(n*unit, n <= 1<<62/unit, key)
}

// Stamp reads a time in RFC 3339, such as 2026-08-09T21:05:48.170326Z; 0 when absent, null, empty or the epoch itself.
func Stamp(v *fastjson.Value, key string) (schemas.Time, error) {
	text := v.GetStringBytes(key)
	if len(text) == 0 {
		return 0, nil
	}
	var at time.Time
	if err := at.UnmarshalText(text); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrField, key, err)
	}
	return inRange(uint64(max(at.Unix(), 0))*1e9+uint64(at.Nanosecond()), at.Year() < 2200, key)
}

// Seconds reads a time since the epoch in seconds, with up to eight decimals.
func (j *JSON) Seconds(f *fastjson.Value, key string) (schemas.Time, error) {
	n, err := j.Number(f, key)
	if err != nil {
		return 0, err
	}
	at, fits := uint64(max(n.Mantissa, 0)), n.Exponent <= 0 && n.Exponent >= -9
	for e := n.Exponent; fits && e > -9; e-- {
		fits = at <= 1<<62/10
		at *= 10
	}
	return inRange(at, fits, key)
}

func inRange(at uint64, fits bool, key string) (schemas.Time, error) {
	if !fits || schemas.Time(at) > schemas.MaxTime || (at != 0 && schemas.Time(at) < schemas.MinTime) {
		return 0, fmt.Errorf("%w: %s is %d, not a time between 1990 and 2100", ErrShape, key, at)
	}
	return schemas.Time(at), nil
}
