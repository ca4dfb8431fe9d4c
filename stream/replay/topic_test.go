package replay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/topics"
)

const topicPartitions = 4

// publish writes records in transactions, every third of them once aborted before it is committed, and returns how the
// records lie on the topic.
func publish(t *testing.T, c cluster.Config, in []placed) []placed {
	t.Helper()
	plan, err := topics.MakePlan(t.Context(), c, topics.Config{Partitions: topicPartitions, Replication: 1}, nil, []schemas.Topic{withPartitions(schemas.MarketTrades)})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(c.Options(nil), kgo.TransactionalID(c.Prefix+"publish"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var lie []placed
	send := func(chunk []placed, try kgo.TransactionEndTry) {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		recs := make([]*kgo.Record, 0, len(chunk))
		for _, p := range chunk {
			recs = append(recs, record(c, p))
		}
		if err := client.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), try); err != nil {
			t.Fatal(err)
		}
		if try == kgo.TryCommit {
			for i, p := range chunk {
				p.Offset = recs[i].Offset
				lie = append(lie, p)
			}
		}
	}
	n := 0
	for chunk := range slices.Chunk(in, 700) {
		if n++; n%3 == 0 {
			send(chunk, kgo.TryAbort)
		}
		send(chunk, kgo.TryCommit)
	}
	send(in[:1], kgo.TryAbort) // the log ends with what nobody may see
	return lie
}

func withPartitions(t schemas.Topic) schemas.Topic {
	t.Partitions = topicPartitions
	return t
}

func fake(t *testing.T) cluster.Config {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return cluster.Config{Brokers: k.ListenAddrs(), Prefix: "r."}
}

// checkTopic compares a replay of the topic with the model over the records as they lie there.
func checkTopic(t *testing.T, c cluster.Config) {
	t.Helper()
	lie := publish(t, c, market(t, topicPartitions, 6000, true))
	b := bind(t, "summer")
	want := expected(t, b, lie, topicPartitions)
	for _, parallel := range []int{1, 2, 4} {
		got, s := replay(t, Options{Bound: b, From: TopicRange{Cluster: c}, Parallel: parallel})
		if got != want {
			t.Fatalf("%d at a time: %.1500s", parallel, cmp.Diff(want, got))
		}
		if !s.Exact() || s.Total.Records != uint64(len(lie)) {
			t.Errorf("%d at a time: %s", parallel, &s)
		}
	}
	// A tape of the topic keeps its offsets, so the bytes are the same.
	if got, _ := replay(t, Options{Bound: b, From: File{Path: save(t, "dump.tape.zst", lie)}}); got != want {
		t.Errorf("the tape: %.1500s", cmp.Diff(want, got))
	}
}

func TestTopicOnTheFakeBroker(t *testing.T) { checkTopic(t, fake(t)) }

func TestTopicOnKafka(t *testing.T) {
	checkTopic(t, cluster.Config{Brokers: strings.Split(testservices.Kafka(t), ","), Prefix: "replay."})
}

func TestTopicRangeBounds(t *testing.T) {
	c := fake(t)
	in := market(t, topicPartitions, 2000, false)
	before := time.Now()
	lie := publish(t, c, in)
	b := bind(t, "summer")
	count := func(keep func(placed) bool) (n uint64) {
		for _, p := range lie {
			if keep(p) {
				n++
			}
		}
		return n
	}
	for name, tc := range map[string]struct {
		r     TopicRange
		keep  func(placed) bool
		exact bool
	}{
		"some partitions":   {TopicRange{Partitions: []int32{1, 3}}, func(p placed) bool { return p.partition%2 == 1 }, true},
		"an end":            {TopicRange{ToOffset: 300}, func(p placed) bool { return p.Offset < 300 }, true},
		"a start":           {TopicRange{FromOffset: 300}, func(p placed) bool { return p.Offset >= 300 }, false},
		"both":              {TopicRange{FromOffset: 100, ToOffset: 300}, func(p placed) bool { return p.Offset >= 100 && p.Offset < 300 }, false},
		"nothing":           {TopicRange{FromOffset: 300, ToOffset: 300}, func(placed) bool { return false }, false},
		"beyond the end":    {TopicRange{FromOffset: 1 << 40}, func(placed) bool { return false }, false},
		"time before all":   {TopicRange{FromTime: schemas.Time(before.Add(-time.Hour).UnixNano())}, func(placed) bool { return true }, true},
		"time after all":    {TopicRange{FromTime: schemas.Time(before.Add(time.Hour).UnixNano())}, func(placed) bool { return false }, false},
		"ends before all":   {TopicRange{ToTime: schemas.Time(before.Add(-time.Hour).UnixNano())}, func(placed) bool { return false }, true},
		"ends in an hour":   {TopicRange{ToTime: schemas.Time(before.Add(time.Hour).UnixNano())}, func(placed) bool { return true }, true},
		"more than a bound": {TopicRange{FromTime: 1, ToOffset: 200}, func(p placed) bool { return p.Offset < 200 }, true},
	} {
		tc.r.Cluster = c
		_, s := replay(t, Options{Bound: b, From: tc.r})
		if want := count(tc.keep); s.Total.Records != want || s.Exact() != tc.exact {
			t.Errorf("%s: %s: must be %d records, exact %v", name, &s, want, tc.exact)
		}
	}
	if _, err := Run(t.Context(), Options{Bound: b, From: TopicRange{Cluster: c, Partitions: []int32{9}}, Out: func(Output) error { return nil }}); err == nil || !strings.Contains(err.Error(), "[9] were asked for") {
		t.Errorf("a partition that is not there: %v", err)
	}
	if _, err := Run(t.Context(), Options{Bound: b, From: TopicRange{Cluster: cluster.Config{Brokers: c.Brokers, Prefix: "none."}}, Out: func(Output) error { return nil }}); err == nil {
		t.Error("a topic that is not there was replayed")
	}
}
