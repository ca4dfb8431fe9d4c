// Package files reads records from files: tapes and JSON lines as `tapewatch dump` writes them, and CSV bars and trades of any
// layout by a column map. A row that cannot be read is counted, named by its line and skipped.
package files

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/stream/tape"
)

// Formats.
const (
	// Tape is a .tape.zst or .jsonl file of any records.
	Tape = "tape"
	// Bars is a CSV of bars.
	Bars = "bars"
	// Trades is a CSV of trades.
	Trades = "trades"
)

// Config is one file.
type Config struct {
	Name   string `koanf:"name" doc:"Name of the source; it is the Meta.source of records made from CSV. Empty means file."`
	Path   string `koanf:"path" doc:"The file; .gz is unpacked."`
	Format string `koanf:"format" doc:"tape (.tape.zst, .jsonl), bars (CSV) or trades (CSV). Empty means tape."`

	Venue  string `koanf:"venue" doc:"Venue of CSV rows, lower case."`
	Symbol string `koanf:"symbol" doc:"Canonical symbol of CSV rows without a symbol column."`

	Columns   map[string]string `koanf:"columns" doc:"Where each field stands: a column's name, or its number from 0. Bars: time, open, high, low, close, volume, turnover, trades, symbol. Trades: time, price, quantity, side, id, symbol."`
	Header    bool              `koanf:"header" doc:"The first row names the columns."`
	Separator string            `koanf:"separator" doc:"The character between columns."`

	TimeUnit   string        `koanf:"time_unit" doc:"Unit of times counted from 1970: ns, us, ms, s, minute; or a Go layout such as 2006-01-02 15:04:05."`
	Zone       string        `koanf:"zone" doc:"Time zone of times in a layout without one."`
	Interval   time.Duration `koanf:"interval" doc:"Length of a bar."`
	PriceScale int           `koanf:"price_scale" doc:"How many times too large prices are in the file, a power of ten: 10000 for hundredths of a cent."`
	Disorder   time.Duration `koanf:"disorder" doc:"How far back in time a row may follow another; Ticks lag so much."`
}

// Defaults reads a tape.
func Defaults() Config {
	return Config{Name: "file", Format: Tape, Separator: ",", TimeUnit: "ms", Zone: "UTC", Interval: time.Minute, PriceScale: 1}
}

// maxScale bounds price_scale.
const maxScale = 1_000_000_000

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Path == "" {
		return fmt.Errorf("file.path is %q: it must name a file", c.Path)
	}
	switch c.Format {
	case Tape:
		if p := strings.ToLower(c.Path); p != "-" && !strings.HasSuffix(p, tape.ExtensionBinary) && !strings.HasSuffix(p, tape.ExtensionJSON) {
			return fmt.Errorf("file.path is %q: a tape must end in %s or %s; for CSV file.format must be bars or trades", c.Path, tape.ExtensionBinary, tape.ExtensionJSON)
		}
		return nil
	case Bars, Trades:
		return c.validateCSV()
	}
	return fmt.Errorf("file.format is %q: it must be tape, bars or trades", c.Format)
}

func (c Config) validateCSV() error {
	switch {
	case c.Venue == "" || c.Venue != strings.ToLower(c.Venue):
		return fmt.Errorf("file.venue is %q: it must name a venue in lower case", c.Venue)
	case c.Symbol == "" && c.Columns["symbol"] == "":
		return fmt.Errorf("file.symbol is %q: it must be set unless file.columns has symbol", c.Symbol)
	case len(c.Separator) != 1:
		return fmt.Errorf("file.separator is %q: it must be one character", c.Separator)
	case c.Format == Bars && c.Interval < time.Second:
		return fmt.Errorf("file.interval is %v: it must be at least 1s", c.Interval)
	case c.Disorder < 0:
		return fmt.Errorf("file.disorder is %v: it must not be negative", c.Disorder)
	}
	if _, err := exponentOf(c.PriceScale); err != nil {
		return err
	}
	if _, err := newClockface(c.TimeUnit, c.Zone); err != nil {
		return err
	}
	known, needed := tradeFields, []string{"time", "price", "quantity"}
	if c.Format == Bars {
		known, needed = barFields, []string{"time", "close", "volume"}
	}
	for _, f := range needed {
		if c.Columns[f] == "" {
			return fmt.Errorf("file.columns lacks %s: %s must have %v, such as file.columns.%s=0 for the first column", f, c.Format, needed, f)
		}
	}
	for f, column := range c.Columns {
		if !slices.Contains(known, f) {
			return fmt.Errorf("file.columns has %q: %s know %v", f, c.Format, known)
		}
		if n, err := strconv.Atoi(column); (err != nil && !c.Header) || n < 0 || n > maxColumn {
			return fmt.Errorf("file.columns.%s is %q: it must be a number from 0 to %d, or with file.header a name", f, column, maxColumn)
		}
	}
	return nil
}

func exponentOf(scale int) (int32, error) {
	exponent := int32(0)
	for at := 1; at <= maxScale; at *= 10 {
		if at == scale {
			return exponent, nil
		}
		exponent++
	}
	return 0, fmt.Errorf("file.price_scale is %d: it must be a power of ten from 1 to %d", scale, maxScale)
}
