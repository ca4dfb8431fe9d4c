package stream_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

// A transaction without outputs commits its offsets only when the broker is done with the one before: until then Kafka refuses
// them, and franz-go aborts.
func TestACommitWaitsForTheTransactionBefore(t *testing.T) {
	w := newWorld(t)
	config := testConfig()
	config.SnapshotInterval = time.Hour // the first transaction writes snapshots, the others nothing
	w.load(chaos.Load{Records: 200})
	r := w.start(stream.GroupOptions{Config: config, Bound: bind(t, `{"every":100000}`), Leave: true})
	w.caughtUp()
	const busy = 3
	var asked, early atomic.Int32
	w.fake.ControlKey(int16(kmsg.DescribeTransactions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		if asked.Add(1) > busy {
			return nil, nil, false
		}
		resp, _ := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		state := kmsg.NewDescribeTransactionsResponseTransactionState()
		state.TransactionalID, state.State = chaos.Name+"-0", "PrepareCommit"
		resp.TransactionStates = append(resp.TransactionStates, state)
		return resp, nil, true
	})
	w.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		if asked.Load() <= busy {
			early.Add(1)
		}
		return nil, nil, false
	})
	w.load(chaos.Load{Records: 200, First: 200})
	w.caughtUp()
	if asked.Load() <= busy || early.Load() > 0 {
		t.Errorf("the broker was asked %d times, and %d commits came while it was busy", asked.Load(), early.Load())
	}
	r.end()
}

// A transaction that has produced anything asks nothing: its batches are tried again until the broker is done.
func TestACommitThatHasProducedDoesNotAsk(t *testing.T) {
	w := newWorld(t)
	var asked, commits atomic.Int32
	for key, n := range map[kmsg.Key]*atomic.Int32{kmsg.DescribeTransactions: &asked, kmsg.TxnOffsetCommit: &commits} {
		w.fake.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			n.Add(1)
			return nil, nil, false
		})
	}
	config := testConfig()
	config.SnapshotRecords = 1 // each writes a snapshot, and nothing else
	r := w.start(stream.GroupOptions{Config: config, Bound: bind(t, `{"every":100000}`), Leave: true})
	w.load(chaos.Load{Records: 200, Rate: 400})
	w.caughtUp()
	r.end()
	if asked.Load() > 0 || commits.Load() < 2 {
		t.Errorf("the broker was asked %d times for %d transactions that had produced", asked.Load(), commits.Load())
	}
}

// After a restore that had to read input again the first transaction writes a snapshot: aborts that come faster than snapshots
// would make each restore longer than the one before.
func TestARestoreIsFollowedByASnapshot(t *testing.T) {
	w := newWorld(t)
	marker := func() int64 {
		t.Helper()
		sum := int64(0)
		for p := range int32(partitions) {
			m, _, err := stream.ReadState(t.Context(), w.c, chaos.Name, p)
			if err != nil || m == nil {
				t.Fatalf("partition %d: marker %v, %v", p, m, err)
			}
			sum += m.NextOffset
		}
		return sum
	}
	config := testConfig()
	config.SnapshotInterval = time.Hour
	w.load(chaos.Load{Records: 1000})
	r := w.start(stream.GroupOptions{Config: config, Leave: true})
	w.caughtUp()
	first := marker()
	w.load(chaos.Load{Records: 1000, First: 1000})
	w.caughtUp()
	if got := marker(); got != first {
		t.Errorf("the markers went from %d to %d, want no snapshot within the interval", first, got)
	}
	fault := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.ConcurrentTransactions})
	w.load(chaos.Load{Records: 1000, First: 2000})
	w.caughtUp()
	if fault.Hits() == 0 {
		t.Fatal("NOT RUN: no commit was refused")
	}
	if got := marker(); got <= first+1000 {
		t.Errorf("the markers stand at %d after a restore from %d: what it read again is not in a snapshot", got, first)
	}
	r.end()
}
