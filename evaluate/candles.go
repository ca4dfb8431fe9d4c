package evaluate

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// DefaultColumns is the column map of the bitfinex-1m files.
const DefaultColumns = "minute,close,high,low,volume"

// A Series is the minute candles of one instrument, in one or several files that follow each other in time.
type Series struct {
	// Symbol is canonical, such as BTC-USD.
	Symbol string
	Paths  []string
}

// ParseSeries reads arguments SYMBOL=PATH or PATH, whose file name then begins with the symbol (BTCUSD_2018.csv.gz). Files
// of one symbol are joined in the order given.
func ParseSeries(args []string) ([]Series, error) {
	var out []Series
	for _, arg := range args {
		symbol, path, named := strings.Cut(arg, "=")
		if !named {
			path = arg
			name := filepath.Base(path)
			symbol = name[:strings.IndexAny(name+".", "._ ")]
		}
		symbol = canonical(symbol)
		if symbol == "" || path == "" {
			return nil, fmt.Errorf("series %q has no symbol or path: it must be SYMBOL=PATH, or a path whose file name begins with the symbol", arg)
		}
		i := slices.IndexFunc(out, func(s Series) bool { return s.Symbol == symbol })
		if i < 0 {
			out = append(out, Series{Symbol: symbol})
			i = len(out) - 1
		}
		out[i].Paths = append(out[i].Paths, path)
	}
	return out, nil
}

// canonical turns BTCUSD into BTC-USD and leaves what has a dash alone.
func canonical(symbol string) string {
	symbol = strings.ToUpper(symbol)
	if strings.Contains(symbol, "-") {
		return symbol
	}
	for _, quote := range []string{"USDT", "USDC", "USD", "EUR", "BTC"} {
		if base, ok := strings.CutSuffix(symbol, quote); ok && base != "" {
			return base + "-" + quote
		}
	}
	return symbol
}

// A candle is one minute of trading. Where nothing traded the volume is 0 and the prices are the last close; a zero close
// means that the series has not begun.
type candle struct {
	start                          schemas.Time
	open, high, low, close, volume float64
}

func (c *candle) traded() bool { return c.volume > 0 }

// columns says where a candle's figures stand in a line.
type columns struct {
	time, open, high, low, close, volume int
	unit                                 time.Duration
}

var units = map[string]time.Duration{
	"minute": time.Minute, "second": time.Second, "milli": time.Millisecond, "micro": time.Microsecond, "nano": time.Nanosecond,
}

// parseColumns reads a column map: names in their order, "-" for a column to skip. The time column is named for its unit.
func parseColumns(text string) (columns, error) {
	c := columns{time: -1, open: -1, high: -1, low: -1, close: -1, volume: -1}
	for i, name := range strings.Split(text, ",") {
		switch name {
		case "open":
			c.open = i
		case "high":
			c.high = i
		case "low":
			c.low = i
		case "close":
			c.close = i
		case "volume":
			c.volume = i
		case "-":
		default:
			unit, ok := units[name]
			if !ok {
				return c, fmt.Errorf("column %q is not known: it must be open, high, low, close, volume, - or the unit of the time: minute, second, milli, micro, nano", name)
			}
			c.time, c.unit = i, unit
		}
	}
	if c.time < 0 || c.close < 0 || c.volume < 0 {
		return c, fmt.Errorf("columns are %q: they must have a time, close and volume", text)
	}
	return c, nil
}

// parse reads one line. High and low default to the close; the open stays 0 where there is no column.
func (c columns) parse(line string) (candle, error) {
	var k candle
	fields := strings.Split(line, ",")
	at := func(i int) (float64, error) {
		if i >= len(fields) {
			return 0, fmt.Errorf("line %q has %d fields: column %d is missing", line, len(fields), i+1)
		}
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil || !(v >= 0 && v < 1e12) {
			return 0, fmt.Errorf("line %q column %d is not a figure: it must be a number from 0 to 1e12", line, i+1)
		}
		return v, nil
	}
	t, err := at(c.time)
	if err != nil {
		return k, err
	}
	k.start = schemas.Time(int64(t) * int64(c.unit)).Floor(time.Minute)
	for _, f := range []struct {
		column int
		to     *float64
	}{{c.open, &k.open}, {c.high, &k.high}, {c.low, &k.low}, {c.close, &k.close}, {c.volume, &k.volume}} {
		if f.column < 0 {
			continue
		}
		if *f.to, err = at(f.column); err != nil {
			return k, err
		}
	}
	if k.high == 0 {
		k.high = k.close
	}
	if k.low == 0 {
		k.low = k.close
	}
	return k, nil
}

// A file gives the candles of one file, ascending, then io.EOF.
type file interface {
	next() (candle, error)
	close()
}

// A csvFile reads lines by a column map.
type csvFile struct {
	columns columns
	file    *os.File
	lines   *bufio.Scanner
}

func openCSV(path string, c columns) (*csvFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening candles: %w", err)
	}
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), f.Close())
		}
	}
	return &csvFile{columns: c, file: f, lines: bufio.NewScanner(in)}, nil
}

func (f *csvFile) next() (candle, error) {
	if !f.lines.Scan() {
		if err := f.lines.Err(); err != nil {
			return candle{}, err
		}
		return candle{}, io.EOF
	}
	return f.columns.parse(f.lines.Text())
}

func (f *csvFile) close() { _ = f.file.Close() } // it was only read

// A reader gives the candles of one series, file after file, and holds one of them ahead.
type reader struct {
	symbol  string
	columns columns
	paths   []string
	path    string
	file    file
	ahead   candle
	more    bool
	last    candle
}

func openReader(s Series, c columns) (*reader, error) {
	r := &reader{symbol: s.Symbol, columns: c, paths: s.Paths}
	if err := r.advance(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// advance reads the next candle into ahead; out-of-order lines are errors, repeated minutes are left out.
func (r *reader) advance() error {
	for {
		if r.file == nil {
			if len(r.paths) == 0 {
				r.more = false
				return nil
			}
			if err := r.open(); err != nil {
				return err
			}
		}
		k, err := r.file.next()
		if errors.Is(err, io.EOF) {
			r.close()
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", r.path, err)
		}
		if r.more && k.start <= r.ahead.start {
			if k.start < r.ahead.start {
				return fmt.Errorf("reading %s: %v comes after %v: minutes must be in order", r.path, k.start, r.ahead.start)
			}
			continue
		}
		r.ahead, r.more = k, true
		return nil
	}
}

// open opens the next file: a tape by the extension of its name, else CSV.
func (r *reader) open() (err error) {
	r.path, r.paths = r.paths[0], r.paths[1:]
	if isTape(r.path) {
		var f *tapeFile
		if f, err = openTape(r.path, r.symbol); err == nil {
			r.file = f
		}
		return err
	}
	var f *csvFile
	if f, err = openCSV(r.path, r.columns); err == nil {
		r.file = f
	}
	return err
}

func (r *reader) close() {
	if r.file != nil {
		r.file.close()
	}
	r.file = nil
}

// minute returns the candle of a minute; call it with ascending minutes.
func (r *reader) minute(start schemas.Time) (candle, error) {
	for r.more && r.ahead.start <= start {
		r.last = r.ahead
		if err := r.advance(); err != nil {
			return candle{}, err
		}
	}
	if r.last.start == start {
		return r.last, nil
	}
	p := r.last.close
	return candle{start: start, open: p, high: p, low: p, close: p}, nil
}
