package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// naive is the group as one writes it first: it takes no notice of failed produces, and keeps its state through an abort.
type naive struct {
	ignorePromises bool
}

// run processes until all input is committed, aborting every nth transaction.
func (n naive) run(ctx context.Context, w *world, abortEvery int) {
	w.Helper()
	s, err := kgo.NewGroupTransactSession(append(w.c.Options(nil),
		kgo.TransactionalID("naive"), kgo.ConsumerGroup(w.c.Group(chaos.Name)), kgo.ConsumeTopics(schemas.MarketTrades.Name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		w.Fatal(err)
	}
	defer s.Close()
	tasks := map[int32]*processor.Task{}
	for round := 1; w.lag() > 0 && ctx.Err() == nil; round++ {
		polled, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		fetches := s.PollRecords(polled, 500)
		cancel()
		if fetches.Empty() {
			continue
		}
		if err := s.Begin(); err != nil {
			w.Fatal(err)
		}
		promise := kgo.AbortingFirstErrPromise(s.Client())
		sink := produce(func(r *kgo.Record) {
			if n.ignorePromises {
				s.Produce(ctx, r, nil)
				return
			}
			s.Produce(ctx, r, promise.Promise())
		})
		fetches.EachRecord(func(r *kgo.Record) {
			t := tasks[r.Partition]
			if t == nil {
				t = processor.NewTask(bind(w.T, ""), r.Partition, 0, processor.DefaultTimePolicy(), sink, nil)
				tasks[r.Partition] = t
			}
			t.SetSink(sink)
			in := processor.Input{Key: r.Key, Value: r.Value, Offset: r.Offset}
			in.Type, in.ContentType = schemas.MarketTrades.TypeFromHeader(len(r.Headers), func(i int) (string, []byte) { return r.Headers[i].Key, r.Headers[i].Value })
			t.Process(in)
		})
		if err := s.Client().Flush(ctx); err != nil {
			w.Fatal(err)
		}
		commit := n.ignorePromises || promise.Err() == nil
		if abortEvery > 0 && round%abortEvery == 0 {
			commit = false
		}
		if _, err := s.End(ctx, kgo.TransactionEndTry(commit)); err != nil {
			w.Fatal(err)
		}
	}
}

// produce is a sink that writes events at once.
type produce func(*kgo.Record)

func (p produce) Emit(m schemas.Message) {
	var enc schemas.Encoder
	value, err := enc.AppendValue(nil, schemas.Events, m)
	if err != nil {
		panic(err)
	}
	p(&kgo.Record{Topic: schemas.Events.Name, Key: []byte(schemas.Events.KeyOf(m)), Value: value})
}
func (produce) Undo(int)                {}
func (produce) Forward(*schemas.Tick)   {}
func (produce) Reject(processor.Poison) {}

// The judge must see what the traps of transactions do: each of these groups is wrong in one way.
func TestTheJudgeSeesWhatIsWrong(t *testing.T) {
	t.Run("failed produces ignored", func(t *testing.T) {
		w := newWorld(t)
		w.load(chaos.Load{Records: 10_000})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.Events.Name, Err: kerr.MessageTooLarge, Count: 3, When: every(2)})
		naive{ignorePromises: true}.run(t.Context(), w, 0)
		if v := w.judge(nil); v.Missing == 0 {
			t.Errorf("outputs were lost and the judge says %v", v)
		}
	})
	t.Run("state kept through an abort", func(t *testing.T) {
		w := newWorld(t)
		w.load(chaos.Load{Records: 10_000})
		naive{}.run(t.Context(), w, 3)
		if v := w.judge(nil); v.Missing == 0 && v.Extra == 0 {
			t.Errorf("records were counted twice and the judge says %v", v)
		}
	})
}

// A load of the state that is bounded by the last stable offset under-reads while another topic's marker is on its way.
func TestStateIsReadUpToTheHighWatermark(t *testing.T) {
	w := newWorld(t)
	state := schemas.StateTopic(chaos.Name).Name
	w.load(chaos.Load{Records: 3000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	// Another transaction holds the last stable offset back; a commit comes while ReadState waits.
	cl, err := kgo.NewClient(append(w.c.Options(nil), kgo.TransactionalID("late"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: state, Partition: 0, Key: []byte("late key"), Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stable, err := w.adm.ListCommittedOffsets(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	end, err := w.adm.ListEndOffsets(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	lso, _ := stable.Lookup(state, 0)
	hwm, _ := end.Lookup(state, 0)
	if lso.Offset >= hwm.Offset {
		t.Fatalf("nothing was tested: the last stable offset is %d, the end %d", lso.Offset, hwm.Offset)
	}
	read := make(chan error, 1)
	go func() {
		_, _, err := stream.ReadState(t.Context(), w.c, chaos.Name, 0)
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("the load did not wait for the open transaction: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	w.load(chaos.Load{Records: 5000})
	h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration})
	r := w.start(stream.GroupOptions{Metrics: stream.NewMetrics(reg)})
	w.caughtUp()
	r.end()
	if h.Hits() == 0 {
		t.Fatal("nothing was tested: the fault was not met")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" || l.GetName() == "severity" {
					key = append(key, l.GetValue())
				}
			}
			got[strings.Join(key, " ")] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if got["tapewatch_transactions_total aborted"] < 1 || got["tapewatch_transactions_total committed"] < 1 {
		t.Errorf("transactions: %v aborted, %v committed", got["tapewatch_transactions_total aborted"], got["tapewatch_transactions_total committed"])
	}
	v := w.judge(nil)
	if int(got["watchdog_events_total low"]) != v.Committed || int(got["tapewatch_records_total"]) != v.Input {
		t.Errorf("metrics count %v events and %v records, the topics hold %d and %d; an abort must not count twice",
			got["watchdog_events_total low"], got["tapewatch_records_total"], v.Committed, v.Input)
	}
	for _, name := range []string{"tapewatch_snapshot_bytes_total", "tapewatch_snapshot_time_seconds", "tapewatch_restores_total done"} {
		if got[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

func TestStopWhileRestoring(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 5000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	// The restore's read of the state hangs on an open transaction: the stop must not.
	cl, err := kgo.NewClient(append(w.c.Options(nil), kgo.TransactionalID("hung"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.StateTopic(chaos.Name).Name, Partition: 1, Key: []byte("k"), Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r = w.start(stream.GroupOptions{Leave: true})
	time.Sleep(time.Second)
	if c := r.group.Component(); c.State != "starting" {
		t.Errorf("a group whose partition hangs in its restore is %s", c.State)
	}
	// A second process comes and takes partitions over in the middle of the restore; the others go on meanwhile.
	other := w.start(stream.GroupOptions{Slot: 1, Leave: true})
	time.Sleep(time.Second)
	r.end()
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.load(chaos.Load{Records: 5000, First: 5000})
	w.caughtUp()
	other.end()
	w.clean(nil)
}
