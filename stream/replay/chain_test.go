package replay

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	_ "github.com/tapewatch/tapewatch/stages" // bars and baskets are what is chained
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// volumes makes minutes of trades of n instruments, each with a burst of volume now and then, on the partitions of their keys.
func volumes(t testing.TB, instruments, partitions, minutes int) []placed {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 3))
	var enc schemas.Encoder
	next := make([]int64, partitions)
	var out []placed
	put := func(p int32, key []byte, m schemas.Message) {
		v, err := enc.AppendValue(nil, schemas.MarketTrades, m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, placed{p, tape.Record{Offset: next[p], Key: key, Value: v, Type: schemas.TypeOf(m)}})
		next[p]++
	}
	start := schemas.Time(1_700_000_000e9).Floor(3600e9)
	for second := range minutes * 60 {
		at := start + schemas.Time(second+1)*1e9
		for i := range instruments {
			symbol := fmt.Sprintf("S%02d-USD", i)
			key := []byte("sim:" + symbol)
			quantity := int64(10 + r.IntN(5))
			if (second/60+7*i)%23 == 0 {
				quantity *= 40
			}
			put(partitionOf(key, int32(partitions)), key, &schemas.Trade{
				Meta:  &schemas.Meta{Source: "sim", Venue: "sim", Symbol: symbol, Id: fmt.Sprintf("%d-%d", second, i), EventTime: int64(at) - 5e8, ReceiveTime: int64(at)},
				Price: &schemas.Decimal{Mantissa: int64(1000 + r.IntN(3))}, Quantity: &schemas.Decimal{Mantissa: quantity}, TakerSide: schemas.Side_SIDE_BUY,
			})
		}
		for p := range partitions {
			put(int32(p), nil, &schemas.Tick{Source: "sim", Time: int64(at)})
		}
	}
	return out
}

// chained are the processors of the tests, unusual_volume so strict that it raises events.
func chained(t testing.TB) []*processor.Bound {
	t.Helper()
	d, err := processor.Lookup("unusual_volume")
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.BindJSON([]byte(`{"strict":true,"window":"1m","long_window":"5m"}`))
	if err != nil {
		t.Fatal(err)
	}
	return []*processor.Bound{b, bind(t, "bars"), bind(t, "baskets")}
}

