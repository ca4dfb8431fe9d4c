package chaos

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Source is the name of the load's source.
const Source = "chaos"

// begin is the event time of the first record.
const begin = schemas.Time(1_760_000_000_000_000_000)

// A Load writes trades and ticks to market.trades, as a source does.
type Load struct {
	Records int
	Keys    int
	// Rate is in records per second of wall time; 0 is as fast as it goes.
	Rate int
	// PerSecond is how many records one second of event time holds.
	PerSecond int
	// First is the number of the first record: a second load goes on where the first ended.
	First int
}

// Run writes the load and returns when every record is acknowledged.
func (l Load) Run(ctx context.Context, c cluster.Config, partitions int32) error {
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2*time.Millisecond),
		kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.Lz4Compression()))...)
	if err != nil {
		return fmt.Errorf("connecting to write the load: %w", err)
	}
	defer cl.Close()
	w := &writer{client: cl, topic: c.Topic(schemas.MarketTrades.Name), partitions: partitions, promise: kgo.AbortingFirstErrPromise(cl)}
	w.hash = kgo.StickyKeyPartitioner(nil).ForTopic(w.topic)
	began := time.Now()
	w.tick(ctx, l.time(l.First).Floor(time.Second))
	for n := l.First; n < l.First+l.Records; n++ {
		if n%l.PerSecond == 0 {
			w.tick(ctx, l.time(n).Floor(time.Second)-1)
		}
		w.trade(ctx, l, n)
		if l.Rate > 0 && n%max(l.Rate/200, 1) == 0 {
			due := began.Add(time.Duration(n-l.First) * time.Second / time.Duration(l.Rate))
			time.Sleep(time.Until(due))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("flushing the load: %w", err)
	}
	if err := w.promise.Err(); err != nil {
		return fmt.Errorf("writing the load: %w", err)
	}
	return ctx.Err()
}

func (l Load) time(n int) schemas.Time {
	return begin + schemas.Time(int64(n)*int64(time.Second)/int64(l.PerSecond)) + 1
}

// price is a level with noise below one percent, which jumps by a sixth and back every 1500 trades of the key, so that
// detectors have something to say.
func price(n, ofKey int) int64 {
	noise := int64(n*7919) % 10_007
	return 1_000_000 + noise + int64(ofKey/1500%2)*170_000
}

type writer struct {
	client     *kgo.Client
	topic      string
	partitions int32
	hash       kgo.TopicPartitioner
	encoder    schemas.Encoder
	promise    *kgo.FirstErrPromise
}

// Trade is record number n of a load.
func (l Load) Trade(n int) *schemas.Trade {
	symbol := fmt.Sprintf("K%04d-USDT", n%l.Keys)
	return &schemas.Trade{
		Meta: &schemas.Meta{
			Source: Source, Venue: "chaos", Symbol: symbol, Id: strconv.Itoa(n), EventTime: int64(l.time(n)), ReceiveTime: int64(l.time(n)) + 2_000_000,
			Sequence: uint64(n),
		},
		Price:    schemas.NewDecimal(price(n, n/l.Keys), -2),
		Quantity: schemas.NewDecimal(int64(1+n%97), -3), TakerSide: schemas.Side_SIDE_BUY,
	}
}

func (w *writer) trade(ctx context.Context, l Load, n int) {
	m := l.Trade(n)
	value, err := w.encoder.AppendValue(nil, schemas.MarketTrades, m)
	if err != nil {
		panic(err) // the load is ours: every trade of it can be encoded
	}
	r := &kgo.Record{Topic: w.topic, Key: []byte(schemas.MarketTrades.KeyOf(m)), Value: value}
	r.Partition = int32(w.hash.Partition(r, int(w.partitions)))
	w.client.Produce(ctx, r, w.promise.Promise())
}

func (w *writer) tick(ctx context.Context, at schemas.Time) {
	m := &schemas.Tick{Source: Source, Time: int64(at)}
	value, err := w.encoder.AppendValue(nil, schemas.MarketTrades, m)
	if err != nil {
		panic(err)
	}
	for p := range w.partitions {
		r := &kgo.Record{Topic: w.topic, Partition: p, Value: value}
		for _, h := range w.encoder.Headers(schemas.MarketTrades, m) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		w.client.Produce(ctx, r, w.promise.Promise())
	}
}
