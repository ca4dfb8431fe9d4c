package sheet

import (
	"math"
	"strconv"
)

// Every drawing is as wide as a phone shows at full size; a page sets several side by side.
const (
	width = 440.0
	left  = 50.0 // room for the ticks of the vertical axis
	right = width - 10
	edge  = 22.0 // room above a plot
)

// A drawing is one plot as lines and text. Classes name colours and strokes of the page's style.
type drawing struct {
	Title, Label string
	Height       float64
	Paths        []stroke
	Texts        []caption
	Key          []entry
}

// A stroke is a path; Tip says what it stands for.
type stroke struct {
	Class, Tip string
	D          string
}

// A caption is text at a point; its class says how it is aligned.
type caption struct{ Class, X, Y, Text string }

// An entry explains a class.
type entry struct{ Class, Text string }

// Width is that of every drawing.
func (d *drawing) Width() float64 { return width }

func (d *drawing) stroke(class, tip string, p *path) {
	if len(p.d) > 0 {
		d.Paths = append(d.Paths, stroke{class, tip, string(p.d)})
	}
}

func (d *drawing) text(class string, x, y float64, text string) {
	d.Texts = append(d.Texts, caption{class, coordinate(x), coordinate(y), text})
}

func (d *drawing) key(class, text string) { d.Key = append(d.Key, entry{class, text}) }

// A path is the commands of an SVG path.
type path struct{ d []byte }

func (p *path) to(command byte, v ...float64) *path {
	p.d = append(p.d, command)
	for i, x := range v {
		if i > 0 {
			p.d = append(p.d, ' ')
		}
		p.d = append(p.d, coordinate(x)...)
	}
	return p
}

func (p *path) line(x1, y1, x2, y2 float64) *path { return p.to('M', x1, y1).to('L', x2, y2) }

// box is a filled rectangle.
func (p *path) box(x, y, w, h float64) *path {
	return p.to('M', x, y).to('h', w).to('v', h).to('h', -w).to('z')
}

// dot is a point; its size is the width of the class's stroke, with round ends.
func (p *path) dot(x, y float64) *path { return p.to('M', x, y).to('h', 0) }

// coordinate has a tenth of a unit, without what says nothing.
func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10+0, 'f', -1, 64)
}

// frame draws the axes of a plot: horizontal lines at the ticks of y, ticks of x below, and their names.
func (d *drawing) frame(x, y scale, xName, yName string) {
	grid := &path{}
	for _, v := range y.ticks(4) {
		grid.line(left, y.at(v), right, y.at(v))
		d.text("end", left-5, y.at(v)+4, number(v))
	}
	d.stroke("grid", "", grid)
	d.ticks(x, y.from, xName)
	d.text("name", 2, 13, yName)
}

// ticks draws the horizontal axis at a height.
func (d *drawing) ticks(x scale, at float64, name string) {
	axis := (&path{}).line(x.from, at, x.to, at)
	for _, v := range x.ticks(6) {
		axis.line(x.at(v), at, x.at(v), at+4)
		d.text("mid", x.at(v), at+16, number(v))
	}
	d.stroke("axis", "", axis)
	d.text("name end", right, at+32, name)
}
