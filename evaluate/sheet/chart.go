package sheet

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Chart is candles or a line over time, with the alerts on them and what was known of the stretch.
type Chart struct {
	Title string `json:"title"`
	// Unit is that of the values.
	Unit string `json:"unit"`
	// From and To are the chart's ends.
	From    schemas.Time `json:"from"`
	To      schemas.Time `json:"to"`
	Candles []Candle     `json:"candles,omitempty"`
	Line    []Sample     `json:"line,omitempty"`
	Alerts  []Alert      `json:"alerts,omitempty"`
	Spans   []Span       `json:"spans,omitempty"`
}

// A Candle is a stretch of trading.
type Candle struct {
	At     schemas.Time  `json:"at"`
	Length time.Duration `json:"length_ns"`
	Open   float64       `json:"open"`
	High   float64       `json:"high"`
	Low    float64       `json:"low"`
	Close  float64       `json:"close"`
	Volume float64       `json:"volume"`
}

// Add puts a later candle into this one; an empty one becomes it.
func (c *Candle) Add(o Candle) {
	if c.Close == 0 {
		o.At, o.Length = c.At, c.Length
		*c = o
		return
	}
	c.High, c.Low, c.Close = max(c.High, o.High), min(c.Low, o.Low), o.Close
	c.Volume += o.Volume
}

// A Sample is a value at a time.
type Sample struct {
	At    schemas.Time `json:"at"`
	Value float64      `json:"value"`
}

// An Alert is when an episode became an alarm, and the highest severity that it reached.
type Alert struct {
	At       schemas.Time `json:"at"`
	Severity string       `json:"severity"`
}

// A Span is a stretch that is known: a label, or an injection; Onset is when it truly begins, 0 for nothing of the kind.
type Span struct {
	From  schemas.Time `json:"from"`
	To    schemas.Time `json:"to"`
	Onset schemas.Time `json:"onset,omitempty"`
	Name  string       `json:"name"`
}

var severities = []string{schemas.Low, schemas.Medium, schemas.High, schemas.Critical}

// Heights of a chart: the lane of alerts, the values, the volume.
const (
	laneTop, laneBottom     = 20.0, 38.0
	valueTop, valueBottom   = 44.0, 164.0
	volumeTop, volumeBottom = 170.0, 200.0
	chartBottom, chartTall  = 202.0, 222.0
	// fewAlerts is up to how many alerts are drawn through the whole chart.
	fewAlerts = 12
)

func (c Chart) draw() *drawing {
	d := &drawing{Title: c.Title, Height: chartTall}
	x := scale{low: float64(c.From), high: float64(c.To), from: left, to: right}
	low, high := math.Inf(1), math.Inf(-1)
	for _, k := range c.Candles {
		low, high = min(low, k.Low), max(high, k.High)
	}
	for _, s := range c.Line {
		low, high = min(low, s.Value), max(high, s.Value)
	}
	if low > high {
		low, high = 0, 1
	}
	y := reach(valueBottom, valueTop, low, high)
	c.spans(d, x)
	grid := &path{}
	for _, v := range y.ticks(4) {
		grid.line(left, y.at(v), right, y.at(v))
		d.text("end", left-5, y.at(v)+4, number(v))
	}
	d.stroke("grid", "", grid)
	d.text("name", 2, 13, c.Unit)
	axis := (&path{}).line(left, chartBottom, right, chartBottom)
	for _, m := range moments(c.From, c.To) {
		at := x.at(float64(m.at))
		axis.line(at, chartBottom, at, chartBottom+4)
		d.text("mid", min(max(at, 30), width-34), chartBottom+16, m.text)
	}
	d.stroke("axis", "", axis)
	if len(c.Candles) > 0 {
		c.candles(d, x, y)
	}
	if len(c.Line) > 0 {
		c.line(d, x, y)
	}
	c.alerts(d, x)
	d.Label = fmt.Sprintf("%s: %s from %v to %v, %d alerts, %d marked stretches", c.Title, c.Unit, c.From, c.To, len(c.Alerts), len(c.Spans))
	return d
}

