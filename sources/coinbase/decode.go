package coinbase

import (
	"errors"
	"fmt"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns the frames of Advanced Trade into events. The first event of a message carries its number.
type decoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Answer decodes nothing: all comes in the stream.
func (d *decoder) Answer(string, []byte) ([]venue.Event, error) { return nil, nil }

// Message decodes one message.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Object(raw)
	if err != nil {
		return nil, err
	}
	e := d.batch.Next(venue.Note)
	name := v.GetStringBytes("channel")
	if string(v.GetStringBytes("type")) == "error" {
		e.Kind, e.Detail = venue.Refusal, v.GetStringBytes("message")
		return d.batch.Events(), nil
	}
	m := message{}
	if m.number, err = venue.Integer(v, "sequence_num"); err != nil {
		return d.batch.Events(), err
	}
	e.Stream, e.HasStream = m.number, true
	if m.sent, err = venue.Stamp(v, "timestamp"); err != nil {
		return d.batch.Events(), err
	}
	var read func(*fastjson.Value, message) error
	switch string(name) {
	case "market_trades":
		read = d.trades
	case "ticker":
		read = d.tickers
	case "l2_data":
		read = d.book
	case "candles":
		read = d.candles
	case "status":
		read = d.products
	case "heartbeats", "subscriptions":
		return d.batch.Events(), nil
	default:
		e.Kind, e.Detail = venue.Unknown, name
		return d.batch.Events(), nil
	}
	for _, event := range v.GetArray("events") {
		m.snapshot = string(event.GetStringBytes("type")) == "snapshot"
		if err := read(event, m); err != nil {
			return d.batch.Events(), err
		}
	}
	return d.batch.Events(), nil
}

// message is what all events of a message share.
type message struct {
	number   uint64
	sent     schemas.Time
	snapshot bool
}

func (d *decoder) next(kind venue.Kind, v *fastjson.Value, m message) (e *venue.Event, err error) {
	e = d.batch.Next(kind)
	e.Sent, e.At, e.Old = m.sent, m.sent, m.snapshot
	e.Symbol, err = venue.Text(v, "product_id")
	return e, err
}

// trades come newest first; those of a snapshot are the last hundred before the subscription.
func (d *decoder) trades(v *fastjson.Value, m message) error {
	for _, t := range slices.Backward(v.GetArray("trades")) {
		e, err := d.next(venue.Trade, t, m)
		if err != nil {
			return err
		}
		if err := fill(&d.json, e, t); err != nil {
			return err
		}
	}
	return nil
}

// fill reads what trades of both markets have.
func fill(j *venue.JSON, e *venue.Event, v *fastjson.Value) (err error) {
	if e.Number, err = venue.Integer(v, "trade_id"); err != nil {
		return err
	}
	if e.At, err = venue.Stamp(v, "time"); err != nil || e.At == 0 {
		return errors.Join(err, fmt.Errorf("%w: time", venue.ErrField))
	}
	if e.Price, err = j.Decimal(v, "price"); err != nil {
		return err
	}
	if e.Quantity, err = j.Decimal(v, "size"); err != nil {
		return err
	}
	// The side is the maker's: the taker took the other.
	switch side := v.GetStringBytes("side"); string(side) {
	case "BUY", "buy":
		e.Side = schemas.Side_SIDE_SELL
	case "SELL", "sell":
		e.Side = schemas.Side_SIDE_BUY
	default:
		return fmt.Errorf("%w: side is %q", venue.ErrField, side)
	}
	return nil
}

func (d *decoder) tickers(v *fastjson.Value, m message) error {
	for _, t := range v.GetArray("tickers") {
		e, err := d.next(venue.Quote, t, m)
		if err != nil {
			return err
		}
		e.Number, e.Old = m.number, false // the best bid and offer of a snapshot are those of now
		if err := d.json.Quote(e, t, "best_bid", "best_bid_quantity", "best_ask", "best_ask_quantity"); err != nil {
			return err
		}
	}
	return nil
}

// book decodes the levels of one product; all of a message changed at one time.
func (d *decoder) book(v *fastjson.Value, m message) error {
	kind := venue.BookUpdate
	if m.snapshot {
		kind = venue.BookSnapshot
	}
	e, err := d.next(kind, v, m)
	if err != nil {
		return err
	}
	e.Last, e.Old = m.number, false
	for i, u := range v.GetArray("updates") {
		if i == 0 {
			if e.At, err = venue.Stamp(u, "event_time"); err != nil {
				return err
			}
		}
		side := &e.Bids
		switch name := u.GetStringBytes("side"); string(name) {
		case "bid":
		case "offer":
			side = &e.Asks
		default:
			return fmt.Errorf("%w: side is %q", venue.ErrField, name)
		}
		if *side, err = d.json.Level(*side, u.Get("price_level"), u.Get("new_quantity"), "updates"); err != nil {
			return err
		}
	}
	return nil
}

// candles are of five minutes. Those of a snapshot are of their beginning, the one that grows is of the message.
func (d *decoder) candles(v *fastjson.Value, m message) error {
	for _, c := range v.GetArray("candles") {
		e, err := d.next(venue.Bar, c, m)
		if err != nil {
			return err
		}
		begin := c.Get("start")
		if begin == nil {
			return fmt.Errorf("%w: start", venue.ErrField)
		}
		at, err := d.json.Seconds(begin, "start")
		if err != nil {
			return err
		}
		if e.Old {
			e.At = at
		}
	}
	return nil
}

func (d *decoder) products(v *fastjson.Value, m message) (err error) {
	for _, p := range v.GetArray("products") {
		e := d.batch.Next(venue.Status)
		e.At = m.sent
		if err := product(e, p); err != nil {
			return err
		}
	}
	return nil
}

// product reads the state of a product of either market: its status, and flags that narrow what one may do.
func product(e *venue.Event, v *fastjson.Value) (err error) {
	if e.Symbol, err = venue.Text(v, "id"); err != nil {
		return err
	}
	if e.Detail, err = venue.Text(v, "status"); err != nil {
		return err
	}
	switch {
	case string(e.Detail) != "online":
		e.State = "down" // offline, internal, delisted
		return nil
	case v.GetBool("trading_disabled"):
		e.State, e.Detail = "down", []byte("trading_disabled")
		return nil
	}
	e.State = "online"
	for _, flag := range [...]string{"cancel_only", "post_only", "limit_only", "auction_mode"} {
		if v.GetBool(flag) {
			e.State, e.Detail = "degraded", []byte(flag)
			return nil
		}
	}
	return nil
}
