package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// scaler sums scaled mantissas, so that its state tells under which configurations it stood; it emits for every seventh trade and
// at every hour, and panics on a mantissa of 666.
type scaler struct {
	scale, sum int64
	count      uint64
}

type scalerConfig struct {
	Scale int64 `json:"scale"`
}

func (scalerConfig) Validate() error { return nil }

func init() {
	processor.Register(processor.Spec[scalerConfig]{
		Name: "scaler", Kind: processor.Watchdog, Summary: "Sums what is scaled.", Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Hour,
		Defaults: scalerConfig{Scale: 1},
		New:      func(c scalerConfig, _ processor.Key) processor.Processor { return &scaler{scale: c.Scale} },
	})
	processor.Register(processor.Spec[strictConfig]{
		Name: "strict_scaler", Kind: processor.Watchdog, Summary: "The scaler of a later build.", Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Hour,
		Defaults: strictConfig{Scale: 1},
		New:      func(c strictConfig, _ processor.Key) processor.Processor { return &scaler{scale: c.Scale} },
	})
}

// strictConfig refuses what the scaler of an earlier build accepted.
type strictConfig scalerConfig

func (c strictConfig) Validate() error {
	if c.Scale > 3 {
		return fmt.Errorf("scale is %d: it must be at most 3", c.Scale)
	}
	return nil
}

func (s *scaler) event(at schemas.Time, kind string) *schemas.Event {
	return &schemas.Event{Type: kind, Severity: schemas.Low, Status: schemas.Open, DedupKey: "d", EventTime: int64(at), Description: strconv.FormatInt(s.sum, 10), Evidence: &schemas.Evidence{}}
}

func (s *scaler) OnRecord(rec schemas.Record, emit processor.Emit) {
	t, ok := rec.Message.(*schemas.Trade)
	if !ok {
		return
	}
	s.sum += s.scale * t.Price.Mantissa
	if s.count++; s.count%7 == 0 {
		emit(s.event(rec.Time, "seventh"))
	}
	if t.Price.Mantissa == 666 {
		panic("ordered")
	}
}

func (s *scaler) OnTime(now schemas.Time, emit processor.Emit) { emit(s.event(now, "hour")) }

func (s *scaler) AppendState(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendVarint(append(dst, 1), s.sum), s.count)
}

func (s *scaler) RestoreState(src []byte) error {
	if len(src) < 3 || src[0] != 1 {
		return errors.New("not a state of scaler")
	}
	v, n := binary.Varint(src[1:])
	s.sum = v
	s.count, _ = binary.Uvarint(src[1+n:])
	return nil
}

