package processor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What was discarded before a snapshot is never processed again: a rebuild starts at the snapshot.
func TestSnapshotForgetsDiscardedCalls(t *testing.T) {
	task := NewTask(&Bound{Definition: &Definition{Name: "x"}}, 0, 0, DefaultTimePolicy(), Discard{}, nil)
	task.skip[poisonAt{9, "a"}], task.skip[poisonAt{10, "a"}] = true, true
	if _, err := task.Snapshot(10, func(string, []byte) {}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[poisonAt]bool{{10, "a"}: true}, task.skip, cmp.AllowUnexported(poisonAt{})); d != "" {
		t.Error(d)
	}
}
