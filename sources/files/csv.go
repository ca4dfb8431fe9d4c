package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// Fields of the two CSV formats; their order numbers the columns.
var (
	barFields   = []string{"time", "symbol", "open", "high", "low", "close", "volume", "turnover", "trades"}
	tradeFields = []string{"time", "symbol", "price", "quantity", "side", "id"}
)

// table turns rows into records.
type table struct {
	cfg      Config
	face     clockface
	exponent int32 // of price_scale
	columns  []int
	topic    schemas.Topic
	ticker   ticker

	trade *schemas.Trade
	bar   *schemas.Bar
	scrap schemas.Decimal
	text  []byte
}

func newTable(cfg Config, p sources.Publisher) (*table, error) {
	face, err := newClockface(cfg.TimeUnit, cfg.Zone)
	if err != nil {
		return nil, err
	}
	exponent, err := exponentOf(cfg.PriceScale)
	if err != nil {
		return nil, err
	}
	t := &table{
		cfg: cfg, face: face, exponent: exponent, topic: schemas.MarketTrades,
		trade: &schemas.Trade{Meta: &schemas.Meta{}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}},
		bar:   &schemas.Bar{Meta: &schemas.Meta{}},
	}
	if cfg.Format == Bars {
		t.topic = schemas.MarketBars
	}
	t.ticker = ticker{publisher: p, source: cfg.Name, topics: []schemas.Topic{t.topic}, disorder: cfg.Disorder}
	return t, nil
}

