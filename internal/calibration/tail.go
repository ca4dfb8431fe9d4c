package calibration

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/fixed"
)

// The tail model begins where one in tailShare of the sample lies above, but never on fewer than tailLeast samples.
const (
	tailShare = 100
	tailLeast = 10
)

// Exceedance returns P(score >= v) of a histogram: inside the sample the share above v, log-linear within a cell; beyond the 99 %
// point an exponential tail with the mean excess of the sample there. It falls with v; 1 for an empty histogram.
func (c *Counts) Exceedance(l *Layout, v float64) float64 {
	n := float64(c.Total())
	if n == 0 {
		return 1
	}
	t := c.tail(l)
	if v > t.start {
		return t.share * fixed.Exp((t.start-v)/t.scale)
	}
	return max(c.above(l, v)/n, t.share)
}

// Quantile returns the score that a share p of the sample lies below, 0 < p < 1: inside the sample the empirical quantile,
// log-linear within a cell; where fewer than one sample would lie above, the exponential tail. 0 for an empty histogram.
func (c *Counts) Quantile(l *Layout, p float64) float64 {
	n := float64(c.Total())
	want := float64((1 - p) * n) // samples above
	if n == 0 || !(want < n) {
		return 0
	}
	if want < 1 {
		t := c.tail(l)
		return max(t.start+float64(t.scale*fixed.Ln(t.share/(1-p))), c.ranked(l, 1))
	}
	return c.ranked(l, want)
}

// ranked returns the score with so many samples above it, log-linear within its cell.
func (c *Counts) ranked(l *Layout, want float64) float64 {
	above := 0.0
	for i := Cells - 1; i >= 0; i-- {
		k := float64(c[i])
		if k > 0 && above+k >= want {
			return l.at(i, 1-(want-above)/k)
		}
		above += k
	}
	return 0
}

// above returns how many samples lie at or above v.
func (c *Counts) above(l *Layout, v float64) float64 {
	cell := l.Cell(v)
	n := 0.0
	for i := Cells - 1; i > cell; i-- {
		n += float64(c[i])
	}
	return n + float64(float64(c[cell])*(1-l.within(cell, v)))
}

// at returns the score a fraction f into a cell; cell 0 is linear, as it starts at zero.
func (l *Layout) at(cell int, f float64) float64 {
	lo, hi := l.edges[cell], l.edges[cell+1]
	if cell == 0 {
		return float64(hi * f)
	}
	return lo * fixed.Exp2(float64(f*fixed.Log2(hi/lo)))
}

// within is the inverse of at, in 0..1.
func (l *Layout) within(cell int, v float64) float64 {
	lo, hi := l.edges[cell], l.edges[cell+1]
	f := v / hi
	if cell > 0 {
		f = fixed.Log2(v/lo) / fixed.Log2(hi/lo)
	}
	return min(max(f, 0), 1)
}

// An exponential is P(score >= v) = share x exp((start - v)/scale) for v > start.
type exponential struct{ start, share, scale float64 }

// tail fits the exponential to the cells that hold the upper hundredth of the sample.
func (c *Counts) tail(l *Layout) exponential {
	n := c.Total()
	need := max(n/tailShare, tailLeast)
	var k uint64
	sum := 0.0
	i := Cells - 1
	for ; i > 0; i-- {
		k += uint64(c[i])
		sum += float64(float64(c[i]) * l.mids[i])
		if k >= need {
			break
		}
	}
	start := l.edges[i]
	if k == 0 { // all samples are below the first edge
		return exponential{start: l.edges[1], share: 1 / float64(n+1), scale: l.edges[1]}
	}
	excess := sum/float64(k) - start
	return exponential{start: start, share: float64(k) / float64(n), scale: math.Max(excess, (l.edges[i+1]-start)/2)}
}
