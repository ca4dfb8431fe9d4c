package deribit

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events.
type decoder struct {
	json   venue.JSON
	batch  venue.Batch
	floats [8]float64 // what the option of a message points to
}

// Message decodes one message: a notification, or the answer to a request.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	v, err := d.json.Object(raw)
	if err != nil {
		return nil, err
	}
	if method := v.GetStringBytes("method"); string(method) != "subscription" {
		d.answer(v, method)
		return d.batch.Events(), nil
	}
	if err := d.notification(v.Get("params")); err != nil {
		return d.batch.Events(), err
	}
	return d.batch.Events(), nil
}

// answer tells answers to requests, and heartbeats, from what is not known.
func (d *decoder) answer(v *fastjson.Value, method []byte) {
	e := d.batch.Next(venue.Note)
	switch {
	case v.Exists("error"):
		e.Kind, e.Detail = venue.Refusal, v.Get("error").MarshalTo(nil)
	case v.Exists("result") || string(method) == "heartbeat":
	default:
		e.Kind, e.Detail = venue.Unknown, method
	}
}

func (d *decoder) notification(params *fastjson.Value) error {
	channel, err := venue.Text(params, "channel")
	if err != nil {
		return err
	}
	data := params.Get("data")
	if data == nil {
		return fmt.Errorf("%w: data", venue.ErrField)
	}
	what, _, _ := bytes.Cut(channel, []byte("."))
	switch string(what) {
	case "trades":
		return d.trades(data)
	case "book":
		return d.book(data)
	case "quote":
		return d.quote(data)
	case "ticker":
		return d.ticker(data)
	case "platform_state":
		d.platform(data)
		return nil
	}
	d.batch.Next(venue.Unknown).Detail = what
	return nil
}

// Answer decodes the list of instruments: which of them count US dollars.
func (d *decoder) Answer(address string, body []byte) ([]venue.Event, error) {
	d.batch.Reset()
	if !strings.Contains(address, "/get_instruments") {
		return nil, nil
	}
	v, err := d.json.Parse(body)
	if err != nil {
		return nil, err
	}
	list := v.Get("result")
	if list == nil || list.Type() != fastjson.TypeArray {
		return nil, fmt.Errorf("%w: result", venue.ErrField)
	}
	for _, i := range list.GetArray() {
		// Linear ones have the quote currency of their settlement; future_type says the same, but not in 2021.
		if string(i.GetStringBytes("kind")) != "future" || string(i.GetStringBytes("quote_currency")) != "USD" {
			continue
		}
		name, err := venue.Text(i, "instrument_name")
		if err != nil {
			return nil, err
		}
		e := d.batch.Next(venue.Listing)
		// Amounts are US dollars, not contracts of contract_size.
		e.Symbol, e.Inverse, e.Multiplier = name, true, venue.Some(venue.Number{Mantissa: 1})
	}
	return d.batch.Events(), nil
}

// head reads what every notification about an instrument has.
func head(e *venue.Event, v *fastjson.Value) (err error) {
	if e.Symbol, err = venue.Text(v, "instrument_name"); err != nil {
		return err
	}
	e.At, err = stamp(v)
	return err
}

// stamp reads the time, which nothing is without.
func stamp(v *fastjson.Value) (schemas.Time, error) {
	at, err := venue.Millis(v, "timestamp")
	if err == nil && at == 0 {
		err = fmt.Errorf("%w: timestamp", venue.ErrField)
	}
	return at, err
}

