package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

const prefix = "test."

// broker starts a broker with the market topics.
func broker(t testing.TB) (*kfake.Cluster, cluster.Config) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(8, prefix+"market.trades", prefix+"market.quotes", prefix+"market.books", prefix+"reference"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	cfg := cluster.Defaults()
	cfg.Brokers, cfg.Prefix = fake.ListenAddrs(), prefix
	return fake, cfg
}

func producer(t testing.TB, c cluster.Config, change func(*Config)) *Producer {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	p, err := NewProducer(c, cfg, schemas.Encoder{}, nil, NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

const start = schemas.Time(1_700_000_000_000_000_000)

func meta(symbol string, n int) *schemas.Meta {
	at := int64(start) + int64(n)*1e6
	return &schemas.Meta{Source: "test", Venue: "binance", Symbol: symbol, Id: strconv.Itoa(n), EventTime: at, ReceiveTime: at}
}

func tradeOf(symbol string, n int) *schemas.Trade {
	return &schemas.Trade{Meta: meta(symbol, n), Price: schemas.NewDecimal(int64(100+n), -1), Quantity: schemas.NewDecimal(1, 0)}
}

func quoteOf(n int) *schemas.Quote {
	return &schemas.Quote{Meta: meta("BTC-USDT", n), BidPrice: schemas.NewDecimal(1, 0), AskPrice: schemas.NewDecimal(2, 0)}
}

// consume returns everything on a topic by partition, in order.
func consume(t *testing.T, c cluster.Config, topic string, n int) map[int32][]*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append(c.Options(nil), kgo.ConsumeTopics(prefix+topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := map[int32][]*kgo.Record{}
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", got, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out[r.Partition] = append(out[r.Partition], r)
			got++
		})
	}
	return out
}

