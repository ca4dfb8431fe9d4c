// Package nab scores a detector on the Numenta Anomaly Benchmark by its published rules (NAB 1.1), and holds the volume engine as a
// scorer of one plain series. The benchmark has known label faults (Wu and Keogh 2020): it is an anchor against regressions.
package nab

import "math"

// A Profile weighs what a detector does right and wrong.
type Profile struct {
	Name string
	// Hit is the most a window that was found gives, Miss what one that was not costs, False what an alarm outside costs at most.
	Hit, Miss, False float64
}

// Profiles returns the published profiles: standard, reward low FP, reward low FN.
func Profiles() []Profile {
	return []Profile{{"standard", 1, 1, 0.11}, {"low FP", 1, 1, 0.22}, {"low FN", 1, 2, 0.11}}
}

// A window is the rows from first to last, inclusive, that belong to an anomaly.
type window struct{ first, last int }

// A tally is what one detector did on one or more series.
type tally struct {
	raw, null      float64
	windows, found int
	// false alarms are rows outside the windows.
	wrong int
}

// score is 100 for a detector that finds every window at its first row and nothing else, and 0 for one that does nothing.
func (t tally) score() float64 { return 100 * (t.raw - t.null) / (float64(t.windows) - t.null) }

func (t *tally) add(o tally) {
	t.raw += o.raw
	t.null += o.null
	t.windows += o.windows
	t.found += o.found
	t.wrong += o.wrong
}

// sigmoid is NAB's weight of a relative position: near 1 at the start of a window (-1), 0 at its end, near -1 far beyond.
func sigmoid(y float64) float64 { return 2/(1+math.Exp(5*y)) - 1 }

// probation is how many rows at the start do not count.
func probation(n int) int { return min(int(0.15*float64(n)), 750) }

// judge scores the alarm rows (ascending) of a series of n rows. Of the alarms in a window the first counts, the more the earlier; an
// alarm outside costs the more the further it lies behind the last window.
func judge(alarms []int, windows []window, n int, p Profile) tally {
	t := tally{windows: len(windows), null: -p.Miss * float64(len(windows))}
	found := make([]bool, len(windows))
	for _, i := range alarms {
		if i < probation(n) {
			continue
		}
		inside, before := -1, -1
		for w, win := range windows {
			if i >= win.first && i <= win.last {
				inside = w
			}
			if win.last < i {
				before = w
			}
		}
		switch {
		case inside >= 0 && !found[inside]:
			found[inside] = true
			win := windows[inside]
			y := -float64(win.last-i+1) / float64(win.last-win.first+1)
			t.raw += p.Hit * sigmoid(y) / sigmoid(-1)
			t.found++
		case inside >= 0:
		case before < 0:
			t.raw -= p.False
			t.wrong++
		default:
			win := windows[before]
			cost := -1.0
			if y := float64(i-win.last) / float64(win.last-win.first); y < 3 {
				cost = sigmoid(y)
			}
			t.raw += p.False * cost
			t.wrong++
		}
	}
	for _, f := range found {
		if !f {
			t.raw -= p.Miss
		}
	}
	return t
}
