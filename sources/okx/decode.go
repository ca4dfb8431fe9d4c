package okx

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// decoder turns raw frames into events.
type decoder struct {
	json  venue.JSON
	batch venue.Batch
}

// Message decodes one message of the stream.
func (d *decoder) Message(raw []byte) ([]venue.Event, error) {
	d.batch.Reset()
	if string(raw) == "pong" {
		d.batch.Next(venue.Note)
		return d.batch.Events(), nil
	}
	v, err := d.json.Object(raw)
	if err != nil {
		return nil, err
	}
	if event := v.GetStringBytes("event"); len(event) > 0 {
		d.answer(string(event), v)
		return d.batch.Events(), nil
	}
	rows := v.Get("data")
	if rows == nil || rows.Type() != fastjson.TypeArray {
		return nil, fmt.Errorf("%w: data", venue.ErrField)
	}
	channel := v.GetStringBytes("arg", "channel")
	for i, row := range rows.GetArray() {
		if err := d.row(string(channel), v, row); err != nil {
			return d.batch.Events(), fmt.Errorf("element %d of data: %w", i, err)
		}
	}
	return d.batch.Events(), nil
}

func (d *decoder) answer(event string, v *fastjson.Value) {
	switch event {
	case "error":
		d.batch.Next(venue.Refusal).Detail = v.GetStringBytes("msg")
	case "notice":
		// Code 64008: the service is upgraded and will cut the connection; the next one is to stand before that.
		d.batch.Next(venue.Shutdown)
	default:
		d.batch.Next(venue.Note)
	}
}

func (d *decoder) row(channel string, v, row *fastjson.Value) error {
	e := d.batch.Next(venue.Unknown)
	switch channel {
	case "liquidation-orders":
		return d.liquidations(e, row)
	case "status":
		return d.status(e, row)
	}
	var err error
	if e.At, err = venue.Millis(row, "ts"); err != nil {
		return err
	}
	e.Symbol = v.GetStringBytes("arg", "instId")
	if len(e.Symbol) == 0 {
		return fmt.Errorf("%w: arg.instId", venue.ErrField)
	}
	switch channel {
	case "trades":
		return d.trade(e, row)
	case "tickers":
		return d.quote(e, row)
	case "books":
		return d.book(e, row, string(v.GetStringBytes("action")))
	case "mark-price":
		return d.one(e, row, "markPx", &e.Mark)
	case "funding-rate":
		return d.funding(e, row)
	case "open-interest":
		e.Channel, e.Unit = venue.Interest, schemas.QuantityUnit_QUANTITY_UNIT_BASE
		return d.one(e, row, "oiCcy", &e.OpenInterest)
	}
	e.Detail = v.GetStringBytes("arg", "channel")
	return nil
}

// one reads a derivative's only value.
func (d *decoder) one(e *venue.Event, row *fastjson.Value, key string, to *venue.Optional) error {
	e.Kind = venue.Derivative
	n, err := d.json.Decimal(row, key)
	*to = venue.Some(n)
	return err
}

func (d *decoder) trade(e *venue.Event, row *fastjson.Value) (err error) {
	e.Kind = venue.Trade
	if e.Number, err = venue.Integer(row, "tradeId"); err != nil {
		return err
	}
	if e.Price, err = d.json.Decimal(row, "px"); err != nil {
		return err
	}
	if e.Quantity, err = d.json.Decimal(row, "sz"); err != nil {
		return err
	}
	// The stream joins the fills of one taker order at one price; count says how many.
	if row.Exists("count") {
		n, err := venue.Integer(row, "count")
		if err != nil || n > 1<<31 {
			return fmt.Errorf("%w: count", venue.ErrField)
		}
		e.Fills = uint32(n)
	}
	e.Side, err = side(row)
	return err
}

func side(row *fastjson.Value) (schemas.Side, error) {
	switch s := row.GetStringBytes("side"); string(s) {
	case "buy":
		return schemas.Side_SIDE_BUY, nil
	case "sell":
		return schemas.Side_SIDE_SELL, nil
	default:
		return 0, fmt.Errorf("%w: side is %q, it must be buy or sell", venue.ErrField, s)
	}
}

func (d *decoder) quote(e *venue.Event, row *fastjson.Value) error {
	e.Kind = venue.Quote
	return d.json.Quote(e, row, "bidPx", "bidSz", "askPx", "askSz")
}

// bookLevels is how many levels a side the channel "books" has.
const bookLevels = 400

func (d *decoder) book(e *venue.Event, row *fastjson.Value, action string) (err error) {
	e.Depth = bookLevels
	switch action {
	case "snapshot":
		e.Kind = venue.BookSnapshot
	case "update":
		e.Kind = venue.BookUpdate
	default:
		return fmt.Errorf("%w: action is %q, it must be snapshot or update", venue.ErrField, action)
	}
	e.Unnumbered = !row.Exists("seqId")
	if !e.Unnumbered {
		if e.Last, err = venue.Integer(row, "seqId"); err != nil {
			return err
		}
		// prevSeqId is -1 on a snapshot.
		if e.Kind == venue.BookUpdate {
			if e.Prev, err = venue.Integer(row, "prevSeqId"); err != nil {
				return err
			}
		}
	}
	if sum := row.Get("checksum"); sum != nil && sum.Type() == fastjson.TypeNumber {
		n, err := sum.Int64()
		if err != nil || n < -1<<31 || n >= 1<<32 {
			return fmt.Errorf("%w: checksum is %s", venue.ErrField, sum)
		}
		e.Checksum, e.HasChecksum = uint32(n), n != 0
	}
	return d.json.Sides(e, row, "bids", "asks")
}