// Records go where any Kafka client puts their key, in order; a Tick stands on every partition behind all before it.
func TestPlacesAndOrder(t *testing.T) {
	fake, c := broker(t)
	p := producer(t, c, nil)
	const symbols, rounds = 64, 50
	for n := range rounds {
		for s := range symbols {
			if err := p.Publish(schemas.MarketTrades, tradeOf(fmt.Sprintf("S%d-USDT", s), n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Tick("test", start.Add(time.Duration(n)*time.Second), schemas.MarketTrades); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := consume(t, c, "market.trades", rounds*(symbols+8))

	// The oracle for places: a plain client with franz-go's default partitioner.
	plain, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	place := map[string]int32{}
	for s := range symbols {
		r := &kgo.Record{Topic: prefix + "reference", Key: fmt.Appendf(nil, "binance:S%d-USDT", s)}
		if err := plain.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		place[string(r.Key)] = r.Partition
	}
	if len(got) != 8 {
		t.Fatalf("%d partitions, want 8", len(got))
	}
	var dec schemas.Decoder
	for partition, records := range got {
		round, ticks := map[string]int{}, 0
		for _, r := range records {
			name, content := schemas.MarketTrades.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
			m, err := dec.Decode(name, content, r.Value)
			if err != nil {
				t.Fatal(err)
			}
			if name == "Tick" {
				ticks++
				continue
			}
			key := string(r.Key)
			if place[key] != partition {
				t.Errorf("%s is on partition %d, a plain client puts it on %d", key, partition, place[key])
			}
			if id := schemas.MetaOf(m).GetId(); id != strconv.Itoa(round[key]) || round[key] != ticks {
				t.Fatalf("%s: record %s after %d ticks, want %d", key, id, ticks, round[key])
			}
			if r.Timestamp.Before(time.Now().Add(-time.Minute)) {
				t.Errorf("the Kafka timestamp is %v: it must be the publish clock, not event time", r.Timestamp)
			}
			round[key]++
		}
		if ticks != rounds {
			t.Errorf("partition %d has %d ticks, want %d", partition, ticks, rounds)
		}
	}
}

func TestMissingTopicIsNamed(t *testing.T) {
	_, c := broker(t)
	p := producer(t, c, nil)
	err := p.Publish(schemas.VenuesStatus, &schemas.FeedHealth{Meta: meta("BTC-USDT", 1), Channel: "trades"})
	if err == nil || !strings.Contains(err.Error(), "venues.status") || !strings.Contains(err.Error(), "topics apply") {
		t.Errorf("error %v, want one that names the topic and the way out", err)
	}
}

// A record that Kafka refuses for good ends the source: every later call fails with the first loss.
func TestLossIsSurfaced(t *testing.T) {
	fake, c := broker(t)
	p := producer(t, c, nil)
	if err := p.Publish(schemas.MarketTrades, tradeOf("BTC-USDT", 0)); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.(*kmsg.ProduceRequest).Topics {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode = rt.Partitions[0].Partition, kerr.MessageTooLarge.Code
			resp.Topics = append(resp.Topics, kmsg.ProduceResponseTopic{Topic: rt.Topic, TopicID: rt.TopicID, Partitions: []kmsg.ProduceResponseTopicPartition{part}})
		}
		return resp, nil, true
	})
	if err := p.Publish(schemas.MarketTrades, tradeOf("BTC-USDT", 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("Flush gives %v, want the loss", err)
	}
	if err := p.Publish(schemas.MarketTrades, tradeOf("BTC-USDT", 2)); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("Publish after a loss gives %v, want the loss", err)
	}
	if err := p.Tick("test", start, schemas.MarketTrades); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("Tick after a loss gives %v, want the loss", err)
	}
}

// While Kafka stands still, memory stays bounded: quotes are shed and counted, trades wait and all arrive.
func TestBackPressure(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	fake, c := broker(t)
	defer fake.Close()
	p := producer(t, c, func(cfg *Config) { cfg.MaxBufferedRecords, cfg.ShedPercent = 1000, 50 })
	defer p.Close()
	live := p.Live()
	if err := errors.Join(live.Publish(schemas.MarketTrades, tradeOf("BTC-USDT", 0)), live.Publish(schemas.MarketQuotes, quoteOf(0)), p.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	var open atomic.Bool
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		fake.SleepControl(func() {
			for !open.Load() {
				time.Sleep(5 * time.Millisecond)
			}
		})
		return nil, nil, false
	})
	const trades = 3000
	done := make(chan error, 1)
	go func() {
		for n := 1; n <= trades; n++ {
			if err := live.Publish(schemas.MarketTrades, tradeOf("BTC-USDT", n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for p.client.BufferedProduceRecords() < 1000 {
		time.Sleep(5 * time.Millisecond)
	}
	shed := 0
	for n := range 500 {
		if err := live.Publish(schemas.MarketQuotes, quoteOf(n)); errors.Is(err, ErrShed) {
			shed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("3000 trades were taken into a buffer of 1000: %v", err)
	default:
	}
	if n := p.client.BufferedProduceRecords(); n > 1001 {
		t.Errorf("%d records buffered, at most 1000 allowed", n)
	}
	open.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if shed != 500 {
		t.Errorf("%d of 500 quotes shed", shed)
	}
	total := 0
	for _, records := range consume(t, c, "market.trades", trades+1) {
		total += len(records)
	}
	if total != trades+1 {
		t.Errorf("%d trades arrived, want %d", total, trades+1)
	}
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"linger":               func(c *Config) { c.Linger = time.Minute },
		"max_buffered_records": func(c *Config) { c.MaxBufferedRecords = 1 },
		"max_buffered_bytes":   func(c *Config) { c.MaxBufferedBytes = 1 },
		"shed_percent":         func(c *Config) { c.ShedPercent = 0 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v does not name it", name, err)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkPublish is what a trade costs up to the client's buffer; the broker is in the same process, so the wall time has
// its share too.
func BenchmarkPublish(b *testing.B) {
	_, c := broker(b)
	p := producer(b, c, nil)
	trade := tradeOf("BTC-USDT", 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Publish(schemas.MarketTrades, trade); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// A frame that no decoder could read lies on the dead letters as it came, and may be listed but not sent back.
func TestAFrameIsBuriedAsItCame(t *testing.T) {
	_, c := broker(t)
	p := producer(t, c, nil)
	admin, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	frame := deadletter.Frame{Source: "venue.spot", Connection: "a/1", Received: start, Reason: "undecodable", Detail: "no field p", Data: []byte{'{', 0, 0xff}}
	// Without a topic for it the frame is lost and counted, and the source goes on.
	if !p.Bury(frame) {
		t.Error("the producer has room and refuses a frame")
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatalf("a dead letter that has no topic ended the source: %v", err)
	}
	if n := count(t, p.metrics.ProduceErrors.WithLabelValues(prefix+"dlq")); n != 1 {
		t.Errorf("%d produce errors are counted, want 1", n)
	}
	if _, err := kadm.NewClient(admin).CreateTopic(t.Context(), 4, 1, nil, prefix+"dlq"); err != nil {
		t.Fatal(err)
	}
	p = producer(t, c, nil)
	p.Bury(frame)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := deadletter.List(t.Context(), c, nil, deadletter.Filter{Reason: "undecodable"})
	if err != nil || len(found.Letters) != 1 {
		t.Fatalf("%d letters, %v, want one", len(found.Letters), err)
	}
	l := found.Letters[0]
	if l.Source != frame.Source || l.Connection != frame.Connection || l.Received != start || l.Detail != frame.Detail || !bytes.Equal(l.Value, frame.Data) {
		t.Errorf("the letter is %+v, want the frame %+v", l, frame)
	}
	sent, err := deadletter.Redrive(t.Context(), c, nil, deadletter.RedriveOptions{IDs: []deadletter.ID{l.ID}})
	if err != nil || len(sent) != 1 || !strings.Contains(sent[0].Refused, "never on a topic") {
		t.Errorf("sending the frame back: %+v, %v, want a refusal", sent, err)
	}
}

// count reads a counter.
func count(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}
