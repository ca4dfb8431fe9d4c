package feed

import (
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// ClockConfig says how a source's time is derived from its frames.
type ClockConfig struct {
	// Delay is how far a Tick lags behind the venue's time: what venues' streams run behind each other. Streams of Binance
	// were up to 156 ms behind each other in the recordings measured.
	Delay time.Duration
	// Idle is how long a silent connection's time stands still beyond the receipt clock, before that clock moves it.
	Idle time.Duration
	// Grace is how long after its first connection a source without any venue time waits before it runs on the receipt clock.
	Grace time.Duration
}

// DefaultClock fits venues that push within 100 ms.
func DefaultClock() ClockConfig {
	return ClockConfig{Delay: 250 * time.Millisecond, Idle: 2 * time.Second, Grace: 5 * time.Second}
}

// ahead bounds how far a venue time may run ahead of what the receipt clock says it is; further is a broken stamp.
const ahead = 10 * time.Second

// A Clock derives one source's time from the venue's stamps and, while a connection is silent, from the receipt clock less
// the measured skew. It knows no other clock: the same frames give the same ticks.
type Clock struct {
	cfg    ClockConfig
	conns  map[string]*conn
	now    schemas.Time // receipt clock, never back
	begun  schemas.Time // receipt of the first connection
	ticked schemas.Time
	skew   median // over all connections
}

// conn is one connection's share in the source's time.
type conn struct {
	venue schemas.Time // latest venue time seen
	skew  median
}

// NewClock makes the clock of one source.
func NewClock(cfg ClockConfig) *Clock { return &Clock{cfg: cfg, conns: map[string]*conn{}} }

// Connect adds a connection.
func (c *Clock) Connect(name string, at schemas.Time) {
	c.Advance(at)
	if c.begun == 0 {
		c.begun = at
	}
	c.conns[name] = &conn{}
}

// Close removes a connection: it holds the source's time no longer.
func (c *Clock) Close(name string) { delete(c.conns, name) }

// Advance moves the receipt clock, never back.
func (c *Clock) Advance(at schemas.Time) { c.now = max(c.now, at) }

// Now returns the receipt clock.
func (c *Clock) Now() schemas.Time { return c.now }

// Ticked returns the time of the last Tick, 0 before the first.
func (c *Clock) Ticked() schemas.Time { return c.ticked }

// Observe takes the venue's stamp of a frame that was just received on a connection.
func (c *Clock) Observe(name string, venue, received schemas.Time) {
	cn := c.conns[name]
	if cn == nil {
		return
	}
	cn.skew.add(received.Sub(venue))
	c.skew.add(received.Sub(venue))
	if venue <= received.Add(ahead-cn.skew.value()) {
		cn.venue = max(cn.venue, venue)
	}
}

// Skew returns receipt minus venue time, the median of late; ok is false before the first venue time.
func (c *Clock) Skew() (skew time.Duration, ok bool) { return c.skew.value(), c.skew.n > 0 }

// Estimate returns the venue's time at a receipt, for records without a stamp. It lies after the last Tick, so that such a
// record is not late by a wrong estimate.
func (c *Clock) Estimate(received schemas.Time) schemas.Time {
	return max(received.Add(-c.skew.value()), c.ticked+1)
}

// Due returns the whole second that the source's time has reached, if that is later than the last Tick, and takes it as
// ticked: the caller publishes the Tick behind all records it covers.
func (c *Clock) Due() (schemas.Time, bool) {
	reached, ok := c.reached()
	if !ok {
		return 0, false
	}
	return c.tick(reached.Add(-c.cfg.Delay).Floor(time.Second))
}

// First returns the Tick that stands ahead of a source's first record, once.
func (c *Clock) First(event schemas.Time) (schemas.Time, bool) {
	if c.ticked != 0 {
		return 0, false
	}
	return c.tick((event - 1).Add(-c.cfg.Delay).Floor(time.Second))
}

// Last returns the Tick behind everything at the end of a recording.
func (c *Clock) Last(latest schemas.Time) (schemas.Time, bool) {
	return c.tick((latest - 1).Floor(time.Second).Add(time.Second))
}

func (c *Clock) tick(at schemas.Time) (schemas.Time, bool) {
	if at <= c.ticked || at < schemas.MinTime || at > schemas.MaxTime {
		return 0, false
	}
	c.ticked = at
	return at, true
}

// reached is the slowest connection's time.
func (c *Clock) reached() (schemas.Time, bool) {
	if c.skew.n == 0 && (c.begun == 0 || c.now < c.begun.Add(c.cfg.Grace)) {
		return 0, false
	}
	low := c.now.Add(-c.skew.value())
	if len(c.conns) == 0 {
		return low.Add(-c.cfg.Idle), true
	}
	for _, cn := range c.conns { // a minimum: the order plays no part
		at := cn.venue
		skew := c.skew.value()
		if cn.skew.n > 0 {
			skew = cn.skew.value()
		}
		low = min(low, max(at, c.now.Add(-skew-c.cfg.Idle)))
	}
	return low, true
}

// median is the median of the last few samples.
type median struct {
	samples [63]time.Duration
	n       int // ever added
	fresh   int // added since the median was taken
	cached  time.Duration
}

func (m *median) add(d time.Duration) {
	m.samples[m.n%len(m.samples)] = d
	m.n++
	m.fresh++
}

// value returns the median, as of at most 32 samples ago once the window is full.
func (m *median) value() time.Duration {
	if m.n == 0 {
		return 0
	}
	if m.fresh >= 32 || (m.fresh > 0 && m.n <= len(m.samples)) {
		sorted := slices.Clone(m.samples[:min(m.n, len(m.samples))])
		slices.Sort(sorted)
		m.cached, m.fresh = sorted[len(sorted)/2], 0
	}
	return m.cached
}
