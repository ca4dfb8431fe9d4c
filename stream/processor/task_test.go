package processor_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
	"github.com/tapewatch/tapewatch/stream/processor/laws"
)

// adder is a test processor: it sums mantissas, reports the sum at each step of 1 s in which it changed, and panics on order.
type adder struct {
	cfg     adderConfig
	sum     int64
	changed bool
	lates   int64
	armed   bool // the next OnTime panics
	swollen bool // the next OnTime emits too much
}

type adderConfig struct {
	Scale int64   `koanf:"scale" json:"scale" doc:"Multiplies what is reported."`
	List  []int64 `koanf:"list" json:"list" doc:"Unused but shared by reference."`
	// Ballast makes the state of every key so large.
	Ballast int `koanf:"ballast" json:"ballast" doc:"Bytes of state."`
}

func (c adderConfig) Validate() error {
	if c.Scale == 0 {
		return errors.New("adder.scale is 0: it must not be zero")
	}
	return nil
}

const (
	panicNow  = 666
	panicTime = 777
	hugeNow   = 888
	hugeTime  = 999
)

func init() {
	processor.Register(processor.Spec[adderConfig]{
		Name: "adder", Kind: processor.Stage, Summary: "Sums.", Version: 3, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Second,
		Defaults: adderConfig{Scale: 1, List: []int64{1, 2}},
		New:      func(c adderConfig, _ processor.Key) processor.Processor { return &adder{cfg: c} },
	})
}

func (a *adder) event(at schemas.Time, status string) *schemas.Event {
	return &schemas.Event{
		Type: "sum", Severity: schemas.Low, Status: status, DedupKey: "x", EventTime: int64(at), Description: fmt.Sprint(a.sum*a.cfg.Scale, " late ", a.lates), Evidence: &schemas.Evidence{},
	}
}

func (a *adder) OnRecord(rec schemas.Record, emit processor.Emit) {
	t, ok := rec.Message.(*schemas.Trade)
	if !ok {
		return
	}
	if rec.Late {
		a.lates++
	}
	a.sum += t.Price.Mantissa
	a.changed = true
	switch t.Price.Mantissa {
	case panicNow:
		emit(a.event(rec.Time, schemas.Update))
		panic("ordered now")
	case panicTime:
		a.armed = true
	case hugeNow:
		emit(a.event(rec.Time, schemas.Update))
		emit(a.huge(rec.Time))
		panic("an output that is too large must end the call")
	case hugeTime:
		a.swollen = true
	}
	if t.Price.Mantissa%10 == 0 {
		emit(a.event(rec.Time, schemas.Update))
	}
}

func (a *adder) OnTime(now schemas.Time, emit processor.Emit) {
	if !a.changed {
		return
	}
	a.changed = false
	emit(a.event(now, schemas.Open))
	if a.armed {
		panic("ordered in time")
	}
	if a.swollen {
		emit(a.huge(now))
	}
}

func (a *adder) huge(at schemas.Time) *schemas.Event {
	e := a.event(at, schemas.Update)
	e.Description = strings.Repeat("x", schemas.MaxOutputBytes)
	return e
}

func (a *adder) AppendState(dst []byte) []byte {
	flags := byte(0)
	if a.changed {
		flags |= 1
	}
	if a.armed {
		flags |= 2
	}
	if a.swollen {
		flags |= 4
	}
	dst = binary.AppendVarint(binary.AppendVarint(append(dst, 1, flags), a.sum), a.lates)
	return append(dst, make([]byte, a.cfg.Ballast)...)
}

func (a *adder) RestoreState(src []byte) error {
	if len(src) < 4 || src[0] != 1 {
		return errors.New("adder: unknown layout")
	}
	a.changed, a.armed, a.swollen = src[1]&1 != 0, src[1]&2 != 0, src[1]&4 != 0
	var n int
	a.sum, n = binary.Varint(src[2:])
	a.lates, _ = binary.Varint(src[2+n:])
	return nil
}

const t0 = schemas.Time(1704196800e9)

func at(s float64) schemas.Time { return t0.Add(time.Duration(s * 1e9)) }

func trade(symbol string, s float64, mantissa int64) *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: symbol, EventTime: int64(at(s))},
		Price: schemas.NewDecimal(mantissa, 0), Quantity: schemas.NewDecimal(1, 0),
	}
}

func tick(s float64) *schemas.Tick { return &schemas.Tick{Source: "test", Time: int64(at(s))} }

