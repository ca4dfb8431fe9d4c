package kraken

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events. Those of v2 are objects with a channel, those of v1 arrays, or objects with an event.
type decoder struct {
	json  venue.JSON
	batch venue.Batch
	depth int // of the books of v2: a message does not say
}

// Message decodes one message.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Parse(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case v.Type() == fastjson.TypeArray:
		err = d.old(v)
	case v.Type() != fastjson.TypeObject:
		err = fmt.Errorf("%w: %s in place of an object or array", venue.ErrShape, v.Type())
	case v.Exists("event"):
		d.event(v)
	case v.Exists("method"):
		d.answered(v)
	default:
		err = d.channel(v)
	}
	if err != nil {
		return d.batch.Events(), err
	}
	return d.batch.Events(), nil
}

// Answer decodes nothing: all comes in the stream.
func (d *decoder) Answer(string, []byte) ([]venue.Event, error) { return nil, nil }

// answered takes the answer to a request.
func (d *decoder) answered(v *fastjson.Value) {
	e := d.batch.Next(venue.Note)
	if s := v.Get("success"); s != nil && s.Type() == fastjson.TypeFalse {
		e.Kind, e.Detail = venue.Refusal, v.GetStringBytes("error")
	}
}

// channel decodes a message of v2.
func (d *decoder) channel(v *fastjson.Value) error {
	name := v.GetStringBytes("channel")
	row := d.trade
	switch string(name) {
	case "book":
		row = d.book
	case "trade":
	case "ticker":
		row = d.ticker
	case "ohlc":
		row = d.bar
	case "status":
		row = d.system
	case "instrument":
		return d.instruments(v)
	case "heartbeat":
		d.batch.Next(venue.Note)
		return nil
	default:
		d.batch.Next(venue.Unknown).Detail = name
		return nil
	}
	data := v.Get("data")
	if data == nil || data.Type() != fastjson.TypeArray {
		return fmt.Errorf("%w: data", venue.ErrField)
	}
	rows, _ := data.Array()
	snapshot := string(v.GetStringBytes("type")) == "snapshot"
	if string(name) == "trade" && len(rows) > 1 && rows[0].GetUint64("trade_id") > rows[len(rows)-1].GetUint64("trade_id") {
		slices.Reverse(rows) // the oldest first
	}
	for _, r := range rows {
		if err := row(r, snapshot); err != nil {
			return err
		}
	}
	return nil
}

// head begins the event of a row with a symbol and, mostly, a time.
func (d *decoder) head(kind venue.Kind, v *fastjson.Value) (e *venue.Event, err error) {
	e = d.batch.Next(kind)
	if e.Symbol, err = venue.Text(v, "symbol"); err != nil {
		return nil, err
	}
	e.At, err = venue.Stamp(v, "timestamp")
	e.Sent = e.At
	return e, err
}

func (d *decoder) book(v *fastjson.Value, snapshot bool) error {
	kind := venue.BookUpdate
	if snapshot {
		kind = venue.BookSnapshot
	}
	e, err := d.head(kind, v)
	if err != nil {
		return err
	}
	e.Depth = d.depth
	if err := sum(e, v, "checksum"); err != nil {
		return err
	}
	for _, l := range v.GetArray("bids") {
		if e.Bids, err = d.json.Level(e.Bids, l.Get("price"), l.Get("qty"), "bids"); err != nil {
			return err
		}
	}
	for _, l := range v.GetArray("asks") {
		if e.Asks, err = d.json.Level(e.Asks, l.Get("price"), l.Get("qty"), "asks"); err != nil {
			return err
		}
	}
	return nil
}

// sum reads the checksum.
func sum(e *venue.Event, v *fastjson.Value, key string) error {
	n, err := venue.Integer(v, key)
	if err != nil {
		return err
	}
	if n > math.MaxUint32 {
		return fmt.Errorf("%w: %s is %d, not of 32 bits", venue.ErrField, key, n)
	}
	e.Checksum, e.HasChecksum = uint32(n), true
	return nil
}

