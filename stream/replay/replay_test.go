package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type noConfig struct{}

func (noConfig) Validate() error { return nil }

// summer sums mantissas, emits for every tenth trade and at every step, and panics on a mantissa of 666.
type summer struct{ sum, count int64 }

func init() {
	processor.Register(processor.Spec[noConfig]{
		Name: "summer", Kind: processor.Watchdog, Summary: "Sums.", Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: 10 * time.Second,
		New: func(noConfig, processor.Key) processor.Processor { return &summer{} },
	})
	processor.Register(processor.Spec[noConfig]{
		Name: "trivial", Kind: processor.Watchdog, Summary: "Counts.", Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Second,
		New: func(noConfig, processor.Key) processor.Processor { return &trivial{} },
	})
}

func (s *summer) event(at schemas.Time, kind string) *schemas.Event {
	return &schemas.Event{Type: kind, Severity: schemas.Low, Status: schemas.Open, DedupKey: "d", EventTime: int64(at), Description: strconv.FormatInt(s.sum, 10), Evidence: &schemas.Evidence{}}
}

func (s *summer) OnRecord(rec schemas.Record, emit processor.Emit) {
	t, ok := rec.Message.(*schemas.Trade)
	if !ok {
		return
	}
	s.sum += t.Price.Mantissa
	if s.count++; s.count%10 == 0 || t.Price.Mantissa == 666 {
		emit(s.event(rec.Time, "tenth"))
	}
	if t.Price.Mantissa == 666 {
		panic("ordered")
	}
}

func (s *summer) OnTime(now schemas.Time, emit processor.Emit) { emit(s.event(now, "step")) }

func (s *summer) AppendState(dst []byte) []byte {
	return binary.AppendVarint(binary.AppendVarint(append(dst, 1), s.sum), s.count)
}

func (s *summer) RestoreState(src []byte) error {
	if len(src) < 3 || src[0] != 1 {
		return errors.New("not a state of summer")
	}
	v, n := binary.Varint(src[1:])
	s.sum = v
	s.count, _ = binary.Varint(src[1+n:])
	return nil
}

type trivial struct{ count uint64 }

func (t *trivial) OnRecord(schemas.Record, processor.Emit) { t.count++ }
func (*trivial) OnTime(schemas.Time, processor.Emit)       {}
func (t *trivial) AppendState(dst []byte) []byte {
	return binary.AppendUvarint(append(dst, 1), t.count)
}

func (t *trivial) RestoreState(src []byte) error { t.count, _ = binary.Uvarint(src[1:]); return nil }