func bound(t *testing.T, config string) *processor.Bound {
	t.Helper()
	def, err := processor.Lookup("adder")
	if err != nil {
		t.Fatal(err)
	}
	b, err := def.BindJSON([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inputs(t *testing.T, messages ...schemas.Message) []processor.Input {
	t.Helper()
	in, err := feed.Inputs(schemas.MarketTrades, messages)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// run feeds inputs to a fresh task and returns "key status description" of each event and the other lines.
func run(t *testing.T, in []processor.Input) []string {
	t.Helper()
	s := &short{}
	task := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), s, feed.History(in))
	for _, i := range in {
		task.Process(i)
	}
	return s.lines
}

// short is a Sink that keeps one short line per output.
type short struct {
	lines   []string
	details []string
}

func (s *short) Emit(m schemas.Message) {
	e := m.(*schemas.Event)
	s.lines = append(s.lines, fmt.Sprintf("%s %s %s", e.Key, e.Status, e.Description))
}
func (s *short) Undo(n int)              { s.lines = s.lines[:len(s.lines)-n] }
func (s *short) Forward(t *schemas.Tick) {}
func (s *short) Reject(p processor.Poison) {
	s.lines = append(s.lines, fmt.Sprintf("poison %s %s@%d", p.Reason, p.Instance, p.Offset))
	s.details = append(s.details, p.Detail)
}

func TestTaskPoison(t *testing.T) {
	good := inputs(t, tick(0), trade("A", 1, 5))
	for name, c := range map[string]struct {
		in     processor.Input
		reason string
		detail string
	}{
		"truncated": {processor.Input{Key: []byte("v:A"), Type: "Trade", Value: good[1].Value[:9]}, "undecodable", "Trade of 9 bytes"},
		"huge":      {processor.Input{Key: []byte("v:A"), Type: "Trade", Value: make([]byte, schemas.MaxRecordBytes+1)}, "undecodable", "must be at most"},
		"type":      {processor.Input{Key: []byte("v:A"), Type: "Nonsense", Value: good[1].Value}, "undecodable", "Nonsense"},
		"misplaced": {typed(t, &schemas.Event{Id: "i", Detector: "d", Type: "t", DedupKey: "k", Severity: "low", Status: "open", EventTime: int64(t0), Evidence: &schemas.Evidence{}}), "type", "Event on market.trades"},
		"invalid":   {inputs(t, &schemas.Trade{Meta: trade("A", 1, 1).Meta})[0], "invalid", "Trade.price is absent"},
		"wrong key": {processor.Input{Key: []byte("v:B"), Type: "Trade", Value: good[1].Value}, "key", `record key "v:B"`},
		"future":    {inputs(t, trade("A", 61.5, 5))[0], "future", "1m1.5s after the last tick of test"},
		"schema id": {processor.Input{Key: []byte("v:A"), Type: "Trade", Value: []byte{0, 0, 0, 0, 9, 0, 1}}, "undecodable", "schema registry"},
		"empty":     {processor.Input{Key: []byte("v:A"), Type: "Trade"}, "invalid", "Trade.meta is absent"},
		"bad time":  {inputs(t, &schemas.Tick{Source: "s", Time: 3})[0], "invalid", "Tick.time is 3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &short{}
			task := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), s, nil)
			c.in.Offset = 7
			task.Process(good[0])
			task.Process(c.in)
			task.Process(good[1])
			task.Process(inputs(t, tick(2))[0])
			if diff := cmp.Diff([]string{"poison " + c.reason + " @7", "v:A open 5 late 0"}, s.lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(s.details) != 1 || !strings.Contains(s.details[0], c.detail) {
				t.Errorf("details are %q, want one with %q", s.details, c.detail)
			}
			if st := task.Stats(); st.Rejected != 1 || st.Run != 0 {
				t.Errorf("stats are %+v, want one rejected, run 0", st)
			}
		})
	}
}

func typed(t *testing.T, m schemas.Message) processor.Input {
	in, err := feed.Inputs(schemas.Events, []schemas.Message{m})
	if err != nil {
		t.Fatal(err)
	}
	return in[0]
}

