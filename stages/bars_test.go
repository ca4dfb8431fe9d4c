package stages

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// collect keeps the emitted bars.
type collect struct {
	feed.Recorder
	bars []*schemas.Bar
}

func (c *collect) Emit(m schemas.Message) { c.bars = append(c.bars, m.(*schemas.Bar)) }

func rat(d *schemas.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.Text())
	if !ok {
		panic(d.Text())
	}
	return r
}

func summary(b *schemas.Bar) string {
	return fmt.Sprintf("%s %d..%d o=%s h=%s l=%s c=%s v=%s t=%s n=%d", b.Meta.Symbol, b.Start, b.End, b.Open.Text(), b.High.Text(), b.Low.Text(),
		b.Close.Text(), rat(b.Volume).RatString(), rat(b.Turnover).RatString(), b.Trades)
}

// model computes the bars with trades of one interval from a sorted, complete tape in exact arithmetic.
func model(tape []*schemas.Trade, length time.Duration) []string {
	type key struct {
		symbol string
		start  schemas.Time
	}
	groups := map[key][]*schemas.Trade{}
	for _, t := range tape {
		k := key{t.Meta.Symbol, schemas.Time(t.Meta.EventTime).Floor(length)}
		groups[k] = append(groups[k], t)
	}
	var out []string
	for k, g := range groups {
		high, low := g[0].Price, g[0].Price
		volume, turnover := new(big.Rat), new(big.Rat)
		for _, t := range g {
			if t.Price.Cmp(high) > 0 {
				high = t.Price
			}
			if t.Price.Cmp(low) < 0 {
				low = t.Price
			}
			volume.Add(volume, rat(t.Quantity))
			turnover.Add(turnover, new(big.Rat).Mul(rat(t.Price), rat(t.Quantity)))
		}
		out = append(out, fmt.Sprintf("%s %d..%d o=%s h=%s l=%s c=%s v=%s t=%s n=%d", k.symbol, k.start, k.start.Add(length), g[0].Price.Text(), high.Text(),
			low.Text(), g[len(g)-1].Price.Text(), volume.RatString(), turnover.RatString(), len(g)))
	}
	slices.Sort(out)
	return out
}

// Bars of every interval equal a model in exact arithmetic; the empty bars fill every hole of a minute and more.
func TestBarsEqualModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var tape []*schemas.Trade
	var messages []schemas.Message
	at := t0
	for i := range 4000 {
		next := at.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
		if i%500 == 499 {
			next = next.Add(7 * time.Minute)
		}
		for s := at.Floor(time.Second).Add(time.Second); s <= next; s = s.Add(time.Second) {
			messages = append(messages, &schemas.Tick{Source: "test", Time: int64(s) - 1})
		}
		at = next
		tr := trade(fmt.Sprintf("S%d-USD", r.IntN(2)), uint64(i+1), at, int64(100000+r.IntN(5000)), int64(1+r.IntN(900)), schemas.Side(1+r.IntN(2)))
		tape = append(tape, tr)
		messages = append(messages, tr)
	}
	end := at.Floor(24 * time.Hour).Add(24 * time.Hour)
	messages = append(messages, &schemas.Tick{Source: "test", Time: int64(end)})

	def, err := processor.Lookup("bars")
	if err != nil {
		t.Fatal(err)
	}
	bound, err := def.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := feed.Inputs(def.Input, messages)
	if err != nil {
		t.Fatal(err)
	}
	sink := &collect{}
	task := processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
	for _, in := range inputs {
		task.Process(in)
	}
	for _, length := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		var got []string
		ends := map[string][]int64{}
		for _, b := range sink.bars {
			if time.Duration(b.End-b.Start) != length {
				continue
			}
			ends[b.Meta.Symbol] = append(ends[b.Meta.Symbol], b.End)
			if b.Trades > 0 {
				got = append(got, summary(b))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(model(tape, length), got); diff != "" {
			t.Fatalf("bars of %v (-model +got):\n%s", length, diff)
		}
		if length == time.Second {
			continue
		}
		for symbol, all := range ends {
			for i := 1; i < len(all); i++ {
				if all[i]-all[i-1] != int64(length) {
					t.Fatalf("bars of %v of %s: %d follows %d, want no hole", length, symbol, all[i], all[i-1])
				}
			}
		}
	}
}

// Trades without Ticks keep their buckets open: a snapshot of any number of them is read again, and a count that its bytes do
// not hold is refused.
func TestBarsRestoreEveryOpenBucket(t *testing.T) {
	fresh := func() *bars {
		cfg := barsConfig{Intervals: []processor.Duration{second, minute, hour, day}, EmptyFrom: minute}
		return &bars{cfg: cfg, key: processor.Key{Venue: "x", Symbol: "S-USD"}, series: make([]barSeries, len(cfg.Intervals))}
	}
	const seconds = 3 * 3600
	b := fresh()
	for i := range seconds {
		tr := trade("S-USD", uint64(i+1), t0.Add(time.Duration(i)*time.Second), 100_000, 1, schemas.Side_SIDE_BUY)
		b.OnRecord(schemas.Record{Message: tr, Time: schemas.TimeOf(tr)}, nil)
	}
	state := b.AppendState(nil)
	again := fresh()
	if err := again.RestoreState(state); err != nil {
		t.Fatalf("restoring %d open buckets, %d bytes: %v", seconds, len(state), err)
	}
	if n := len(again.series[0].open); n != seconds || !slices.Equal(again.AppendState(nil), state) {
		t.Errorf("%d open buckets, or other bytes, were restored: must be %d and the same bytes", n, seconds)
	}
	if err := fresh().RestoreState(state[:len(state)/2]); err == nil {
		t.Error("half a state was restored without an error")
	}
	before, _, _ := bytes.Cut(state, pack.Uint(nil, seconds))
	hostile := pack.Uint(before, 1<<62)
	if err := fresh().RestoreState(hostile); err == nil {
		t.Error("a count of 1<<62 buckets was restored without an error")
	}
}
