package feed

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

const start = schemas.Time(1_700_000_000_000_000_000)

// The window against a set: an id within reach is new exactly once.
func TestWindowEqualsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		seen := map[uint64]bool{}
		at := uint64(1_000_000)
		highest := uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			at += uint64(rapid.SampledFrom([]int{0, 1, 1, 1, 2, 70, windowSize / 2, 3 * windowSize}).Draw(t, "step"))
			id := at - uint64(rapid.IntRange(0, windowSize+windowSize/2).Draw(t, "back"))
			if rapid.Bool().Draw(t, "front") {
				id = at
			}
			fresh, missing := w.Add(id)
			want := !seen[id] && (highest == 0 || id+windowSize > highest)
			if fresh != want {
				t.Fatalf("id %d after %d: new %v, want %v", id, highest, fresh, want)
			}
			if gap := max(int64(id)-int64(highest)-1, 0); highest != 0 && uint64(gap) != missing {
				t.Fatalf("id %d after %d: %d missing, want %d", id, highest, missing, gap)
			}
			seen[id] = seen[id] || fresh
			highest = max(highest, id)
		}
	})
}

// ticks runs a clock over stamps {receipt, venue} in milliseconds from start, with the receipt clock stepping between, and
// lists the Ticks in seconds from start.
func ticks(c *Clock, stamps [][2]int, until int) []int {
	var out []int
	due := func() {
		if at, ok := c.Due(); ok {
			out = append(out, int(at.Sub(start)/time.Second))
		}
	}
	ms := func(n int) schemas.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	c.Connect("a", start)
	for now := 0; now <= until; now += 100 {
		for len(stamps) > 0 && stamps[0][0] <= now {
			c.Advance(ms(stamps[0][0]))
			c.Observe("a", ms(stamps[0][1]), ms(stamps[0][0]))
			due()
			stamps = stamps[1:]
		}
		c.Advance(ms(now))
		due()
	}
	return out
}

func TestTicksFollowTheVenue(t *testing.T) {
	every := func(from, to, step, skew int) (out [][2]int) {
		for at := from; at <= to; at += step {
			out = append(out, [2]int{at + skew, at})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		stamps [][2]int
		until  int
		want   []int
	}{
		{"one a second while data flow", every(0, 5000, 100, 50), 5000, []int{-1, 0, 1, 2, 3, 4}},
		{"a clock 1.27 s behind is no matter", every(1300, 6000, 100, -1270), 4800, []int{1, 2, 3, 4, 5}},
		{"silence: the receipt clock less skew goes on, 2 s behind", every(0, 1000, 100, 50), 6000, []int{-1, 0, 1, 2, 3}},
		{"an old message at first moves nothing back", append([][2]int{{1, -25_500}, {2, 0}}, every(100, 2500, 100, 50)...), 2500, []int{-26, -1, 0, 1, 2}},
		{"a stamp from far ahead is not believed", append(every(0, 1000, 100, 50), [2]int{1100, 90_000_000}), 1500, []int{-1, 0}},
		{"no stamp at all: the receipt clock after the grace", nil, 7000, []int{2, 3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ticks(NewClock(DefaultClock()), c.stamps, c.until); !slices.Equal(got, c.want) {
				t.Errorf("ticks %v, want %v", got, c.want)
			}
		})
	}
}

// A slow connection holds the source's time back, a dead one for the idle bound only.
func TestSlowestConnectionCounts(t *testing.T) {
	c := NewClock(DefaultClock())
	c.Connect("a", start)
	c.Connect("b", start)
	at := func(s float64) schemas.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	c.Observe("a", at(0.5), at(0.5))
	c.Observe("b", at(0.5), at(0.5))
	c.Advance(at(2.6))
	c.Observe("a", at(2.6), at(2.6))
	if got, ok := c.Due(); !ok || got != start {
		t.Errorf("tick %v %v, want %v: b is at 0.5 s and bounded to 0.6 s", got, ok, start)
	}
	c.Close("b")
	if got, ok := c.Due(); !ok || got != at(2) {
		t.Errorf("tick %v %v, want %v once b is gone", got, ok, at(2))
	}
}

// A record without a stamp gets the venue's time by the measured skew, and never one that has been ticked.
func TestEstimate(t *testing.T) {
	c := NewClock(DefaultClock())
	c.Connect("a", start)
	for i := range 40 {
		received := start.Add(time.Duration(i) * 100 * time.Millisecond)
		c.Advance(received)
		c.Observe("a", received.Add(1270*time.Millisecond), received)
	}
	now := c.Now()
	if got := c.Estimate(now); got != now.Add(1270*time.Millisecond) {
		t.Errorf("estimate %v after receipt, want 1.27 s", got.Sub(now))
	}
	ticked, ok := c.Due()
	if !ok {
		t.Fatal("no tick")
	}
	if got := c.Estimate(start); got != ticked+1 {
		t.Errorf("estimate %v, want right after the tick %v", got, ticked)
	}
}

// steps is a machine that notes what it is driven by, in milliseconds from start.
type steps struct{ log []string }

func (s *steps) note(what string, at schemas.Time) error {
	s.log = append(s.log, fmt.Sprintf("%s%d", what, at.Sub(start)/time.Millisecond))
	return nil
}

func (*steps) Owns(capture.Frame) bool { return true }

func (s *steps) Frame(f capture.Frame) error   { return s.note("frame ", f.At) }
func (s *steps) Advance(at schemas.Time) error { return s.note("", at) }
func (s *steps) Finish() error                 { return s.note("end", start) }

// The clock's steps stand between the frames at the same places, whether a timer or a frame made them.
func TestPumpStepsAlike(t *testing.T) {
	at := func(ms int) schemas.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	played, live := &steps{}, &steps{}
	p, l := NewPump(played), NewPump(live)
	for _, ms := range []int{5, 60, 330, 340} {
		if ms == 330 { // the timer was first here
			if err := l.Advance(at(210)); err != nil {
				t.Fatal(err)
			}
		}
		for _, pump := range []*Pump{p, l} {
			if err := pump.Frame(capture.Frame{At: at(ms)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"0", "frame 5", "frame 60", "100", "200", "300", "frame 330", "frame 340"}
	if !slices.Equal(played.log, want) || !slices.Equal(live.log, want) {
		t.Errorf("played %q, live %q, want %q", played.log, live.log, want)
	}
	if l.Reached() != at(300) {
		t.Errorf("reached %v, want 300 ms", l.Reached().Sub(start))
	}
}

// What was reached over is missing once, and new when it comes late.
func TestWindowReach(t *testing.T) {
	var w Window
	if n := w.Reach(7); n != 0 {
		t.Errorf("%d missing before the first id", n)
	}
	w.Add(5)
	if n := w.Reach(8); n != 3 || w.Highest() != 8 || w.Reach(8) != 0 || w.Reach(6) != 0 {
		t.Errorf("%d missing, highest %d, want 6, 7 and 8", n, w.Highest())
	}
	for _, c := range []struct {
		id      uint64
		fresh   bool
		missing uint64
	}{{8, true, 0}, {9, true, 0}, {7, true, 0}, {7, false, 0}, {5, false, 0}, {11, true, 1}} {
		if fresh, missing := w.Add(c.id); fresh != c.fresh || missing != c.missing {
			t.Errorf("id %d: new %v, %d missing, want %v, %d", c.id, fresh, missing, c.fresh, c.missing)
		}
	}
}
