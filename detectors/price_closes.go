package detectors

import "github.com/tapewatch/tapewatch/internal/pack"

// maxWindow is the longest window of closes, minutes.
const maxWindow = 60

// A minuteClose is how a minute ended: its price, the records that came too late during it, and the prints held back in it.
type minuteClose struct {
	price      float64
	late, held uint32
}

// closes is a ring of the last minutes: window + 1 of them span a window.
type closes struct {
	ring []minuteClose
	n    int
	next int
}

func newCloses(window int) closes { return closes{ring: make([]minuteClose, window+1)} }

func (c *closes) clear() { c.n, c.next = 0, 0 }

func (c *closes) push(m minuteClose) {
	c.ring[c.next] = m
	if c.next++; c.next == len(c.ring) {
		c.next = 0
	}
	c.n = min(c.n+1, len(c.ring))
}

// ago returns the close of k minutes before the last one; 0 when it is not known.
func (c *closes) ago(k int) float64 { return c.minute(k).price }

func (c *closes) minute(k int) minuteClose {
	if k >= c.n {
		return minuteClose{}
	}
	i := c.next - 1 - k
	if i < 0 {
		i += len(c.ring)
	}
	return c.ring[i]
}

// list returns the closes, oldest first.
func (c *closes) list() []float64 {
	out := make([]float64, 0, c.n)
	for k := c.n - 1; k >= 0; k-- {
		out = append(out, c.ago(k))
	}
	return out
}

// counts adds up the late records and the prints held back of the closed minutes of the window.
func (c *closes) counts() (late, held uint32) {
	for k := range min(c.n, len(c.ring)-1) {
		m := c.minute(k)
		late += m.late
		held += m.held
	}
	return late, held
}

func (c *closes) appendTo(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(c.n))
	for k := c.n - 1; k >= 0; k-- {
		m := c.minute(k)
		dst = pack.Float(dst, m.price)
		dst = pack.Uint(pack.Uint(dst, uint64(m.late)), uint64(m.held))
	}
	return dst
}

// restore keeps as many closes as the configured window holds.
func (c *closes) restore(r *pack.Reader) {
	c.clear()
	for range r.Count(maxWindow + 1) {
		c.push(minuteClose{price: r.Float(), late: uint32(r.Uint()), held: uint32(r.Uint())})
	}
}
