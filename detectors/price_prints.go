package detectors

import (
	"slices"

	"github.com/tapewatch/tapewatch/internal/pack"
)

// A verdict says what a print is worth.
type verdict uint8

const (
	fair     verdict = iota
	heldBack         // too far off its neighbours: not used
	reverted         // fair itself, and shows that the one or two before it were bad ticks
)

// offMedian is how far off the median of the last five a print may be, as a share of it.
const offMedian = 0.2

// longRun is how many prints held back in a row are no bad ticks any more.
const longRun = 3

// prints holds the last five prints of an instrument, the held-back ones included: a level that lasts for three prints
// becomes the median, and is fair from then on.
type prints struct {
	ring [5]float64
	n    uint8
	next uint8
	// run counts the prints held back in a row; worst is the first of them and against the median that it was held against.
	run            uint8
	worst, against float64
}

// judge takes the next print.
func (p *prints) judge(price float64) verdict {
	v := fair
	// Within a tenth of a fair neighbour there is nothing to look into: the common case costs one comparison.
	if p.n >= 3 && (p.run > 0 || !within(price, p.latest(), 0.1)) {
		v = p.weigh(price)
	}
	p.ring[p.next] = price
	p.next = (p.next + 1) % uint8(len(p.ring))
	p.n = min(p.n+1, uint8(len(p.ring)))
	return v
}

// interrupt says that prints are missing: none that follows shows what those held back were.
func (p *prints) interrupt() {
	if p.run > 0 {
		p.run = longRun
	}
}

func (p *prints) latest() float64 { return p.ring[(int(p.next)+len(p.ring)-1)%len(p.ring)] }

func (p *prints) weigh(price float64) verdict {
	m := p.median()
	if within(price, m, offMedian) {
		v := fair
		if p.run > 0 && p.run < longRun {
			v = reverted
		}
		p.run = 0
		return v
	}
	if p.run == 0 {
		p.worst, p.against = price, m
	}
	p.run = min(p.run+1, longRun)
	return heldBack
}

func (p *prints) median() float64 {
	s := p.ring
	used := s[:p.n]
	slices.Sort(used)
	return used[len(used)/2]
}

// within reports whether price differs from ref by at most a share of ref.
func within(price, ref, share float64) bool {
	d := price - ref
	if d < 0 {
		d = -d
	}
	return d <= float64(share*ref)
}

func (p *prints) appendTo(dst []byte) []byte {
	dst = append(dst, p.n, p.next, p.run)
	for _, v := range p.ring[:p.n] {
		dst = pack.Float(dst, v)
	}
	return pack.Float(pack.Float(dst, p.worst), p.against)
}

func (p *prints) restore(r *pack.Reader) {
	*p = prints{n: min(r.Byte(), 5), next: r.Byte() % 5, run: r.Byte()}
	for i := range p.ring[:p.n] {
		p.ring[i] = r.Float()
	}
	p.worst, p.against = r.Float(), r.Float()
}

// A minutePrints collects the fair prints of one minute: how many, and the last three, the newest first.
type minutePrints struct {
	count uint32
	last  [3]float64
}

func (m *minutePrints) add(price float64) {
	m.last[2], m.last[1], m.last[0] = m.last[1], m.last[0], price
	m.count++
}

// spot is the price that decisions are made on: the middle one of the last three prints of the minute, so that no single
// print can raise an event; with fewer than three, the one nearest to prev.
func (m *minutePrints) spot(prev float64) float64 {
	switch m.count {
	case 0:
		return prev
	case 1:
		return m.last[0]
	case 2:
		a, b := m.last[0]-prev, m.last[1]-prev
		if max(a, -a) <= max(b, -b) {
			return m.last[0]
		}
		return m.last[1]
	}
	a, b, c := m.last[0], m.last[1], m.last[2]
	return max(min(a, b), min(max(a, b), c))
}

func (m *minutePrints) appendTo(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(m.count))
	for _, v := range m.last[:min(m.count, 3)] {
		dst = pack.Float(dst, v)
	}
	return dst
}

func (m *minutePrints) restore(r *pack.Reader) {
	*m = minutePrints{count: uint32(r.Uint())}
	for i := range m.last[:min(m.count, 3)] {
		m.last[i] = r.Float()
	}
}
