package detectors

import (
	"math"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
)

const (
	// grain is how many units a standard deviation of a return has: integers, so that what leaves a window leaves no trace in its sums.
	grain = 256
	// mostZ bounds a return, in standard deviations: correlation is not to hang on single jumps.
	mostZ = 2
	// absent stands for a return that is not known.
	absent = math.MinInt16
)

// A constituent is one member of a basket whose returns are watched.
type constituent struct {
	seat
	watched bool
	// taken has a bit for each of the last 64 minutes: the bar came, the latest in bit 0.
	taken uint64
	// price is the last close, before that at the end of the last bar; 0 unknown. broken says that a minute of the open bar is missing.
	price, before float64
	broken        bool
	vol           volatility
	// z are the standardised returns of the window, others those of the mean of the other members; bar t since the epoch is at
	// t mod their length. zeros counts the returns of zero.
	z, others []int16
	zeros     int
	// size is the mean square of that mean, before it is standardised.
	size series.Level
	// rest is the pair of this member and the others, whose episode is the member's own.
	rest pair
	// Of the bar in hand, not state: how many of its pairs are broken, of how many, and whether that is put down to it.
	pairsBroken, of int
	leaver          bool
}

func (c *correlation) newConstituent(s seat, bars int) *constituent {
	m := &constituent{
		seat: s, vol: volatility{fading: c.fading, profile: c.profile},
		z: make([]int16, bars), others: make([]int16, bars),
	}
	for i := range m.z {
		m.z[i], m.others[i] = absent, absent
	}
	m.rest.a = m
	return m
}

// took says that the minute that ended some time before the last one was taken: its bar comes twice.
func (m *constituent) took(ago time.Duration) bool {
	k := ago / time.Minute
	return k >= 0 && k < 64 && m.taken>>k&1 != 0
}

// minute takes the bar that ends now; false says that it is missing.
func (m *constituent) minute(now, closed schemas.Time, skipped bool) bool {
	bar, found := m.pick(now)
	if closed != 0 {
		m.taken <<= min(max(now.Sub(closed)/time.Minute, 0), 64)
	}
	if found {
		m.taken |= 1
	}
	if skipped {
		m.broken, m.price = true, 0
	}
	switch {
	case !found || !bar.complete:
		m.broken, m.price = true, 0
	case bar.close > 0:
		m.price = float64(bar.close)
	}
	return found
}

// close ends the bar that started at start.
func (m *constituent) close(start schemas.Time, slot int) {
	if m.z[slot] == 0 {
		m.zeros--
	}
	z := int16(absent)
	if !m.broken && m.before > 0 && m.price > 0 {
		r := change(m.before, m.price)
		if m.vol.minutes > 0 {
			z = coarse(r / m.vol.sigma(start, leastSigma))
		}
		m.vol.add(start, r, leastSigma)
	}
	if z == 0 {
		m.zeros++
	}
	m.z[slot] = z
	m.before, m.broken = m.price, false
}

// coarse rounds a standardised figure to grains.
func coarse(z float64) int16 {
	return int16(math.RoundToEven(float64(grain * min(max(z, -mostZ), mostZ))))
}

// sizeLeast is how many bars the size of the mean of the others needs.
const sizeLeast = 30

// compare takes the mean of the others: sum and n are those of all.
func (m *constituent) compare(slot, sum, n, least int, decay float64) {
	m.others[slot] = absent
	z := m.z[slot]
	if z == absent || n < least {
		return
	}
	mean := float64(sum-int(z)) / float64(n-1) / grain
	if m.size.Weight() >= sizeLeast && m.size.Mean() > 0 {
		m.others[slot] = coarse(mean / math.Sqrt(m.size.Mean()))
	}
	m.size.Add(decay, float64(mean*mean))
}

// A pair is two series of returns: two members, or a member and the mean of the others, when b is nil.
type pair struct {
	a, b *constituent
	// The usual correlation is that of the bars before the window, exponentially weighted.
	cross, squareA, squareB series.Level
	// Sums over the window, in grains, of the n bars that both have.
	sumAB, sumAA, sumBB int64
	n                   int
	// down and up are the cumulative sums of the log-likelihood ratios of a correlation that is lower and higher by the knob.
	down, up float64
	calib    calibration.Leg
	episode  alarm.Episode
	unjudged uint32
	now      pairScore         // of the bar in hand; not state
	verdict  pairVerdict       // likewise
	plan     *calibration.Plan // not state
	leaving  bool              // not state: it is asked for no more, and followed to the end of its episode
}

