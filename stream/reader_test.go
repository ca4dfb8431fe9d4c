package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream/cluster"
)

// fakeCluster starts kfake in the process and makes topics of two partitions.
func fakeCluster(t testing.TB, topics ...string) cluster.Config {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Defaults()
	c.Brokers = k.ListenAddrs()
	return c
}

// txn writes n records to partition 0 of topic in one transaction.
func txn(t testing.TB, c cluster.Config, topic string, n int, end kgo.TransactionEndTry) {
	t.Helper()
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.TransactionalID("writer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, end, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

func TestReadRangeStopsByPosition(t *testing.T) {
	c := fakeCluster(t, "in")
	txn(t, c, "in", 3, kgo.TryCommit) // 0-2, marker 3
	txn(t, c, "in", 4, kgo.TryAbort)  // 4-7 aborted, marker 8
	txn(t, c, "in", 1, kgo.TryCommit) // 9, marker 10
	txn(t, c, "in", 2, kgo.TryAbort)  // 11-12 aborted, marker 13
	for _, tc := range []struct {
		name     string
		from, to int64
		want     string
	}{
		{"ends with a control record", 0, 4, "[0 1 2]"},
		{"ends inside a transaction", 0, 2, "[0 1]"},
		{"aborted records only", 4, 9, "[]"},
		{"ends with an aborted transaction", 0, 14, "[0 1 2 9]"},
		{"begins on a control record", 3, 10, "[9]"},
		{"empty range", 5, 5, "[]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := []int64{}
			err := ReadRange(t.Context(), c, "in", 0, tc.from, tc.to, func(r *kgo.Record) error {
				got = append(got, r.Offset)
				return nil
			})
			if err != nil || fmt.Sprint(got) != tc.want {
				t.Errorf("read %v, error %v; want %s", got, err, tc.want)
			}
		})
	}
}

func TestReadRangeReportsWhatItCannotRead(t *testing.T) {
	c := fakeCluster(t, "in")
	txn(t, c, "in", 3, kgo.TryCommit)
	stop := errors.New("enough")
	calls := 0
	err := ReadRange(t.Context(), c, "in", 0, 0, 3, func(*kgo.Record) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("an error of fn gave %v after %d calls, want the error after one", err, calls)
	}
	if err := ReadRange(t.Context(), c, "in", 7, 0, 3, nil); !errors.Is(err, kerr.InvalidPartitions) {
		t.Errorf("a partition that does not exist gave %v", err)
	}
	cl, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	r := &rangeReader{client: cl, stall: 600 * time.Millisecond}
	var stall *StallError
	if err := r.read(t.Context(), "in", 0, 0, 9, func(*kgo.Record) error { return nil }); !errors.As(err, &stall) || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("a target behind the end gave %v, want a stall that says truncated", err)
	}
	var trim kadm.Offsets
	trim.Add(kadm.Offset{Topic: "in", Partition: 0, At: 2})
	if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), trim); err != nil {
		t.Fatal(err)
	}
	if err := ReadRange(t.Context(), c, "in", 0, 0, 3, nil); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("a range below the log start gave %v", err)
	}
}

func TestReadRangeWaitsForAnOpenTransaction(t *testing.T) {
	c := fakeCluster(t, "in")
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.TransactionalID("open"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("held")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r := &rangeReader{client: cl, stall: 600 * time.Millisecond}
	var stall *StallError
	if err := r.read(t.Context(), "in", 0, 0, 1, nil); !errors.As(err, &stall) || !strings.Contains(err.Error(), "open transaction") {
		t.Fatalf("a hanging transaction gave %v, want a stall that says so", err)
	}
	n := 0
	done := make(chan error, 1)
	go func() {
		done <- ReadRange(t.Context(), c, "in", 0, 0, 1, func(*kgo.Record) error { n++; return nil })
	}()
	time.Sleep(100 * time.Millisecond) // the read is waiting now, or will find the end of the transaction
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || n != 1 {
		t.Fatalf("after the commit the read gave %d records, error %v", n, err)
	}
}

// A reader that was kept waiting for its caller has not stalled: a merge may hold one partition back for as long as it likes.
func TestReadRangeWaitsForASlowCaller(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := cluster.Defaults()
	c.Brokers = k.ListenAddrs()
	cl, err := kgo.NewClient(append(c.Options(nil), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for range 20 { // four fill a fetch
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: make([]byte, 900_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	const stall = 500 * time.Millisecond
	n, last := 0, int64(-1)
	var fault *kfake.FaultHandle
	r := &rangeReader{client: cl, stall: stall}
	err = r.read(t.Context(), "in", 0, 0, 20, func(rec *kgo.Record) error {
		if n == 0 {
			time.Sleep(3 * stall)
			fault = k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition})
		}
		n++
		last = rec.Offset
		return nil
	})
	if err != nil || n != 20 {
		t.Errorf("%d records, the last at offset %d, then %v", n, last, err)
	}
	if fault.Hits() == 0 {
		t.Error("NOT RUN: no fetch came after the wait")
	}
}
