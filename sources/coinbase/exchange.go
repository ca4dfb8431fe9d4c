package coinbase

import (
	"fmt"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// exchangeDecoder turns the frames of Exchange into events.
type exchangeDecoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Answer decodes nothing: all comes in the stream.
func (d *exchangeDecoder) Answer(string, []byte) ([]venue.Event, error) { return nil, nil }

// Message decodes one message.
func (d *exchangeDecoder) Message(raw []byte) ([]venue.Event, error) {
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

func (d *exchangeDecoder) dispatch(v *fastjson.Value) error {
	name := v.GetStringBytes("type")
	switch string(name) {
	case "match", "last_match":
		e, err := d.next(venue.Trade, v)
		if err != nil {
			return err
		}
		e.Old = string(name) == "last_match" // the last one before the subscription
		return fill(&d.json, e, v)
	case "ticker":
		return d.ticker(v)
	case "snapshot":
		return d.snapshot(v)
	case "l2update":
		return d.update(v)
	case "heartbeat":
		e, err := d.next(venue.Heartbeat, v)
		if err != nil {
			return err
		}
		e.Number, err = venue.Integer(v, "last_trade_id")
		return err
	case "status":
		return d.products(v)
	case "subscriptions":
		d.batch.Next(venue.Note)
	case "error":
		e := d.batch.Next(venue.Refusal)
		e.Detail = fmt.Appendf(nil, "%s: %s", v.GetStringBytes("message"), v.GetStringBytes("reason"))
	default:
		d.batch.Next(venue.Unknown).Detail = name
	}
	return nil
}

func (d *exchangeDecoder) next(kind venue.Kind, v *fastjson.Value) (e *venue.Event, err error) {
	e = d.batch.Next(kind)
	if e.Symbol, err = venue.Text(v, "product_id"); err != nil {
		return nil, err
	}
	e.At, err = venue.Stamp(v, "time")
	return e, err
}

// ticker comes with matches; its sequence is that of the product's book.
func (d *exchangeDecoder) ticker(v *fastjson.Value) error {
	e, err := d.next(venue.Quote, v)
	if err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "sequence"); err != nil {
		return err
	}
	return d.json.Quote(e, v, "best_bid", "best_bid_size", "best_ask", "best_ask_size")
}

func (d *exchangeDecoder) snapshot(v *fastjson.Value) error {
	e, err := d.next(venue.BookSnapshot, v)
	if err != nil {
		return err
	}
	return d.json.Sides(e, v, "bids", "asks")
}

// update decodes [side, price, quantity] rows; the time is that of the last of the batch.
func (d *exchangeDecoder) update(v *fastjson.Value) error {
	e, err := d.next(venue.BookUpdate, v)
	if err != nil {
		return err
	}
	for _, row := range v.GetArray("changes") {
		side := &e.Bids
		switch name := row.GetStringBytes("0"); string(name) {
		case "buy":
		case "sell":
			side = &e.Asks
		default:
			return fmt.Errorf("%w: side is %q", venue.ErrField, name)
		}
		if *side, err = d.json.Level(*side, row.Get("1"), row.Get("2"), "changes"); err != nil {
			return err
		}
	}
	return nil
}

func (d *exchangeDecoder) products(v *fastjson.Value) error {
	for _, p := range v.GetArray("products") {
		if err := product(d.batch.Next(venue.Status), p); err != nil {
			return err
		}
	}
	return nil
}
