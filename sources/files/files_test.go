package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/stream/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, cfg Config) (*Source, *sourcetest.Memory) {
	t.Helper()
	s, err := New(cfg, nil, sources.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	if err := s.Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	return s, out
}

func candles(path string) Config {
	cfg := Defaults()
	cfg.Path, cfg.Format, cfg.Venue, cfg.Symbol, cfg.TimeUnit = path, Bars, "bitfinex", "BTC-USD", "minute"
	cfg.Columns = map[string]string{"time": "0", "close": "1", "high": "2", "low": "3", "volume": "4"}
	return cfg
}

func tradesOf(path string) Config {
	cfg := Defaults()
	cfg.Path, cfg.Format, cfg.Venue, cfg.Symbol, cfg.TimeUnit = path, Trades, "binance", "BTC-USDT", "s"
	cfg.Columns = map[string]string{"time": "0", "price": "1", "quantity": "2", "side": "3"}
	return cfg
}

// One-minute candles without a header and without opens: every row of the file, and time that passes over the minutes in
// which nothing traded.
func TestMinuteCandles(t *testing.T) {
	path := filepath.Join(testservices.DataDir(t), "anomaly", "bitfinex-1m", "BTCUSD_2019H1_chlv.csv.gz")
	s, out := read(t, candles(path))
	bars := sourcetest.Of[*schemas.Bar](out)
	// zcat | wc -l
	if len(bars) != 253_338 {
		t.Errorf("%d bars of %d rows", len(bars), s.rows.Load())
	}
	first := bars[0]
	if first.Start != 25771680*60e9 || first.End-first.Start != 60e9 || first.Meta.EventTime != first.End || first.Open != nil ||
		first.Close.Text() != "3833.1" || first.High.Text() != "3834.7" || first.Low.Text() != "3832.6286242" || first.Volume.Text() != "5.81268" {
		t.Errorf("first bar %v", first)
	}
	if late := out.Late(); len(late) != 0 || s.bad.Load() != 0 {
		t.Errorf("%d late, %d bad rows, want none", len(late), s.bad.Load())
	}
	entries := out.Entries()
	if e := entries[0]; e.Type != "Tick" {
		t.Errorf("first comes %v, want a Tick", e)
	}
	if e := entries[len(entries)-1]; e.Type != "Tick" || int64(schemas.TimeOf(e.Message)) != bars[len(bars)-1].End {
		t.Errorf("last comes %v, want a Tick at the end of the last bar", e)
	}
}

func TestTrades(t *testing.T) {
	s, out := read(t, tradesOf(filepath.Join(testservices.DataDir(t), "gocryptotrader", "binance_BTCUSDT_24h-trades_2020_11_16.csv")))
	trades := sourcetest.Of[*schemas.Trade](out)
	if len(trades) != 1000 || s.bad.Load() != 0 || len(out.Late()) != 0 {
		t.Fatalf("%d trades, %d bad rows, %d late, want 1000, 0, 0", len(trades), s.bad.Load(), len(out.Late()))
	}
	if tr := trades[0]; tr.Meta.EventTime != 1605499846e9 || tr.Price.Text() != "15993.5" || tr.Quantity.Text() != "0.026472" || tr.TakerSide != 0 || tr.Meta.Id != "line 1" {
		t.Errorf("first trade %v", tr)
	}
	seen := map[string]bool{}
	for _, tr := range trades {
		if seen[tr.Meta.Id] {
			t.Fatalf("id %q twice", tr.Meta.Id)
		}
		seen[tr.Meta.Id] = true
	}
}

// Bad rows are counted, named and skipped; the good ones around them arrive.
func TestBadRowsAreSkipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.csv")
	rows := []string{
		"when;price;size;side;trade",
		"2013-10-08 09:30:00.001;1654300;100;BUY;a",
		"2013-10-08 09:30:00;x;100;BUY;b",   // no price
		"2013-10-08 09:30:01;1654300;0;B;c", // no quantity
		"never;1654300;1;B;d",
		"2013-10-08 09:30:01;1654300", // short
		strings.Repeat("9", maxRow+5),
		`"2013-10-08 09:30:02";"1654400";"7";sell;e`,
		`"2013-10-08 09:30:02;1;1;s`, // open quote
		"",
		"2013-10-08 09:30:03;1654500;1;sell;f",
	}
	if err := os.WriteFile(path, []byte(strings.Join(rows, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.Path, cfg.Format, cfg.Venue, cfg.Symbol, cfg.Separator, cfg.Header, cfg.PriceScale = path, Trades, "nyse", "SPY-USD", ";", true, 10_000
	cfg.TimeUnit, cfg.Zone = "2006-01-02 15:04:05.999", "America/New_York"
	cfg.Columns = map[string]string{"time": "when", "price": "price", "quantity": "size", "side": "side", "id": "trade"}
	s, out := read(t, cfg)
	trades := sourcetest.Of[*schemas.Trade](out)
	if len(trades) != 3 || s.bad.Load() != 6 {
		t.Fatalf("%d trades, %d bad rows, want 3 and 6", len(trades), s.bad.Load())
	}
	at := time.Date(2013, 10, 8, 13, 30, 0, 1e6, time.UTC)
	if tr := trades[0]; schemas.Time(tr.Meta.EventTime).UTC() != at || tr.Price.Text() != "165.4300" || tr.TakerSide != schemas.Side_SIDE_BUY || tr.Meta.Id != "a" {
		t.Errorf("first trade %v", tr)
	}
	if trades[2].TakerSide != schemas.Side_SIDE_SELL || trades[2].Meta.Id != "f" {
		t.Errorf("last trade %v", trades[2])
	}
	if c := s.Component(); c.State != "healthy" || c.Measures[1].Value != 6 {
		t.Errorf("component %v", c)
	}
}

func tradeAt(symbol string, at schemas.Time, id string) *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: symbol, Id: id, EventTime: int64(at), ReceiveTime: int64(at)},
		Price: schemas.NewDecimal(100, 0), Quantity: schemas.NewDecimal(1, 0),
	}
}