// A pairScore is what a bar says of a pair.
type pairScore struct {
	ok bool
	// stale says why not, when a leg did not trade.
	stale bool
	// usual and present are the correlations, window the log-likelihood ratio of the window, score what is calibrated.
	usual, present, window, score float64
	n                             int
}

// count moves the sums by a bar.
func (p *pair) count(a, b int16, sign int64) {
	if a == absent || b == absent {
		return
	}
	x, y := int64(a), int64(b)
	p.sumAB += sign * x * y
	p.sumAA += sign * x * x
	p.sumBB += sign * y * y
	p.n += int(sign)
}

// recount makes the sums from the windows.
func (p *pair) recount(a, b []int16) {
	p.sumAB, p.sumAA, p.sumBB, p.n = 0, 0, 0, 0
	for i := range a {
		p.count(a[i], b[i], 1)
	}
}

// leave takes a bar out of the window and into the past, unless the window is in doubt.
func (p *pair) leave(a, b int16, decay float64) {
	p.count(a, b, -1)
	if a == absent || b == absent || p.now.stale {
		return
	}
	x, y := float64(a)/grain, float64(b)/grain
	p.cross.Add(decay, float64(x*y))
	p.squareA.Add(decay, float64(x*x))
	p.squareB.Add(decay, float64(y*y))
}

const (
	mostRho = 0.97
	// pairHours and restHours are how many hours beyond the threshold make an alarm, of a pair and of a member against the others: a
	// score looks back over the window.
	pairHours, restHours = 4, 6
	// clipRatio bounds what one bar adds to a cumulative sum, mostSum the sum: it must come down again in hours.
	clipRatio, mostSum = 3, 30
	// windowWeight makes the window's ratio as rare as a cumulative sum of the same score: one in a week.
	windowWeight = 1.9
	// usualLeast is the weight that a usual correlation needs: most of a day.
	usualLeast = 500
)

// rho is a correlation from sums, within ±mostRho; 0 where there is none.
func rho(ab, aa, bb float64) float64 {
	if !(aa > 0) || !(bb > 0) {
		return 0
	}
	return min(max(ab/math.Sqrt(float64(aa*bb)), -mostRho), mostRho)
}

// A law is a bivariate normal of unit variances: twice its negative log-likelihood is (squares - 2 r product) inverse + n log.
type law struct{ r, inverse, log float64 }

func lawOf(r float64) law {
	r = min(max(r, -mostRho), mostRho)
	v := 1 - float64(r*r)
	return law{r: r, inverse: 1 / v, log: fixed.Ln(v)}
}

// minus is twice the negative log-likelihood of n pairs with these sums of squares and of products.
func (l law) minus(squares, product, n float64) float64 {
	return float64((squares-float64(2*l.r*product))*l.inverse) + float64(n*l.log)
}

// enter takes a bar into the window and makes the scores.
func (p *pair) enter(a, b int16, knob float64) {
	p.count(a, b, 1)
	if p.cross.Weight() < usualLeast {
		return
	}
	usual := lawOf(rho(p.cross.Mean(), p.squareA.Mean(), p.squareB.Mean()))
	low, high := lawOf(usual.r-knob), lawOf(usual.r+knob)
	if a != absent && b != absent {
		x, y := float64(a)/grain, float64(b)/grain
		squares, product := float64(x*x)+float64(y*y), float64(x*y)
		at := usual.minus(squares, product, 1)
		p.down = min(max(p.down+min((at-low.minus(squares, product, 1))/2, clipRatio), 0), mostSum)
		p.up = min(max(p.up+min((at-high.minus(squares, product, 1))/2, clipRatio), 0), mostSum)
	}
	squares, product, n := float64(p.sumAA+p.sumBB)/(grain*grain), float64(p.sumAB)/(grain*grain), float64(p.n)
	at := usual.minus(squares, product, n)
	p.now = pairScore{
		usual: usual.r, present: rho(float64(p.sumAB), float64(p.sumAA), float64(p.sumBB)), n: p.n,
		window: max(at-low.minus(squares, product, n), at-high.minus(squares, product, n), 0) / 2,
	}
	p.now.score = max(p.down, p.up, float64(windowWeight*p.now.window))
}