func (c Chart) spans(d *drawing, x scale) {
	for i, s := range c.Spans {
		from, to := x.at(float64(max(s.From, c.From))), x.at(float64(min(s.To, c.To)))
		d.stroke("span", fmt.Sprintf("%s, %v to %v", s.Name, s.From, s.To), (&path{}).box(from, laneTop, max(to-from, 1.5), chartBottom-laneTop))
		if s.Onset >= c.From && s.Onset <= c.To {
			d.stroke("zero", "the onset", (&path{}).line(x.at(float64(s.Onset)), laneTop, x.at(float64(s.Onset)), chartBottom))
		}
		if i == 0 || s.Name != c.Spans[i-1].Name {
			d.key("bar span", s.Name)
		}
	}
}

// candles draws rises, falls and volume, each as one path for the wicks and one for the bodies.
func (c Chart) candles(d *drawing, x, y scale) {
	var wicks, bodies [2]path
	volume := &path{}
	most := 0.0
	for _, k := range c.Candles {
		most = max(most, k.Volume)
	}
	for _, k := range c.Candles {
		from, to := x.at(float64(k.At)), x.at(float64(k.At.Add(k.Length)))
		up := 0
		if k.Close < k.Open {
			up = 1
		}
		wide := max((to-from)*0.7, 0.6)
		mid := (from + to) / 2
		wicks[up].line(mid, y.at(k.High), mid, y.at(k.Low))
		top := y.at(max(k.Open, k.Close))
		bodies[up].box(mid-wide/2, top, wide, max(y.at(min(k.Open, k.Close))-top, 0.6))
		if k.Volume > 0 {
			tall := (volumeBottom - volumeTop) * k.Volume / most
			volume.box(mid-wide/2, volumeBottom-tall, wide, tall)
		}
	}
	d.stroke("bar volume", "volume", volume)
	for up, class := range []string{"rise", "fall"} {
		d.stroke("wick "+class, "", &wicks[up])
		d.stroke("bar "+class, "", &bodies[up])
		d.key("bar "+class, []string{"rise", "fall"}[up])
	}
	if len(volume.d) > 0 {
		d.key("bar volume", "volume")
	}
}

// line draws the samples; where there are more of them than the chart is wide, the extremes of each stretch.
func (c Chart) line(d *drawing, x, y scale) {
	const columns = 2 * int(right-left)
	p := &path{}
	each := max(len(c.Line)/columns, 1)
	command := byte('M')
	for i := 0; i < len(c.Line); i += each {
		part := c.Line[i:min(i+each, len(c.Line))]
		by := func(a, b Sample) int { return compare(a.Value, b.Value) }
		ends := []Sample{slices.MinFunc(part, by), slices.MaxFunc(part, by)}
		if ends[0].At > ends[1].At {
			slices.Reverse(ends)
		}
		for _, s := range slices.Compact(ends) {
			p.to(command, x.at(float64(s.At)), y.at(s.Value))
			command = 'L'
		}
	}
	d.stroke("thin s0", "", p)
}

// alerts draws a stroke for each alert, the taller the more severe, and where they are few a line through the chart.
func (c Chart) alerts(d *drawing, x scale) {
	for i, severity := range severities {
		p, through := &path{}, &path{}
		n := 0
		for _, a := range c.Alerts {
			if a.Severity != severity || a.At < c.From || a.At > c.To {
				continue
			}
			n++
			at := x.at(float64(a.At))
			p.line(at, laneBottom, at, laneBottom-float64(i+1)*(laneBottom-laneTop)/4)
			through.line(at, laneBottom, at, chartBottom)
		}
		if n == 0 {
			continue
		}
		if len(c.Alerts) <= fewAlerts {
			d.stroke("through "+severity, "", through)
		}
		d.stroke("alert "+severity, fmt.Sprintf("%d alerts of severity %s", n, severity), p)
		d.key("bar "+severity, fmt.Sprintf("%s alert (%d)", severity, n))
	}
}
