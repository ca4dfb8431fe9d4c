package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fake(t *testing.T) (cluster.Config, *kgo.Client) {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "x.dlq", "x.market.trades"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Config{Brokers: k.ListenAddrs(), Prefix: "x."}
	client, err := kgo.NewClient(append(c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return c, client
}

// letters writes n dead letters of trades, letter i on partition i%4 with reason r<i%3>.
func letters(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	for i := range n {
		origin := &kgo.Record{Topic: "x.market.trades", Partition: 1, Offset: int64(i), Headers: []kgo.RecordHeader{header("ce_type", "tapewatch.v1.Trade")}}
		r := Encode("x.dlq", origin, "price_anomaly", processor.Poison{
			Input:  processor.Input{Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "value-%d", i)},
			Reason: fmt.Sprintf("r%d", i%3), Detail: "detail",
		})
		r.Partition, r.Timestamp = int32(i%4), time.UnixMilli(1_700_000_000_000+int64(i))
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestList(t *testing.T) {
	c, client := fake(t)
	empty, err := List(t.Context(), c, nil, Filter{})
	if err != nil || len(empty.Letters) != 0 {
		t.Fatalf("an empty topic gave %v, %v", empty, err)
	}
	letters(t, client, 30)
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "x.dlq", Value: []byte("stray")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name       string
		f          Filter
		n, matched int
		last       int64
	}{
		{"all", Filter{}, 30, 30, 29},
		{"reason", Filter{Reason: "r1"}, 10, 10, 28},
		{"topic by catalogue name", Filter{Topic: "market.trades", Processor: "price_anomaly"}, 30, 30, 29},
		{"topic by full name", Filter{Topic: "x.market.trades"}, 30, 30, 29},
		{"another topic", Filter{Topic: "market.bars"}, 0, 0, 0},
		{"the newest", Filter{Limit: 4}, 4, 30, 29},
	} {
		got, err := List(t.Context(), c, nil, tc.f)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if len(got.Letters) != tc.n || got.Matched != tc.matched || got.Foreign != 1 {
			t.Errorf("%s: %d letters of %d, %d foreign: must be %d of %d, 1 foreign", tc.name, len(got.Letters), got.Matched, got.Foreign, tc.n, tc.matched)
		}
		if tc.n > 0 && got.Letters[len(got.Letters)-1].Offset != tc.last {
			t.Errorf("%s: the newest letter is of offset %d, must be %d", tc.name, got.Letters[len(got.Letters)-1].Offset, tc.last)
		}
	}
}

func TestListSkipsAbortedLetters(t *testing.T) {
	c, client := fake(t)
	letters(t, client, 4)
	txn, err := kgo.NewClient(append(c.Options(nil), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Close()
	for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		letters(t, txn, 2)
		if err := txn.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(t.Context(), c, nil, Filter{})
	if err != nil || len(got.Letters) != 6 {
		t.Fatalf("%d letters, %v: must be the 4 and the 2 committed ones", len(got.Letters), err)
	}
}

func TestShow(t *testing.T) {
	c, client := fake(t)
	letters(t, client, 10)
	l, err := Show(t.Context(), c, nil, ID{2, 1})
	if err != nil || string(l.Value) != "value-6" {
		t.Fatalf("got %v, %v", l, err)
	}
	for _, id := range []ID{{2, 99}, {7, 0}} {
		if _, err := Show(t.Context(), c, nil, id); !errors.Is(err, ErrNoLetter) {
			t.Errorf("%s: error is %v, must be %v", id, err, ErrNoLetter)
		}
	}
}

func TestRedriveSendsTheListedOriginalsOnce(t *testing.T) {
	c, client := fake(t)
	letters(t, client, 10)
	ids := []ID{{2, 1}, {0, 0}, {2, 1}} // letters 6 and 0, one named twice
	if got, err := Redrive(t.Context(), c, nil, RedriveOptions{IDs: ids, DryRun: true}); err != nil || len(got) != 2 || got[0].Offset != -1 {
		t.Fatalf("the dry run gave %v, %v", got, err)
	}
	got, err := Redrive(t.Context(), c, nil, RedriveOptions{IDs: ids})
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	back := consume(t, c, "x.market.trades", 2)
	for i, want := range []string{"0", "6"} {
		r := back["key-"+want]
		if r == nil || string(r.Value) != "value-"+want || redrivesOf(r.Headers) != 1 || string(r.Headers[0].Value) != "tapewatch.v1.Trade" {
			t.Fatalf("letter %s came back as %v", want, r)
		}
		hashed := kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: r.Key}, 4)
		if int(r.Partition) != hashed || got[i].Partition != r.Partition || got[i].Offset != r.Offset {
			t.Errorf("%s lies at %d/%d, reported at %d/%d, its key hashes to %d", r.Key, r.Partition, r.Offset, got[i].Partition, got[i].Offset, hashed)
		}
	}
}

func TestRedriveCannotGoRoundForEver(t *testing.T) {
	c, client := fake(t)
	origin := &kgo.Record{Topic: "x.market.trades", Partition: 2, Value: bytes.Repeat([]byte("v"), 10)}
	rounds := 0
	for ; rounds < 10; rounds++ {
		r := Encode("x.dlq", origin, "p", processor.Poison{Input: processor.Input{Value: origin.Value}, Reason: "invalid"})
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got, err := Redrive(t.Context(), c, nil, RedriveOptions{IDs: []ID{{r.Partition, r.Offset}}})
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Refused != "" {
			break
		}
		if got[0].Partition != 2 {
			t.Fatalf("a record without a key went to partition %d, must stay on 2", got[0].Partition)
		}
		origin = consume(t, c, "x.market.trades", rounds+1)[""]
	}
	if rounds != DefaultMaxRedrives {
		t.Errorf("it went round %d times, must be %d", rounds, DefaultMaxRedrives)
	}
}

func TestRedriveRefusesStrangeTopics(t *testing.T) {
	c, client := fake(t)
	for i, topic := range []string{"x.dlq", "x.secrets", "market.trades"} {
		r := Encode("x.dlq", &kgo.Record{Topic: topic}, "p", processor.Poison{Reason: "invalid"})
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got, err := Redrive(t.Context(), c, nil, RedriveOptions{IDs: []ID{{0, int64(i)}}})
		if err != nil || !strings.Contains(got[0].Refused, "no input topic") {
			t.Errorf("%s: got %v, %v", topic, got, err)
		}
	}
	if _, err := Redrive(t.Context(), c, nil, RedriveOptions{}); err == nil {
		t.Error("no ids must be an error")
	}
	if _, err := Redrive(t.Context(), c, nil, RedriveOptions{IDs: []ID{{0, 77}}}); !errors.Is(err, ErrNoLetter) {
		t.Errorf("an id of nothing: %v", err)
	}
}

// consume reads n records of a topic, the last of each key.
func consume(t *testing.T, c cluster.Config, topic string, n int) map[string]*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append(c.Options(nil), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	out := map[string]*kgo.Record{}
	for n > 0 {
		fs := client.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { out[string(r.Key)] = r; n-- })
	}
	return out
}