// funding decodes the rate that is paid at fundingTime; the settlement behind that tells the interval.
func (d *decoder) funding(e *venue.Event, row *fastjson.Value) (err error) {
	e.Kind, e.Channel = venue.Derivative, venue.Funding
	if e.Rate, err = d.json.Optional(row, "fundingRate"); err != nil {
		return err
	}
	if e.Cap, err = d.json.Optional(row, "maxFundingRate"); err != nil {
		return err
	}
	if e.Next, err = venue.Millis(row, "fundingTime"); err != nil {
		return err
	}
	after, err := venue.Millis(row, "nextFundingTime")
	if err != nil {
		return err
	}
	const most = 7 * 24 * 3600
	if seconds := (after - e.Next) / 1e9; e.Next != 0 && seconds > 0 && seconds <= most {
		e.Interval = uint32(seconds)
	}
	return nil
}

// liquidations decodes the forced closes of one instrument: at most one a second of each, so a lower bound.
func (d *decoder) liquidations(first *venue.Event, row *fastjson.Value) error {
	details := row.GetArray("details")
	if len(details) == 0 {
		first.Kind = venue.Note
		return nil
	}
	symbol, err := venue.Text(row, "instId")
	if err != nil {
		return err
	}
	e := first
	for i, detail := range details {
		if i > 0 {
			e = d.batch.Next(venue.Unknown)
		}
		e.Kind, e.Partial, e.Wide, e.Symbol = venue.Liquidation, true, true, symbol
		if e.At, err = venue.Millis(detail, "ts"); err != nil {
			return err
		}
		// bkPx is the bankruptcy price, at which the order is sent.
		if e.Price, err = d.json.Decimal(detail, "bkPx"); err != nil {
			return err
		}
		if e.Quantity, err = d.json.Decimal(detail, "sz"); err != nil {
			return err
		}
		if e.Side, err = side(detail); err != nil {
			return err
		}
	}
	return nil
}

// Maintenance is the scope of a system maintenance in a VenueStatus: by its beginning, in milliseconds, and the service, as
// only the stream gives it an id. Both the stream and the status call name it so.
func Maintenance(begin, service string) string { return "maintenance/" + begin + "-" + service }

// status decodes a system maintenance.
func (d *decoder) status(e *venue.Event, row *fastjson.Value) (err error) {
	if env := row.GetStringBytes("env"); len(env) > 0 && string(env) != "1" {
		e.Kind = venue.Note // of the demo trading
		return nil
	}
	e.Kind = venue.Status
	state, err := venue.Text(row, "state")
	if err != nil {
		return err
	}
	switch string(state) {
	case "scheduled", "ongoing", "pre_open": // which of them, the window says
		e.State = "maintenance"
	case "completed", "canceled":
		e.State = "online"
	default:
		return fmt.Errorf("%w: state is %q", venue.ErrField, state)
	}
	e.Scope = Maintenance(string(row.GetStringBytes("begin")), string(row.GetStringBytes("serviceType")))
	if e.Starts, err = venue.Millis(row, "begin"); err != nil {
		return err
	}
	if e.Ends, err = venue.Millis(row, "end"); err != nil {
		return err
	}
	if e.At, err = venue.Millis(row, "ts"); err != nil {
		return err
	}
	e.Detail = fmt.Appendf(e.Detail, "%s (%s)", row.GetStringBytes("title"), state)
	return nil
}

// Answer decodes the list of instruments: what a contract counts.
func (d *decoder) Answer(url string, body []byte) ([]venue.Event, error) {
	d.batch.Reset()
	if !strings.Contains(url, "/public/instruments") {
		return nil, nil
	}
	v, err := d.json.Parse(body)
	if err != nil {
		return nil, err
	}
	if code := v.GetStringBytes("code"); string(code) != "0" {
		return nil, fmt.Errorf("%w: code %s: %s", venue.ErrShape, strconv.Quote(string(code)), v.GetStringBytes("msg"))
	}
	for _, row := range v.GetArray("data") {
		if len(row.GetStringBytes("ctVal")) == 0 || string(row.GetStringBytes("instType")) == "OPTION" {
			continue
		}
		e := d.batch.Next(venue.Listing)
		if e.Symbol, err = venue.Text(row, "instId"); err != nil {
			return nil, err
		}
		// The face value times ctMult, which is 1 but for options.
		if e.Multiplier, err = d.json.Optional(row, "ctVal"); err != nil {
			return nil, err
		}
		e.Inverse = string(row.GetStringBytes("ctType")) == "inverse"
	}
	return d.batch.Events(), nil
}