// A panic takes its call's outputs back, and the key goes on from where it was before the record.
func TestTaskPanicRewindsTheKey(t *testing.T) {
	in := inputs(t, tick(0), trade("A", .1, 5), trade("B", .2, 7), trade("A", .3, panicNow), trade("A", .4, 10), tick(1), trade("A", 1.5, panicTime), trade("B", 1.6, 1), tick(2), trade("A", 2.5, 1), tick(3))
	want := []string{
		"poison panic v:A@3", "v:A update 15 late 0", "v:A open 15 late 0", "v:B open 7 late 0",
		"poison panic v:A@8", "v:B open 8 late 0", "poison panic v:A@10",
	}
	if diff := cmp.Diff(want, run(t, in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A key whose only record panicked leaves nothing behind.
	if diff := cmp.Diff([]string{"poison panic v:C@1", "v:C open 3 late 0"}, run(t, inputs(t, tick(0), trade("C", .1, panicNow), trade("C", .2, 3), tick(1)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An output larger than a record is poison of the input that made it: the broker would refuse it at every attempt.
func TestTaskOutputTooLargeRewindsTheKey(t *testing.T) {
	in := inputs(t, tick(0), trade("A", .1, 5), trade("A", .3, hugeNow), trade("A", .4, 10), tick(1), trade("A", 1.5, hugeTime), tick(2), trade("A", 2.5, 1), tick(3))
	want := []string{
		"poison output_too_large v:A@2", "v:A update 15 late 0", "v:A open 15 late 0",
		"poison output_too_large v:A@6", "poison output_too_large v:A@8",
	}
	s := &short{}
	task := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), s, feed.History(in))
	for _, i := range in {
		task.Process(i)
	}
	if diff := cmp.Diff(want, s.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, d := range s.details {
		if !strings.Contains(d, "adder emitted a Event of 1000") || !strings.Contains(d, "for events: it must be at most 1000000") {
			t.Errorf("the detail is %q, want who emitted how much for which topic, and the bound", d)
		}
	}
}

// A snapshot of one key that its record cannot hold says which key, how large, and what to do.
func TestSnapshotTooLargeNamesTheKey(t *testing.T) {
	task := processor.NewTask(bound(t, fmt.Sprintf(`{"ballast":%d}`, processor.MaxStateBytes)), 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
	for _, in := range inputs(t, tick(0), trade("A", .5, 1)) {
		task.Process(in)
	}
	_, err := task.Snapshot(2, func(k string, s []byte) { t.Errorf("%s was written with %d bytes", k, len(s)) })
	if err == nil || !strings.Contains(err.Error(), `"v:A" of adder has 41943`) || !strings.Contains(err.Error(), "fewer members") {
		t.Errorf("a snapshot that is too large gave %v, want the key, its size and what to do", err)
	}
}

// Late is at or before the source's last Tick less the lateness; each source has its own time.
func TestTaskLate(t *testing.T) {
	other := trade("B", .5, 3)
	other.Meta.Source = "other"
	in := inputs(t, tick(1), trade("A", 1, 2), trade("A", 1.1, 2), other, tick(2), trade("A", 1.9, 2), tick(3))
	want := []string{"v:A open 4 late 1", "v:A open 6 late 2"}
	if diff := cmp.Diff(want, run(t, in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A Tick of a re-keying stage moves time only when all input partitions have passed.
func TestTaskMergedTime(t *testing.T) {
	part := func(p uint32, s float64) *schemas.Tick {
		return &schemas.Tick{Source: "test", Time: int64(at(s)), Partition: p, Partitions: 2}
	}
	in := inputs(t, trade("A", .5, 1), part(0, 5), trade("A", .6, 1), part(1, 1), part(1, 3), trade("A", 3.5, 1), part(1, 9))
	if diff := cmp.Diff([]string{"v:A open 2 late 0", "v:A open 3 late 0"}, run(t, in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// On a topic that a stage wrote from partitions that lie far apart, a record of the furthest one is not from the future.
func TestTaskFutureIsOfTheFurthestPartition(t *testing.T) {
	part := func(p uint32, s float64) *schemas.Tick {
		return &schemas.Tick{Source: "test", Time: int64(at(s)), Partition: p, Partitions: 2}
	}
	in := inputs(t, part(1, 1), part(0, 600), trade("A", 601, 1), part(0, 602), trade("A", 663, 1), part(1, 602))
	if diff := cmp.Diff([]string{"poison future @4", "v:A open 1 late 0"}, run(t, in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An instance on two sources waits for the slower one, but no longer than the silence bound.
func TestTaskSilentSource(t *testing.T) {
	second := trade("A", .7, 1)
	second.Meta.Source = "slow"
	in := inputs(t, trade("A", .5, 1), second, &schemas.Tick{Source: "slow", Time: int64(at(.9))}, tick(30), tick(61.8), tick(62))
	if diff := cmp.Diff([]string{"v:A open 2 late 0"}, run(t, in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := run(t, in[:4]); len(got) != 0 {
		t.Errorf("after 30 s of silence: %v, want nothing yet", got)
	}
}

func TestTaskRefusesForeignState(t *testing.T) {
	b := bound(t, "")
	task := func() *processor.Task {
		return processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
	}
	states := map[string][]byte{}
	first := task()
	for _, in := range inputs(t, tick(0), trade("A", .5, 1)) {
		first.Process(in)
	}
	m, err := first.Snapshot(2, func(k string, s []byte) { states[k] = s })
	if err != nil {
		t.Fatal(err)
	}
	old := &schemas.Marker{NextOffset: 2, ProcessorVersion: 2, Config: m.Config, Layout: m.Layout}
	var ev *processor.ErrVersion
	if _, err := task().Restore(old, states); !errors.As(err, &ev) || !strings.Contains(err.Error(), "rebuild by replay") {
		t.Errorf("another version: %v, want ErrVersion with advice", err)
	}
	other := &schemas.Marker{NextOffset: 2, ProcessorVersion: 3, Config: []byte(`{"scale":2}`), Layout: m.Layout}
	if _, err := task().Restore(other, states); err == nil {
		t.Error("another configuration: no error")
	}
	early := &schemas.Marker{NextOffset: 1, ProcessorVersion: 3, Config: m.Config, Layout: m.Layout}
	if n, err := task().Restore(early, states); n != 1 || err != nil {
		t.Errorf("a key state newer than the marker: %d ignored, %v; want 1", n, err)
	}
}

// A new configuration takes over at its offset with all state kept.
func TestTaskRebind(t *testing.T) {
	s := &short{}
	task := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), s, nil)
	in := inputs(t, tick(0), trade("A", .5, 3), tick(1), trade("A", 1.5, 4), tick(2))
	for _, i := range in[:3] {
		task.Process(i)
	}
	if err := task.Rebind(bound(t, `{"scale":100}`), 0); err != nil {
		t.Fatal(err)
	}
	for _, i := range in[3:] {
		task.Process(i)
	}
	if diff := cmp.Diff([]string{"v:A open 3 late 0", "v:A open 700 late 0"}, s.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	def, err := processor.Lookup("adder")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := def.BindJSON([]byte(`{"list":[9]}`)); err != nil {
		t.Fatal(err)
	}
	if got := string(bound(t, "").ConfigJSON); got != `{"scale":1,"list":[1,2],"ballast":0}` {
		t.Errorf("defaults are %s after another configuration was read", got)
	}
	if _, err := def.BindJSON([]byte(`{"scael":1}`)); err == nil {
		t.Error("an unknown field is no error")
	}
	if _, err := def.BindJSON([]byte(`{"scale":0}`)); err == nil {
		t.Error("an invalid value is no error")
	}
}

// The laws hold for a processor that panics or emits too much at times, which is how the rebuild is tested against every cut.
func TestLawsWithPanics(t *testing.T) {
	testservices.Study(t)
	laws.Run(t, "adder", nil, func(r *rand.Rand) []schemas.Message {
		out := []schemas.Message{tick(0)}
		for i := range 600 {
			s := float64(i) / 10
			price := int64(1 + r.IntN(40))
			switch r.IntN(40) {
			case 0:
				price = panicNow
			case 1:
				if r.IntN(10) == 0 {
					price = panicTime
				}
			case 2:
				price = hugeNow
			}
			out = append(out, trade(fmt.Sprint("S", r.IntN(4)), s-float64(r.IntN(3)), price))
			if i%10 == 9 {
				out = append(out, tick(s))
			}
		}
		return out
	})
}

func TestProcessAllocatesNothing(t *testing.T) {
	in := inputs(t, tick(0), trade("A", .5, 3), trade("A", .6, 3))
	task := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
	for _, i := range in {
		task.Process(i)
	}
	if n := testing.AllocsPerRun(1000, func() { task.Process(in[2]) }); n != 0 {
		t.Errorf("a record allocates %v times, must be 0", n)
	}
}

func BenchmarkTask(b *testing.B) {
	def, err := processor.Lookup("adder")
	if err != nil {
		b.Fatal(err)
	}
	bnd, err := def.Bind(nil)
	if err != nil {
		b.Fatal(err)
	}
	in, err := feed.Inputs(schemas.MarketTrades, []schemas.Message{tick(0), trade("A", .5, 3), trade("B", .6, 3)})
	if err != nil {
		b.Fatal(err)
	}
	task := processor.NewTask(bnd, 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		task.Process(in[1+i%2])
	}
}

func TestRegistrySorted(t *testing.T) {
	var names []string
	for _, d := range processor.All() {
		names = append(names, d.Name)
	}
	if !slices.IsSorted(names) || len(names) == 0 {
		t.Errorf("processors are %v, want sorted names", names)
	}
	if _, err := processor.Lookup("addr"); err == nil || !strings.Contains(err.Error(), "adder") {
		t.Errorf("looking up a wrong name: %v, want the names that exist", err)
	}
}
