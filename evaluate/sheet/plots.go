package sheet

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Curve sets two figures against each other, one line a rule. The vertical axis is a share, from 0 to 1, and so is the horizontal one
// where Share says so.
type Curve struct {
	Title string
	// X and Y name the axes, with their units.
	X, Y  string
	Share bool
	Lines []Line
}

// A Line is the points of one rule; Series tells rules apart by colour. A swept one is drawn thin through points in the order in which they
// are given, of which those that have a name are marked.
type Line struct {
	Name   string
	Points []Point
	Series int
	Swept  bool
}

// A Point is a setting of a rule; Low and High are the bounds of Y.
type Point struct {
	Name            string
	X, Y, Low, High float64
}

// series names the class of the i-th rule; there are four colours.
func series(i int) string { return fmt.Sprintf("s%d", i%4) }

func (c Curve) draw() *drawing {
	const bottom, height = 190.0, 228.0
	d := &drawing{Title: c.Title, Height: height}
	x := c.across()
	y := scale{low: 0, high: 1, from: bottom, to: edge}
	d.frame(x, y, c.X, c.Y)
	var told []string
	for _, l := range c.Lines {
		points := slices.Clone(l.Points)
		mark, stroke := "dot ", "line "
		if l.Swept {
			mark, stroke = "pin ", "thin "
		} else {
			slices.SortStableFunc(points, func(a, b Point) int { return compare(a.X, b.X) })
		}
		line, whiskers := &path{}, &path{}
		for k, p := range points {
			command := byte('L')
			if k == 0 {
				command = 'M'
			}
			line.to(command, x.at(p.X), y.at(p.Y))
			if !l.Swept {
				whiskers.line(x.at(p.X), y.at(p.Low), x.at(p.X), y.at(p.High))
			}
		}
		d.stroke("whisker "+series(l.Series), "", whiskers)
		d.stroke(stroke+series(l.Series), "", line)
		for _, p := range points {
			if l.Swept && p.Name == "" {
				continue
			}
			tip := fmt.Sprintf("%s, %s: %.3g, %.3f (%.3f to %.3f)", l.Name, p.Name, p.X, p.Y, p.Low, p.High)
			d.stroke(mark+series(l.Series), tip, (&path{}).dot(x.at(p.X), y.at(p.Y)))
		}
		d.key(mark+series(l.Series), l.Name)
		told = append(told, fmt.Sprintf("%s at %d settings", l.Name, len(points)))
	}
	d.Label = fmt.Sprintf("%s: %s against %s; %s", c.Title, c.Y, c.X, strings.Join(told, ", "))
	return d
}

// across is the horizontal scale: a share's whole, else one with room for all points, logarithmic where they lie far apart.
func (c Curve) across() scale {
	if c.Share {
		return scale{low: 0, high: 1, from: left + 6, to: right - 6}
	}
	low, high := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, p := range l.Points {
			low, high = min(low, p.X), max(high, p.X)
		}
	}
	x := reach(left+6, right-6, 0, high)
	if low > 0 && high/low > 6 {
		x.low, x.high, x.log = low, high, true
	}
	return x
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Delays are how late alarms came, one histogram a row, all on one axis.
type Delays struct {
	Title string
	Rows  []DelayRow
}

// A DelayRow is the delays of one kind, in minutes.
type DelayRow struct {
	Name   string
	Values []float64
}

// bins is how many bars a histogram has at most.
const bins = 48

func (h Delays) draw() *drawing {
	const band, bar = 42.0, 20.0
	d := &drawing{Title: h.Title}
	low, high := 0.0, 0.0
	for _, r := range h.Rows {
		for _, v := range r.Values {
			low, high = min(low, v), max(high, v)
		}
	}
	unit, factor := "minutes", 1.0
	switch {
	case high-low < 2:
		unit, factor = "seconds", 60
	case high-low > 300:
		unit, factor = "hours", 1.0/60
	}
	x := reach(10, right, low*factor, high*factor)
	step := roundUp((x.high - x.low) / bins)
	x.low, x.high = math.Floor(x.low/step)*step, (math.Floor(x.high/step)+1)*step
	zero := &path{}
	for i, r := range h.Rows {
		base := edge + band*float64(i) + band - 8
		counts := make([]int, int(math.Round((x.high-x.low)/step)))
		for _, v := range r.Values {
			counts[min(int((v*factor-x.low)/step), len(counts)-1)]++
		}
		most := 1
		if len(counts) > 0 {
			most = max(slices.Max(counts), 1)
		}
		bars := &path{}
		for k, n := range counts {
			if n > 0 {
				from, to := x.at(x.low+float64(k)*step), x.at(x.low+float64(k+1)*step)
				tall := max(bar*float64(n)/float64(most), 1)
				bars.box(from, base-tall, max(to-from-0.8, 0.8), tall)
			}
		}
		zero.line(x.from, base, x.to, base)
		d.stroke("bar s0", fmt.Sprintf("%s: %d found, %d in the fullest bar", r.Name, len(r.Values), most), bars)
		d.text("over", 10, base-bar-5, fmt.Sprintf("%s, n %d", r.Name, len(r.Values)))
	}
	bottom := edge + band*float64(len(h.Rows))
	d.stroke("grid", "", zero)
	if x.low < 0 {
		d.stroke("zero", "the onset", (&path{}).line(x.at(0), edge, x.at(0), bottom))
	}
	d.ticks(x, bottom, "delay, "+unit)
	d.Height = bottom + 38
	d.Label = fmt.Sprintf("%s: histograms of the delay in %s, one for each of %d rows", h.Title, unit, len(h.Rows))
	return d
}

// Whiskers are shares with their 95 % intervals, one a row.
type Whiskers struct {
	Title string
	// X names the axis.
	X    string
	Rows []Whisker
}

// A Whisker is one share; Series tells rules apart by colour.
type Whisker struct {
	Name             string
	Value, Low, High float64
	Series           int
}

func (w Whiskers) draw() *drawing {
	// Names stand left of the intervals, or above them where one is long.
	const mostLetters = 26
	band, names, x := 17.0, 190.0, scale{low: 0, high: 1, to: right - 4}
	for _, r := range w.Rows {
		x.high = max(x.high, r.High)
		if len(r.Name) > mostLetters {
			band, names = 30, 14
		}
	}
	x.from = names
	d := &drawing{Title: w.Title}
	bottom := edge + band*float64(len(w.Rows))
	grid := &path{}
	for _, v := range x.ticks(5) {
		grid.line(x.at(v), edge-6, x.at(v), bottom)
	}
	d.stroke("grid", "", grid)
	for i, r := range w.Rows {
		y := edge + band*float64(i) + band - 8.5
		if band > 20 {
			d.text("over", 10, y-8, r.Name)
		} else {
			d.text("end", names-9, y+4, r.Name)
		}
		tip := fmt.Sprintf("%s: %.3f (%.3f to %.3f)", r.Name, r.Value, r.Low, r.High)
		d.stroke("whisker "+series(r.Series), "", (&path{}).line(x.at(r.Low), y, x.at(r.High), y))
		d.stroke("dot "+series(r.Series), tip, (&path{}).dot(x.at(r.Value), y))
	}
	d.ticks(x, bottom, w.X)
	d.Height = bottom + 38
	d.Label = fmt.Sprintf("%s: %s with 95 %% intervals, %d rows", w.Title, w.X, len(w.Rows))
	return d
}
