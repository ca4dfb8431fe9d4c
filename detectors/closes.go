package detectors

import "github.com/tapewatch/tapewatch/internal/pack"

// maxWindow is the longest window of closes, minutes.
const maxWindow = 60

// closes is a ring of the last minute closes: window + 1 of them span a window.
type closes struct {
	ring []float64
	n    int
	next int
}

func newCloses(window int) closes { return closes{ring: make([]float64, window+1)} }

func (c *closes) clear() { c.n, c.next = 0, 0 }

func (c *closes) push(price float64) {
	c.ring[c.next] = price
	if c.next++; c.next == len(c.ring) {
		c.next = 0
	}
	c.n = min(c.n+1, len(c.ring))
}

// ago returns the close of k minutes before the last one; 0 when it is not known.
func (c *closes) ago(k int) float64 {
	if k >= c.n {
		return 0
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

func (c *closes) appendTo(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(c.n))
	for k := c.n - 1; k >= 0; k-- {
		dst = pack.Float(dst, c.ago(k))
	}
	return dst
}

// restore keeps as many closes as the configured window holds.
func (c *closes) restore(r *pack.Reader) {
	c.clear()
	for range r.Count(maxWindow + 1) {
		c.push(r.Float())
	}
}