func (d *decoder) trades(list *fastjson.Value) error {
	if list.Type() != fastjson.TypeArray {
		return fmt.Errorf("%w: data is %s, not an array of trades", venue.ErrShape, list.Type())
	}
	for _, v := range list.GetArray() {
		if err := d.trade(v); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) trade(v *fastjson.Value) (err error) {
	e := d.batch.Next(venue.Trade)
	if err := head(e, v); err != nil {
		return err
	}
	if e.ID, err = venue.Text(v, "trade_id"); err != nil {
		return err
	}
	if e.Number, err = venue.Integer(v, "trade_seq"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(v, "price"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(v, "amount"); err != nil {
		return err
	}
	if e.Side, err = side(v); err != nil {
		return err
	}
	if len(v.GetStringBytes("block_trade_id")) > 0 {
		e.OffBook = schemas.OffBook_OFF_BOOK_BLOCK
	}
	return d.forced(*e, v.GetStringBytes("liquidation"))
}

// side reads the direction, which is the taker's.
func side(v *fastjson.Value) (schemas.Side, error) {
	switch direction := v.GetStringBytes("direction"); string(direction) {
	case "buy":
		return schemas.Side_SIDE_BUY, nil
	case "sell":
		return schemas.Side_SIDE_SELL, nil
	default:
		return 0, fmt.Errorf("%w: direction is %q", venue.ErrField, direction)
	}
}

// forced adds what a trade closed by force: the taker's position (T), the maker's (M), or both (MT).
func (d *decoder) forced(trade venue.Event, who []byte) error {
	maker, taker := bytes.IndexByte(who, 'M') >= 0, bytes.IndexByte(who, 'T') >= 0
	if len(who) > 0 && !maker && !taker {
		return fmt.Errorf("%w: liquidation is %q", venue.ErrField, who)
	}
	add := func(order schemas.Side) {
		e := d.batch.Next(venue.Liquidation)
		e.Symbol, e.At, e.Number, e.Price, e.Quantity, e.Side = trade.Symbol, trade.At, trade.Number, trade.Price, trade.Quantity, order
	}
	if taker {
		add(trade.Side)
	}
	if maker {
		add(schemas.Side_SIDE_BUY + schemas.Side_SIDE_SELL - trade.Side)
	}
	return nil
}

func (d *decoder) book(v *fastjson.Value) error {
	e := d.batch.Next(venue.BookUpdate)
	err := head(e, v)
	if err != nil {
		return err
	}
	if e.Last, err = venue.Integer(v, "change_id"); err != nil {
		return err
	}
	switch kind := v.GetStringBytes("type"); string(kind) {
	case "snapshot":
		e.Kind = venue.BookSnapshot
	case "change":
		if e.Prev, err = venue.Integer(v, "prev_change_id"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: type is %q, not snapshot or change", venue.ErrField, kind)
	}
	if e.Bids, err = d.levels(e.Bids, v, "bids"); err != nil {
		return err
	}
	e.Asks, err = d.levels(e.Asks, v, "asks")
	return err
}

// levels reads [action, price, amount] rows; action is new, change or delete.
func (d *decoder) levels(dst []book.Level, v *fastjson.Value, key string) ([]book.Level, error) {
	side := v.Get(key)
	if side == nil || side.Type() != fastjson.TypeArray {
		return dst, fmt.Errorf("%w: %s", venue.ErrField, key)
	}
	for _, row := range side.GetArray() {
		parts := row.GetArray()
		if len(parts) != 3 {
			return dst, fmt.Errorf("%w: a level of %s has %d parts, not action, price and amount", venue.ErrShape, key, len(parts))
		}
		var err error
		if dst, err = d.json.Level(dst, parts[1], parts[2], key); err != nil {
			return dst, err
		}
		l := &dst[len(dst)-1]
		switch action := parts[0].GetStringBytes(); string(action) {
		case "new", "change":
		case "delete":
			l.Quantity = venue.Number{}
		default:
			return dst, fmt.Errorf("%w: a level of %s has the action %q", venue.ErrShape, key, action)
		}
	}
	return dst, nil
}

func (d *decoder) quote(v *fastjson.Value) error {
	e := d.batch.Next(venue.Quote)
	if err := head(e, v); err != nil {
		return err
	}
	return d.json.Quote(e, v, "best_bid_price", "best_bid_amount", "best_ask_price", "best_ask_amount")
}

func (d *decoder) ticker(v *fastjson.Value) error {
	name, err := venue.Text(v, "instrument_name")
	if err != nil {
		return err
	}
	c, err := parse(string(name))
	if err != nil {
		return err
	}
	if c.option() {
		err = d.option(v, &c)
	} else {
		err = d.marks(v, &c)
	}
	if err != nil {
		return err
	}
	d.state(v, name)
	return nil
}

// state says how the instrument is. While it is settled, and before it begins and after it ended, nobody trades by plan.
func (d *decoder) state(v *fastjson.Value, name []byte) {
	e := d.batch.Next(venue.Status)
	e.Symbol = name
	switch state := v.GetStringBytes("state"); string(state) {
	case "open":
		e.State = "online"
	case "locked", "halted":
		e.State, e.Detail = "down", state
	case "":
		e.Kind = venue.Note
	default:
		e.State, e.Detail = "maintenance", state
	}
}

// eightHours is the interval that the venue gives rates of funding for; it is paid all the time.
const eightHours = 8 * 60 * 60

func (d *decoder) marks(v *fastjson.Value, c *contract) error {
	e := d.batch.Next(venue.Derivative)
	if err := head(e, v); err != nil {
		return err
	}
	e.Unit = schemas.QuantityUnit_QUANTITY_UNIT_BASE
	if c.inverse() {
		e.Unit = schemas.QuantityUnit_QUANTITY_UNIT_QUOTE
	}
	// funding_8h is what the last eight hours cost, current_funding what accrues now.
	for _, f := range [...]struct {
		to   *venue.Optional
		key  string
		kind string
	}{
		{&e.Mark, "mark_price", ""},
		{&e.Index, "index_price", ""},
		{&e.OpenInterest, "open_interest", ""},
		{&e.Rate, "current_funding", perpetual},
		{&e.Settle, "estimated_delivery_price", future},
	} {
		if f.kind != "" && f.kind != c.kind {
			continue
		}
		var err error
		if *f.to, err = d.json.Rate(v, f.key); err != nil {
			return err
		}
	}
	if e.Rate.Set {
		e.Interval = eightHours
	}
	return nil
}

func (d *decoder) option(v *fastjson.Value, c *contract) error {
	e := d.batch.Next(venue.Option)
	if err := head(e, v); err != nil {
		return err
	}
	strike, err := schemas.ParseDecimal([]byte(c.strike))
	if err != nil {
		return fmt.Errorf("reading the strike: %w", err)
	}
	o := &e.Option
	o.Strike = venue.Number{Mantissa: strike.Mantissa, Exponent: strike.Exponent}
	o.Expiry, o.Right = c.end(), c.right()
	for _, f := range [...]struct {
		to   *venue.Optional
		key  string
		none bool // zero says that there is none
	}{
		{&o.Bid, "best_bid_price", true},
		{&o.Ask, "best_ask_price", true},
		{&o.Mark, "mark_price", false},
		{&o.Underlying, "underlying_price", false},
		{&o.Interest, "open_interest", false},
	} {
		if *f.to, err = d.json.Optional(v, f.key); err != nil {
			return err
		}
		if f.none && f.to.Mantissa == 0 {
			*f.to = venue.Optional{}
		}
	}
	d.greeks(o, v)
	return nil
}

// greeks reads volatilities, which the venue has in percent, 0 where there is no bid or offer, and sensitivities, which
// are per volatility point, day and percentage point of the rate, as ours.
func (d *decoder) greeks(o *venue.OptionFields, v *fastjson.Value) {
	const percent = 100
	greeks := v.Get("greeks")
	for i, f := range [...]struct {
		to    **float64
		in    *fastjson.Value
		key   string
		scale float64
	}{
		{&o.BidIV, v, "bid_iv", percent},
		{&o.AskIV, v, "ask_iv", percent},
		{&o.MarkIV, v, "mark_iv", percent},
		{&o.Delta, greeks, "delta", 1},
		{&o.Gamma, greeks, "gamma", 1},
		{&o.Vega, greeks, "vega", 1},
		{&o.Theta, greeks, "theta", 1},
		{&o.Rho, greeks, "rho", 1},
	} {
		n := f.in.Get(f.key)
		if n == nil || n.Type() != fastjson.TypeNumber {
			continue
		}
		d.floats[i] = n.GetFloat64() / f.scale
		if d.floats[i] != 0 || f.scale == 1 {
			*f.to = &d.floats[i]
		}
	}
}

// platform says how the venue is: in maintenance, or with all that hangs on one price index locked.
func (d *decoder) platform(v *fastjson.Value) {
	e := d.batch.Next(venue.Status)
	e.Scope, e.State = "all", "online"
	if v.GetBool("maintenance") {
		e.State = "maintenance"
	}
	if v.Exists("locked") {
		e.Scope = string(v.GetStringBytes("price_index"))
		if v.GetBool("locked") {
			e.State, e.Detail = "degraded", append(e.Detail, "locked"...)
		}
	}
	if e.Scope == "" {
		e.Scope = "all"
	}
}