func scaled(t *testing.T, scale int64, version int) *processor.Bound {
	t.Helper()
	d, err := processor.Lookup("scaler")
	if err != nil {
		t.Fatal(err)
	}
	next := *d
	next.Version = uint32(version)
	b, err := next.BindJSON(fmt.Appendf(nil, `{"scale":%d}`, scale))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A history is a topic of three days through which a group went under several configurations, and the events that it committed.
type history struct {
	*testing.T
	c     cluster.Config
	adm   *kadm.Client
	live  []lived
	ends  map[int32]int64
	turns map[int32][]int64 // by partition, where the group stopped
}

// lived is one event with where its input lies.
type lived struct {
	partition int32
	offset    int64
	text      string
}

const historyPartitions = 2

// makeHistory writes the trades in stretches and runs the group once over each, under the scales in turn.
func makeHistory(t *testing.T, c cluster.Config, scales ...int64) *history {
	t.Helper()
	h := &history{T: t, c: c, ends: map[int32]int64{}, turns: map[int32][]int64{}}
	plan, err := topics.MakePlan(t.Context(), c, topics.Config{Partitions: historyPartitions, Replication: 1}, nil, topics.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	h.adm = kadm.NewClient(client)
	in := stretched(t, market(t, historyPartitions, 6000, true), 72*time.Hour)
	per := (len(in) + len(scales) - 1) / len(scales)
	i := 0
	for chunk := range slices.Chunk(in, per) {
		recs := make([]*kgo.Record, 0, len(chunk))
		for _, p := range chunk {
			recs = append(recs, record(c, p))
		}
		if err := client.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		live(t, c, scaled(t, scales[i], 1))
		for _, r := range recs {
			h.ends[r.Partition] = r.Offset + 1
		}
		for p, end := range h.ends {
			h.turns[p] = append(h.turns[p], end)
		}
		i++
	}
	h.live = h.events()
	if len(h.live) < 1000 {
		t.Fatalf("%d events: the test needs more", len(h.live))
	}
	return h
}

// stretched moves the Ticks of a market apart, and the trades with the Tick before them, so that they fill a duration.
func stretched(t *testing.T, in []placed, whole time.Duration) []placed {
	t.Helper()
	var dec schemas.Decoder
	var enc schemas.Encoder
	start := schemas.Time(1_700_000_000e9)
	factor := int64(whole / (60 * time.Second)) // the market's trades are 10 ms apart
	var tick, moved int64
	for i := range in {
		m, err := dec.Decode(in[i].Type, "", in[i].Value)
		if err != nil {
			continue // a damaged one
		}
		switch m := m.(type) {
		case *schemas.Tick:
			tick, moved = m.Time, int64(start)+(m.Time-int64(start))*factor
			m.Time = moved
		case *schemas.Trade:
			m.Meta.EventTime += moved - tick
			m.Meta.ReceiveTime = m.Meta.EventTime
		}
		if in[i].Value, err = enc.AppendValue(nil, schemas.MarketTrades, m); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// events reads what the group has committed.
func (h *history) events() (out []lived) {
	h.Helper()
	ends, err := h.adm.ListCommittedOffsets(h.Context(), h.c.Topic("events"))
	if err != nil {
		h.Fatal(err)
	}
	var dec schemas.Decoder
	for p := range int32(historyPartitions) {
		end, _ := ends.Lookup(h.c.Topic("events"), p)
		err := stream.ReadRange(h.Context(), h.c, h.c.Topic("events"), p, 0, end.Offset, func(r *kgo.Record) error {
			m, err := dec.Decode("Event", "", r.Value)
			if err != nil {
				return err
			}
			e, _ := m.(*schemas.Event)
			out = append(out, lived{e.Position.GetPartition(), e.Position.GetOffset(), text(h, m)})
			return nil
		})
		if err != nil {
			h.Fatal(err)
		}
	}
	return out
}

// between returns the live events of input offsets [from, to), sorted.
func (h *history) between(from func(partition int32) int64, to int64) (out []string) {
	for _, e := range h.live {
		if e.offset >= from(e.partition) && e.offset < to {
			out = append(out, e.text)
		}
	}
	slices.Sort(out)
	return out
}

// replay runs a stretch and returns its events, sorted.
func (h *history) replay(b *processor.Bound, r TopicRange) ([]string, Summary) {
	h.Helper()
	r.Cluster = h.c
	var out []string
	s, err := Run(h.Context(), Options{Bound: b, From: r, Policy: processor.DefaultTimePolicy(), Out: func(o Output) error {
		if o.Message != nil {
			out = append(out, text(h, o.Message))
		}
		return nil
	}})
	if err != nil {
		h.Fatal(err)
	}
	slices.Sort(out)
	return out, s
}

func checkStretches(t *testing.T, c cluster.Config, stretches int) {
	t.Helper()
	h := makeHistory(t, c, 1, 1, 3, 3, 2, 1)
	longest := slices.Max([]int64{h.ends[0], h.ends[1]})
	rnd := rand.New(rand.NewPCG(1, 2))
	b := scaled(t, 1, 1)
	without := 0
	for i := range stretches {
		from, to := rnd.Int64N(longest), rnd.Int64N(longest)
		if from > to {
			from, to = to, from
		}
		switch i {
		case 0:
			from, to = 0, longest
		case 1: // exactly where the configuration changed
			from, to = h.turns[0][1], h.turns[0][3]
		}
		r := TopicRange{FromOffset: from, ToOffset: to, Recorded: true}
		want := h.between(func(int32) int64 { return from }, to)
		got, s := h.replay(b, r)
		if d := cmp.Diff(want, got); d != "" || !s.Exact() {
			t.Fatalf("offsets %d to %d: %s: %.1500s", from, to, &s, d)
		}
		if s.Total.Rejected == 0 || s.Total.Rejected > s.Total.Records/10 {
			t.Errorf("offsets %d to %d: %d of %d records were refused: the test is about others", from, to, s.Total.Rejected, s.Total.Records)
		}
		if s.Total.Emitted != uint64(len(want)) {
			t.Errorf("offsets %d to %d: the summary counts %d outputs of %d", from, to, s.Total.Emitted, len(want))
		}
		// The control: without what the group recorded, a stretch gives other events.
		r.Recorded = false
		if got, _ := h.replay(b, r); !slices.Equal(got, want) {
			without++
		}
	}
	t.Logf("%d events in %d records; %d stretches exact, %d of them differ without what the group recorded", len(h.live), h.ends[0]+h.ends[1], stretches, without)
	if without < stretches-1 {
		t.Errorf("%d of %d stretches differ without the recorded state and configuration: nearly all must", without, stretches)
	}
}

func TestAStretchInTheMiddleIsExact(t *testing.T) { checkStretches(t, fake(t), 12) }

func TestAStretchInTheMiddleIsExactOnKafka(t *testing.T) {
	checkStretches(t, cluster.Config{Brokers: strings.Split(testservices.Kafka(t), ","), Prefix: "stretch."}, 5)
}

// The state comes from a checkpoint of the day, not from the start of the log.
func TestAStretchBeginsAtTheNewestCheckpoint(t *testing.T) {
	h := makeHistory(t, fake(t), 1, 1, 1)
	for p := range int32(historyPartitions) {
		for _, from := range []int64{0, h.ends[p] / 2, h.ends[p] - 1} {
			past, err := TopicRange{Cluster: h.c}.recorded(t.Context(), scaled(t, 1, 1), part{partition: p, from: from, to: h.ends[p]})
			if err != nil || past == nil {
				t.Fatalf("partition %d from %d: %v, %v", p, from, past, err)
			}
			// Three days: no checkpoint lies further back than a day and the batch that crossed it.
			if past.begin > from || from-past.begin > h.ends[p]/3+h.ends[p]/10 {
				t.Errorf("partition %d from %d: begins at %d", p, from, past.begin)
			}
			if len(past.turns) > 0 {
				t.Errorf("partition %d: %d changes of a configuration that never changed", p, len(past.turns))
			}
		}
	}
}

func TestALogWhoseBeginningIsGone(t *testing.T) {
	h := makeHistory(t, fake(t), 1, 2, 2)
	cut := h.turns[0][0] / 2
	offsets := kadm.Offsets{}
	for p := range int32(historyPartitions) {
		offsets.Add(kadm.Offset{Topic: h.c.Topic("market.trades"), Partition: p, At: cut})
	}
	if _, err := h.adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	b := scaled(t, 2, 1)
	got, s := h.replay(b, TopicRange{Recorded: true})
	first := map[int32]int64{}
	for _, p := range s.Partitions {
		first[p.Partition] = p.First
		if p.First < cut || p.First >= h.ends[p.Partition] {
			t.Errorf("partition %d begins at %d: it must be a checkpoint between %d and %d", p.Partition, p.First, cut, h.ends[p.Partition])
		}
	}
	want := h.between(func(p int32) int64 { return first[p] }, h.ends[0]+h.ends[1])
	if d := cmp.Diff(want, got); d != "" || !s.Exact() || len(want) == 0 {
		t.Errorf("%s: %.1500s", &s, d)
	}
	if len(s.Notes) != historyPartitions || !strings.Contains(s.Notes[0], "the log begins at") {
		t.Errorf("notes are %q", s.Notes)
	}
	if _, s := h.replay(b, TopicRange{}); s.Exact() {
		t.Error("a replay that begins in the middle with no state calls itself exact")
	}
}

func TestAnotherVersionIsNotExact(t *testing.T) {
	h := makeHistory(t, fake(t), 1, 1)
	client, err := kgo.NewClient(append(h.c.Options(nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, p := range market(t, historyPartitions, 200, false) {
		if p.Type == "Trade" {
			client.Produce(context.WithoutCancel(t.Context()), record(h.c, p), nil)
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	live(t, h.c, scaled(t, 1, 2))
	_, s := h.replay(scaled(t, 1, 1), TopicRange{Recorded: true})
	if s.Exact() || !strings.Contains(s.String(), fmt.Sprintf("from offset %d on version 2 ran", h.ends[0])) {
		t.Errorf("a stretch through a version that this build is not: %s", &s)
	}
	if _, s := h.replay(scaled(t, 1, 1), TopicRange{ToOffset: h.turns[0][0], Recorded: true}); !s.Exact() {
		t.Errorf("a stretch before the other version: %s", &s)
	}
}

// A recorded configuration that this build would refuse cannot be passed over.
func TestARecordedConfigurationThatIsNoLongerValid(t *testing.T) {
	h := makeHistory(t, fake(t), 1, 4)
	d, err := processor.Lookup("strict_scaler")
	if err != nil {
		t.Fatal(err)
	}
	later := *d
	later.Name = "scaler"
	b, err := later.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), Options{Bound: b, From: TopicRange{Cluster: h.c, Recorded: true}, Policy: processor.DefaultTimePolicy(), Out: func(Output) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "is no longer valid") || !strings.Contains(err.Error(), "scale is 4") {
		t.Errorf("error is %v", err)
	}
}
