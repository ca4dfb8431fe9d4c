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
	// blocksLeast is how many blocks a forecast needs behind it before anything is judged by it.
	blocksLeast = 8
	// blockDecay fades the plain mean of blocks: 20 blocks of mean life.
	blockDecay = 0.951229424500714
	// smoothing is added to a sum before its logarithm is taken, as a share of its long mean.
	smoothing = 0.05
	// damping is what a score has added to the sum and to what was expected, as such a share: where little is expected, ratios are
	// wild. Of 0.05 (none) to 1 it found most bursts in 2018.
	damping = 0.2
	// leastCount is what at least is added to a count: three trades in place of none are no news.
	leastCount = 10
	// learnClip bounds a residual that the regression learns from, peerClip one that counts as market; logarithms.
	learnClip, peerClip = 1.5, 2
	// profileMinutes is how long the season is constant.
	profileMinutes = 28 * minutesOfDay
	// marketWide is the median surprise from which an event notes that the market moved: ln 3.
	marketWide = 1.0986122886681098
)

// A volumeLeg is one figure over one window.
type volumeLeg struct {
	name   string
	figure int
	// window in minutes; blocks of that length are what the forecasts are made from.
	window int
	// least is added to the sum when smoothing is less: small counts are noise.
	least float64
	// minute and block are the fading of the levels and of the regression.
	minute, block *har.Steps
	// How scores are calibrated with enough peers, and without.
	market, plain *calibration.Plan
}

func (c unusualVolumeConfig) legs(layout *calibration.Layout) []volumeLeg {
	// Populations, version 2: scores at one and at one seventh alarm a day, judged every minute; means of BTC and ETH on
	// bitfinex, 2018, with each other as market and with none. Counts are taken to be as volume.
	short := [2]calibration.Population{{Version: 2, Daily: 5.1, Weekly: 9.4}, {Version: 2, Daily: 6.9, Weekly: 17}}
	long := [2]calibration.Population{{Version: 2, Daily: 3, Weekly: 4.8}, {Version: 2, Daily: 3.8, Weekly: 8.7}}
	leg := func(name string, figure int, window time.Duration, least float64, p [2]calibration.Population) volumeLeg {
		plan := func(p calibration.Population) *calibration.Plan {
			return &calibration.Plan{Layout: layout, Population: p, Rate: 1 / c.BudgetDays, Eta: c.AdaptiveRate}
		}
		return volumeLeg{
			name: name, figure: figure, window: int(window / time.Minute), least: least,
			minute: har.NewSteps(int64(time.Minute)), block: har.NewSteps(int64(window)), market: plan(p[0]), plain: plan(p[1]),
		}
	}
	return []volumeLeg{
		leg("volume", figureVolume, c.Window.D(), 0, short),
		leg("volume_long", figureVolume, c.LongWindow.D(), 0, long),
		leg("trades", figureTrades, c.Window.D(), leastCount, short),
		leg("rush_orders", figureRush, c.Window.D(), leastCount, short),
	}
}

// A surprise is one leg of one member at one minute.
type surprise struct {
	ok bool
	// sum is the figure over the window, added what smooths it.
	sum, added float64
	// log is the surprise: ln of the smoothed sum over its forecast, plain the same over the recent mean; damped are both with more
	// smoothing, for the score and the market.
	log, plain             float64
	dampedLog, dampedPlain float64
	// season and market are the parts of the expectation, logarithms; peers how many made the market.
	season, market float64
	peers          int
	// ratio is the effect, score what is calibrated: the ratio that the market does not explain.
	ratio, score float64
	plan         *calibration.Plan
}

// expected is what the sum was compared with; what is left of rounding is none.
func (s *surprise) expected() float64 {
	e := (s.sum+s.added)/s.ratio - s.added
	if e < float64(1e-9*s.added) {
		return 0
	}
	return e
}

// measure fills the surprises of one leg for every member.
func (u *unusualVolume) measure(now schemas.Time, i int) {
	leg := &u.legs[i]
	off := u.season(now, leg)
	count, total := 0, 0.0
	for _, m := range u.members {
		s := m.surprise(now, i, leg, off)
		if s.ok {
			count++
			total += clipped(s.dampedLog)
		}
		m.legs[i].now = s
	}
	for _, m := range u.members {
		s := &m.legs[i].now
		if !s.ok {
			continue
		}
		s.peers, s.plan = count-1, leg.plain
		own, damped := s.plain, s.dampedPlain
		if s.peers >= u.cfg.MinPeers {
			s.plan = leg.market
			s.market = float64(u.cfg.MarketWeight * (total - clipped(s.dampedLog)) / float64(s.peers))
			own, damped = s.log, s.dampedLog
		}
		s.ratio, s.score = fixed.Exp(own), fixed.Exp(damped-s.market)
	}
}

func clipped(log float64) float64 { return min(max(log, -peerClip), peerClip) }

// season is the profile's part of a window's logarithm; constant in the first four weeks.
func (u *unusualVolume) season(now schemas.Time, leg *volumeLeg) float64 {
	if u.minutes < profileMinutes {
		return 0
	}
	middle := now.Add(-time.Duration(leg.window) * time.Minute / 2)
	return u.profile.Offset(season.HourOfWeek(int64(middle)))
}

// boundary says whether a block of the leg ends now.
func (leg *volumeLeg) boundary(now schemas.Time) bool {
	return int64(now)%(int64(leg.window)*int64(time.Minute)) == 0
}

// smooth is what is added to a sum of the leg's figure: a share of its long mean, smoothing or damping.
func (leg *volumeLeg) smooth(m *member, share float64) float64 {
	return max(float64(share*float64(leg.window)*m.means[leg.figure].Mean()), leg.least)
}

