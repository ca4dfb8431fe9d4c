package binance

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events. Keys are told apart by case, as Binance does (e and E, t and T, u and U).
type decoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Message decodes one message of a stream, combined ({"stream":…,"data":…}) or raw.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Parse(raw)
	if err != nil {
		return nil, err
	}
	var stream []byte
	if data := v.Get("data"); data != nil {
		stream = v.GetStringBytes("stream")
		v = data
	}
	if v.Type() != fastjson.TypeObject {
		return nil, fmt.Errorf("%w: %s in place of an object", venue.ErrShape, v.Type())
	}
	if err := d.dispatch(v, stream); err != nil {
		return d.batch.Events(), err
	}
	return d.batch.Events(), nil
}

func (d *decoder) dispatch(v *fastjson.Value, stream []byte) error {
	e := d.batch.Next(venue.Unknown)
	switch name := v.GetStringBytes("e"); string(name) {
	case "trade":
		e.Channel = "trade"
		return d.trade(e, v, "t")
	case "aggTrade":
		e.Channel = "aggTrade"
		return d.trade(e, v, "a")
	case "depthUpdate":
		return d.depth(e, v)
	case "bookTicker":
		return d.quote(e, v)
	case "markPriceUpdate":
		return d.mark(e, v)
	case "forceOrder":
		return d.liquidation(e, v)
	case "kline":
		e.Kind = venue.Bar
		return d.stamps(e, v)
	case "serverShutdown":
		e.Kind = venue.Shutdown
		return nil
	case "":
		return d.unnamed(e, v, stream)
	default:
		e.Detail = name
		return nil
	}
}

// unnamed tells messages without a type apart: the spot bookTicker, acknowledgements and refusals.
func (d *decoder) unnamed(e *venue.Event, v *fastjson.Value, stream []byte) error {
	switch {
	case bytes.HasSuffix(stream, []byte("@bookTicker")) || (stream == nil && v.Exists("u") && v.Exists("B") && v.Exists("A")):
		return d.quote(e, v)
	case v.Exists("error") || v.Exists("code"):
		e.Kind, e.Detail = venue.Refusal, v.MarshalTo(nil)
	case v.Exists("result") && v.Exists("id"):
		e.Kind = venue.Note
	default:
		e.Detail = stream
	}
	return nil
}

// Answer decodes the body of GET /depth and of GET /openInterest; others are of no interest here.
func (d *decoder) Answer(address string, body []byte) ([]venue.Event, error) {
	d.batch.Reset()
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil //nolint:nilerr // a capture may hold the answer to anything
	}
	read := d.snapshot
	switch {
	case strings.HasSuffix(u.Path, "/depth"):
	case strings.HasSuffix(u.Path, "/openInterest"):
		read = d.interest
	default:
		return nil, nil
	}
	v, err := d.json.Parse(body)
	if err != nil {
		return nil, err
	}
	if err := read(v, u.Query()); err != nil {
		return nil, err
	}
	return d.batch.Events(), nil
}

// mostLevels is the largest limit of a depth snapshot that the venue takes; more than that gives as many.
const mostLevels = 5000

func (d *decoder) snapshot(v *fastjson.Value, query url.Values) (err error) {
	e := d.batch.Next(venue.BookAnswer)
	e.Symbol = append(e.Symbol, query.Get("symbol")...)
	if e.Last, err = venue.Integer(v, "lastUpdateId"); err != nil {
		return err
	}
	if e.Sent, err = venue.Millis(v, "E"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, "T"); err != nil {
		return err
	}
	if err := d.json.Sides(e, v, "bids", "asks"); err != nil {
		return err
	}
	// Without a limit that is known to hold, as many levels as the longer side has may have been the limit.
	e.Depth = max(len(e.Bids), len(e.Asks))
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && limit <= mostLevels {
		e.Depth = max(e.Depth, limit)
	}
	return nil
}

func (d *decoder) interest(v *fastjson.Value, _ url.Values) (err error) {
	e := d.batch.Next(venue.Derivative)
	e.Channel, e.Unit = venue.Interest, schemas.QuantityUnit_QUANTITY_UNIT_BASE
	if e.Symbol, err = venue.Text(v, "symbol"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, "time"); err != nil {
		return err
	}
	n, err := d.json.Decimal(v, "openInterest")
	e.OpenInterest = venue.Some(n)
	return err
}