func (d *decoder) trade(v *fastjson.Value, snapshot bool) error {
	e, err := d.head(venue.Trade, v)
	if err != nil || e.At == 0 {
		return errors.Join(err, fmt.Errorf("%w: timestamp", venue.ErrField))
	}
	e.Old = snapshot
	if e.Number, err = venue.Integer(v, "trade_id"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "price"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "qty"); err != nil {
		return err
	}
	// The side is that of the order that caused the trade.
	switch side := v.GetStringBytes("side"); string(side) {
	case "buy":
		e.Side = schemas.Side_SIDE_BUY
	case "sell":
		e.Side = schemas.Side_SIDE_SELL
	default:
		return fmt.Errorf("%w: side is %q", venue.ErrField, side)
	}
	return nil
}

func (d *decoder) ticker(v *fastjson.Value, _ bool) error {
	e, err := d.head(venue.Quote, v)
	if err != nil {
		return err
	}
	return d.json.Quote(e, v, "bid", "bid_qty", "ask", "ask_qty")
}

func (d *decoder) bar(v *fastjson.Value, snapshot bool) error {
	e, err := d.head(venue.Bar, v)
	if err == nil {
		e.Old = snapshot
	}
	return err
}

func (d *decoder) system(v *fastjson.Value, _ bool) error {
	d.state(d.batch.Next(venue.Status), v.GetStringBytes("system")).Scope = "all"
	return nil
}

// instruments decodes the states of the pairs. Their precisions are of no use here: numbers are kept as they are written.
func (d *decoder) instruments(v *fastjson.Value) error {
	d.batch.Next(venue.Note)
	for _, pair := range v.GetArray("data", "pairs") {
		e := d.batch.Next(venue.Status)
		var err error
		if e.Symbol, err = venue.Text(pair, "symbol"); err != nil {
			return err
		}
		d.state(e, pair.GetStringBytes("status"))
	}
	return nil
}

// state tells what a state of the venue's means; what it is called there is kept.
func (d *decoder) state(e *venue.Event, name []byte) *venue.Event {
	e.Detail = name
	switch string(name) {
	case "online":
		e.State = "online"
	case "cancel_only", "post_only", "limit_only", "reduce_only":
		e.State = "degraded"
	case "maintenance", "work_in_progress":
		e.State = "maintenance"
	case "delisted":
		e.State = "down"
	default:
		e.Kind, e.Detail = venue.Unknown, append([]byte("status "), name...)
	}
	return e
}

// event decodes a message of v1 that is no data.
func (d *decoder) event(v *fastjson.Value) {
	name := v.GetStringBytes("event")
	e := d.batch.Next(venue.Note)
	switch string(name) {
	case "systemStatus":
		e.Kind = venue.Status
		d.state(e, v.GetStringBytes("status")).Scope = "all"
	case "subscriptionStatus", "error":
		if string(name) == "error" || string(v.GetStringBytes("status")) == "error" {
			e.Kind, e.Detail = venue.Refusal, v.GetStringBytes("errorMessage")
		}
	case "heartbeat", "pong":
	default:
		e.Kind, e.Detail = venue.Unknown, name
	}
}

// old decodes data of v1: [channel id, part, ..., name of the channel, pair].
func (d *decoder) old(v *fastjson.Value) error {
	parts, _ := v.Array()
	const least = 4
	if len(parts) < least {
		return fmt.Errorf("%w: %d parts, at least %d", venue.ErrShape, len(parts), least)
	}
	name, pair := parts[len(parts)-2].GetStringBytes(), parts[len(parts)-1].GetStringBytes()
	if len(name) == 0 || len(pair) == 0 {
		return fmt.Errorf("%w: the name of the channel or the pair", venue.ErrField)
	}
	parts = parts[1 : len(parts)-2]
	what, _, _ := bytes.Cut(name, []byte("-"))
	switch string(what) {
	case "book":
		return d.oldBook(d.oldHead(venue.BookUpdate, pair), parts, depthOf(name))
	case "trade":
		return d.oldTrades(parts[0], pair)
	case "ticker":
		return d.oldTicker(d.oldHead(venue.Quote, pair), parts[0])
	case "ohlc":
		return d.oldBar(d.oldHead(venue.Bar, pair), parts[0])
	}
	d.batch.Next(venue.Unknown).Detail = name
	return nil
}