func (m *member) surprise(now schemas.Time, i int, leg *volumeLeg, off float64) surprise {
	st := &m.legs[i]
	f := float64(st.forecasts[leg.slot(now)])
	sum, ok := m.sum(now, leg.window, leg.figure)
	if !ok || f != f || m.means[leg.figure].Mean() == 0 {
		return surprise{}
	}
	s := surprise{ok: true, sum: sum, added: leg.smooth(m, smoothing), season: off}
	x := fixed.Ln(sum + s.added)
	plain := st.before
	if leg.boundary(now) {
		plain = st.recent.Mean()
	}
	s.log = x - off - f
	s.plain = x - fixed.Ln(plain+s.added)
	more := leg.smooth(m, damping)
	y := fixed.Ln(sum + more)
	s.dampedLog = y - fixed.Ln(max(fixed.Exp(off+f)-s.added, 0)+more)
	s.dampedPlain = y - fixed.Ln(plain+more)
	return s
}

// slot is where the forecast for the window that ends now was put when the window began.
func (leg *volumeLeg) slot(now schemas.Time) int {
	return int(int64(now) / int64(time.Minute) % int64(leg.window))
}

// learn puts the minute into the calibration, the levels, and, at the end of a block, the weights.
func (u *unusualVolume) learn(m *member, now schemas.Time) {
	start := now.Add(-time.Minute)
	for i := range u.legs {
		leg, st := &u.legs[i], &m.legs[i]
		if st.now.ok && season.Hour(int64(start)) != m.spoiled {
			st.calib.Observe(st.now.plan, int64(start), st.now.score)
		}
		off := u.season(now, leg)
		if leg.boundary(now) {
			u.learnBlock(m, now, i, off)
		}
		expected := float64(st.forecasts[leg.slot(now)])
		// The levels follow single minutes, scaled to the window: the freshest that there is.
		if sum, ok := m.sum(now, 1, leg.figure); ok && m.means[leg.figure].Mean() > 0 {
			x := fixed.Ln(float64(sum*float64(leg.window))+leg.smooth(m, smoothing)) - off
			if expected != expected {
				expected = x
			}
			st.model.Follow(leg.minute, x, expected, 2*learnClip)
		}
		past := st.model.Past()
		if leg.boundary(now) {
			st.past = past
		}
		if st.blocks >= blocksLeast {
			st.forecasts[leg.slot(now)] = float32(st.model.ForecastFrom(&past))
		}
	}
}

// learnBlock learns from the block that ends now.
func (u *unusualVolume) learnBlock(m *member, now schemas.Time, i int, off float64) {
	leg, st := &u.legs[i], &m.legs[i]
	st.before = st.recent.Mean()
	sum, ok := m.sum(now, leg.window, leg.figure)
	added := leg.smooth(m, smoothing)
	if !ok || sum+added <= 0 {
		return
	}
	x := fixed.Ln(sum + added)
	if i == 0 && st.blocks >= blocksLeast {
		middle := int64(now) - int64(leg.window)*int64(time.Minute)/2
		u.profile.Add(season.HourOfWeek(middle), season.Hour(middle), x-st.model.Level(har.Horizons-1))
	}
	if st.blocks > 0 {
		st.model.Learn(leg.block, &st.past, x-off, learnClip)
	}
	st.recent.Add(blockDecay, sum)
	st.blocks++
}

// A volumeVerdict is what the legs say of a member's minute: the severity, the legs that fired, and the one that gave the
// severity.
type volumeVerdict struct {
	severity alarm.Severity
	fired    [8]bool
	main     int
	stay, ok bool
}

// weigh compares each leg with the knob and with its calibrated threshold.
func (u *unusualVolume) weigh(m *member) volumeVerdict {
	var v volumeVerdict
	best := 0.0
	for i := range u.legs {
		st := &m.legs[i]
		s := &st.now
		if !s.ok {
			continue
		}
		v.ok = true
		effect := s.ratio / u.cfg.Multiplier
		threshold, _ := st.calib.Threshold()
		free := u.cfg.Strict || !st.calib.Calibrated() // by the knob alone
		v.stay = v.stay || (effect >= alarm.DefaultExitRatio && (free || s.score >= float64(alarm.DefaultExitRatio*threshold)))
		if effect > best && v.severity == alarm.None {
			best, v.main = effect, i
		}
		if effect < 1 || (!free && s.score < threshold) {
			continue
		}
		v.fired[i] = true
		if g := max(alarm.GradeByRarity(st.calib.ReturnDays(s.plan, s.score), effect), alarm.Low); g > v.severity {
			v.severity, v.main = g, i
		}
	}
	return v
}

// judge moves a member's episode.
func (u *unusualVolume) judge(m *member, now schemas.Time, silent int, emit processor.Emit) {
	v := u.weigh(m)
	t := alarm.Unchanged
	if v.ok {
		m.unjudged = 0
		enter := v.severity > alarm.None
		t = m.episode.Step(u.rules, alarm.Signal{At: int64(now), Enter: enter, Hard: enter, Stay: v.stay, Severity: v.severity})
	} else if m.unjudged++; m.unjudged == hourMinutes {
		t = m.episode.Withdraw(int64(now))
	}
	if t != alarm.Unchanged {
		v.severity = m.episode.Tells(t, v.severity)
		u.report(m, now, v, t.Status(), silent, emit)
	}
}

// median is the middle surprise of all members that have one.
func (u *unusualVolume) median(i int) float64 {
	var all []float64
	for _, m := range u.members {
		if s := &m.legs[i].now; s.ok {
			all = append(all, s.log)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
