package bybit

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events.
type decoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Answer is of no interest: everything comes by the stream.
func (d *decoder) Answer(string, []byte) ([]venue.Event, error) { return nil, nil }

// Message decodes one message of the stream.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Object(raw)
	if err != nil {
		return nil, err
	}
	if err := d.dispatch(v); err != nil {
		return d.batch.Events(), err
	}
	return d.batch.Events(), nil
}

func (d *decoder) dispatch(v *fastjson.Value) error {
	topic := v.GetStringBytes("topic")
	kind, rest, _ := bytes.Cut(topic, []byte("."))
	data := v.Get("data")
	if len(topic) > 0 && data == nil {
		return fmt.Errorf("%w: data", venue.ErrField)
	}
	sent, err := venue.Millis(v, "ts")
	if err != nil {
		return err
	}
	switch string(kind) {
	case "publicTrade":
		return d.each(data, func(e *venue.Event, t *fastjson.Value) error { return d.trade(e, t, sent) })
	case "orderbook":
		levels, _, _ := bytes.Cut(rest, []byte("."))
		return d.book(v, data, string(levels), sent)
	case "tickers":
		return d.ticker(v, data, sent)
	case "allLiquidation":
		return d.each(data, func(e *venue.Event, l *fastjson.Value) error { return d.liquidation(e, l, sent) })
	case "kline":
		return d.each(data, func(e *venue.Event, k *fastjson.Value) (err error) {
			e.Kind, e.Sent = venue.Bar, sent
			_, symbol, _ := bytes.Cut(rest, []byte("."))
			e.Symbol = symbol
			e.At, err = venue.Millis(k, "timestamp")
			return err
		})
	case "":
		return d.answer(v)
	}
	d.batch.Next(venue.Unknown).Detail = kind
	return nil
}

// each makes an event of every element.
func (d *decoder) each(data *fastjson.Value, decode func(e *venue.Event, v *fastjson.Value) error) error {
	rows, err := data.Array()
	if err != nil {
		return fmt.Errorf("%w: data is %s, not an array", venue.ErrShape, data.Type())
	}
	for i, row := range rows {
		e := d.batch.Next(venue.Unknown)
		if err := decode(e, row); err != nil {
			return fmt.Errorf("element %d of data: %w", i, err)
		}
	}
	return nil
}

// answer tells what came of a request: pings and subscriptions.
func (d *decoder) answer(v *fastjson.Value) error {
	e := d.batch.Next(venue.Note)
	switch ok := v.Get("success"); {
	case ok != nil && ok.Type() == fastjson.TypeFalse:
		e.Kind, e.Detail = venue.Refusal, v.GetStringBytes("ret_msg")
	case len(v.GetStringBytes("op")) == 0:
		e.Kind = venue.Unknown
	}
	return nil
}

func (d *decoder) trade(e *venue.Event, v *fastjson.Value, sent schemas.Time) (err error) {
	e.Kind, e.Sent = venue.Trade, sent
	if e.Symbol, err = venue.Text(v, "s"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, "T"); err != nil {
		return err
	}
	if e.ID, err = venue.Text(v, "i"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "p"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "v"); err != nil {
		return err
	}
	if v.Exists("seq") {
		if e.Number, err = venue.Integer(v, "seq"); err != nil {
			return err
		}
	}
	if v.GetBool("BT") {
		e.OffBook = schemas.OffBook_OFF_BOOK_BLOCK
	}
	e.Side, err = side(v)
	return err
}

// side is the taker's of a trade, the position's of a liquidation.
func side(v *fastjson.Value) (schemas.Side, error) {
	switch s := v.GetStringBytes("S"); string(s) {
	case "Buy":
		return schemas.Side_SIDE_BUY, nil
	case "Sell":
		return schemas.Side_SIDE_SELL, nil
	default:
		return 0, fmt.Errorf("%w: S is %q, it must be Buy or Sell", venue.ErrField, s)
	}
}

