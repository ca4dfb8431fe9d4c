package deadletter

import (
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

type faultyConfig struct{}

func (faultyConfig) Validate() error { return nil }

// faulty panics on every record and at every step.
type faulty struct{}

func (faulty) OnRecord(schemas.Record, processor.Emit) { panic("a record") }
func (faulty) OnTime(schemas.Time, processor.Emit)     { panic("a step") }
func (faulty) AppendState(dst []byte) []byte           { return dst }
func (faulty) RestoreState([]byte) error               { return nil }

func init() {
	processor.Register(processor.Spec[faultyConfig]{
		Name: "faulty", Kind: processor.Watchdog, Summary: "Panics.", Version: 1, Step: time.Second, Input: schemas.MarketTrades, Output: schemas.Events,
		New: func(faultyConfig, processor.Key) processor.Processor { return faulty{} },
	})
}

// stacks keeps the traces of the letters.
type stacks struct {
	processor.Discard
	kept []string
}

func (s *stacks) Reject(p processor.Poison) { s.kept = append(s.kept, stableStack(p.Stack)) }

func live(task *processor.Task, in processor.Input)   { task.Process(in) }
func replay(task *processor.Task, in processor.Input) { live(task, in) }

// The trace of a letter ends where the engine called the processor: live and replay drive it by other functions, and give the same
// letters.
func TestStacksDoNotTellWhoDroveTheEngine(t *testing.T) {
	d, err := processor.Lookup("faulty")
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	at := schemas.Time(1_790_000_000_000_000_000)
	inputs, err := feed.Inputs(schemas.MarketTrades, []schemas.Message{
		&schemas.Trade{
			Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "A-B", EventTime: int64(at), Id: "1"},
			Price: schemas.NewDecimal(1, 0), Quantity: schemas.NewDecimal(1, 0),
		},
		&schemas.Tick{Source: "s", Time: int64(at.Add(time.Minute))},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got [2]stacks
	for i, drive := range []func(*processor.Task, processor.Input){live, replay} {
		task := processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), &got[i], feed.History(inputs))
		for _, in := range inputs {
			drive(task, in)
		}
	}
	if len(got[0].kept) != 2 || len(got[1].kept) != 2 {
		t.Fatalf("%d and %d letters, want a record's and a step's", len(got[0].kept), len(got[1].kept))
	}
	for i, want := range []string{"faulty.OnRecord", "faulty.OnTime"} {
		a, b := got[0].kept[i], got[1].kept[i]
		if a != b || !strings.Contains(a, want) || strings.Contains(a, "Process") {
			t.Errorf("two drivers gave\n%s\nand\n%s", a, b)
		}
	}
}
