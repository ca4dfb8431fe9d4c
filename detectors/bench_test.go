package detectors

import (
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// sample is a record that a topic's processors read, made anew by each call with the next sequence number, and the time between
// two of them.
func sample(topic schemas.Topic) (fresh func(seq uint64, at schemas.Time) schemas.Message, every time.Duration) {
	meta := &schemas.Meta{Source: "s", Venue: "v", Symbol: "BTC-USD"}
	switch topic.Name {
	case schemas.MarketTrades.Name:
		trade := &schemas.Trade{Meta: meta, Price: schemas.NewDecimal(0, -2), Quantity: schemas.NewDecimal(1, -3), TakerSide: schemas.Side_SIDE_BUY}
		return func(seq uint64, at schemas.Time) schemas.Message {
			meta.Sequence, meta.EventTime = seq, int64(at)
			trade.Price.Mantissa = 6134500 + int64(seq%7)
			return trade
		}, 10 * time.Millisecond
	case schemas.MarketBaskets.Name:
		bar := &schemas.Bar{Meta: meta, Volume: schemas.NewDecimal(0, -2), Close: schemas.NewDecimal(0, -2), Basket: "venue:v"}
		symbols := [5]string{"A-USD", "B-USD", "C-USD", "D-USD", "E-USD"}
		return func(seq uint64, at schemas.Time) schemas.Message {
			end := at.Floor(time.Minute).Add(time.Minute)
			meta.EventTime, bar.Start, bar.End = int64(end), int64(end.Add(-time.Minute)), int64(end)
			meta.Symbol = symbols[seq%5]
			bar.Volume.Mantissa, bar.Trades = 1000+int64(seq%7), 10
			bar.Close.Mantissa = 10000 + int64((seq*seq/5)%37) + int64(seq%3)
			return bar
		}, 12 * time.Second
	case schemas.MarketBooks.Name:
		book := bookOf(0, 0, t0, 61345, 20, 2, 2)
		book.Meta = meta
		return func(seq uint64, at schemas.Time) schemas.Message {
			meta.Sequence, meta.EventTime = seq, int64(at)
			for _, l := range book.Bids {
				l.Quantity.Mantissa = 2000000 + int64(seq%7)*1000
			}
			return book
		}, 100 * time.Millisecond
	case schemas.VenuesStatus.Name:
		health := &schemas.FeedHealth{Meta: meta, Channel: "trades", Connected: true, OthersAlive: true}
		return func(seq uint64, at schemas.Time) schemas.Message {
			meta.EventTime, health.Records = int64(at), uint32(seq%3)
			return health
		}, time.Second
	}
	if s, ok := samples[topic.Name]; ok {
		return s.fresh(), s.every
	}
	return nil, 0
}

// samples are the sample records of slower topics, beside their detectors' tests.
var samples = map[string]struct {
	fresh func() func(seq uint64, at schemas.Time) schemas.Message
	every time.Duration
}{}

// driven makes an instance with the defaults and a function that gives it the next record, and time every step.
func driven(t testing.TB, def *processor.Definition) (p processor.Processor, next func()) {
	t.Helper()
	fresh, every := sample(def.Input)
	if fresh == nil {
		t.Fatalf("%s reads %s: give it a sample record here", def.Name, def.Input.Name)
	}
	bound, err := def.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	p = bound.New(processor.NewKey(def.Input.Key, "v:BTC-USD"))
	emit := func(schemas.Message) {}
	seq, at, reached := uint64(0), t0, t0
	return p, func() {
		seq++
		at = at.Add(every)
		m := fresh(seq, at)
		p.OnRecord(schemas.Record{Message: m, Time: schemas.TimeOf(m), Offset: int64(seq)}, emit)
		if at.Floor(def.Step) > reached {
			reached = at.Floor(def.Step)
			p.OnTime(reached, emit)
		}
	}
}

// each runs f for every registered watchdog: a new one is measured unasked.
func each(t testing.TB, f func(name string, next func())) {
	t.Helper()
	for _, def := range processor.All() {
		if def.Kind == processor.Watchdog {
			_, next := driven(t, def)
			f(def.Name, next)
		}
	}
}

// The record path, windows that close included, allocates nothing.
func TestRecordsDoNotAllocate(t *testing.T) {
	each(t, func(name string, next func()) {
		for range 20000 {
			next()
		}
		if n := testing.AllocsPerRun(20000, next); n != 0 {
			t.Errorf("%s allocates %v times a record: it must not allocate", name, n)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	each(b, func(name string, next func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
		})
	})
}