func bind(t testing.TB, name string) *processor.Bound {
	t.Helper()
	d, err := processor.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type placed struct {
	partition int32
	tape.Record
}

// market makes n trades of 16 keys over some partitions, with ticks to all of them and some poison.
func market(t testing.TB, partitions, n int, poison bool) []placed {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	var enc schemas.Encoder
	next := make([]int64, partitions)
	var out []placed
	put := func(p int, key []byte, m schemas.Message, damage bool) {
		v, err := enc.AppendValue(nil, schemas.MarketTrades, m)
		if err != nil {
			t.Fatal(err)
		}
		if damage {
			v = append([]byte{0xff}, v...)
		}
		out = append(out, placed{int32(p), tape.Record{Offset: next[p], Key: key, Value: v, Type: schemas.TypeOf(m)}})
		next[p]++
	}
	at := schemas.Time(1_700_000_000e9)
	tick := func() {
		for p := range partitions {
			put(p, nil, &schemas.Tick{Source: "sim", Time: int64(at)}, false)
		}
	}
	tick()
	for i := range n {
		at = at.Add(10 * time.Millisecond)
		if i%100 == 99 {
			tick()
		}
		k := r.IntN(16)
		price := int64(1 + r.IntN(600))
		bad := poison && r.IntN(50) == 0
		if bad && r.IntN(2) == 0 {
			price, bad = 666, false
		}
		symbol := fmt.Sprintf("S%02d-USD", k)
		put(k%partitions, []byte("sim:"+symbol), &schemas.Trade{
			Meta:     &schemas.Meta{Source: "sim", Venue: "sim", Symbol: symbol, Id: strconv.Itoa(i), EventTime: int64(at), ReceiveTime: int64(at)},
			Price:    &schemas.Decimal{Mantissa: price, Exponent: -2},
			Quantity: &schemas.Decimal{Mantissa: 1 + int64(i%9)}, TakerSide: schemas.Side_SIDE_BUY,
		}, bad)
	}
	return out
}

func save(t testing.TB, name string, in []placed) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	w, err := tape.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if err := w.Write("market.trades", in[i].partition, &in[i].Record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// replayed is what a replay wrote.
type replayed struct{ Messages, Letters string }

func replay(t testing.TB, o Options) (replayed, Summary) {
	t.Helper()
	var messages, letters bytes.Buffer
	w := NewWriter(&messages, &letters)
	o.Out = w.Write
	if o.Policy == (processor.TimePolicy{}) {
		o.Policy = processor.DefaultTimePolicy()
	}
	s, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return replayed{messages.String(), letters.String()}, s
}

// model drives the tasks itself, one partition after the other, with all input at hand.
type model struct {
	*Writer
	bound     *processor.Bound
	partition int32
	pending   []Output
}

func (m *model) Emit(msg schemas.Message) {
	text, err := schemas.MarshalJSON(msg)
	if err != nil {
		panic(err)
	}
	again, _ := schemas.NewMessage(schemas.TypeOf(msg))
	if err := unmarshal(text, again); err != nil {
		panic(err)
	}
	m.pending = append(m.pending, Output{Message: again})
}
func (m *model) Undo(n int)          { m.pending = m.pending[:len(m.pending)-n] }
func (*model) Forward(*schemas.Tick) {}
func (m *model) Reject(p processor.Poison) {
	m.pending = append(m.pending, Output{Topic: schemas.MarketTrades, Partition: m.partition, Poison: &p})
}

func expected(t testing.TB, b *processor.Bound, in []placed, partitions int) replayed {
	t.Helper()
	var messages, letters bytes.Buffer
	w := NewWriter(&messages, &letters)
	for p := range partitions {
		m := &model{Writer: w, bound: b, partition: int32(p)}
		history := func(from, to int64, fn func(processor.Input)) error {
			for i := range in {
				if r := &in[i]; r.partition == int32(p) && r.Offset >= from && r.Offset < to {
					fn(input(&r.Record))
				}
			}
			return nil
		}
		task := processor.NewTask(b, int32(p), 0, processor.DefaultTimePolicy(), m, history)
		for i := range in {
			if in[i].partition == int32(p) {
				task.Process(input(&in[i].Record))
				for _, o := range m.pending {
					if err := w.Write(o); err != nil {
						t.Fatal(err)
					}
				}
				m.pending = m.pending[:0]
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return replayed{messages.String(), letters.String()}
}

func TestEveryParallelismGivesTheBytesOfTheModel(t *testing.T) {
	const partitions = 4
	in := market(t, partitions, 6_000, true)
	b := bind(t, "summer")
	want := expected(t, b, in, partitions)
	if strings.Count(want.Messages, "\n") < 500 || !strings.Contains(want.Letters, `"panic"`) || !strings.Contains(want.Letters, `"undecodable"`) {
		t.Fatalf("the model made %d messages and too few kinds of dead letters", strings.Count(want.Messages, "\n"))
	}
	for _, name := range []string{"a.tape.zst", "a.jsonl"} {
		path := save(t, name, in)
		for _, parallel := range []int{1, 2, 4, 8} {
			got, s := replay(t, Options{Bound: b, From: File{Path: path}, Parallel: parallel})
			if name == "a.jsonl" { // white space of JSON input is not that of Protobuf
				got.Letters, want.Letters = "", ""
			}
			if got != want {
				t.Fatalf("%s, %d at a time: %.1500s", name, parallel, cmp.Diff(want, got))
			}
			if !s.Exact() || len(s.Partitions) != partitions || s.Total.Records != uint64(len(in)) {
				t.Errorf("%s, %d at a time: %s", name, parallel, &s)
			}
		}
	}
}

func TestLongReplayForgetsAndStillRebuilds(t *testing.T) {
	in := market(t, 1, 5*keepRecords, false)
	var enc schemas.Encoder
	last := &in[len(in)-1]
	for _, r := range []*placed{last, &in[len(in)/2]} {
		if r.Type != "Trade" {
			t.Fatal("the test wants a trade here")
		}
		var dec schemas.Decoder
		m, err := dec.Decode("Trade", "", r.Value)
		if err != nil {
			t.Fatal(err)
		}
		m.(*schemas.Trade).Price.Mantissa = 666
		if r.Value, err = enc.AppendValue(nil, schemas.MarketTrades, m); err != nil {
			t.Fatal(err)
		}
	}
	b := bind(t, "summer")
	got, _ := replay(t, Options{Bound: b, From: File{Path: save(t, "a.tape.zst", in)}})
	if want := expected(t, b, in, 1); got != want {
		t.Fatalf("%.1500s", cmp.Diff(want, got))
	}
}

func TestFileFromTheMiddleIsInexact(t *testing.T) {
	in := market(t, 2, 1000, false)
	_, s := replay(t, Options{Bound: bind(t, "summer"), From: File{Path: save(t, "a.tape.zst", in[500:])}})
	if s.Exact() || len(s.Inexact) != 2 || !strings.Contains(s.String(), "inexact: partition") {
		t.Errorf("the summary says %q", &s)
	}
}

func TestBadLinesAreCountedOrEndTheReplay(t *testing.T) {
	in := market(t, 1, 500, false)
	path := save(t, "a.jsonl", in)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := bind(t, "summer")
	want, _ := replay(t, Options{Bound: b, From: File{Path: path}})
	lines := bytes.SplitAfter(text, []byte("\n"))
	bad := bytes.Join(append(lines[:200:200], append([][]byte{[]byte("{\"topic\":\n")}, lines[200:]...)...), nil)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	var named int
	got, s := replay(t, Options{Bound: b, From: File{Path: path, BadLine: func(e *tape.LineError) error { named = e.Line; return nil }}})
	if got != want || named != 201 || s.BadLines != 1 || s.Exact() {
		t.Errorf("line %d was named, %s", named, &s)
	}
	_, err = Run(t.Context(), Options{Bound: b, From: File{Path: path}, Policy: processor.DefaultTimePolicy(), Out: func(Output) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "line 201") {
		t.Errorf("without a policy the error is %v, must name line 201", err)
	}
}

func TestOtherTopicsArePassedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(path, []byte(`{"topic":"events","type":"Event","value":{}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, s := replay(t, Options{Bound: bind(t, "summer"), From: File{Path: path}}); s.Total.Records != 0 {
		t.Errorf("%s", &s)
	}
}

func TestErrorsEndTheReplay(t *testing.T) {
	path := save(t, "a.tape.zst", market(t, 4, 20_000, false))
	full := errors.New("disk full")
	b := bind(t, "summer")
	n := 0
	o := Options{Bound: b, From: File{Path: path}, Parallel: 2, Policy: processor.DefaultTimePolicy(), Out: func(Output) error {
		if n++; n > 10 {
			return full
		}
		return nil
	}}
	if _, err := Run(t.Context(), o); !errors.Is(err, full) || n != 11 {
		t.Errorf("error is %v after %d outputs, must be %v after 11", err, n, full)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Run(t.Context(), Options{}); err == nil {
		t.Error("empty options were accepted")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	o.Out = func(Output) error { return nil }
	if s, err := Run(t.Context(), o); !errors.Is(err, tape.ErrTruncated) || s.Total.Records == 0 {
		t.Errorf("a cut tape: %v, %s", err, &s)
	}
}

func TestNothingIsAllocatedPerRecord(t *testing.T) {
	const n = 200_000
	path := save(t, "a.tape.zst", market(t, 1, n, false))
	b := bind(t, "trivial")
	allocs := testing.AllocsPerRun(2, func() {
		_, _ = Run(t.Context(), Options{Bound: b, From: File{Path: path}, Parallel: 1, Policy: processor.DefaultTimePolicy(), Out: func(Output) error { return nil }})
	})
	if per := allocs / n; per > 0.05 {
		t.Errorf("%.3f allocations per record, must be none but those per file, frame and key", per)
	}
}
