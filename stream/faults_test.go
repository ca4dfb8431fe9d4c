package stream_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// every reports true at every nth call.
func every(n int) func(kmsg.Request) bool {
	calls := 0
	return func(kmsg.Request) bool { calls++; return calls%n == 0 }
}

func TestGroupSurvivesWhatBrokersAnswer(t *testing.T) {
	state := schemas.StateTopic(chaos.Name).Name
	for _, tc := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"offset commit refused for the generation", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration}},
		{"coordinator loading", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.CoordinatorLoadInProgress}},
		{"end of the transaction answered by an unknown error", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.UnknownServerError}},
		{"end of the transaction applied, the answer lost", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.RequestTimedOut}},
		{"output batch refused", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.Events.Name, Err: kerr.MessageTooLarge}},
		{"snapshot refused", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: state, Err: kerr.MessageTooLarge}},
		{"heartbeat lost its coordinator", kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.NotCoordinator}},
		{"member unknown", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.fault.Count, tc.fault.When = 6, every(3)
			h := w.fake.Fault(tc.fault)
			config := testConfig()
			config.Heartbeat, config.CommitInterval = 50*time.Millisecond, 20*time.Millisecond
			// Small polls and transactions: on a slow machine one would take the whole load, and every third call never come.
			config.CommitRecords, config.FetchBytes = 1000, 128<<10
			r := w.start(stream.GroupOptions{Config: config})
			w.load(chaos.Load{Records: 20_000, Rate: 20_000})
			w.caughtUp()
			h.Remove()
			r.end()
			w.clean(nil)
			if h.Hits() == 0 {
				t.Error("the fault was never met: nothing was tested")
			}
		})
	}
}

// An answer that was lost may have been a commit: the broker, not the client, knows.
func TestAbortAsksTheBrokerWhatIsCommitted(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 5000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.RequestTimedOut, Count: 3})
	w.load(chaos.Load{Records: 5000, First: 5000, Rate: 20_000})
	w.caughtUp()
	r.end()
	w.clean(nil)
	if h.Hits() == 0 {
		t.Error("the fault was never met: nothing was tested")
	}
}

func TestPartitionsMoveBetweenProcesses(t *testing.T) {
	w := newWorld(t)
	first := w.start(stream.GroupOptions{Slot: 0, Leave: true})
	done := make(chan error, 1)
	go func() {
		done <- chaos.Load{Records: 60_000, Rate: 20_000, Keys: 37, PerSecond: 1000}.Run(t.Context(), w.c, partitions)
	}()
	time.Sleep(500 * time.Millisecond)
	second := w.start(stream.GroupOptions{Slot: 1, Leave: true})
	time.Sleep(time.Second)
	first.end()
	time.Sleep(500 * time.Millisecond)
	third := w.start(stream.GroupOptions{Slot: 2, Leave: true})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	second.end()
	third.end()
	w.clean(nil)
}

func TestTheSameSlotTwiceIsFencedAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 2000})
	first := w.start(stream.GroupOptions{})
	w.caughtUp()
	second := w.start(stream.GroupOptions{})
	w.load(chaos.Load{Records: 20_000, First: 2000, Rate: 10_000})
	select {
	case err := <-first.done:
		if !errors.Is(err, stream.ErrFenced) || !strings.Contains(err.Error(), "--slot") {
			t.Errorf("the fenced process says %v, want that another runs its slot", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the process whose slot was taken over goes on")
	}
	w.caughtUp()
	second.end()
	w.clean(nil)
}

func TestPoisonGoesToTheDeadLettersOnce(t *testing.T) {
	w := newWorld(t)
	l := chaos.Load{Records: 3000, Keys: 37, PerSecond: 1000}
	w.load(l)
	cl, err := kgo.NewClient(append(w.c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	broken := &kgo.Record{Topic: schemas.MarketTrades.Name, Partition: 1, Key: []byte("chaos:K0001-USDT"), Value: []byte{0xff, 0xff, 1}}
	if err := cl.ProduceSync(t.Context(), broken).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b := bind(t, `{"every":10,"poison":`+price(l, 2500)+`}`)
	// The crash between the dead letter and the commit: the first transactions abort after their produces.
	w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3})
	r := w.start(stream.GroupOptions{Bound: b})
	w.caughtUp()
	w.load(chaos.Load{Records: 2000, First: 3000})
	w.caughtUp()
	r.end()
	w.clean(b)
	letters := w.letters()
	reasons := map[string]int{}
	for _, l := range letters {
		reasons[l.Reason]++
	}
	if reasons["undecodable"] != 1 || reasons["panic"] != 1 || len(letters) != 2 {
		t.Errorf("dead letters are %v, want one undecodable and one panic", reasons)
	}
	for _, l := range letters {
		if l.Reason == "undecodable" && !bytes.Equal(l.Value, broken.Value) {
			t.Errorf("the letter holds %x, want the original bytes %x", l.Value, broken.Value)
		}
	}
}

// An output that no topic takes is poison of its input: it ends neither the group nor, replayed, its successor.
func TestAnOutputTooLargeGoesToTheDeadLettersOnce(t *testing.T) {
	w := newWorld(t)
	// The crash between the dead letter and the commit: the first transactions abort after their produces.
	w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 3})
	w.meetsTooLargeAnOutput()
}

