package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// second is the processor in its next version.
func second(t *testing.T) *processor.Bound {
	t.Helper()
	d, err := processor.Lookup(chaos.Name)
	if err != nil {
		t.Fatal(err)
	}
	next := *d
	next.Version = 2
	b, err := next.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestANewVersionStartsFromAGracefulStopOnly(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 4000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()

	w.load(chaos.Load{Records: 2000, First: 4000})
	r = w.start(stream.GroupOptions{Bound: second(t)})
	w.caughtUp()
	r.end()
	marker, states, err := stream.ReadState(t.Context(), w.c, chaos.Name, 0)
	if err != nil || marker.GetProcessorVersion() != 2 || len(states) == 0 {
		t.Fatalf("after the new version ran, the snapshot is of version %d with %d keys, error %v", marker.GetProcessorVersion(), len(states), err)
	}

	// Back to version 1 with a committed offset past the snapshot, as a crash leaves it.
	var past kadm.Offsets
	w.load(chaos.Load{Records: 2000, First: 6000})
	for p := range int32(partitions) {
		past.Add(kadm.Offset{Topic: schemas.MarketTrades.Name, Partition: p, At: marker.GetNextOffset() + 1})
	}
	if _, err := w.adm.LeaveGroup(t.Context(), kadm.LeaveGroup(w.c.Group(chaos.Name)).InstanceIDs(chaos.Name+"-0")); err != nil {
		t.Fatal(err)
	}
	if err := w.adm.CommitAllOffsets(t.Context(), w.c.Group(chaos.Name), past); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-w.start(stream.GroupOptions{}).done:
		if !errors.Is(err, stream.ErrRefused) {
			t.Errorf("another version in the middle of the log gave %v, want a refusal", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("another version runs from the middle of the log")
	}
}

// Committed offsets only ever grow, whatever is restored: a seek of the group's client would move them back.
func TestCommittedOffsetsNeverDecrease(t *testing.T) {
	w := newWorld(t)
	last := map[int32]int64{}
	back := 0
	w.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		for _, topic := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
			for _, p := range topic.Partitions {
				if p.Offset < last[p.Partition] {
					back++
				}
				last[p.Partition] = p.Offset
			}
		}
		return nil, nil, false
	})
	for i := range 4 {
		w.load(chaos.Load{Records: 3000, First: 3000 * i})
		r := w.start(stream.GroupOptions{})
		w.caughtUp()
		r.end()
	}
	if back > 0 || len(last) != partitions {
		t.Errorf("%d commits went back, of %d partitions that committed", back, len(last))
	}
	w.clean(nil)
}

func TestARestartKeepsItsStaticMembership(t *testing.T) {
	w := newWorld(t)
	joins := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.LeaveGroup}, Observe: true, Count: -1})
	w.load(chaos.Load{Records: 1000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	if joins.Hits() != 0 {
		t.Error("a graceful stop left the group: its restart would rebalance twice")
	}
	members := func() int {
		g, err := w.adm.DescribeGroups(t.Context(), w.c.Group(chaos.Name))
		if err != nil {
			t.Fatal(err)
		}
		return len(g[w.c.Group(chaos.Name)].Members)
	}
	if n := members(); n != 1 {
		t.Errorf("after a graceful stop the group has %d members, want the static one", n)
	}
	r = w.start(stream.GroupOptions{Leave: true})
	w.load(chaos.Load{Records: 1000, First: 1000})
	w.caughtUp()
	r.end()
	if n := members(); n != 0 {
		t.Errorf("after a stop with leave the group has %d members, want none", n)
	}
	w.clean(nil)
}

func TestOldTransactionsAreRefused(t *testing.T) {
	w := newWorld(t)
	cl, err := kgo.NewClient(w.c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	features, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	w.fake.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		answer := *features
		answer.Version = req.GetVersion()
		answer.FinalizedFeatures = nil
		return &answer, nil, true
	})
	select {
	case err := <-w.start(stream.GroupOptions{}).done:
		if !errors.Is(err, stream.ErrRefused) || !strings.Contains(err.Error(), "transaction.version") {
			t.Errorf("a broker without transaction.version 2 gave %v, want a refusal that names it", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the group runs on a broker without transaction.version 2")
	}
}
