// Package laws holds the suite that every registered processor passes: repeatable, causal, batch-blind, key-blind, restart.
// It is seeded; a failure prints the seed.
package laws

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// A Generator makes a seeded input that exercises the processor: several keys, Ticks, a Gap, some disorder, enough to emit.
type Generator func(r *rand.Rand) []schemas.Message

// Run checks every law on inputs of gen. TAPEWATCH_LAWS_SEED and TAPEWATCH_LAWS_ROUNDS repeat or deepen a run.
func Run(t *testing.T, name string, config []byte, gen Generator) {
	t.Helper()
	def, err := processor.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := def.BindJSON(config)
	if err != nil {
		t.Fatal(err)
	}
	seed, rounds := setting("TAPEWATCH_LAWS_SEED", 1), setting("TAPEWATCH_LAWS_ROUNDS", 2)
	for round := range rounds {
		s := seed + round
		l := &law{bound: bound, seed: s, rng: rand.New(rand.NewPCG(s, 0))}
		l.inputs, err = feed.Inputs(def.Input, gen(rand.New(rand.NewPCG(s, 1))))
		if err != nil {
			t.Fatal(err)
		}
		l.want = l.run(l.inputs)
		if emitted(l.want) == 0 {
			t.Fatalf("seed %d: the generated input makes %s emit nothing: no law would be tested", s, name)
		}
		t.Run("repeatable", l.repeatable)
		t.Run("causal", l.causal)
		t.Run("batch-blind", l.batchBlind)
		t.Run("key-blind", l.keyBlind)
		t.Run("restart", l.restart)
	}
}

func setting(name string, or uint64) uint64 {
	if v, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return v
	}
	return or
}

func emitted(lines []string) int {
	n := 0
	for _, l := range lines {
		if l[:5] != "tick " {
			n++
		}
	}
	return n
}

type law struct {
	bound  *processor.Bound
	seed   uint64
	rng    *rand.Rand
	inputs []processor.Input
	want   []string
}

func (l *law) task(r *feed.Recorder) *processor.Task {
	return processor.NewTask(l.bound, 0, 0, processor.DefaultTimePolicy(), r, feed.History(l.inputs))
}

func (l *law) run(inputs []processor.Input) []string {
	r := &feed.Recorder{}
	task := l.task(r)
	for _, in := range inputs {
		task.Process(in)
	}
	return r.Lines
}

func (l *law) compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("seed %d: %s: output %d of %d (want %d) is\n%s\nwant\n%s", l.seed, what, i, len(got), len(want), g, w)
		}
	}
}

// The same input gives the same output.
func (l *law) repeatable(t *testing.T) {
	for range 8 {
		l.compare(t, "a second run", l.run(l.inputs), l.want)
	}
}

// A prefix of the input gives a prefix of the output.
func (l *law) causal(t *testing.T) {
	for range 4 {
		n := l.rng.IntN(len(l.inputs) + 1)
		got := l.run(l.inputs[:n])
		l.compare(t, "the first "+strconv.Itoa(n)+" records", got, l.want[:min(len(got), len(l.want))])
	}
}

// Where the input is cut, and snapshots are taken, does not show.
func (l *law) batchBlind(t *testing.T) {
	r := &feed.Recorder{}
	task := l.task(r)
	for i, in := range l.inputs {
		task.Process(in)
		if l.rng.IntN(200) == 0 {
			if _, err := task.Snapshot(int64(i+1), func(string, []byte) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.compare(t, "with snapshots between", r.Lines, l.want)
}

// Each key's output is what it is without the other keys.
func (l *law) keyBlind(t *testing.T) {
	bare := func(keep func(in processor.Input) bool) []string {
		r := &feed.Recorder{Bare: true}
		task := l.task(r)
		for _, in := range l.inputs {
			if keep(in) {
				task.Process(in)
			}
		}
		return slices.DeleteFunc(r.Lines, func(s string) bool { return s[:5] == "tick " })
	}
	var keys []string
	for _, in := range l.inputs {
		if in.Type != "Tick" && !slices.Contains(keys, string(in.Key)) {
			keys = append(keys, string(in.Key))
		}
	}
	var got []string
	for _, k := range keys {
		got = append(got, bare(func(in processor.Input) bool { return in.Type == "Tick" || string(in.Key) == k })...)
	}
	want := bare(func(processor.Input) bool { return true })
	slices.Sort(got)
	slices.Sort(want)
	l.compare(t, "each key alone, together", got, want)
}

// Restoring any snapshot into a fresh task and going on gives the same output, and the same state in the end.
func (l *law) restart(t *testing.T) {
	for range 4 {
		cut := l.rng.IntN(len(l.inputs))
		states := map[string][]byte{}
		r := &feed.Recorder{}
		first := l.task(r)
		var marker *schemas.Marker
		for i, in := range l.inputs[:cut] {
			first.Process(in)
			if i == cut/2 || i == cut-1 { // incremental: the second holds only what changed since the first
				m, err := first.Snapshot(in.Offset+1, func(key string, state []byte) { states[key] = state })
				if err != nil {
					t.Fatal(err)
				}
				marker = m
			}
		}
		second := l.task(r)
		if marker != nil {
			if ignored, err := second.Restore(marker, states); err != nil || ignored != 0 {
				t.Fatalf("seed %d: restoring at %d: %d ignored, %v", l.seed, cut, ignored, err)
			}
		}
		for _, in := range l.inputs[cut:] {
			second.Process(in)
			first.SetSink(processor.Discard{})
			first.Process(in)
		}
		l.compare(t, "restarted at "+strconv.Itoa(cut), r.Lines, l.want)
		l.sameState(t, first, second)
	}
}

func (l *law) sameState(t *testing.T, a, b *processor.Task) {
	t.Helper()
	sa, err := a.StateBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := b.StateBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(sa) != len(sb) {
		t.Fatalf("seed %d: %d keys after a restart, %d without", l.seed, len(sb), len(sa))
	}
	for k := range sa {
		if !bytes.Equal(sa[k], sb[k]) {
			t.Fatalf("seed %d: the state of %s after a restart is\n%x\nwithout\n%x", l.seed, k, sb[k], sa[k])
		}
	}
}
