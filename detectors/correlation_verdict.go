package detectors

import (
	"math"
	"slices"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Legs of correlation_breakdown.
const (
	legChange = "change"           // the correlation changed by the knob
	legWindow = "likelihood"       // the window is unlikely under the usual correlation
	legCusum  = "cusum"            // so is what came of late, however long
	legOthers = "against_the_rest" // a member against the mean of the others
	legPairs  = "half_of_its_pairs"
)

// A pairVerdict is what the legs say of a pair.
type pairVerdict struct {
	severity alarm.Severity
	legs     []string
	stay     bool
	rare     bool // beyond the calibrated threshold
	effect   float64
	days     float64
	// broken and of count the pairs of a member, when the verdict is on it.
	broken, of int
}

// look says whether a pair can be judged: both legs trade, and the window is whole but for a fifth.
func (c *correlation) look(p *pair) {
	n := c.cfg.bars()
	most := float64(c.cfg.MaxZeroShare * float64(n))
	p.now.stale = float64(p.a.zeros) > most || p.b != nil && float64(p.b.zeros) > most
	p.now.ok = !p.now.stale && 5*p.n >= 4*n && p.cross.Weight() >= usualLeast
}

// weigh compares a pair with the knob and with its calibrated threshold.
func (c *correlation) weigh(p *pair) pairVerdict {
	s := &p.now
	if !s.ok {
		return pairVerdict{}
	}
	v := pairVerdict{effect: math.Abs(s.change()) / c.cfg.Threshold}
	knob := v.effect >= 1 && s.n >= c.cfg.MinBars
	threshold, _ := p.calib.Threshold()
	cold := !p.calib.Calibrated()
	v.rare = !c.cfg.Strict && !cold && v.effect >= alarm.EffectFloor && s.score >= threshold
	v.stay = v.effect >= alarm.EffectFloor || !cold && float64(windowWeight*s.window) >= float64(alarm.DefaultExitRatio*threshold)
	if !knob && !v.rare {
		return v
	}
	v.days = p.calib.ReturnDays(c.plan(p), s.score)
	if knob {
		v.legs = append(v.legs, legChange)
	}
	if v.rare && float64(windowWeight*s.window) >= threshold {
		v.legs = append(v.legs, legWindow)
	}
	if v.rare && max(p.down, p.up) >= threshold {
		v.legs = append(v.legs, legCusum)
	}
	if cold {
		v.severity = alarm.GradeUncalibrated(v.effect)
	} else {
		v.severity = max(alarm.Grade(v.days, v.effect), alarm.Low)
	}
	return v
}

// judge moves the episodes: first of the members, each of which may have left all others, then of the pairs.
func (c *correlation) judge(now schemas.Time, missing int, emit processor.Emit) {
	for _, p := range c.pairs {
		p.verdict = c.weigh(p)
	}
	c.attribute()
	for _, m := range c.members {
		if m.watched {
			c.judgeMember(m, now, missing, emit)
		}
	}
	for _, p := range c.pairs {
		active := p.episode.Phase() == alarm.Active
		if !active && (p.a.rest.episode.Phase() == alarm.Active || p.b.rest.episode.Phase() == alarm.Active) {
			p.calib.Excuse()
			continue // the member's event speaks for its pairs
		}
		c.step(p, now, p.verdict, missing, emit)
	}
	c.pairs = slices.DeleteFunc(c.pairs, func(p *pair) bool { return p.leaving && p.episode.Phase() != alarm.Active })
}

// attribute finds the members that have left the others: those of whose pairs half are broken, the one with the most first, whose pairs then
// speak against nobody else. Else two of five that leave would make leavers of the three that stay.
func (c *correlation) attribute() {
	for _, m := range c.members {
		m.leaver = false
	}
	for {
		for _, m := range c.members {
			m.pairsBroken, m.of = 0, 0
		}
		for _, p := range c.pairs {
			if !p.now.ok || p.a.leaver || p.b.leaver {
				continue
			}
			p.a.of++
			p.b.of++
			if p.verdict.severity > alarm.None {
				p.a.pairsBroken++
				p.b.pairsBroken++
			}
		}
		var most *constituent
		for _, m := range c.members {
			if m.watched && m.pairsBroken >= 2 && 2*m.pairsBroken >= m.of && (most == nil || m.outnumbers(most)) {
				most = m
			}
		}
		if most == nil {
			return
		}
		most.leaver = true
	}
}

// outnumbers says that more pairs speak against it; of equals that against the one whose event is open.
func (m *constituent) outnumbers(o *constituent) bool {
	if m.pairsBroken != o.pairsBroken {
		return m.pairsBroken > o.pairsBroken
	}
	return m.rest.episode.Phase() == alarm.Active && o.rest.episode.Phase() != alarm.Active
}

// judgeMember judges a member against the others, and by how many of its pairs are broken.
func (c *correlation) judgeMember(m *constituent, now schemas.Time, missing int, emit processor.Emit) {
	v := c.weigh(&m.rest)
	if v.severity > alarm.None {
		v.legs = append(v.legs, legOthers)
	}
	worst := alarm.None
	for _, p := range c.pairs {
		if p.a != m && p.b != m || !p.now.ok {
			continue
		}
		v.of++
		if p.verdict.severity > alarm.None {
			v.broken++
			worst = max(worst, p.verdict.severity)
		}
	}
	if m.leaver {
		v.severity = max(v.severity, worst)
		v.legs = append(v.legs, legPairs)
	}
	c.step(&m.rest, now, v, missing, emit)
}

// step moves one episode.
func (c *correlation) step(p *pair, now schemas.Time, v pairVerdict, missing int, emit processor.Emit) {
	enter := v.severity > alarm.None
	t := alarm.Unchanged
	if p.now.ok || enter {
		p.unjudged = 0
		t = p.episode.Step(c.rules, alarm.Signal{At: int64(now), Enter: enter, Hard: enter, Stay: v.stay, Severity: v.severity})
	} else if p.unjudged++; p.unjudged >= c.patience {
		t = p.episode.Withdraw(int64(now))
	}
	if t != alarm.Unchanged {
		if v.rare && p.episode.Charge() {
			p.calib.Alarm()
		}
		v.severity = p.episode.Tells(t, v.severity)
		c.report(p, now, v, t.Status(), missing, emit)
	}
	if t == alarm.Resolve {
		p.down, p.up = 0, 0
	}
}
