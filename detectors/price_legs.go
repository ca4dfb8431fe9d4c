package detectors

import (
	"math"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Names of the legs in evidence.
const (
	legAbsolute = "absolute"      // A: the move reached the knob
	legJump     = "jump"          // B: the minute's return against its volatility
	legDrift    = "drift_burst"   // C: the returns of minutes that agree, against their size
	legWarning  = "early_warning" // D: half the knob
)

const (
	warningEffect = 0.5 // effect over the knob of leg D, and below which an episode may end
	calmScore     = 3   // jump score below which an episode may end
	minutesOfDay  = 24 * 60
	// calibratedDays is from when the thresholds are the key's own; coldMinutes is how long only the knob counts.
	calibratedDays = 28
	coldMinutes    = 2 * minutesOfDay
)

// scores of one minute.
type scores struct {
	ret, jump, drift float64
	// sigma is the volatility that jump was measured in.
	sigma float64
}

func (s *scores) appendTo(dst []byte) []byte {
	return pack.Float(pack.Float(pack.Float(pack.Float(dst, s.ret), s.jump), s.drift), s.sigma)
}

func (s *scores) restore(r *pack.Reader) {
	s.ret, s.jump, s.drift, s.sigma = r.Float(), r.Float(), r.Float(), r.Float()
}

// floor is the least volatility of a minute: a hundred-thousandth and half a tick.
func (p *priceAnomaly) floor(price float64) float64 {
	return leastSigma + float64(0.5*schemas.NewDecimal(1, p.digits).Float())/price
}

// change is the return from one price to another, the same size up and down; no logarithm is needed.
func change(from, to float64) float64 { return 2 * (to - from) / (to + from) }

// closeMinute ends the open minute: baselines learn from it after it is judged.
func (p *priceAnomaly) closeMinute(emit processor.Emit) {
	start, end := p.open, p.open.Add(time.Minute)
	before := p.closes.ago(0)
	spot := p.current.spot(before)
	empty := p.current.count == 0
	p.current, p.ahead = p.ahead, minutePrints{}
	p.open = end
	if start < p.blind || spot == 0 {
		p.spoil(start)
		p.idle(end, emit)
		return
	}
	if empty {
		p.silent++
	}
	stale := p.silent >= uint32(p.cfg.minutes())
	if stale {
		p.spoil(start)
		if empty {
			p.idle(end, emit)
			return
		}
		// The first price after a long silence: it is judged against the last one known, and becomes the reference.
		p.judge(moment{at: end, spot: spot, past: before, stale: true, minute: true}, emit)
		p.forget()
	}
	if !empty {
		p.silent = 0
	}
	if before := p.closes.ago(0); before > 0 {
		p.score(start, before, spot)
	}
	p.closes.push(minuteClose{price: spot, late: p.late, held: p.held})
	p.late, p.held = 0, 0
	if past := p.closes.ago(int(p.cfg.Window.D() / time.Minute)); past > 0 {
		p.judge(moment{at: end, spot: spot, past: past, scores: p.last, minute: true}, emit)
	} else {
		p.idle(end, emit)
	}
	p.learn(start, spot)
}

// score judges the return of a minute by what was known before it.
func (p *priceAnomaly) score(start schemas.Time, before, spot float64) {
	floor := p.floor(spot)
	r := change(before, spot)
	sigma := p.vol.sigma(start, floor)
	size := p.drift.swarm(sigma)
	p.drift.add(r, sigma)
	p.last = scores{ret: r, sigma: size, jump: math.Abs(r) / size, drift: p.drift.score()}
	if p.vol.minutes == 0 {
		p.last.jump = 0
	}
}

// learn puts the last minute into the baselines and the calibration.
func (p *priceAnomaly) learn(start schemas.Time, spot float64) {
	if p.last.sigma == 0 {
		return
	}
	if at := int64(start); season.Hour(int64(start)) != p.spoiled {
		p.jumps.Observe(p.jumpPlan, at, p.last.jump)
		if p.drift.known() {
			p.drifts.Observe(p.driftPlan, at, p.last.drift)
		}
	}
	p.vol.add(start, p.last.ret, p.floor(spot))
}

// idle passes a minute that cannot be judged. An episode that could not be judged for an hour ends.
func (p *priceAnomaly) idle(at schemas.Time, emit processor.Emit) {
	p.unjudged++
	if p.unjudged < 60 || p.episode.Phase() != alarm.Active {
		return
	}
	if p.episode.Withdraw(int64(at)) == alarm.Resolve {
		last := p.closes.ago(0)
		p.report(moment{at: at, spot: last, past: last, minute: true}, verdictOf{severity: p.episode.Peak(), notes: []string{"no_data"}}, schemas.Resolved, emit)
		p.crash = crash{}
	}
}

// checkMove judges the move between the closes of minutes. It can raise an event but not end one.
func (p *priceAnomaly) checkMove(now schemas.Time, emit processor.Emit) {
	before := p.closes.ago(0)
	// The window ends with the open minute: the close that is window minutes before its end.
	past := p.closes.ago(p.cfg.minutes() - 1)
	if past == 0 || p.silent >= uint32(p.cfg.minutes()) {
		return
	}
	spot := p.current.spot(before)
	if effect(spot, past, p.cfg.ThresholdPct) < warningEffect && p.crash.since == 0 {
		return
	}
	sigma := p.drift.swarm(p.vol.sigma(p.open, p.floor(spot)))
	r := change(before, spot)
	m := moment{at: now, spot: spot, past: past, scores: scores{ret: r, sigma: sigma, jump: math.Abs(r) / sigma, drift: p.last.drift}}
	p.judge(m, emit)
}

// effect is a move over the knob.
func effect(spot, past, thresholdPct float64) float64 {
	return math.Abs(float64(100*(spot-past))/past) / thresholdPct
}

// A moment is what is judged: a price, the one at the start of its window, and the scores of the minute.
type moment struct {
	at         schemas.Time
	spot, past float64
	scores     scores
	// minute says that a minute closed; stale that past is older than the window, across a silence.
	minute, stale bool
}

// A verdictOf is what the legs say of a moment.
type verdictOf struct {
	severity alarm.Severity
	legs     []string
	notes    []string
}

// judge runs the legs over a moment and moves the episode.
func (p *priceAnomaly) judge(m moment, emit processor.Emit) {
	if m.minute {
		p.unjudged = 0
	}
	v := p.weigh(m)
	e := effect(m.spot, m.past, p.cfg.ThresholdPct)
	enter := v.severity > alarm.None
	if enter || m.minute {
		s := alarm.Signal{
			At: int64(m.at), Enter: enter, Hard: enter, Severity: v.severity, Stay: e >= warningEffect || m.scores.jump >= calmScore,
		}
		t := p.episode.Step(p.rules, s)
		if t == alarm.Open {
			p.crash = crash{}
		}
		if t != alarm.Unchanged {
			p.charge(v)
			v.severity = p.episode.Tells(t, v.severity)
			p.report(m, v, t.Status(), emit)
		}
		if t == alarm.Resolve {
			p.crash = crash{}
		}
	}
	p.followCrash(m, e >= 1, emit)
}

// charge counts an event that a calibrated leg has a part in against the budget, once an episode.
func (p *priceAnomaly) charge(v verdictOf) {
	if (slices.Contains(v.legs, legJump) || slices.Contains(v.legs, legDrift)) && p.episode.Charge() {
		p.jumps.Alarm()
		p.drifts.Alarm()
	}
}

// weigh lists the legs that fired and the severity that they give.
func (p *priceAnomaly) weigh(m moment) verdictOf {
	var fired [4]string
	legs := fired[:0]
	e := effect(m.spot, m.past, p.cfg.ThresholdPct)
	if e >= 1 {
		legs = append(legs, legAbsolute)
	}
	cold := p.vol.minutes < coldMinutes
	if !p.cfg.Strict && !m.stale && !cold {
		legs = p.rareLegs(m, legs)
		if e >= warningEffect && e < 1 {
			legs = append(legs, legWarning)
		}
	}
	if len(legs) == 0 {
		return verdictOf{}
	}
	// A leg that fired is at least low, whatever the table says of the effect; the early warning is no more.
	v := verdictOf{legs: append([]string(nil), legs...), severity: alarm.Low}
	switch {
	case cold:
		v.severity = alarm.GradeUncalibrated(e)
	case legs[0] != legWarning:
		v.severity = max(alarm.Grade(p.returnDays(m.scores), e), alarm.Low)
	}
	if m.stale {
		v.severity = min(v.severity, alarm.Medium)
		v.notes = append(v.notes, "stale_reference")
	}
	return v
}

// rareLegs appends the legs whose score is beyond its calibrated threshold; both live on whole minutes.
func (p *priceAnomaly) rareLegs(m moment, legs []string) []string {
	if !m.minute {
		return legs
	}
	if t, _ := p.jumps.Threshold(); m.scores.jump >= t {
		legs = append(legs, legJump)
	}
	if t, _ := p.drifts.Threshold(); m.scores.drift >= t {
		legs = append(legs, legDrift)
	}
	return legs
}

// returnDays is how rarely this instrument's scores get so high: the rarer of the two.
func (p *priceAnomaly) returnDays(s scores) float64 {
	return max(p.jumps.ReturnDays(p.jumpPlan, s.jump), p.drifts.ReturnDays(p.driftPlan, s.drift))
}

// spoil keeps the hour of an incomplete minute out of the calibration.
func (p *priceAnomaly) spoil(at schemas.Time) {
	p.spoiled = season.Hour(int64(at))
	p.jumps.Interrupt()
	p.drifts.Interrupt()
}