// runChain returns the events as JSON, with and without positions.
func runChain(t testing.TB, path string, bounds []*processor.Bound) (full, bare []string, all []Summary) {
	t.Helper()
	all, err := Chain(t.Context(), ChainOptions{Bounds: bounds, From: File{Path: path}, Policy: processor.DefaultTimePolicy(), Out: func(o Output) error {
		if o.Poison != nil {
			return fmt.Errorf("%s refused: %s", o.Topic.Name, o.Poison.Detail)
		}
		full = append(full, text(t, o.Message))
		e := proto.Clone(o.Message).(*schemas.Event)
		e.Position = nil
		bare = append(bare, text(t, e))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return full, bare, all
}

func text(t testing.TB, m schemas.Message) string {
	t.Helper()
	out, err := schemas.MarshalJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// stageModel runs one stage over a list of records on one partition, the plainest way.
type stageModel struct {
	t      testing.TB
	bound  *processor.Bound
	rekeys bool
	out    []tape.Record
}

func (s *stageModel) put(m schemas.Message, key []byte) {
	v, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.out = append(s.out, tape.Record{Offset: int64(len(s.out)), Key: key, Value: v, Type: schemas.TypeOf(m)})
}
func (s *stageModel) Emit(m schemas.Message)    { s.put(m, []byte(s.bound.Output.KeyOf(m))) }
func (s *stageModel) Undo(int)                  { s.t.Fatal("a stage panicked") }
func (s *stageModel) Reject(p processor.Poison) { s.t.Fatal(p.Detail) }
func (s *stageModel) Forward(t *schemas.Tick) {
	if s.rekeys {
		t = &schemas.Tick{Source: t.Source, Time: t.Time, Partitions: 1}
	}
	s.put(t, nil)
}

func TestChainIsTheStagesOneAfterTheOther(t *testing.T) {
	bounds := chained(t)
	in := volumes(t, 8, 1, 40)
	var records []tape.Record
	for _, p := range in {
		records = append(records, p.Record)
	}
	for _, b := range []*processor.Bound{bounds[1], bounds[2], bounds[0]} {
		m := &stageModel{t: t, bound: b, rekeys: b.Input.Key != b.Output.Key}
		task := processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), m, nil)
		for i := range records {
			task.Process(input(&records[i]))
		}
		records = m.out
	}
	var want []string
	for _, r := range records {
		var e schemas.Event
		if err := proto.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		want = append(want, text(t, &e))
	}
	if len(want) < 10 {
		t.Fatalf("the model raised %d events: the test needs more", len(want))
	}
	for _, name := range []string{"a.tape.zst", "a.jsonl"} {
		got, _, all := runChain(t, save(t, name, in), bounds)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s: %.2000s", name, d)
		}
		if len(all) != 3 || all[0].Processor != "bars" || all[1].Processor != "baskets" || !all[2].Exact() || all[2].Total.Emitted != uint64(len(want)) {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestChainDoesNotDependOnPartitions(t *testing.T) {
	bounds := chained(t)
	_, want, _ := runChain(t, save(t, "one.tape.zst", volumes(t, 8, 1, 40)), bounds)
	for _, partitions := range []int{2, 5} {
		in := volumes(t, 8, partitions, 40)
		_, got, all := runChain(t, save(t, "some.tape.zst", in), bounds)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%d partitions: %.2000s", partitions, d)
		}
		if n := len(all[0].Partitions); n != partitions {
			t.Errorf("%d partitions of %d", n, partitions)
		}
		// A dump has one partition behind the other.
		slices.SortStableFunc(in, func(a, b placed) int { return int(a.partition) - int(b.partition) })
		if _, got, _ := runChain(t, save(t, "dump.jsonl", in), bounds); !cmp.Equal(got, want) {
			t.Errorf("%d partitions, dumped: %.2000s", partitions, cmp.Diff(want, got))
		}
	}
}

func TestChainErrors(t *testing.T) {
	path := save(t, "a.tape.zst", volumes(t, 2, 2, 3))
	out := func(Output) error { return nil }
	if _, err := Chain(t.Context(), ChainOptions{}); err == nil {
		t.Error("an empty chain was accepted")
	}
	full := errors.New("disk full")
	if _, err := Chain(t.Context(), ChainOptions{Bounds: chained(t)[1:2], From: File{Path: path}, Out: func(Output) error { return full }}); !errors.Is(err, full) {
		t.Errorf("error is %v, must be %v", err, full)
	}
	if _, err := Chain(t.Context(), ChainOptions{Bounds: chained(t), From: File{Path: path + "x.jsonl"}, Out: out}); err == nil {
		t.Error("no file was replayed")
	}
}

func TestStages(t *testing.T) {
	for name, want := range map[string]string{"unusual_volume": "bars,baskets", "baskets": "bars", "price_anomaly": ""} {
		d, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		path, err := Stages(d, "market.trades")
		var names []string
		for _, s := range path {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, ","); got != want || err != nil {
			t.Errorf("%s: %q, %v: must be %q", name, got, err, want)
		}
	}
	d, _ := processor.Lookup("price_anomaly")
	if _, err := Stages(d, "market.quotes"); err == nil {
		t.Error("a way from quotes to trades was found")
	}
}

func TestChainKeepsPanicsToTheirKey(t *testing.T) {
	in := market(t, 2, 4000, true)
	b := bind(t, "summer")
	var messages, letters bytes.Buffer
	w := NewWriter(&messages, &letters)
	path := save(t, "a.tape.zst", in)
	if _, err := Chain(t.Context(), ChainOptions{Bounds: []*processor.Bound{b}, From: File{Path: path}, Policy: processor.DefaultTimePolicy(), Out: w.Write}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want, _ := replay(t, Options{Bound: b, From: File{Path: path}})
	sorted := func(s string) string {
		lines := strings.Split(s, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if sorted(messages.String()) != sorted(want.Messages) || sorted(letters.String()) != sorted(want.Letters) {
		t.Errorf("%.1500s", cmp.Diff(sorted(want.Messages), sorted(messages.String())))
	}
}
