package detectors

import (
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/har"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	// volumeHours is how many hours beyond the threshold of each leg make an alarm: legs fire together.
	volumeHours = 0.8
	// blocksLeast is how many blocks a forecast needs behind it before anything is judged by it.
	blocksLeast = 8
	// smoothing is added to a sum before its logarithm is taken, as a share of its long mean.
	smoothing = 0.05
	// damping is what a score has added to the sum and to what was expected, as such a share: where little is expected, ratios are
	// wild. rootDamping is that of roots. Of 0.05 (none) to 3 they found most bursts in 2018.
	damping, rootDamping = 0.2, 0.8
	// leastCount is what at least is added to a count: three trades in place of none are no news.
	leastCount = 10
	// learnClip bounds a residual that the regression learns from, peerClip one that counts as market; logarithms.
	learnClip, peerClip = 1.5, 2
	// profileMinutes is how long the season is constant.
	profileMinutes = 28 * minutesOfDay
	// marketWide is the median surprise from which an event notes that the market moved: ln 3.
	marketWide = 1.0986122886681098
)

// A gauge is one figure over one window.
type gauge struct {
	figure int
	// window in minutes; blocks of that length are what the forecasts are made from.
	window int
	// least is added to the sum when smoothing is less: small counts are noise.
	least float64
	// damping of the score.
	damping float64
	// power takes a logarithm of the figure to one of volume: 2 for roots, else 1.
	power float64
	// minute and block are the fading of the levels and of the regression.
	minute, block *har.Steps
}

// A volumeLeg says how large a figure is by one gauge, its effect, and how rare by the same or another one.
type volumeLeg struct {
	name         string
	effect, rare int // among the gauges
	// How scores are calibrated with enough peers, and without.
	market, plain *calibration.Plan
}

// The gauges, in their order.
const (
	gaugeVolume = iota
	gaugeLong
	gaugeTrades
	gaugeRush
	gaugeRoots
)

// gauges makes the gauges. Roots are the volume without its loudest minutes: the square of the mean root is the mean volume when
// all minutes are alike, and far less when one of them has it all. A burst that is a burst of the whole window is told by it from
// the single prints that make most of the natural extremes.
func (c unusualVolumeConfig) gauges() []gauge {
	of := func(figure int, window time.Duration, least, damping, power float64) gauge {
		return gauge{
			figure: figure, window: int(window / time.Minute), least: least, damping: damping, power: power,
			minute: har.NewSteps(int64(time.Minute)), block: har.NewSteps(int64(window)),
		}
	}
	return []gauge{
		gaugeVolume: of(figureVolume, c.Window.D(), 0, damping, 1),
		gaugeLong:   of(figureVolume, c.LongWindow.D(), 0, damping, 1),
		gaugeTrades: of(figureTrades, c.Window.D(), leastCount, damping, 1),
		gaugeRush:   of(figureRush, c.Window.D(), leastCount, damping, 1),
		gaugeRoots:  of(figureRoots, c.Window.D(), 0, rootDamping, 2),
	}
}

func (c unusualVolumeConfig) legs(layout *calibration.Layout) []volumeLeg {
	// Populations: scores at one and at one seventh alarm a day, judged every minute; means of BTC and ETH on bitfinex, 2018, with
	// each other as market and with none. Counts are taken to be as volume.
	roots := [2]calibration.Population{{Version: 3, Daily: 3.1, Weekly: 5}, {Version: 3, Daily: 5.2, Weekly: 11.6}}
	short := [2]calibration.Population{{Version: 3, Daily: 5, Weekly: 9.1}, {Version: 3, Daily: 8.6, Weekly: 21}}
	long := [2]calibration.Population{{Version: 3, Daily: 2.9, Weekly: 4.6}, {Version: 3, Daily: 4.9, Weekly: 10.4}}
	leg := func(name string, effect, rare int, p [2]calibration.Population) volumeLeg {
		plan := func(p calibration.Population) *calibration.Plan {
			return &calibration.Plan{Layout: layout, Population: p, Hours: volumeHours / c.BudgetDays, Alarms: 1 / c.BudgetDays, Eta: c.AdaptiveRate, Reach: 1}
		}
		return volumeLeg{name: name, effect: effect, rare: rare, market: plan(p[0]), plain: plan(p[1])}
	}
	return []volumeLeg{
		leg("volume", gaugeVolume, gaugeRoots, roots),
		leg("volume_long", gaugeLong, gaugeLong, long),
		leg("trades", gaugeTrades, gaugeTrades, short),
		leg("rush_orders", gaugeRush, gaugeRush, short),
	}
}

