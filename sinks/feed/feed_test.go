package feed

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A first reading that failed is made up for by the next Run: the positions alone do not say that the memory is filled.
func TestReadyAfterAFirstReadingThatFailed(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(sinktest.Partitions, schemas.Events.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := cluster.Defaults()
	c.Brokers = fake.ListenAddrs()
	sinktest.Produce(t, sinktest.Client(t, c), 0, 20)
	f, err := New(Options{Cluster: c, Config: Defaults()})
	if err != nil {
		t.Fatal(err)
	}
	fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed})
	if err := f.Run(t.Context()); err == nil || fault.Hits() == 0 || f.Ready() {
		t.Fatalf("NOT RUN: the first reading gave %v after %d faults", err, fault.Hits())
	}
	sinktest.Run(t, f.Run)
	sinktest.Eventually(t, 10*time.Second, f.Ready, "the feed is not ready")
	if entries, _, _ := f.Read(0, 100); len(entries) != 20 {
		t.Errorf("the memory holds %d events, want each of 20 once", len(entries))
	}
}

// entriesFrom are the events of one partition from an offset on.
func entriesFrom(offset int64, n int) (out []*Entry) {
	for i := range int64(n) {
		out = append(out, &Entry{Event: sinktest.Event(int(offset + i)), Offset: offset + i})
	}
	return out
}

// What is read back from memory is whole: events that leave it meanwhile are not left out in silence.
func TestReplayFromMemoryIsWhole(t *testing.T) {
	const size = 64
	f, err := New(Options{Cluster: cluster.Defaults().At("127.0.0.1:1"), Config: Config{MaxEvents: size}})
	if err != nil {
		t.Fatal(err)
	}
	f.ring.reset([16]byte{1}, []int64{0})
	f.ring.add(entriesFrom(0, size), map[int32]int64{0: size})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what memory does not hold is asked of a broker that is not there
	const burst, bursts = 16, 2000
	coming := entriesFrom(size, burst*bursts)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(bursts) {
			f.ring.add(coming[i*burst:(i+1)*burst], map[int32]int64{0: size + (i+1)*burst})
		}
	}()
	fromMemory := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		here := f.Here()
		r := Range{from: []int64{here.next[0] - size}, to: here.next, index: here.Index, topic: [16]byte{1}}
		next := r.from[0]
		err := f.Replay(ctx, r, func(e *Entry, _ func() string) error {
			if e.Offset != next {
				t.Fatalf("offset %d came, want %d", e.Offset, next)
			}
			next++
			return nil
		})
		if err == nil && next != r.to[0] {
			t.Fatalf("the replay ended at offset %d of %d", next, r.to[0])
		}
		if err == nil {
			fromMemory++
		}
	}
	t.Logf("%d replays came from memory", fromMemory)
	if fromMemory == 0 {
		t.Error("NOT RUN: no replay came from memory")
	}
}

// A topic that was made anew with fewer partitions does not end the process under a client that resumes.
func TestReplayOverATopicMadeAnew(t *testing.T) {
	f, err := New(Options{Cluster: cluster.Defaults().At("127.0.0.1:1"), Config: Defaults()})
	if err != nil {
		t.Fatal(err)
	}
	f.ring.reset([16]byte{1}, []int64{0, 0})
	here := f.Here()
	r := Range{from: []int64{0, 0}, to: here.next, topic: [16]byte{1}}
	f.ring.reset([16]byte{2}, []int64{0})
	if f.InMemory(r) {
		t.Error("a range of the old topic is in memory")
	}
	err = f.Replay(t.Context(), r, func(*Entry, func() string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("replaying a range of the old topic: %v", err)
	}
}
