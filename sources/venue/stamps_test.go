package venue

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/schemas"
)

// Two sessions send the same messages, the second from some message on, interleaved at random, some of them twice in a row: each
// message is new once, and they are new in their order, whatever times they share.
func TestStampsByTwoSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var at []schemas.Time
		now := schemas.Time(1)
		for range rapid.IntRange(1, 40).Draw(t, "messages") {
			now += schemas.Time(rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "step"))
			at = append(at, now)
		}
		// The second session begins with a time of its own: what it has of one that was begun is not the n-th.
		begins := rapid.IntRange(0, len(at)-1).Draw(t, "second begins at")
		for begins > 0 && at[begins] == at[begins-1] {
			begins--
		}
		var s stamps
		var got, want []int
		next := [2]int{0, begins}
		for next[0] < len(at) || next[1] < len(at) {
			by := rapid.IntRange(0, 1).Draw(t, "session")
			if next[by] == len(at) || (by == 1 && next[0] <= begins) {
				by = 1 - by
			}
			n := next[by]
			if n == len(at) {
				continue
			}
			next[by]++
			for range rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "times") {
				// The digests of two sessions may differ: some venues number the messages of a connection.
				if s.fresh([]string{"a/1", "a/2"}[by], at[n], uint64(2*n+by)) {
					got = append(got, n)
				}
			}
		}
		for n := range at {
			want = append(want, n)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("new are %v of times %v, want each once", got, at)
		}
	})
}

// An older message is not new, one of a session that is dialled anew goes on by its time.
func TestStamps(t *testing.T) {
	var s stamps
	for i, c := range []struct {
		conn   string
		at     schemas.Time
		digest uint64
		want   bool
	}{
		{"a/1", 5, 1, true},
		{"a/1", 5, 1, false},
		{"a/1", 5, 2, true},
		{"a/1", 4, 3, false},
		{"a/1", 5, 6, true},
		{"a/1", 6, 4, true},
		{"a/2", 6, 4, false},
		{"a/2", 7, 5, true},
		{"a/3", 7, 9, false},
		{"a/3", 8, 10, true},
		{"a/2", 8, 11, false},
		{"a/2", 9, 12, true},
	} {
		if got := s.fresh(c.conn, c.at, c.digest); got != c.want {
			t.Errorf("step %d %+v: %v", i, c, got)
		}
	}
}
