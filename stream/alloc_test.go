package stream

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/bench"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

type probeConfig struct{}

func (probeConfig) Validate() error { return nil }

// probe is the least that a processor can be.
type probe struct{ n int64 }

func (p *probe) OnRecord(rec schemas.Record, _ processor.Emit) { p.n += int64(rec.Time) }
func (p *probe) OnTime(schemas.Time, processor.Emit)           {}
func (p *probe) AppendState(dst []byte) []byte                 { return append(dst, 1) }
func (p *probe) RestoreState([]byte) error                     { return nil }

func init() {
	processor.Register(processor.Spec[probeConfig]{
		Name: "alloc_probe", Kind: processor.Watchdog, Summary: "Does nothing.", Version: 1, Step: time.Second,
		Input: schemas.MarketTrades, Output: schemas.Events,
		New: func(probeConfig, processor.Key) processor.Processor { return &probe{} },
	})
}

// readyPart is a part that takes trades of 64 keys, and n of them.
func readyPart(t testing.TB, n int) (*part, []*kgo.Record) {
	t.Helper()
	d, err := processor.Lookup("alloc_probe")
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := newPart(0)
	p.out.bind(&route{input: b.Input, output: b.Output, inputs: 1, outputs: 1, dead: 1}, p)
	p.task = processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), &p.out, nil)
	var enc schemas.Encoder
	recs := make([]*kgo.Record, n)
	for i := range recs {
		m := &schemas.Trade{
			Meta: &schemas.Meta{
				Source: "s", Venue: "v", Symbol: fmt.Sprintf("A%02d-USDT", i%64), VenueSymbol: "A", Id: strconv.Itoa(4_000_000_000 + i),
				EventTime: 1_760_000_000_000_000_000 + int64(i), ReceiveTime: 1_760_000_000_003_000_000 + int64(i), Sequence: uint64(i),
			},
			Price: schemas.NewDecimal(6_134_500+int64(i%7), -2), Quantity: schemas.NewDecimal(1+int64(i), -3), TakerSide: schemas.Side_SIDE_BUY,
		}
		value, err := enc.AppendValue(nil, schemas.MarketTrades, m)
		if err != nil {
			t.Fatal(err)
		}
		recs[i] = &kgo.Record{Key: []byte(schemas.MarketTrades.KeyOf(m)), Value: value}
	}
	return p, recs
}

// again hands the part the records as if the next poll had brought them.
func (p *part) again(recs []*kgo.Record) {
	for i, r := range recs {
		r.Offset = p.next + int64(i)
	}
	p.batches = append(p.batches, recs)
	p.run(&schemas.MarketTrades)
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	p, recs := readyPart(t, 1000)
	p.again(recs)
	if got := p.task.Stats(); got.Records != 1000 || got.Rejected != 0 {
		t.Fatalf("the probe's records were not processed: %+v", got)
	}
	if n := testing.AllocsPerRun(20, func() { p.again(recs) }); n != 0 {
		t.Errorf("1000 records cost %v allocations: the hot path must not allocate", n)
	}
}

func BenchmarkPart(b *testing.B) {
	p, recs := readyPart(b, 1000)
	b.ReportAllocs()
	start := bench.CPU()
	for b.Loop() {
		p.again(recs)
	}
	b.ReportMetric(float64((bench.CPU()-start).Nanoseconds())/float64(b.N)/1000, "cpu-ns/record")
}
