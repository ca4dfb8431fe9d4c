package replay

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tapewatch/tapewatch/bench"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// recorder is a source's publisher that writes a tape of partitions, as a dump of the topic would be.
type recorder struct {
	tape       tape.Writer
	partitions int32
	enc        schemas.Encoder
	value      []byte
	next       map[int32]int64
}

func (r *recorder) Publish(topic schemas.Topic, m schemas.Message) error {
	key := []byte(topic.KeyOf(m))
	return r.write(topic, partitionOf(key, r.partitions), key, m)
}

func (r *recorder) Tick(source string, at schemas.Time, topics ...schemas.Topic) error {
	for _, topic := range topics {
		for p := range r.partitions {
			if err := r.write(topic, p, nil, &schemas.Tick{Source: source, Time: int64(at)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (*recorder) Flush(context.Context) error { return nil }

func (r *recorder) write(topic schemas.Topic, p int32, key []byte, m schemas.Message) error {
	var err error
	if r.value, err = r.enc.AppendValue(r.value[:0], topic, m); err != nil {
		return err
	}
	rec := tape.Record{Offset: r.next[p], Key: key, Value: r.value, Type: schemas.TypeOf(m)}
	r.next[p]++
	return r.tape.Write(topic.Name, p, &rec)
}

// BenchmarkReplay replays a binary tape of the trades that `make bench-kafka` sends through the groups: 64 instruments on 8
// partitions. Mtrades/core-s counts the processor time of the whole process, user and system, so a busy machine changes it
// little; Mtrades/s is by the clock.
func BenchmarkReplay(b *testing.B) {
	const n = 1_000_000
	path := filepath.Join(b.TempDir(), "market.tape.zst")
	w, err := tape.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := bench.NewMarket(64, 5000, 1).Write(&recorder{tape: w, partitions: 8, next: map[int32]int64{}}, n); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	for _, name := range benchmarked() {
		for _, parallel := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s-%d", name, parallel), func(b *testing.B) {
				bound := bind(b, name)
				start := bench.CPU()
				b.ReportAllocs()
				for b.Loop() {
					_, err := Run(b.Context(), Options{Bound: bound, From: File{Path: path}, Parallel: parallel, Policy: processor.DefaultTimePolicy(), Out: func(Output) error { return nil }})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds()/1e6, "Mtrades/s")
				b.ReportMetric(float64(n*b.N)/(bench.CPU()-start).Seconds()/1e6, "Mtrades/core-s")
			})
		}
	}
}
