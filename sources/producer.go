package sources

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// Producer is the Publisher in front of Kafka: idempotent, asynchronous, bounded in memory. When its buffer is full,
// Publish waits.
type Producer struct {
	client  *kgo.Client
	cluster cluster.Config
	cfg     Config
	log     *slog.Logger
	metrics *Metrics

	lost   atomic.Pointer[lostError]
	closed sync.Once

	mu     sync.Mutex // guards what follows; never held while the client's buffer is waited for
	enc    schemas.Encoder
	routes map[string]*route
	arena  arena
}

// lostError is the first record that Kafka did not take: from then on the source's output has a hole.
type lostError struct{ err error }

var (
	_ Publisher = (*Producer)(nil)
	_ Burier    = (*Producer)(nil)
)

// NewProducer connects lazily: the first Publish of a topic looks its partitions up. enc says how values are framed.
func NewProducer(c cluster.Config, cfg Config, enc schemas.Encoder, log *slog.Logger, metrics *Metrics) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts := append(c.Options(log),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
		kgo.ProducerLinger(cfg.Linger),
		kgo.MaxBufferedRecords(cfg.MaxBufferedRecords),
		kgo.MaxBufferedBytes(cfg.MaxBufferedBytes),
		kgo.StopProducerOnDataLossDetected(),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("making the Kafka producer: %w", err)
	}
	return &Producer{
		client: client, cluster: c, cfg: cfg, log: log, metrics: metrics, enc: enc,
		routes: map[string]*route{},
	}, nil
}

// Publish hands a record to the client. It waits while the buffer is full, until Close.
func (p *Producer) Publish(topic schemas.Topic, m schemas.Message) error {
	rec, err := p.record(topic, m)
	if err != nil {
		return err
	}
	p.client.Produce(context.Background(), rec, p.acknowledged) //nolint:forbidigo // Close ends the wait; a record once accepted has no deadline
	return nil
}

// record encodes a message for its partition.
func (p *Producer) record(topic schemas.Topic, m schemas.Message) (*kgo.Record, error) {
	if l := p.lost.Load(); l != nil {
		return nil, l.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.route(topic)
	if err != nil {
		return nil, err
	}
	rec := p.arena.record()
	if rec.Value, err = p.arena.encode(&p.enc, topic, m); err != nil {
		return nil, err
	}
	t := r.target(m)
	rec.Topic, rec.Key, rec.Partition = r.name, t.key, t.partition
	rec.Headers = headers(p.enc.Headers(topic, m))
	r.count(m).Inc()
	return rec, nil
}

// Tick writes a watermark to every partition of each topic.
func (p *Producer) Tick(source string, at schemas.Time, topics ...schemas.Topic) error {
	tick := &schemas.Tick{Source: source, Time: int64(at)}
	for _, topic := range topics {
		recs, err := p.ticks(topic, tick)
		if err != nil {
			return err
		}
		for i := range recs {
			p.client.Produce(context.Background(), &recs[i], p.acknowledged) //nolint:forbidigo // as in Publish
		}
	}
	return nil
}

func (p *Producer) ticks(topic schemas.Topic, tick *schemas.Tick) ([]kgo.Record, error) {
	if l := p.lost.Load(); l != nil {
		return nil, l.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, err := p.route(topic)
	if err != nil {
		return nil, err
	}
	value, err := p.arena.encode(&p.enc, topic, tick)
	if err != nil {
		return nil, err
	}
	head := headers(p.enc.Headers(topic, tick))
	recs := make([]kgo.Record, r.partitions)
	for i := range recs {
		recs[i] = kgo.Record{Topic: r.name, Partition: int32(i), Value: value, Headers: head}
	}
	r.count(tick).Add(float64(len(recs)))
	return recs, nil
}

// Bury writes a frame to the dead letters, all on the first partition: at once or not at all, as a frame that nobody can read
// must not hold up or end its source.
func (p *Producer) Bury(f deadletter.Frame) bool {
	if p.behind() {
		return false
	}
	rec := deadletter.EncodeFrame(p.cluster.Topic(schemas.DeadLetters.Name), f)
	p.client.TryProduce(context.Background(), rec, func(rec *kgo.Record, err error) { //nolint:forbidigo // as in Publish
		if err != nil {
			p.metrics.ProduceErrors.WithLabelValues(rec.Topic).Inc()
		}
	})
	return true
}

// acknowledged runs for every record when Kafka has taken it or never will.
func (p *Producer) acknowledged(rec *kgo.Record, err error) {
	if err == nil {
		return
	}
	p.metrics.ProduceErrors.WithLabelValues(rec.Topic).Inc()
	lost := &lostError{fmt.Errorf("producing to %s, partition %d: %w", rec.Topic, rec.Partition, err)}
	if p.lost.CompareAndSwap(nil, lost) && p.log != nil {
		p.log.Error("record lost: the source stops", "topic", rec.Topic, "partition", rec.Partition, "error", err)
	}
}

// Flush waits until all is acknowledged, and returns the first loss if there was one.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flushing the producer: %w", err)
	}
	if l := p.lost.Load(); l != nil {
		return l.err
	}
	return nil
}

// Close drops what is not acknowledged and ends every wait; call Flush first. It may be called twice.
func (p *Producer) Close() { p.closed.Do(p.client.Close) }

// Live returns the Publisher for sources that cannot wait: when the buffer is fuller than shed_percent, quotes and books are
// refused with ErrShed and counted. Trades, gaps, ticks and everything else wait.
func (p *Producer) Live() Publisher { return live{p} }

type live struct{ *Producer }

func (l live) Publish(topic schemas.Topic, m schemas.Message) error {
	switch m.(type) {
	case *schemas.Quote, *schemas.BookSnapshot:
		if l.behind() {
			l.metrics.Shed.WithLabelValues(topic.Name).Inc()
			return ErrShed
		}
	}
	return l.Producer.Publish(topic, m)
}

// behind says that the buffer is too full for records that may be shed.
func (p *Producer) behind() bool {
	share := int64(p.cfg.ShedPercent)
	return p.client.BufferedProduceRecords()*100 >= int64(p.cfg.MaxBufferedRecords)*share ||
		p.client.BufferedProduceBytes()*100 >= int64(p.cfg.MaxBufferedBytes)*share
}

func headers(from []schemas.Header) []kgo.RecordHeader {
	if len(from) == 0 {
		return nil
	}
	out := make([]kgo.RecordHeader, len(from))
	for i, h := range from {
		out[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
	}
	return out
}
