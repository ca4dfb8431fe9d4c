package detectors

import (
	"bufio"
	"compress/gzip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A candle is one minute of the recorded data.
type candle struct {
	minute                   int64
	close, high, low, volume float64
}

func (c candle) start() schemas.Time { return schemas.Time(c.minute * 60e9) }

// candles reads one of the bitfinex files; it skips without the data.
func candles(t testing.TB, name string) []candle {
	t.Helper()
	file, err := os.Open(filepath.Join(testservices.DataDir(t), "anomaly", "bitfinex-1m", name+"_chlv.csv.gz"))
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []candle
	for in := bufio.NewScanner(zip); in.Scan(); {
		f := strings.Split(in.Text(), ",")
		var v [5]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(f[i], 64); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, candle{int64(v[0]), v[1], v[2], v[3], v[4]})
	}
	return out
}

// A bench drives one processor instance without encoding, as a Task does after decoding, and keeps its events.
type bench struct {
	p      processor.Processor
	def    *processor.Definition
	emit   processor.Emit
	events []*schemas.Event
	reach  schemas.Time
	offset int64
}

func newBench(t testing.TB, name, key, config string) *bench {
	t.Helper()
	def, err := processor.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := def.BindJSON([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{def: def, p: bound.New(processor.NewKey(def.Input.Key, key))}
	b.emit = func(m schemas.Message) { b.events = append(b.events, m.(*schemas.Event)) }
	return b
}

// to moves time.
func (b *bench) to(at schemas.Time) {
	step := b.def.Step
	if b.reach == 0 {
		b.reach = at.Floor(step)
	}
	for b.reach.Add(step) <= at {
		b.reach = b.reach.Add(step)
		b.p.OnTime(b.reach, b.emit)
	}
}

func (b *bench) record(m schemas.Message) {
	if b.reach == 0 {
		b.reach = schemas.TimeOf(m).Floor(b.def.Step)
	}
	b.offset++
	b.p.OnRecord(schemas.Record{Message: m, Time: schemas.TimeOf(m), Offset: b.offset}, b.emit)
}

// decimalOf rounds to six decimals.
func decimalOf(v float64) *schemas.Decimal {
	return schemas.NewDecimal(int64(v*1e6+0.5), -6)
}

// trades feeds a minute as three trades (the extremes in the order that the close suggests, then the close), and moves time to
// its end; minutes without a candle pass in silence.
func (b *bench) trades(c candle, before float64) {
	first, second := c.low, c.high
	if c.close < before {
		first, second = c.high, c.low
	}
	for i, price := range [3]float64{first, second, c.close} {
		at := c.start().Add(time.Duration(10+15*i) * time.Second)
		b.to(at)
		b.record(&schemas.Trade{
			Meta:  &schemas.Meta{Source: "s", Venue: "bitfinex", Symbol: "X-USD", EventTime: int64(at), Sequence: uint64(b.offset + 1)},
			Price: decimalOf(price), Quantity: schemas.NewDecimal(1, 0),
		})
	}
	b.to(c.start().Add(time.Minute))
}