// A surprise is one gauge of one member at one minute.
type surprise struct {
	ok bool
	// sum is the figure over the window, added what smooths it.
	sum, added float64
	// log is the surprise: ln of the smoothed sum over its forecast; damped is the same with more smoothing, for the score and the
	// market. Both are logarithms of volume.
	log, damped float64
	// season and market are the parts of the expectation, logarithms; peers how many made the market.
	season, market float64
	peers          int
	// ratio is the effect, score what is calibrated: the ratio that the market does not explain.
	ratio, score float64
}

// expected is what the sum was compared with; what is left of rounding is none.
func (s *surprise) expected() float64 {
	e := (s.sum+s.added)/s.ratio - s.added
	if e < float64(1e-9*s.added) {
		return 0
	}
	return e
}

// measure fills the surprises of one gauge for every member.
func (u *unusualVolume) measure(now schemas.Time, i int) {
	g := &u.gauges[i]
	off := u.season(now, g)
	count, total := 0, 0.0
	for _, m := range u.members {
		s := m.surprise(now, i, g, off)
		if s.ok {
			count++
			total += clipped(s.damped)
		}
		m.gauges[i].now = s
	}
	for _, m := range u.members {
		s := &m.gauges[i].now
		if !s.ok {
			continue
		}
		if s.peers = count - 1; s.peers >= u.cfg.MinPeers {
			s.market = float64(u.cfg.MarketWeight * (total - clipped(s.damped)) / float64(s.peers))
		}
		s.ratio, s.score = fixed.Exp(s.log), fixed.Exp(s.damped-s.market)
	}
}

// plan is how a member's leg is calibrated whose score so many peers made.
func (u *unusualVolume) plan(m *member, leg, peers int) *calibration.Plan {
	if peers >= u.cfg.MinPeers {
		return m.legs[leg].market
	}
	return m.legs[leg].plain
}

// legsOf are the legs by the budget of one member.
func (u *unusualVolume) legsOf(m *member) []volumeLeg {
	c := u.cfg
	if c.BudgetDays = budgetFor(c.Budgets, m.venue, m.symbol, c.BudgetDays); c.BudgetDays == u.cfg.BudgetDays {
		return u.legs
	}
	return c.legs(u.layout)
}

func clipped(log float64) float64 { return min(max(log, -peerClip), peerClip) }

// season is the profile's part of a window's logarithm, in units of the figure; constant in the first four weeks.
func (u *unusualVolume) season(now schemas.Time, g *gauge) float64 {
	if u.minutes < profileMinutes {
		return 0
	}
	middle := now.Add(-time.Duration(g.window) * time.Minute / 2)
	return u.profile.Offset(season.HourOfWeek(int64(middle))) / g.power
}

// boundary says whether a block of the gauge ends now.
func (g *gauge) boundary(now schemas.Time) bool {
	return int64(now)%(int64(g.window)*int64(time.Minute)) == 0
}

// smooth is what is added to a sum of the figure: a share of its long mean, smoothing or damping.
func (g *gauge) smooth(m *member, share float64) float64 {
	return max(float64(share*float64(g.window)*m.means[g.figure].Mean()), g.least)
}

func (m *member) surprise(now schemas.Time, i int, g *gauge, off float64) surprise {
	st := &m.gauges[i]
	f := float64(st.forecasts[g.slot(now)])
	sum, ok := m.sum(now, g.window, g.figure)
	if !ok || f != f || m.means[g.figure].Mean() == 0 {
		return surprise{}
	}
	s := surprise{ok: true, sum: sum, added: g.smooth(m, smoothing), season: float64(g.power * off)}
	s.log = float64(g.power * (fixed.Ln(sum+s.added) - off - f))
	more := g.smooth(m, g.damping)
	s.damped = float64(g.power * (fixed.Ln(sum+more) - fixed.Ln(max(fixed.Exp(off+f)-s.added, 0)+more)))
	return s
}

// slot is where the forecast for the window that ends now was put when the window began.
func (g *gauge) slot(now schemas.Time) int {
	return int(int64(now) / int64(time.Minute) % int64(g.window))
}