// stamps reads what every named message has: symbol, E, and T where it exists.
func (d *decoder) stamps(e *venue.Event, v *fastjson.Value) (err error) {
	if e.Symbol, err = venue.Text(v, "s"); err != nil {
		return err
	}
	if e.Sent, err = venue.Millis(v, "E"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, "T"); err != nil {
		return err
	}
	if e.At == 0 {
		e.At = e.Sent
	}
	return nil
}

func (d *decoder) trade(e *venue.Event, v *fastjson.Value, id string) error {
	e.Kind = venue.Trade
	err := d.stamps(e, v)
	if err != nil {
		return err
	}
	if e.Number, err = venue.Integer(v, id); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "p"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "q"); err != nil {
		return err
	}
	// m says that the buyer was the maker: the taker sold.
	switch m := v.Get("m"); {
	case m != nil && m.Type() == fastjson.TypeTrue:
		e.Side = schemas.Side_SIDE_SELL
	case m != nil && m.Type() == fastjson.TypeFalse:
		e.Side = schemas.Side_SIDE_BUY
	default:
		return fmt.Errorf("%w: m", venue.ErrField)
	}
	if id == "a" {
		first, ferr := venue.Integer(v, "f")
		last, lerr := venue.Integer(v, "l")
		if ferr == nil && lerr == nil && last >= first && last-first < 1<<31 {
			e.Fills = uint32(last - first + 1)
		}
		return nil
	}
	e.OffBook = offBook(v.GetStringBytes("X"))
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

func (d *decoder) depth(e *venue.Event, v *fastjson.Value) error {
	e.Kind = venue.BookUpdate
	err := d.stamps(e, v)
	if err != nil {
		return err
	}
	if e.First, err = venue.Integer(v, "U"); err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "u"); err != nil {
		return err
	}
	if v.Exists("pu") {
		if e.Prev, err = venue.Integer(v, "pu"); err != nil {
			return err
		}
	}
	return d.json.Sides(e, v, "b", "a")
}

func (d *decoder) quote(e *venue.Event, v *fastjson.Value) error {
	e.Kind = venue.Quote
	err := d.stamps(e, v)
	if err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "u"); err != nil {
		return err
	}
	return d.json.Quote(e, v, "b", "B", "a", "A")
}

func (d *decoder) mark(e *venue.Event, v *fastjson.Value) error {
	e.Kind = venue.Derivative
	err := d.stamps(e, v)
	if err != nil {
		return err
	}
	// T is the next funding here, not the time of the event; dated futures send 0 and an empty or zero rate.
	e.At = e.Sent
	if e.Next, err = venue.Millis(v, "T"); err != nil {
		return err
	}
	price, err := d.json.Decimal(v, "p")
	if err != nil {
		return err
	}
	e.Mark = venue.Some(price)
	if e.Index, err = d.json.Optional(v, "i"); err != nil {
		return err
	}
	if e.Settle, err = d.json.Optional(v, "P"); err != nil {
		return err
	}
	if e.Rate, err = d.json.Optional(v, "r"); err != nil || e.Next != 0 {
		return err
	}
	e.Rate = venue.Optional{}
	return nil
}

func (d *decoder) liquidation(e *venue.Event, v *fastjson.Value) error {
	o := v.Get("o")
	if o == nil {
		return fmt.Errorf("%w: o", venue.ErrField)
	}
	// The stream carries the latest of a symbol and second only.
	e.Kind, e.Partial = venue.Liquidation, true
	err := d.stamps(e, o)
	if err != nil {
		return err
	}
	if e.Sent, err = venue.Millis(v, "E"); err != nil {
		return err
	}
	switch side := o.GetStringBytes("S"); string(side) {
	case "BUY":
		e.Side = schemas.Side_SIDE_BUY
	case "SELL":
		e.Side = schemas.Side_SIDE_SELL
	default:
		return fmt.Errorf("%w: S is %q", venue.ErrField, side)
	}
	limit, err := d.json.Decimal(o, "p")
	if err != nil {
		return err
	}
	e.LimitPrice, e.Price = venue.Some(limit), limit
	if e.Quantity, err = d.json.Decimal(o, "q"); err != nil {
		return err
	}
	// What was filled, and at what price, counts, where it is said.
	average, err := d.json.Optional(o, "ap")
	if err != nil {
		return err
	}
	filled, err := d.json.Optional(o, "z")
	if err != nil {
		return err
	}
	if average.Set {
		e.Price = average.Number
	}
	if filled.Set {
		e.Quantity = filled.Number
	}
	return nil
}