func (d *decoder) oldHead(kind venue.Kind, pair []byte) *venue.Event {
	e := d.batch.Next(kind)
	e.Symbol = append(e.Symbol, current(string(pair))...)
	return e
}

// oldBook decodes a snapshot (as, bs) or an update (a, b), which comes in two parts when both sides change; the last part
// has the checksum c. Levels are [price, quantity, seconds]: an update is of the latest. A snapshot is of now, however long
// ago its levels changed: it has no time of its own.
func (d *decoder) oldBook(e *venue.Event, parts []*fastjson.Value, depth int) (err error) {
	e.Depth = depth
	for _, part := range parts {
		for _, side := range [...]struct {
			key string
			ask bool
		}{{"as", true}, {"bs", false}, {"a", true}, {"b", false}} {
			rows := part.Get(side.key)
			if rows == nil {
				continue
			}
			if len(side.key) == len("as") {
				e.Kind = venue.BookSnapshot
			}
			to := &e.Bids
			if side.ask {
				to = &e.Asks
			}
			if *to, err = d.json.Levels(*to, part, side.key); err != nil {
				return err
			}
			if e.Kind == venue.BookSnapshot {
				continue
			}
			if e.At, err = d.latest(e.At, rows, side.key); err != nil {
				return err
			}
		}
		if part.Exists("c") {
			if err := sum(e, part, "c"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *decoder) latest(at schemas.Time, rows *fastjson.Value, key string) (schemas.Time, error) {
	for _, row := range rows.GetArray() {
		when := row.Get("2")
		if when == nil {
			return 0, fmt.Errorf("%w: time of a level of %s", venue.ErrField, key)
		}
		t, err := d.json.Seconds(when, key)
		if err != nil {
			return 0, err
		}
		at = max(at, t)
	}
	return at, nil
}

// oldTrades decodes [price, quantity, seconds, side, type, other] rows. v1 has no ids: what a trade is and its place in the
// message tell it from others.
func (d *decoder) oldTrades(rows *fastjson.Value, pair []byte) error {
	for i, row := range rows.GetArray() {
		fields, _ := row.Array()
		const least = 4
		if len(fields) < least {
			return fmt.Errorf("%w: a trade has %d parts, at least %d", venue.ErrShape, len(fields), least)
		}
		e := d.oldHead(venue.Trade, pair)
		var err error
		if e.Price, err = d.json.Number(fields[0], "price"); err != nil {
			return err
		}
		if e.Quantity, err = d.json.Number(fields[1], "volume"); err != nil {
			return err
		}
		if e.At, err = d.json.Seconds(fields[2], "time"); err != nil {
			return err
		}
		switch side := fields[3].GetStringBytes(); string(side) {
		case "b":
			e.Side = schemas.Side_SIDE_BUY
		case "s":
			e.Side = schemas.Side_SIDE_SELL
		default:
			return fmt.Errorf("%w: side is %q", venue.ErrField, side)
		}
		e.ID = fmt.Appendf(nil, "%s/%d/%s/%s/%s", fields[2].GetStringBytes(), i, fields[0].GetStringBytes(), fields[1].GetStringBytes(), fields[3].GetStringBytes())
	}
	return nil
}

// oldTicker decodes the best ask a and bid b: [price, whole lots, quantity]. It has no time.
func (d *decoder) oldTicker(e *venue.Event, v *fastjson.Value) error {
	for _, f := range [...]struct {
		side, place string
		to          *venue.Number
	}{{"b", "0", &e.Price}, {"b", "2", &e.Quantity}, {"a", "0", &e.AskPrice}, {"a", "2", &e.AskQuantity}} {
		field := v.Get(f.side, f.place)
		if field == nil {
			return fmt.Errorf("%w: %s of a ticker", venue.ErrField, f.side)
		}
		var err error
		if *f.to, err = d.json.Number(field, f.side); err != nil {
			return err
		}
	}
	return nil
}

// oldBar decodes the time of an [time, end, open, ...] row.
func (d *decoder) oldBar(e *venue.Event, v *fastjson.Value) (err error) {
	field := v.Get("0")
	if field == nil {
		return fmt.Errorf("%w: time of a bar", venue.ErrField)
	}
	e.At, err = d.json.Seconds(field, "time")
	return err
}
