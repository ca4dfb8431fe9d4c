package binance

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// decoder turns raw frames into events. It holds memory only, no state: the result depends on the frame alone. Keys are
// told apart by case, as Binance does (e and E, t and T, u and U).
type decoder struct {
	parser fastjson.Parser
	text   schemas.Decimal
	event  event
}

var (
	errShape = errors.New("message has not the documented shape")
	errField = errors.New("field is missing or of another type")
)

// decode decodes one message of a stream, combined ({"stream":…,"data":…}) or raw.
func (d *decoder) decode(raw []byte) (*event, error) {
	e := d.reset()
	v, err := d.parser.ParseBytes(raw)
	if err != nil {
		return e, fmt.Errorf("parsing: %w", err)
	}
	var stream []byte
	if data := v.Get("data"); data != nil {
		stream = v.GetStringBytes("stream")
		v = data
	}
	if v.Type() != fastjson.TypeObject {
		return e, fmt.Errorf("%w: %s in place of an object", errShape, v.Type())
	}
	return e, d.dispatch(v, stream)
}

// reset empties the event, keeping its memory.
func (d *decoder) reset() *event {
	d.event = event{bids: d.event.bids[:0], asks: d.event.asks[:0]}
	return &d.event
}

func (d *decoder) dispatch(v *fastjson.Value, stream []byte) error {
	e := &d.event
	switch name := v.GetStringBytes("e"); string(name) {
	case "trade":
		e.kind = trade
		return d.trade(v, "t")
	case "aggTrade":
		e.kind = aggTrade
		return d.trade(v, "a")
	case "depthUpdate":
		e.kind = depth
		return d.depth(v)
	case "bookTicker":
		e.kind = quote
		return d.quote(v)
	case "markPriceUpdate":
		e.kind = mark
		return d.mark(v)
	case "forceOrder":
		e.kind = liquidation
		return d.liquidation(v)
	case "kline":
		e.kind = kline
		return d.stamps(v)
	case "serverShutdown":
		e.kind = shutdown
		return nil
	case "":
		return d.unnamed(v, stream)
	default:
		e.detail = name
		return nil
	}
}

// unnamed tells messages without a type apart: the spot bookTicker, acknowledgements and refusals.
func (d *decoder) unnamed(v *fastjson.Value, stream []byte) error {
	e := &d.event
	switch {
	case bytes.HasSuffix(stream, []byte("@bookTicker")) || (stream == nil && v.Exists("u") && v.Exists("B") && v.Exists("A")):
		e.kind = quote
		return d.quote(v)
	case v.Exists("error") || v.Exists("code"):
		e.kind = refusal
		e.detail = v.MarshalTo(nil)
	case v.Exists("result") && v.Exists("id"):
		e.kind = acknowledgement
	default:
		e.detail = stream
	}
	return nil
}

// snapshot decodes the body of GET /depth.
func (d *decoder) snapshot(raw []byte) (*event, error) {
	e := d.reset()
	v, err := d.parser.ParseBytes(raw)
	if err != nil {
		return e, fmt.Errorf("parsing: %w", err)
	}
	e.kind = snapshot
	if e.last, err = number(v, "lastUpdateId"); err != nil {
		return e, err
	}
	if e.pushed, err = optionalStamp(v, "E"); err != nil {
		return e, err
	}
	if e.at, err = optionalStamp(v, "T"); err != nil {
		return e, err
	}
	return e, d.sides(v, "bids", "asks")
}

// stamps reads what every named message has: symbol, E, and T where it exists.
func (d *decoder) stamps(v *fastjson.Value) error {
	e := &d.event
	var err error
	if e.symbol, err = text(v, "s"); err != nil {
		return err
	}
	if e.pushed, err = optionalStamp(v, "E"); err != nil {
		return err
	}
	if e.at, err = optionalStamp(v, "T"); err != nil {
		return err
	}
	if e.at == 0 {
		e.at = e.pushed
	}
	return nil
}