func TestAnOutputTooLargeOnKafka(t *testing.T) { newRealWorld(t).meetsTooLargeAnOutput() }

func (w *world) meetsTooLargeAnOutput() {
	w.Helper()
	l := chaos.Load{Records: 3000, Keys: 37, PerSecond: 1000}
	w.load(l)
	b := bind(w.T, `{"every":10,"huge":`+price(l, 2500)+`}`)
	r := w.start(stream.GroupOptions{Bound: b})
	w.caughtUp()
	w.load(chaos.Load{Records: 2000, First: 3000})
	w.caughtUp()
	r.end()
	w.clean(b)
	letters := w.letters()
	if len(letters) != 1 || letters[0].Reason != "output_too_large" || letters[0].Instance == "" ||
		!strings.Contains(letters[0].Detail, "for events: it must be at most 1000000") {
		w.Errorf("dead letters are %+v, want one output_too_large that names the key, the topic and the bound", letters)
	}
}

// Snapshots may be far larger than outputs; where even that is too little, the group says so at once.
func TestAHugeSnapshot(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 500, Keys: 2})
	large := bind(t, `{"every":10,"ballast":3000000}`)
	r := w.start(stream.GroupOptions{Bound: large})
	w.caughtUp()
	r.end()
	w.clean(large)

	w.load(chaos.Load{Records: 500, First: 500, Keys: 2})
	select {
	case err := <-w.start(stream.GroupOptions{Bound: bind(t, `{"every":10,"ballast":4194304}`)}).done:
		if !errors.Is(err, stream.ErrRefused) || !strings.Contains(err.Error(), `the state of key "chaos:K000`) {
			t.Errorf("the group says %v, want a refusal that names the key", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the group runs on with a snapshot that no topic takes")
	}
}

func price(l chaos.Load, n int) string {
	m := l.Trade(n).GetPrice().GetMantissa()
	return string(appendInt(nil, m))
}

func appendInt(dst []byte, v int64) []byte {
	if v >= 10 {
		dst = appendInt(dst, v/10)
	}
	return append(dst, byte('0'+v%10))
}

func (w *world) letters() []*deadletter.Letter {
	w.Helper()
	dead := w.c.Topic(schemas.DeadLetters.Name)
	var out []*deadletter.Letter
	ends, err := w.adm.ListEndOffsets(w.Context(), dead)
	if err != nil {
		w.Fatal(err)
	}
	for p, end := range ends[dead] {
		err := stream.ReadRange(w.Context(), w.c, dead, p, 0, end.Offset, func(r *kgo.Record) error {
			l, err := deadletter.Decode(r)
			out = append(out, l)
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	return out
}

func TestManyPoisonRecordsInARowAreUnhealthy(t *testing.T) {
	w := newWorld(t)
	cl, err := kgo.NewClient(append(w.c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 20 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.MarketTrades.Name, Value: []byte{0xff}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	config := testConfig()
	config.PoisonThreshold = 20
	r := w.start(stream.GroupOptions{Config: config})
	w.caughtUp()
	if c := r.group.Component(); c.State != "unhealthy" || !strings.Contains(c.Reason, "dead letters") {
		t.Errorf("after 20 dead letters in a row the group is %s: %s", c.State, c.Reason)
	}
	w.load(chaos.Load{Records: 100})
	w.caughtUp()
	if c := r.group.Component(); c.State != "healthy" {
		t.Errorf("after good records the group is %s: %s", c.State, c.Reason)
	}
	r.end()
}

func TestAtLeastOnceLosesNothing(t *testing.T) {
	w := newWorld(t)
	config := testConfig()
	config.Transactions = false
	w.load(chaos.Load{Records: 10_000})
	r := w.start(stream.GroupOptions{Config: config})
	w.caughtUp()
	r.end()
	w.clean(nil) // without a fault, once is once
	r = w.start(stream.GroupOptions{Config: config})
	w.load(chaos.Load{Records: 10_000, First: 10_000})
	w.caughtUp()
	r.end()
	w.clean(nil)
}

// An output that the broker refuses is made again, though it takes the snapshot that covers it.
func TestAtLeastOnceMakesRefusedOutputsAgain(t *testing.T) {
	w := newWorld(t)
	config := testConfig()
	config.Transactions = false
	w.load(chaos.Load{Records: 2000})
	r := w.start(stream.GroupOptions{Config: config})
	w.caughtUp()
	time.Sleep(300 * time.Millisecond) // a snapshot is due
	h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.Events.Name, Err: kerr.MessageTooLarge, Count: 1})
	w.load(chaos.Load{Records: 2000, First: 2000})
	within(t, 10*time.Second, "the fault is met", func() bool { return h.Hits() > 0 })
	w.load(chaos.Load{Records: 2000, First: 4000})
	w.caughtUp()
	r.end()
	if h.Hits() == 0 {
		t.Error("NOT RUN: the fault was never met")
	}
	if v := w.judge(nil); v.Missing > 0 {
		t.Error(v)
	}
}

func TestConfigChangeKeepsTheState(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 10_000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	w.load(chaos.Load{Records: 1000, First: 10_000})
	r = w.start(stream.GroupOptions{Bound: bind(t, `{"every":7}`)})
	w.caughtUp()
	r.end()
	marker, states, err := stream.ReadState(t.Context(), w.c, chaos.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(marker.Config), `"every":7`) || len(states) == 0 {
		t.Errorf("the last snapshot has configuration %s and %d keys", marker.Config, len(states))
	}
	// The state went on: its counts are those of a task that never stopped.
	v := w.judge(bind(t, `{"every":7}`))
	if v.StateWrong != 0 || v.StateKeys == 0 {
		t.Errorf("state after the change: %d of %d keys are wrong", v.StateWrong, v.StateKeys)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(w *world)
		says string
	}{
		{"committed offset below the log start", func(w *world) { w.trim(100_000) }, "are lost"},
		{"state topic emptied", func(w *world) {
			w.trim(100)
			w.empty(schemas.StateTopic(chaos.Name).Name)
		}, "no snapshot"},
		{"commits expired", func(w *world) {
			if _, err := w.adm.DeleteGroups(w.Context(), w.c.Group(chaos.Name)); err != nil {
				w.Fatal(err)
			}
		}, "no committed offset"},
		{"offsets reset", func(w *world) {
			var o kadm.Offsets
			for p := range int32(partitions) {
				o.Add(kadm.Offset{Topic: schemas.MarketTrades.Name, Partition: p, At: 1})
			}
			if err := w.adm.CommitAllOffsets(w.Context(), w.c.Group(chaos.Name), o); err != nil {
				w.Fatal(err)
			}
		}, "the offsets were reset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.load(chaos.Load{Records: 4000})
			r := w.start(stream.GroupOptions{Leave: true})
			w.caughtUp()
			r.end()
			if tc.name == "committed offset below the log start" {
				w.load(chaos.Load{Records: 4000, First: 4000})
			}
			tc.harm(w)
			select {
			case err := <-w.start(stream.GroupOptions{}).done:
				if !errors.Is(err, stream.ErrRefused) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("the group says %v, want a refusal that says %q", err, tc.says)
				}
			case <-time.After(20 * time.Second):
				t.Error("the group runs, or hangs")
			}
		})
	}
}

// trim deletes the first n records of each input partition, at most all.
func (w *world) trim(n int64) {
	w.Helper()
	ends, err := w.adm.ListEndOffsets(w.Context(), schemas.MarketTrades.Name)
	if err != nil {
		w.Fatal(err)
	}
	var to kadm.Offsets
	for p, end := range ends[schemas.MarketTrades.Name] {
		to.Add(kadm.Offset{Topic: schemas.MarketTrades.Name, Partition: p, At: min(n, end.Offset)})
	}
	if _, err := w.adm.DeleteRecords(w.Context(), to); err != nil {
		w.Fatal(err)
	}
}

// empty deletes a topic and makes it anew.
func (w *world) empty(topic string) {
	w.Helper()
	if _, err := w.adm.DeleteTopics(w.Context(), topic); err != nil {
		w.Fatal(err)
	}
	w.makeTopics()
}