// change is how far the correlation is off.
func (s *pairScore) change() float64 { return s.present - s.usual }

func (p *pair) AppendState(dst []byte) []byte {
	dst = pack.Float(pack.Float(dst, p.down), p.up)
	dst = pack.Bool(pack.Uint(dst, uint64(p.unjudged)), p.now.stale)
	return appendAll(dst, &p.cross, &p.squareA, &p.squareB, &p.calib, &p.episode)
}

func (p *pair) RestoreState(src []byte) (rest []byte, err error) {
	r := pack.NewReader(src)
	p.down, p.up = r.Float(), r.Float()
	p.unjudged = uint32(r.Uint())
	p.now.stale = r.Bool()
	if err := r.Err(); err != nil {
		return nil, err
	}
	return restoreAll(r.Rest(), &p.cross, &p.squareA, &p.squareB, &p.calib, &p.episode)
}

func (m *constituent) AppendState(dst []byte) []byte {
	dst = pack.String(pack.String(dst, m.venue), m.symbol)
	dst = pack.Uint(pack.Int(dst, int64(m.seen)), uint64(m.late))
	dst = pack.Bool(pack.Bool(dst, m.watched), m.broken)
	dst = pack.Fixed(dst, m.taken)
	dst = pack.Float(pack.Float(dst, m.price), m.before)
	dst = pack.Uint(dst, m.vol.minutes)
	dst = m.appendAhead(dst)
	for i := range m.z {
		dst = pack.Int(pack.Int(dst, int64(m.z[i])), int64(m.others[i]))
	}
	return appendAll(dst, &m.vol.fast, &m.vol.middle, &m.vol.slow, &m.size, &m.rest)
}

func (m *constituent) RestoreState(src []byte) (rest []byte, err error) {
	r := pack.NewReader(src)
	m.seat = newSeat(r.String(), r.String())
	m.seen = schemas.Time(r.Int())
	m.late = uint32(r.Uint())
	m.watched, m.broken = r.Bool(), r.Bool()
	m.taken = r.Fixed()
	m.price, m.before = r.Float(), r.Float()
	m.vol.minutes = r.Uint()
	m.restoreAhead(r)
	for i := range m.z {
		m.z[i], m.others[i] = bounded(r.Int()), bounded(r.Int())
		if m.z[i] == 0 {
			m.zeros++
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	rest, err = restoreAll(r.Rest(), &m.vol.fast, &m.vol.middle, &m.vol.slow, &m.size, &m.rest)
	m.rest.recount(m.z, m.others)
	return rest, err
}

// bounded is a return of a snapshot.
func bounded(v int64) int16 {
	if v < -mostZ*grain || v > mostZ*grain {
		return absent
	}
	return int16(v)
}

// plan is how a pair is calibrated, by its own budget if it has one.
func (c *correlation) plan(p *pair) *calibration.Plan {
	if p.plan == nil {
		// Populations, version 1: scores that an hour reaches once a day and once a week, medians over bitfinex, January to March 2019.
		key, hours, population := p.a.symbol, float64(restHours), calibration.Population{Version: 1, Daily: 4.4, Weekly: 7.6}
		if p.b != nil {
			key, hours, population = key+"/"+p.b.symbol, pairHours, calibration.Population{Version: 1, Daily: 3.7, Weekly: 6.8}
		}
		days := budgetFor(c.cfg.Budgets, p.a.venue, key, c.cfg.BudgetDays)
		p.plan = &calibration.Plan{Layout: c.layout, Population: population, Hours: hours / days, Alarms: 1 / days, Eta: c.cfg.AdaptiveRate, Reach: 1}
	}
	return p.plan
}

// learn puts the bar into the calibration, after it was judged.
func (c *correlation) learn(p *pair, now schemas.Time) {
	if p.now.ok {
		p.calib.Observe(c.plan(p), int64(now.Add(-c.cfg.Bar.D())), p.now.score)
	} else {
		p.calib.Interrupt()
	}
}
