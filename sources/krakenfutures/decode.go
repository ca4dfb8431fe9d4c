package krakenfutures

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events.
type decoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Message decodes one message: data have a feed and no event, acknowledgements have both.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Object(raw)
	if err != nil {
		return nil, err
	}
	if v.Exists("event") {
		d.event(v)
		return d.batch.Events(), nil
	}
	if err := d.feed(v); err != nil {
		return d.batch.Events(), err
	}
	return d.batch.Events(), nil
}

// event takes what the venue says of the connection.
func (d *decoder) event(v *fastjson.Value) {
	e := d.batch.Next(venue.Note)
	switch name := v.GetStringBytes("event"); string(name) {
	case "info", "subscribed", "unsubscribed":
	case "error", "alert", "subscribed_failed", "unsubscribed_failed":
		e.Kind, e.Detail = venue.Refusal, v.MarshalTo(nil)
	default:
		e.Kind, e.Detail = venue.Unknown, name
	}
}

func (d *decoder) feed(v *fastjson.Value) error {
	switch feed := v.GetStringBytes("feed"); string(feed) {
	case "book":
		return d.change(v)
	case "book_snapshot":
		return d.snapshot(v)
	case "trade":
		return d.trade(v, false)
	case "trade_snapshot":
		return d.trades(v)
	case "ticker":
		return d.ticker(v)
	case "ticker_lite":
		return d.lite(v)
	case "heartbeat":
		d.batch.Next(venue.Note)
		return nil
	default:
		d.batch.Next(venue.Unknown).Detail = feed
		return nil
	}
}

// Answer decodes the list of instruments: what their contracts count.
func (d *decoder) Answer(address string, body []byte) ([]venue.Event, error) {
	d.batch.Reset()
	if !strings.Contains(address, "/instruments") {
		return nil, nil
	}
	v, err := d.json.Parse(body)
	if err != nil {
		return nil, err
	}
	list := v.Get("instruments")
	if list == nil || list.Type() != fastjson.TypeArray {
		return nil, fmt.Errorf("%w: instruments", venue.ErrField)
	}
	for _, i := range list.GetArray() {
		if !strings.Contains(string(i.GetStringBytes("type")), "futures") {
			continue // an index
		}
		name, err := venue.Text(i, "symbol")
		if err != nil {
			return nil, err
		}
		size, err := d.json.Decimal(i, "contractSize")
		if err != nil {
			return nil, err
		}
		e := d.batch.Next(venue.Listing)
		e.Symbol, e.Multiplier = bytes.ToUpper(name), venue.Some(size)
		e.Inverse = string(i.GetStringBytes("type")) == "futures_inverse"
	}
	return d.batch.Events(), nil
}

// head reads the product and the time, under the name that the feed has for it.
func head(e *venue.Event, v *fastjson.Value, stamp string) (err error) {
	if e.Symbol, err = venue.Text(v, "product_id"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(v, stamp); err == nil && e.At == 0 {
		err = fmt.Errorf("%w: %s", venue.ErrField, stamp)
	}
	return err
}

// change reads a book message, which is one level.
func (d *decoder) change(v *fastjson.Value) error {
	e := d.batch.Next(venue.BookUpdate)
	err := head(e, v, "timestamp")
	if err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "seq"); err != nil {
		return err
	}
	side, err := sideOf(v)
	if err != nil {
		return err
	}
	levels := &e.Asks
	if side == schemas.Side_SIDE_BUY {
		levels = &e.Bids
	}
	*levels, err = d.json.Level(*levels, v.Get("price"), v.Get("qty"), "book")
	return err
}

func (d *decoder) snapshot(v *fastjson.Value) error {
	e := d.batch.Next(venue.BookSnapshot)
	err := head(e, v, "timestamp")
	if err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "seq"); err != nil {
		return err
	}
	if e.Bids, err = d.levels(e.Bids, v, "bids"); err != nil {
		return err
	}
	e.Asks, err = d.levels(e.Asks, v, "asks")
	return err
}