// csv reads the whole file.
func (s *Source) csv(ctx context.Context, p sources.Publisher) error {
	f, err := os.Open(s.cfg.Path)
	if err != nil {
		return fmt.Errorf("opening the file: %w", err)
	}
	defer f.Close()
	in, err := newRows(f, s.cfg.Separator[0])
	if err != nil {
		return err
	}
	t, err := newTable(s.cfg, p)
	if err != nil {
		return err
	}
	fields := tradeFields
	if s.cfg.Format == Bars {
		fields = barFields
	}
	var header [][]byte
	if s.cfg.Header {
		if header, err = in.next(); err != nil {
			return fmt.Errorf("reading the header: %w", err)
		}
	}
	if t.columns, err = columns(fields, s.cfg.Columns, header); err != nil {
		return err
	}
	for {
		cells, err := in.next()
		if err == nil {
			err = t.row(cells, in.line)
		}
		if err != nil {
			if more, err := s.judge(in.line, err); !more {
				return errors.Join(err, t.ticker.end())
			}
			continue
		}
		if s.count(1)%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// judge says whether the reading goes on after an error: a bad row is skipped, the end of the file is none.
func (s *Source) judge(line int, err error) (more bool, fatal error) {
	var published *publishError
	var unreadable *readError
	switch {
	case errors.As(err, &published):
		return false, published.err
	case errors.Is(err, io.EOF):
		return false, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.skip(fmt.Errorf("the file is cut off: %w", err), "line", line)
		return false, nil
	case errors.As(err, &unreadable):
		return false, unreadable
	}
	s.skip(err, "line", line)
	return true, nil
}

// publishError tells an error of the publisher, which ends the reading, from one of the row, which does not.
type publishError struct{ err error }

func (e *publishError) Error() string { return e.err.Error() }

func (t *table) row(cells [][]byte, line int) error {
	if t.cfg.Format == Bars {
		return t.barRow(cells)
	}
	return t.tradeRow(cells, line)
}

// cell returns the cell of a field, nil when it is not mapped, empty or beyond the row.
func (t *table) cell(cells [][]byte, field int) []byte {
	i := t.columns[field]
	if i < 0 || i >= len(cells) {
		return nil
	}
	return bytes.TrimSpace(cells[i])
}

// meta fills what both formats have and returns the row's time.
func (t *table) meta(m *schemas.Meta, cells [][]byte) (schemas.Time, error) {
	at, err := t.face.read(t.cell(cells, 0), &t.scrap)
	if err != nil {
		return 0, err
	}
	m.Source, m.Venue = t.cfg.Name, t.cfg.Venue
	if symbol := t.cell(cells, 1); len(symbol) == 0 {
		m.Symbol = t.cfg.Symbol
	} else if m.Symbol != string(symbol) {
		m.Symbol = string(symbol)
	}
	m.TimeSource, m.SequenceKind = schemas.TimeSource_TIME_SOURCE_EXCHANGE, schemas.SequenceKind_SEQUENCE_KIND_NONE
	return at, nil
}

func (t *table) tradeRow(cells [][]byte, line int) error {
	m := t.trade
	at, err := t.meta(m.Meta, cells)
	if err != nil {
		return err
	}
	if err := m.Price.Parse(t.cell(cells, 2)); err != nil {
		return fmt.Errorf("price: %w", err)
	}
	m.Price.Exponent -= t.exponent
	if err := m.Quantity.Parse(t.cell(cells, 3)); err != nil {
		return fmt.Errorf("quantity: %w", err)
	}
	m.TakerSide = schemas.Side_SIDE_UNSPECIFIED
	switch side := t.cell(cells, 4); {
	case bytes.EqualFold(side, []byte("buy")) || bytes.EqualFold(side, []byte("b")):
		m.TakerSide = schemas.Side_SIDE_BUY
	case bytes.EqualFold(side, []byte("sell")) || bytes.EqualFold(side, []byte("s")):
		m.TakerSide = schemas.Side_SIDE_SELL
	}
	m.Meta.EventTime, m.Meta.ReceiveTime = int64(at), int64(at)
	if id := t.cell(cells, 5); len(id) > 0 {
		m.Meta.Id = string(id)
	} else {
		t.text = strconv.AppendInt(append(t.text[:0], "line "...), int64(line), 10)
		m.Meta.Id = string(t.text)
	}
	if err := schemas.Validate(m); err != nil {
		return err
	}
	// What follows is not before the second that this row is in, so the second before is over.
	if err := t.ticker.reach((at - 1).Floor(time.Second), at); err != nil {
		return &publishError{err}
	}
	if err := t.ticker.publisher.Publish(t.topic, m); err != nil {
		return &publishError{err}
	}
	return nil
}

func (t *table) barRow(cells [][]byte) error {
	m := t.bar
	start, err := t.meta(m.Meta, cells)
	if err != nil {
		return err
	}
	end := start.Add(t.cfg.Interval)
	for _, f := range [...]struct {
		field int
		to    **schemas.Decimal
		scale int32
	}{{2, &m.Open, t.exponent}, {3, &m.High, t.exponent}, {4, &m.Low, t.exponent}, {5, &m.Close, t.exponent}, {6, &m.Volume, 0}, {7, &m.Turnover, t.exponent}} {
		if *f.to, err = t.decimal(*f.to, cells, f.field, f.scale); err != nil {
			return fmt.Errorf("%s: %w", barFields[f.field], err)
		}
	}
	m.Trades = 0
	if n := t.cell(cells, 8); len(n) > 0 {
		count, err := strconv.ParseUint(string(n), 10, 32)
		if err != nil {
			return fmt.Errorf("trades: %w", err)
		}
		m.Trades = uint32(count)
	}
	m.Start, m.End = int64(start), int64(end)
	m.Meta.EventTime, m.Meta.ReceiveTime = int64(end), int64(end)
	t.text = strconv.AppendInt(t.text[:0], int64(start), 10)
	m.Meta.Id = string(t.text)
	if err := schemas.Validate(m); err != nil {
		return err
	}
	// Bars are stamped at their end. The silence before this one is over, and so are the bars that ended earlier.
	if err := t.ticker.reach(max(start, t.ticker.before(end)), end); err != nil {
		return &publishError{err}
	}
	if err := t.ticker.publisher.Publish(t.topic, m); err != nil {
		return &publishError{err}
	}
	return nil
}

// decimal reads a cell into d, using it again; nil for an absent one.
func (t *table) decimal(d *schemas.Decimal, cells [][]byte, field int, scale int32) (*schemas.Decimal, error) {
	text := t.cell(cells, field)
	if len(text) == 0 {
		return nil, nil
	}
	if d == nil {
		d = &schemas.Decimal{}
	}
	if err := d.Parse(text); err != nil {
		return d, err
	}
	d.Exponent -= scale
	return d, nil
}
