package stages

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func init() {
	processor.Register(processor.Spec[crossquotesConfig]{
		Name:     "crossquotes",
		Kind:     processor.Stage,
		Summary:  "The last quote of each second, keyed by asset pair, so that the quotes of all venues meet.",
		Version:  1,
		Input:    schemas.MarketQuotes,
		Output:   schemas.MarketCrossquotes,
		Step:     time.Second,
		Defaults: crossquotesConfig{Symbols: []string{"*"}},
		New: func(c crossquotesConfig, key processor.Key) processor.Processor {
			return &crossquotes{passes: c.passes(key.Symbol), key: key}
		},
	})
}

// crossquotesConfig is the configuration of crossquotes.
type crossquotesConfig struct {
	Symbols []string `koanf:"symbols" json:"symbols" doc:"Symbols that are passed on, with * and ? as wildcards. A symbol is the pair: BTC-USDT and BTC-USD are two."`
}

// Validate checks the settings.
func (c crossquotesConfig) Validate() error {
	if len(c.Symbols) == 0 {
		return fmt.Errorf("crossquotes.symbols is %q: it must name a symbol at least, or *", c.Symbols)
	}
	for i, s := range c.Symbols {
		if _, err := path.Match(s, ""); err != nil || s == "" {
			return fmt.Errorf("crossquotes.symbols[%d] is %q: it must be a symbol with * and ? as wildcards", i, s)
		}
	}
	return nil
}

func (c crossquotesConfig) passes(symbol string) bool {
	return slices.ContainsFunc(c.Symbols, func(s string) bool {
		ok, _ := path.Match(s, symbol)
		return ok
	})
}

// crossquotes is the processor of one instrument. Quotes are conflated here, where they come in order: a reader that waits for the
// slowest venue keeps one a second of the others.
type crossquotes struct {
	passes bool
	key    processor.Key
	seen   dedup.Recent
	source string
	// at is the time of the last quote, 0 before the first; sent that of the last one that was passed on.
	at, sent schemas.Time
	// bid, its quantity, ask, its quantity; whole says that the quote has both sides.
	sides [4]price
	whole bool
}

var _ processor.Deduplicator = (*crossquotes)(nil)

func (c *crossquotes) Duplicates() uint64 { return c.seen.Duplicates() }

func (c *crossquotes) OnRecord(rec schemas.Record, _ processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Quote:
		if !c.passes || c.seen.Seen(m.Meta) || rec.Time < c.at {
			return
		}
		c.take(m, rec.Time)
	case *schemas.Gap:
		// What came before it may be wrong by now; nothing is passed on, and readers see the quote age.
		c.sent = c.at
	}
}

func (c *crossquotes) take(q *schemas.Quote, at schemas.Time) {
	if c.source != q.Meta.Source {
		c.source = strings.Clone(q.Meta.Source)
	}
	c.at = at
	c.whole = q.BidPrice != nil && q.AskPrice != nil
	for i, d := range [...]*schemas.Decimal{q.BidPrice, q.BidQuantity, q.AskPrice, q.AskQuantity} {
		c.sides[i] = price{d.GetMantissa(), d.GetExponent()}
	}
}

func (c *crossquotes) OnTime(_ schemas.Time, emit processor.Emit) {
	if c.at <= c.sent {
		return
	}
	c.sent = c.at
	if !c.whole {
		return
	}
	emit(&schemas.Quote{
		Meta: &schemas.Meta{
			Source: c.source, Venue: c.key.Venue, Symbol: c.key.Symbol, EventTime: int64(c.at), Id: strconv.FormatInt(int64(c.at), 10),
		},
		Pair:     c.key.Symbol,
		BidPrice: c.sides[0].decimal(), BidQuantity: c.sides[1].decimal(), AskPrice: c.sides[2].decimal(), AskQuantity: c.sides[3].decimal(),
	})
}

const crossquotesLayout = 1

func (c *crossquotes) AppendState(dst []byte) []byte {
	dst = c.seen.Append(append(dst, crossquotesLayout))
	dst = pack.String(dst, c.source)
	dst = pack.Int(pack.Int(dst, int64(c.at)), int64(c.sent))
	for _, p := range c.sides {
		dst = pack.Int(pack.Int(dst, p.m), int64(p.e))
	}
	return pack.Bool(dst, c.whole)
}

func (c *crossquotes) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != crossquotesLayout {
		return fmt.Errorf("state layout of crossquotes is %d: it must be %d", v, crossquotesLayout)
	}
	c.seen.Restore(r)
	c.source = r.String()
	c.at, c.sent = schemas.Time(r.Int()), schemas.Time(r.Int())
	for i := range c.sides {
		c.sides[i] = price{r.Int(), int32(r.Int())}
	}
	c.whole = r.Bool()
	return r.Err()
}