func (d *decoder) trade(v *fastjson.Value, id string) error {
	e := &d.event
	if err := d.stamps(v); err != nil {
		return err
	}
	var err error
	if e.id, err = number(v, id); err != nil {
		return err
	}
	if e.price, err = d.decimal(v, "p"); err != nil {
		return err
	}
	if e.quantity, err = d.decimal(v, "q"); err != nil {
		return err
	}
	m := v.Get("m")
	if m == nil || (m.Type() != fastjson.TypeTrue && m.Type() != fastjson.TypeFalse) {
		return fmt.Errorf("%w: m", errField)
	}
	e.buyerMaker = m.Type() == fastjson.TypeTrue
	if e.kind == aggTrade {
		first, ferr := number(v, "f")
		last, lerr := number(v, "l")
		if ferr == nil && lerr == nil && last >= first && last-first < 1<<31 {
			e.fills = uint32(last - first + 1)
		}
		return nil
	}
	e.offBook = offBook(v.GetStringBytes("X"))
	return nil
}

func offBook(x []byte) schemas.OffBook {
	switch string(x) {
	case "", "MARKET":
		return schemas.OffBook_OFF_BOOK_UNSPECIFIED
	case "INSURANCE_FUND":
		return schemas.OffBook_OFF_BOOK_INSURANCE_FUND
	case "ADL":
		return schemas.OffBook_OFF_BOOK_AUTO_DELEVERAGING
	}
	return schemas.OffBook_OFF_BOOK_OTHER
}

func (d *decoder) depth(v *fastjson.Value) error {
	e := &d.event
	err := d.stamps(v)
	if err != nil {
		return err
	}
	if e.first, err = number(v, "U"); err != nil {
		return err
	}
	if e.last, err = number(v, "u"); err != nil {
		return err
	}
	if v.Exists("pu") {
		if e.prev, err = number(v, "pu"); err != nil {
			return err
		}
	}
	return d.sides(v, "b", "a")
}

func (d *decoder) quote(v *fastjson.Value) error {
	e := &d.event
	err := d.stamps(v)
	if err != nil {
		return err
	}
	if e.last, err = number(v, "u"); err != nil {
		return err
	}
	for _, f := range [...]struct {
		key string
		to  *book.Number
	}{{"b", &e.price}, {"B", &e.quantity}, {"a", &e.askPrice}, {"A", &e.askQuantity}} {
		if *f.to, err = d.decimal(v, f.key); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) mark(v *fastjson.Value) error {
	e := &d.event
	err := d.stamps(v)
	if err != nil {
		return err
	}
	// T is the next funding here, not the time of the event; dated futures send 0 and an empty rate.
	e.next, e.at = e.at, e.pushed
	if at, err := optionalStamp(v, "T"); err != nil || at == 0 {
		e.next = 0
	}
	if e.price, err = d.decimal(v, "p"); err != nil {
		return err
	}
	if e.index, e.hasIndex, err = d.optional(v, "i"); err != nil {
		return err
	}
	if e.settle, e.hasSettle, err = d.optional(v, "P"); err != nil {
		return err
	}
	e.rate, e.hasRate, err = d.optional(v, "r")
	return err
}

func (d *decoder) liquidation(v *fastjson.Value) error {
	e := &d.event
	o := v.Get("o")
	if o == nil {
		return fmt.Errorf("%w: o", errField)
	}
	err := d.stamps(o)
	if err != nil {
		return err
	}
	if e.pushed, err = optionalStamp(v, "E"); err != nil {
		return err
	}
	switch side := o.GetStringBytes("S"); string(side) {
	case "BUY":
	case "SELL":
		e.sell = true
	default:
		return fmt.Errorf("%w: S is %q", errField, side)
	}
	if e.price, err = d.decimal(o, "p"); err != nil {
		return err
	}
	if e.average, e.hasAverage, err = d.optional(o, "ap"); err != nil {
		return err
	}
	if e.quantity, err = d.decimal(o, "q"); err != nil {
		return err
	}
	e.filled, e.hasLast, err = d.optional(o, "z")
	return err
}