// book decodes a book of so many levels; the first level alone is the quote. cts is when the matching engine made the change.
func (d *decoder) book(v, data *fastjson.Value, levels string, sent schemas.Time) (err error) {
	e := d.batch.Next(venue.BookUpdate)
	depth, wrong := strconv.Atoi(levels)
	if e.Sent = sent; depth == 1 {
		e.Kind = venue.Quote
	}
	if e.Symbol, err = venue.Text(data, "s"); err != nil {
		return err
	}
	if wrong != nil || depth <= 0 {
		return fmt.Errorf("%w: topic is orderbook.%s, it must name its levels", venue.ErrField, levels)
	}
	if e.At, err = venue.Millis(v, "cts"); err != nil {
		return err
	}
	if e.At == 0 {
		e.At = sent
	}
	if e.Last, err = venue.Integer(data, "u"); err != nil {
		return err
	}
	if err := d.json.Sides(e, data, "b", "a"); err != nil {
		return err
	}
	switch kind := v.GetStringBytes("type"); {
	case string(kind) == "snapshot":
		e.Kind = venue.BookSnapshot
	case string(kind) != "delta":
		return fmt.Errorf("%w: type is %q, it must be snapshot or delta", venue.ErrField, kind)
	}
	if depth > 1 {
		e.Depth = depth
		return nil
	}
	if len(e.Bids) != 1 || len(e.Asks) != 1 {
		e.Kind = venue.Note // one side is empty: there is no quote
		return nil
	}
	e.Kind, e.Number, e.Last = venue.Quote, e.Last, 0
	e.Price, e.Quantity, e.AskPrice, e.AskQuantity = e.Bids[0].Price, e.Bids[0].Quantity, e.Asks[0].Price, e.Asks[0].Quantity
	return nil
}

// ticker decodes what a perpetual's ticker has; in a delta what is absent did not change. Spot tickers have none of it.
func (d *decoder) ticker(v, data *fastjson.Value, sent schemas.Time) (err error) {
	e := d.batch.Next(venue.Derivative)
	e.Sent, e.At, e.Unit = sent, sent, schemas.QuantityUnit_QUANTITY_UNIT_BASE
	if e.Symbol, err = venue.Text(data, "symbol"); err != nil {
		return err
	}
	if v.Exists("cs") {
		if e.Number, err = venue.Integer(v, "cs"); err != nil {
			return err
		}
	}
	for _, f := range [...]struct {
		key string
		to  *venue.Optional
	}{{"markPrice", &e.Mark}, {"indexPrice", &e.Index}, {"fundingRate", &e.Rate}, {"fundingCap", &e.Cap}, {"openInterest", &e.OpenInterest}} {
		if *f.to, err = d.json.Optional(data, f.key); err != nil {
			return err
		}
	}
	if e.Next, err = venue.Millis(data, "nextFundingTime"); err != nil {
		return err
	}
	if hours := data.Get("fundingIntervalHour"); hours != nil {
		n, err := venue.Integer(data, "fundingIntervalHour")
		if err != nil || n == 0 || n > 24*7 {
			return fmt.Errorf("%w: fundingIntervalHour is %s", venue.ErrField, hours)
		}
		e.Interval = uint32(n * 3600)
	}
	return nil
}

// liquidation decodes one forced close. S is the side of the position, and p the price at which it was bankrupt. They have no ids:
// those of a message that are alike are numbered.
func (d *decoder) liquidation(e *venue.Event, v *fastjson.Value, sent schemas.Time) (err error) {
	e.Kind, e.Sent = venue.Liquidation, sent
	if e.Symbol, err = venue.Text(v, "s"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, "T"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "p"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "v"); err != nil {
		return err
	}
	position, err := side(v)
	// The order that closes a long sells.
	e.Side = schemas.Side_SIDE_BUY
	if position == schemas.Side_SIDE_BUY {
		e.Side = schemas.Side_SIDE_SELL
	}
	all := d.batch.Events()
	for i := range all[:len(all)-1] {
		if o := &all[i]; o.At == e.At && o.Side == e.Side && o.Price == e.Price && o.Quantity == e.Quantity && bytes.Equal(o.Symbol, e.Symbol) {
			e.Number++
		}
	}
	return err
}
