package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

const partitions = 4

// world is a fake cluster with the topics of the chaos processor.
type world struct {
	*testing.T
	fake *kfake.Cluster
	c    cluster.Config
	adm  *kadm.Client
	log  *slog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newFakeWorld(t)
}

// newQuickWorld takes sessions of less than 6 s.
func newQuickWorld(t *testing.T) *world {
	t.Helper()
	return newFakeWorld(t, kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"}))
}

func newFakeWorld(t *testing.T, opts ...kfake.Opt) *world {
	t.Helper()
	fake, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	w := &world{T: t, fake: fake, c: cluster.Defaults()}
	w.c.Brokers = fake.ListenAddrs()
	w.connect()
	return w
}

// newRealWorld is a world on Kafka itself, with topics of its own.
func newRealWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: it wants Kafka, and -short is given")
	}
	w := &world{T: t, c: cluster.Defaults()}
	w.c.Brokers = strings.Split(testservices.Kafka(t), ",")
	w.c.Prefix = fmt.Sprintf("w%d.", time.Now().UnixNano())
	w.connect()
	return w
}

func (w *world) connect() {
	w.Helper()
	w.makeTopics()
	cl, err := kgo.NewClient(w.c.Options(nil)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cl.Close)
	w.adm = kadm.NewClient(cl)
}

// makeTopics does what `tapewatch topics apply` does.
func (w *world) makeTopics() {
	w.Helper()
	err := topics.Make(w.Context(), w.c, partitions, schemas.MarketTrades, schemas.Events, schemas.StateTopic(chaos.Name), schemas.CheckpointTopic(chaos.Name, schemas.MarketTrades), schemas.DeadLetters)
	if err != nil {
		w.Fatal(err)
	}
}

