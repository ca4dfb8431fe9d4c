// Package calibration turns scores into thresholds with a known alarm rate: a histogram of hourly maxima over 13 weeks, quantiles
// and return periods from it, a population prior for young keys, and a bounded adaptive tracker on top. All of it is
// deterministic, of constant size, and driven by event time alone.
package calibration

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/tapewatch/tapewatch/internal/fixed"
)

// Cells is the number of cells of a histogram.
const Cells = 64

// A Layout cuts the positive scores into Cells log-spaced cells: cell 0 is everything below low, the last everything from high up.
// It is made once per leg, shared by all keys and not part of any state: changing it needs a new state version.
type Layout struct {
	edges [Cells + 1]float64 // cell i is edges[i] <= v < edges[i+1]; edges[0] = 0
	mids  [Cells]float64     // at(cell, 0.5)
}

// NewLayout makes the cells for scores of which low..high matters, 0 < low < high; a factor of 128 gives cells 8 % wide.
func NewLayout(low, high float64) (*Layout, error) {
	if !(low > 0) || !(high > low) || math.IsInf(high, 0) {
		return nil, fmt.Errorf("laying out score cells: low %v, high %v: must be 0 < low < high < infinity", low, high)
	}
	l := &Layout{}
	width := fixed.Log2(high/low) / (Cells - 2)
	for i := 1; i < Cells; i++ {
		l.edges[i] = low * fixed.Exp2(float64(width*float64(i-1)))
	}
	l.edges[Cells] = l.edges[Cells-1] * fixed.Exp2(width)
	for i := range l.mids {
		l.mids[i] = l.at(i, 0.5)
	}
	return l, nil
}

// Cell returns the cell of a score; below low, and for NaN, it is 0.
func (l *Layout) Cell(v float64) int {
	i := sort.Search(Cells-1, func(i int) bool { return !(v >= l.edges[i+1]) })
	return i
}

// Counts is a histogram over the cells of a layout. Addition and subtraction are exact and their order does not matter.
type Counts [Cells]uint32

// Total returns the number of counts.
func (c *Counts) Total() uint64 {
	var n uint64
	for _, v := range c {
		n += uint64(v)
	}
	return n
}

// Merge adds o.
func (c *Counts) Merge(o *Counts) {
	for i, v := range o {
		c[i] += v
	}
}

// Subtract takes away o, which must have been merged before.
func (c *Counts) Subtract(o *Counts) {
	for i, v := range o {
		c[i] -= v
	}
}

// Weeks is the length of the calibration memory.
const Weeks = 13

// A Ring is a histogram of the last 13 weeks of event time, kept as weekly ones so that old weeks can be subtracted. The zero
// value is empty.
type Ring struct {
	week  int64 // of slot week mod Weeks, in weeks since the epoch
	slots [Weeks]Counts
	sum   Counts
}

// ErrState is what RestoreState says of bytes that are not a calibration.
var ErrState = errors.New("calibration state bytes are broken")

// Advance moves the ring to a week, counted since the epoch, and drops what is older than 13 weeks. It never moves back.
func (r *Ring) Advance(week int64) {
	if week <= r.week {
		return
	}
	if week-r.week >= Weeks {
		*r = Ring{week: week}
		return
	}
	for r.week < week {
		r.week++
		s := &r.slots[slot(r.week)]
		r.sum.Subtract(s)
		*s = Counts{}
	}
}

// Add counts one score's cell in the present week.
func (r *Ring) Add(cell int) {
	if cell < 0 || cell >= Cells {
		return
	}
	r.slots[slot(r.week)][cell]++
	r.sum[cell]++
}

// Sum returns the histogram of all weeks; it changes with the ring.
func (r *Ring) Sum() *Counts { return &r.sum }

func slot(week int64) int { return int(((week % Weeks) + Weeks) % Weeks) }