// learn puts the minute into the calibration, the levels, and, at the end of a block, the weights.
func (u *unusualVolume) learn(m *member, now schemas.Time) {
	start := now.Add(-time.Minute)
	for i := range u.legs {
		leg := &u.legs[i]
		if s := &m.gauges[leg.rare].now; s.ok && season.Hour(int64(start)) != m.spoiled {
			m.calib[i].Observe(u.plan(m, i, s.peers), int64(start), s.score)
		}
	}
	for i := range u.gauges {
		g, st := &u.gauges[i], &m.gauges[i]
		off := u.season(now, g)
		if g.boundary(now) {
			u.learnBlock(m, now, i, off)
		}
		expected := float64(st.forecasts[g.slot(now)])
		// The levels follow single minutes, scaled to the window: the freshest that there is.
		if sum, ok := m.sum(now, 1, g.figure); ok && m.means[g.figure].Mean() > 0 {
			x := fixed.Ln(float64(sum*float64(g.window))+g.smooth(m, smoothing)) - off
			if expected != expected {
				expected = x
			}
			st.model.Follow(g.minute, x, expected, 2*learnClip/g.power)
		}
		past := st.model.Past()
		if g.boundary(now) {
			st.past = past
		}
		if st.blocks >= blocksLeast {
			st.forecasts[g.slot(now)] = float32(st.model.ForecastFrom(&past))
		}
	}
}

// learnBlock learns from the block that ends now.
func (u *unusualVolume) learnBlock(m *member, now schemas.Time, i int, off float64) {
	g, st := &u.gauges[i], &m.gauges[i]
	sum, ok := m.sum(now, g.window, g.figure)
	added := g.smooth(m, smoothing)
	if !ok || sum+added <= 0 {
		return
	}
	x := fixed.Ln(sum + added)
	if i == gaugeVolume && st.blocks >= blocksLeast {
		middle := int64(now) - int64(g.window)*int64(time.Minute)/2
		u.profile.Add(season.HourOfWeek(middle), season.Hour(middle), x-st.model.Level(har.Horizons-1))
	}
	if st.blocks > 0 {
		st.model.Learn(g.block, &st.past, x-off, learnClip/g.power)
	}
	st.blocks++
}

// A volumeVerdict is what the legs say of a member's minute: the severity, the legs that fired, and the one that gave the
// severity.
type volumeVerdict struct {
	severity alarm.Severity
	fired    [8]bool
	main     int
	stay, ok bool
	rare     bool // a leg fired by its calibrated threshold
}

// weigh compares each leg with the knob and with its calibrated threshold.
func (u *unusualVolume) weigh(m *member) volumeVerdict {
	var v volumeVerdict
	best := 0.0
	for i := range u.legs {
		leg, calib := &u.legs[i], &m.calib[i]
		s, rare := &m.gauges[leg.effect].now, &m.gauges[leg.rare].now
		if !s.ok || !rare.ok {
			continue
		}
		v.ok = true
		effect := s.ratio / u.cfg.Multiplier
		threshold, _ := calib.Threshold()
		free := u.cfg.Strict || !calib.Calibrated() // by the knob alone
		v.stay = v.stay || (effect >= alarm.DefaultExitRatio && (free || rare.score >= float64(alarm.DefaultExitRatio*threshold)))
		if effect > best && v.severity == alarm.None {
			best, v.main = effect, i
		}
		if effect < 1 || (!free && rare.score < threshold) {
			continue
		}
		v.fired[i], v.rare = true, v.rare || !free
		if g := max(alarm.GradeByRarity(calib.ReturnDays(u.plan(m, i, rare.peers), rare.score), effect), alarm.Low); g > v.severity {
			v.severity, v.main = g, i
		}
	}
	return v
}

// judge moves a member's episode. Minutes that cannot be judged count whether or not it is time for a check.
func (u *unusualVolume) judge(m *member, now schemas.Time, silent int, emit processor.Emit) {
	v := u.weigh(m)
	t := alarm.Unchanged
	if !v.ok {
		if m.unjudged++; m.unjudged == hourMinutes {
			t = m.episode.Withdraw(int64(now))
		}
	} else {
		m.unjudged = 0
		if now%schemas.Time(u.cfg.CheckInterval) == 0 {
			enter := v.severity > alarm.None
			t = m.episode.Step(u.rules, alarm.Signal{At: int64(now), Enter: enter, Hard: enter, Stay: v.stay, Severity: v.severity})
		}
	}
	if t != alarm.Unchanged {
		if v.rare && m.episode.Charge() {
			for i := range m.calib {
				m.calib[i].Alarm()
			}
		}
		v.severity = m.episode.Tells(t, v.severity)
		u.report(m, now, v, t.Status(), silent, emit)
	}
}

// median is the middle surprise of all members that have one by a gauge.
func (u *unusualVolume) median(i int) float64 {
	var all []float64
	for _, m := range u.members {
		if s := &m.gauges[i].now; s.ok {
			all = append(all, s.log)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
