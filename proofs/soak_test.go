package proofs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// TestSoak runs the simulator at 200,000 records a second into a real Kafka, for ten minutes in the full form, and reads
// along: of each key the sequence numbers are counted one by one. None may be missing or twice, the process's own count must
// be that of the reader, and its memory must not grow.
func TestSoak(t *testing.T) {
	asked(t)
	duration := 30 * time.Second
	if full() {
		duration = 10 * time.Minute
	}
	const rate = 200_000
	s := newSystem(t, testservices.Kafka(t), "soak.")
	s.run("topics", "apply", "-s", "topics.partitions=8")
	s.bound(schemas.MarketTrades, schemas.MarketQuotes)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	got, read := &counter{next: map[string]uint64{}}, make(chan struct{})
	go func() {
		defer close(read)
		got.count(ctx, s, schemas.MarketTrades, schemas.MarketQuotes)
	}()

	// The setting is the week's average; the open on a Tuesday in New York has more than twice of it.
	p := s.start("ingest", "simulator", "--once", "-s", "simulator.start=2024-01-02T15:00:00Z", "-s", "simulator.duration="+duration.String(),
		"-s", "simulator.speed=1", "-s", fmt.Sprintf("simulator.rate=%d", rate/2), "-s", "simulator.kinds=trades,quotes", "-s", "simulator.instruments=256",
		"-s", "simulator.anomalies_per_day=0", "-s", "simulator.rare_anomalies_per_day=0")
	memory := p.watch(duration + 2*time.Minute)
	if err := <-p.done; err != nil {
		t.Fatalf("ingest ended with %v\n%s", err, p.tail())
	}
	state := p.cmd.ProcessState
	p.done = nil
	n, took := p.published()
	for end := time.Now().Add(3 * time.Minute); got.records.Load() < n && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	<-read
	if got.records.Load() != n || got.missing != 0 || got.twice != 0 {
		t.Errorf("%d records published, %d read, %d missing, %d twice", n, got.records.Load(), got.missing, got.twice)
	}
	perSecond := float64(n) / took.Seconds()
	if perSecond < rate {
		t.Errorf("%.0f records a second, want %d", perSecond, rate)
	}
	cpu := state.UserTime() + state.SystemTime()
	half, end := memory.peak(0.5), memory.peak(1)
	if end > half*5/4 {
		t.Errorf("peak memory grew from %d MiB in the first half to %d MiB", half>>20, end>>20)
	}
	t.Logf("%d records of %d keys in %v, %.0f a second: 0 lost; %.2f us of processor time a record; memory at most %d MiB in the first half, %d MiB in all",
		n, len(got.next), took.Round(time.Second), perSecond, float64(cpu.Microseconds())/float64(n), half>>20, end>>20)
}

// published is how many records an ingest that has ended says that it published, and in what time.
func (p *service) published() (n int64, took time.Duration) {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	printed := regexp.MustCompile(`ingest: (\d+) records in ([0-9a-z.]+),`).FindAllStringSubmatch(string(text), -1)
	if len(printed) == 0 {
		p.t.Fatalf("no count of records in %s", p.tail())
	}
	last := printed[len(printed)-1]
	n, _ = strconv.ParseInt(last[1], 10, 64)
	if took, err = time.ParseDuration(last[2]); err != nil {
		p.t.Fatal(err)
	}
	return n, took
}

// bound keeps the last half gigabyte of every partition: the reader reads along.
func (s *system) bound(topics ...schemas.Topic) {
	s.t.Helper()
	var names []string
	for _, topic := range topics {
		names = append(names, s.prefix+topic.Name)
	}
	segment, retain := "134217728", "536870912"
	_, err := kadm.NewClient(s.client()).AlterTopicConfigs(s.t.Context(), []kadm.AlterConfig{
		{Name: "segment.bytes", Value: &segment}, {Name: "retention.bytes", Value: &retain},
	}, names...)
	if err != nil {
		s.t.Fatal(err)
	}
}

// counter holds the sequence numbers of every key of some topics together, as the records come.
type counter struct {
	records        atomic.Int64
	missing, twice int64
	next           map[string]uint64
}

// count reads topics until ctx is done.
func (c *counter) count(ctx context.Context, s *system, topics ...schemas.Topic) {
	names := map[string]schemas.Topic{}
	for _, topic := range topics {
		names[s.prefix+topic.Name] = topic
	}
	cl := s.client(kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ConsumeTopics(slices.Collect(maps.Keys(names))...))
	var dec schemas.Decoder
	for ctx.Err() == nil {
		n := int64(0)
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			typ, content := names[r.Topic].TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
			if typ == "Tick" {
				return
			}
			m, err := dec.Decode(typ, content, r.Value)
			if err != nil {
				s.t.Errorf("%s/%d@%d: %v", r.Topic, r.Partition, r.Offset, err)
				return
			}
			n++
			c.add(r.Topic+" "+string(r.Key), schemas.MetaOf(m).Sequence)
		})
		c.records.Add(n)
	}
}

// add takes the next number of a key; each counts from 1.
func (c *counter) add(key string, sequence uint64) {
	want := c.next[key] + 1
	if sequence < want {
		c.twice++
		return
	}
	c.missing += int64(sequence - want)
	c.next[key] = sequence
}

// samples are the resident memory of a process, in bytes, second by second.
type samples []int64

// peak is the highest of the first part of the samples.
func (m samples) peak(part float64) int64 {
	var high int64
	for _, n := range m[:int(float64(len(m))*part)] {
		high = max(high, n)
	}
	return high
}

// watch samples a process's memory until it ends.
func (p *service) watch(limit time.Duration) samples {
	p.t.Helper()
	var out samples
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		size := p.resident()
		if size == 0 {
			return out
		}
		out = append(out, size)
	}
	p.t.Fatalf("%s runs for longer than %v", p.name, limit)
	return nil
}

// resident is the memory of a process in bytes; 0 when it has ended.
func (p *service) resident() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, rss, ok := strings.Cut(string(text), "VmRSS:")
	if err != nil || !ok {
		return 0
	}
	kib, err := strconv.ParseInt(strings.Fields(rss)[0], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}
