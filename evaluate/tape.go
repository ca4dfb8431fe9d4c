package evaluate

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/tape"
)

func isTape(path string) bool {
	return strings.HasSuffix(path, tape.ExtensionBinary) || strings.HasSuffix(path, tape.ExtensionJSON)
}

// A tapeFile makes minute candles from the trades of one symbol on a tape.
type tapeFile struct {
	path, symbol string
	tape         tape.Reader
	dec          schemas.Decoder
	batch        *tape.Batch
	i            int
	open         candle // the minute that is being collected; no close yet when empty
	ended        bool
}

func openTape(path, symbol string) (*tapeFile, error) {
	in, err := tape.Open(path, tape.Options{})
	if err != nil {
		return nil, err
	}
	return &tapeFile{path: path, symbol: symbol, tape: in}, nil
}

func (f *tapeFile) close() { _ = f.tape.Close() } // it was only read

// next returns the next minute that has trades.
func (f *tapeFile) next() (candle, error) {
	for !f.ended {
		t, err := f.trade()
		if errors.Is(err, io.EOF) {
			f.ended = true
			break
		}
		if err != nil {
			return candle{}, err
		}
		if done, ok := f.fold(t); ok {
			return done, nil
		}
	}
	if f.open.close == 0 {
		return candle{}, io.EOF
	}
	done := f.open
	f.open = candle{}
	return done, nil
}

// fold takes a trade into the open minute and returns the minute before when that is over. Trades of minutes that are over are
// left out, as a bar leaves them out.
func (f *tapeFile) fold(t *schemas.Trade) (done candle, ok bool) {
	start := schemas.Time(t.Meta.EventTime).Floor(time.Minute)
	price, quantity := t.Price.Float(), t.Quantity.Float()
	c := &f.open
	if c.close != 0 && start < c.start || price <= 0 {
		return done, false
	}
	if c.close != 0 && start > c.start {
		done, ok = *c, true
		*c = candle{}
	}
	if c.close == 0 {
		*c = candle{start: start, open: price, high: price, low: price}
	}
	c.high, c.low, c.close = max(c.high, price), min(c.low, price), price
	c.volume += quantity
	return done, ok
}

// trade returns the next trade of the symbol; it is valid until the next call.
func (f *tapeFile) trade() (*schemas.Trade, error) {
	for {
		if f.batch == nil || f.i == len(f.batch.Records) {
			if f.batch != nil {
				f.batch.Release()
			}
			var err error
			if f.batch, err = f.tape.Next(); err != nil {
				f.batch = nil
				return nil, err
			}
			f.i = 0
			continue
		}
		r := &f.batch.Records[f.i]
		f.i++
		if !strings.HasSuffix(f.batch.Topic, schemas.MarketTrades.Name) || r.Type != "Trade" {
			continue
		}
		m, err := f.dec.Decode(r.Type, r.ContentType, r.Value)
		if err != nil {
			return nil, fmt.Errorf("record %d of partition %d: %w", r.Offset, f.batch.Partition, err)
		}
		if t, ok := m.(*schemas.Trade); ok && t.GetMeta().GetSymbol() == f.symbol {
			return t, nil
		}
	}
}