// set changes a setting of a topic.
func (w *world) set(topic schemas.Topic, key, value string) {
	w.Helper()
	resp, err := w.adm.AlterTopicConfigs(w.Context(), []kadm.AlterConfig{{Name: key, Value: &value}}, w.c.Topic(topic.Name))
	for _, r := range resp {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func bind(t *testing.T, config string) *processor.Bound {
	t.Helper()
	d, err := processor.Lookup(chaos.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.BindJSON([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testConfig snapshots often, so that restores meet snapshots.
func testConfig() stream.Config {
	c := stream.Defaults()
	c.SnapshotInterval, c.Restarts = 200*time.Millisecond, 3
	return c
}

// running is a group at work.
type running struct {
	t     *testing.T
	group *stream.Group
	stop  context.CancelFunc
	done  chan error
}

func (w *world) start(o stream.GroupOptions) *running {
	w.Helper()
	if o.Bound == nil {
		o.Bound = bind(w.T, "")
	}
	if o.Config == (stream.Config{}) {
		o.Config = testConfig()
	}
	o.Cluster, o.Log = w.c, w.log
	if o.Log == nil && testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	g, err := stream.NewGroup(o)
	if err != nil {
		w.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.Context())
	r := &running{t: w.T, group: g, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- g.Run(ctx) }()
	return r
}

// end stops the group gracefully.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Fatalf("a graceful stop gave %v", err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("the group does not stop")
	}
}

func (w *world) load(l chaos.Load) {
	w.Helper()
	if l.Keys == 0 {
		l.Keys = 37
	}
	if l.PerSecond == 0 {
		l.PerSecond = 1000
	}
	if err := l.Run(w.Context(), w.c, partitions); err != nil {
		w.Fatal(err)
	}
}

// caughtUp waits until every input offset is committed, as long as there is progress.
func (w *world) caughtUp() {
	w.Helper()
	least, since := int64(math.MaxInt64), time.Now()
	for ; ; time.Sleep(20 * time.Millisecond) {
		left := w.lag()
		switch {
		case left == 0:
			return
		case left < least:
			least, since = left, time.Now()
		case time.Since(since) > 40*time.Second:
			w.Fatalf("the group does not catch up: %d records are not committed", left)
		}
	}
}

func (w *world) lag() int64 {
	w.Helper()
	input := w.c.Topic(schemas.MarketTrades.Name)
	ends, err := w.adm.ListEndOffsets(w.Context(), input)
	if err != nil {
		w.Fatal(err)
	}
	offsets, err := w.adm.FetchOffsets(w.Context(), w.c.Group(chaos.Name))
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !kerr.IsRetriable(err) {
		w.Fatal(err)
	}
	left := int64(0)
	for p, end := range ends[input] {
		at := int64(0)
		if o, ok := offsets.Lookup(input, p); ok {
			at = o.At
		}
		left += end.Offset - at
	}
	return left
}

func (w *world) judge(b *processor.Bound) chaos.Verdict {
	w.Helper()
	if b == nil {
		b = bind(w.T, "")
	}
	v, err := chaos.Judge(w.Context(), w.c, b, processor.DefaultTimePolicy())
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func (w *world) clean(b *processor.Bound) {
	w.Helper()
	if v := w.judge(b); !v.Clean() {
		w.Fatal(v)
	}
}

func TestGroupIsExactlyOnceThroughAGracefulStop(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 20_000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	if c := r.group.Component(); c.State != "healthy" {
		t.Errorf("a group that has caught up is %s: %s", c.State, c.Reason)
	}
	r.end()
	w.clean(nil)

	w.load(chaos.Load{Records: 20_000, First: 20_000})
	r = w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	w.clean(nil)
}

// What came after the last snapshot must not wait for more input to be snapshotted: once it is older than the input topic
// keeps it, a crash would leave state that nothing rebuilds.
func TestQuietInputIsSnapshotted(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 2000})
	r := w.start(stream.GroupOptions{})
	w.caughtUp()
	for n := range 3 {
		w.load(chaos.Load{Records: 100, First: 2000 + n*100})
		w.caughtUp()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		behind := w.unsnapshotted()
		if behind == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d committed records are in no snapshot although the input is quiet", behind)
		}
	}
	w.load(chaos.Load{Records: 100, First: 2300})
	w.caughtUp()
	r.end()
	w.clean(nil)
}

// unsnapshotted counts the committed records that a restore would replay.
func (w *world) unsnapshotted() int64 {
	w.Helper()
	offsets, err := w.adm.FetchOffsets(w.Context(), w.c.Group(chaos.Name))
	if err != nil {
		w.Fatal(err)
	}
	left := int64(0)
	for p := range int32(partitions) {
		marker, _, err := stream.ReadState(w.Context(), w.c, chaos.Name, p)
		if err != nil {
			w.Fatal(err)
		}
		at, _ := offsets.Lookup(w.c.Topic(schemas.MarketTrades.Name), p)
		left += at.At - marker.GetNextOffset()
	}
	return left
}

func TestGroupOptionsAreChecked(t *testing.T) {
	c := stream.Defaults()
	c.Transaction = c.SessionTimeout
	if _, err := stream.NewGroup(stream.GroupOptions{Bound: bind(t, ""), Config: c, Cluster: cluster.Defaults()}); err == nil {
		t.Error("a transaction timeout below session plus rebalance timeout was taken")
	}
	if _, err := stream.NewGroup(stream.GroupOptions{Config: stream.Defaults(), Cluster: cluster.Defaults()}); err == nil {
		t.Error("a group without a processor was taken")
	}
}

func TestGroupRefusesTopicsThatDoNotFit(t *testing.T) {
	w := newWorld(t)
	if _, err := w.adm.DeleteTopics(t.Context(), schemas.StateTopic(chaos.Name).Name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.adm.CreateTopic(t.Context(), partitions+1, 1, nil, schemas.StateTopic(chaos.Name).Name); err != nil {
		t.Fatal(err)
	}
	if err := <-w.start(stream.GroupOptions{}).done; !errors.Is(err, stream.ErrRefused) {
		t.Fatalf("a state topic with another partition count gave %v, want a refusal", err)
	}
}