// A dump holds one partition behind the other, each with its copy of every Tick. Read again, no record is behind its Tick
// and every Tick comes once.
func TestTapeOfManyPartitions(t *testing.T) {
	start := schemas.Time(1_700_000_000_000_000_000)
	for _, extension := range []string{tape.ExtensionBinary, tape.ExtensionJSON} {
		path := filepath.Join(t.TempDir(), "dump"+extension)
		w, err := tape.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		var enc schemas.Encoder
		for partition := range int32(3) {
			offset := int64(0)
			write := func(key string, m schemas.Message) {
				value, err := enc.AppendValue(nil, schemas.MarketTrades, m)
				if err != nil {
					t.Fatal(err)
				}
				err = w.Write("market.trades", partition, &tape.Record{Offset: offset, Key: []byte(key), Value: value, Type: schemas.TypeOf(m)})
				if err != nil {
					t.Fatal(err)
				}
				offset++
			}
			for second := range 600 {
				tick := start.Add(time.Duration(second) * time.Second)
				write("", &schemas.Tick{Source: "test", Time: int64(tick)})
				symbol := fmt.Sprintf("S%d-USD", partition)
				write("v:"+symbol, tradeAt(symbol, tick.Add(time.Second), strconv.Itoa(second)))
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := Defaults()
		cfg.Path = path
		s, out := read(t, cfg)
		ticks := sourcetest.Of[*schemas.Tick](out)
		if n := len(sourcetest.Of[*schemas.Trade](out)); n != 1800 || len(ticks) != 600 || s.bad.Load() != 0 {
			t.Errorf("%s: %d trades, %d ticks, %d bad, want 1800, 600, 0", extension, n, len(ticks), s.bad.Load())
		}
		if late := out.Late(); len(late) != 0 {
			t.Errorf("%s: %d records behind their tick", extension, len(late))
		}
	}
}

// JSON lines written by hand have no Ticks: they are made, and bad lines are skipped.
func TestLinesByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hand.jsonl")
	line := func(second int) string {
		return fmt.Sprintf(`{"topic":"market.trades","key":"v:S-USD","type":"Trade","value":{"meta":{"source":"hand","venue":"v","symbol":"S-USD","id":"%d","eventTime":"%d"},"price":{"mantissa":"1"},"quantity":{"mantissa":"1"}}}`,
			second, 1_700_000_000_500_000_000+int64(second)*1e9)
	}
	text := line(0) + "\n" + line(1) + "\n{broken\n" + `{"topic":"market.trades","key":"v:S-USD","type":"Trade","value":{}}` + "\n" + line(5) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.Path = path
	s, out := read(t, cfg)
	var got []string
	for _, e := range out.Entries() {
		got = append(got, fmt.Sprintf("%s %d", e.Type, schemas.TimeOf(e.Message)/1e8-17_000_000_000))
	}
	want := "Tick 0,Trade 5,Tick 10,Trade 15,Tick 50,Trade 55,Tick 60"
	if strings.Join(got, ",") != want || s.bad.Load() != 2 {
		t.Errorf("got %v and %d bad lines, want %s and 2", got, s.bad.Load(), want)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.Path = "" }, "file.path"},
		{func(c *Config) { c.Format = "xml" }, "file.format is \"xml\": it must be"},
		{func(c *Config) { c.Venue = "Binance" }, "file.venue"},
		{func(c *Config) { c.Columns = map[string]string{"time": "0"} }, "lacks price"},
		{func(c *Config) { c.Columns["bogus"] = "1" }, "bogus"},
		{func(c *Config) { c.Columns["price"] = "cost" }, "file.header"},
		{func(c *Config) { c.PriceScale = 12 }, "power of ten"},
		{func(c *Config) { c.TimeUnit = "fortnight" }, "file.time_unit"},
		{func(c *Config) { c.TimeUnit, c.Zone = time.DateTime, "Mars/Base" }, "file.zone"},
		{func(c *Config) { c.Separator = "" }, "file.separator"},
	} {
		cfg := tradesOf("x.csv")
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v, want one that says %q", err, c.says)
		}
	}
	if err := tradesOf("x.csv").Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("1605499846,15993.5,0.026472,ANY\n1605499846.5,1,2,BUY\n"), true)
	f.Add([]byte("25771680,3833.1,3834.7,3832.6,5.8\n\"a\",\"b\n"), false)
	f.Add([]byte("\x1f\x8b\x08\x00"), false)
	f.Fuzz(func(t *testing.T, raw []byte, trades bool) {
		path := filepath.Join(t.TempDir(), "f.csv")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := candles(path)
		if trades {
			cfg = tradesOf(path)
		}
		s, err := New(cfg, nil, sources.NewMetrics(nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Run(t.Context(), &sourcetest.Memory{}) // a broken gzip is an error; what matters is that it returns, and publishes valid records only
	})
}

// encoding is a publisher that encodes, as the producer does, and keeps nothing.
type encoding struct {
	enc schemas.Encoder
	buf []byte
}

func (e *encoding) Publish(topic schemas.Topic, m schemas.Message) (err error) {
	e.buf, err = e.enc.AppendValue(e.buf[:0], topic, m)
	return err
}
func (e *encoding) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }
func (e *encoding) Flush(context.Context) error                       { return nil }

func BenchmarkTrades(b *testing.B) {
	path := filepath.Join(b.TempDir(), "b.csv")
	var text strings.Builder
	const rows = 200_000
	for i := range rows {
		fmt.Fprintf(&text, "%d.%03d,%d.%02d,0.026472,BUY\n", 1_605_499_846+i/100, i%1000, 15_000+i%100, i%100)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := New(tradesOf(path), nil, sources.NewMetrics(nil))
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Run(b.Context(), &encoding{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