// levels reads {price, qty} rows.
func (d *decoder) levels(dst []book.Level, v *fastjson.Value, key string) ([]book.Level, error) {
	side := v.Get(key)
	if side == nil || side.Type() != fastjson.TypeArray {
		return dst, fmt.Errorf("%w: %s", venue.ErrField, key)
	}
	for _, row := range side.GetArray() {
		var err error
		if dst, err = d.json.Level(dst, row.Get("price"), row.Get("qty"), key); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// trades reads what the venue sends at subscription: the last hundred, newest first.
func (d *decoder) trades(v *fastjson.Value) error {
	list := v.Get("trades")
	if list == nil || list.Type() != fastjson.TypeArray {
		return fmt.Errorf("%w: trades", venue.ErrField)
	}
	for _, trade := range slices.Backward(list.GetArray()) {
		if err := d.trade(trade, true); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) trade(v *fastjson.Value, old bool) error {
	e := d.batch.Next(venue.Trade)
	e.Old = old
	err := head(e, v, "time")
	if err != nil {
		return err
	}
	if e.ID, err = venue.Text(v, "uid"); err != nil {
		return err
	}
	if e.Number, err = venue.Integer(v, "seq"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "price"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "qty"); err != nil {
		return err
	}
	if e.Side, err = sideOf(v); err != nil {
		return err
	}
	switch string(v.GetStringBytes("type")) {
	case "fill":
	case "block":
		e.OffBook = schemas.OffBook_OFF_BOOK_BLOCK
	case "liquidation", "termination":
		d.forced(*e)
	default:
		e.OffBook = schemas.OffBook_OFF_BOOK_OTHER
	}
	return nil
}

// forced adds the forced close that a trade is: its taker is the order that closes the position.
func (d *decoder) forced(trade venue.Event) {
	e := d.batch.Next(venue.Liquidation)
	e.Symbol, e.At, e.Old, e.ID, e.Number = trade.Symbol, trade.At, trade.Old, trade.ID, trade.Number
	e.Price, e.Quantity, e.Side = trade.Price, trade.Quantity, trade.Side
}

// sideOf reads the side: the taker's of a trade, that of the book in a change of it.
func sideOf(v *fastjson.Value) (schemas.Side, error) {
	switch side := v.GetStringBytes("side"); string(side) {
	case "buy":
		return schemas.Side_SIDE_BUY, nil
	case "sell":
		return schemas.Side_SIDE_SELL, nil
	default:
		return 0, fmt.Errorf("%w: side is %q", venue.ErrField, side)
	}
}

// ticker reads marks and the best bid and offer; every message has all.
func (d *decoder) ticker(v *fastjson.Value) error {
	var top venue.Event
	if err := d.marks(d.batch.Next(venue.Derivative), v, &top); err != nil {
		return err
	}
	if v.GetFloat64("bid") != 0 && v.GetFloat64("ask") != 0 {
		e := d.batch.Next(venue.Quote)
		e.Symbol, e.At = top.Symbol, top.At
		if err := d.json.Quote(e, v, "bid", "bid_size", "ask", "ask_size"); err != nil {
			return err
		}
	}
	e := d.batch.Next(venue.Status)
	e.Symbol, e.State = top.Symbol, "online"
	switch {
	case v.GetBool("suspended"):
		e.State, e.Detail = "down", append(e.Detail, "suspended"...)
	case v.GetBool("post_only"):
		e.State, e.Detail = "degraded", append(e.Detail, "post only"...)
	}
	return nil
}

// hour is the interval that funding is fixed and paid for.
const hour = 60 * 60

func (d *decoder) marks(e *venue.Event, v *fastjson.Value, top *venue.Event) error {
	err := head(e, v, "time")
	if err != nil {
		return err
	}
	top.Symbol, top.At = e.Symbol, e.At
	// An inverse contract is 1 dollar; of the others the listing knows the size.
	e.Unit = schemas.QuantityUnit_QUANTITY_UNIT_CONTRACT
	if inverse(e.Symbol) {
		e.Unit = schemas.QuantityUnit_QUANTITY_UNIT_QUOTE
	}
	if e.Mark, err = d.json.Rate(v, "markPrice"); err != nil {
		return err
	}
	if e.Index, err = d.json.Rate(v, "index"); err != nil {
		return err
	}
	if e.OpenInterest, err = d.json.Rate(v, "openInterest"); err != nil || !perpetual(e.Symbol) {
		return err
	}
	// funding_rate is money for a contract; relative_funding_rate is the fraction, left out when it is zero.
	if e.Rate, err = d.json.Rate(v, "relative_funding_rate"); err != nil {
		return err
	}
	e.Rate.Set, e.Interval = true, hour
	e.Next, err = venue.Millis(v, "next_funding_rate_time")
	return err
}

// lite reads the ticker of 2021, which has prices alone, and no time.
func (d *decoder) lite(v *fastjson.Value) (err error) {
	e := d.batch.Next(venue.Quote)
	e.Unsized = true
	if e.Symbol, err = venue.Text(v, "product_id"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "bid"); err != nil {
		return err
	}
	e.AskPrice, err = d.json.Decimal(v, "ask")
	return err
}
