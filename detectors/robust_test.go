package detectors

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// play runs messages with the default settings and returns the events without where their input lay.
func play(t *testing.T, def *processor.Definition, messages []schemas.Message) []string {
	t.Helper()
	bound, err := def.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := feed.Inputs(def.Input, messages)
	if err != nil {
		t.Fatal(err)
	}
	sink := &feed.Recorder{Bare: true}
	task := processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
	for _, in := range inputs {
		task.Process(in)
	}
	return sink.Lines
}

func isTick(m schemas.Message) bool { _, ok := m.(*schemas.Tick); return ok }

func isGap(m schemas.Message) bool { _, ok := m.(*schemas.Gap); return ok }

// Two partitions of a process run side by side: their instances share nothing, which the race detector sees to.
func TestInstancesShareNothing(t *testing.T) {
	for name, generate := range generators {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		messages := generate(rand.New(rand.NewPCG(7, 7)), 8)
		alone := play(t, def, messages)
		for _, instance := range []string{"one", "other"} {
			t.Run(name+"/"+instance, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(alone, play(t, def, messages)); diff != "" {
					t.Errorf("it differs from what it does alone:\n%s", diff)
				}
			})
		}
	}
}

// One record in a hundred comes again, up to twenty records later: the events are the same to the byte.
func TestDuplicatesChangeNothing(t *testing.T) {
	testservices.Study(t)
	for name, generate := range generators {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(5, 5))
		messages := slices.DeleteFunc(generate(r, 76), isGap)
		var doubled []schemas.Message
		for i, m := range messages {
			doubled = append(doubled, m)
			if again := messages[max(i-r.IntN(20), 0)]; r.IntN(100) == 0 && !isTick(again) {
				doubled = append(doubled, again)
			}
		}
		if len(doubled) == len(messages) {
			t.Fatal("nothing was doubled")
		}
		if diff := cmp.Diff(play(t, def, messages), play(t, def, doubled)); diff != "" {
			t.Errorf("%s: duplicates change the events:\n%s", name, diff)
		}
	}
}

// The members' bars of a minute may come in any order, as the partitions raced: the events are the same to the byte.
func TestBasketsAreOrderBlind(t *testing.T) {
	testservices.Study(t)
	for name, hours := range map[string]int{"unusual_volume": 76, "correlation_breakdown": 120, "arbitrage": 76} {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(6, 6))
		messages := generators[name](r, hours)
		shuffled := slices.Clone(messages)
		for from := 0; from < len(shuffled); {
			to := from
			for to < len(shuffled) && !isTick(shuffled[to]) {
				to++
			}
			r.Shuffle(to-from, func(i, j int) { shuffled[from+i], shuffled[from+j] = shuffled[from+j], shuffled[from+i] })
			from = to + 1
		}
		want := play(t, def, messages)
		if len(want) == 0 {
			t.Fatalf("%s: no event: nothing was tested", name)
		}
		if diff := cmp.Diff(want, play(t, def, shuffled)); diff != "" {
			t.Errorf("%s: the order of members changes the events:\n%s", name, diff)
		}
	}
}
