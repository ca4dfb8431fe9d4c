package detectors

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	shortFlow = int64(time.Hour)
	longFlow  = 24 * int64(time.Hour)
	// maxExchanges bounds the exchanges of an asset that are followed: the least active one without an event makes room.
	maxExchanges = 12
	// usualHours is the half-life of the usual size of a flow, in hours; flowHours how many are needed before a flow is judged.
	usualHours = 14 * 24
	flowHours  = 48
	// flowClip bounds what one hour adds to the usual size.
	flowClip = 10
)

// An exchange is the net flow of an asset to one exchange, in USD: exponentially weighted sums with half-lives of an hour and of a day.
// What comes in counts up, what goes out down; each transfer counts up to a bound (clipped).
type exchange struct {
	name        string
	short, long float64
	at          schemas.Time
	// usual sizes of the two flows, sampled each hour; all that is usual has the weight of the first.
	usualShort series.Level
	usualLong  float64
	// crowds count large transfers to it, from 0.4 of the knob and from the knob on.
	crowds  [2]crowd
	episode alarm.Episode
}

// faded moves the sums to a time.
func (e *exchange) faded(at schemas.Time) {
	if d := int64(at - e.at); d > 0 {
		e.short *= fixed.Decay(d, shortFlow)
		e.long *= fixed.Decay(d, longFlow)
		for i := range e.crowds {
			e.crowds[i].fade(d)
		}
		e.at = at
	}
}

// add counts a transfer; one that is older than what was counted has faded already.
func (e *exchange) add(at schemas.Time, usd float64) {
	e.faded(at)
	d := int64(e.at - at)
	e.short += float64(usd * fixed.Decay(d, shortFlow))
	e.long += float64(usd * fixed.Decay(d, longFlow))
}

// exchanges are the flows of all exchanges and their calibration, which they share: scores are in units of an exchange's own usual flow.
type exchanges struct {
	list               []exchange
	short, long, crowd calibration.Leg
	hour               int64
}

// add counts a transfer for the exchanges at its ends.
func (x *exchanges) add(t *schemas.Transfer, class flowClass, at schemas.Time, usd float64) {
	if class == toExchange || class == betweenExchanges {
		x.of(party(t.ToOwner, "unnamed"), at).add(at, usd)
	}
	if class == fromExchange || class == betweenExchanges {
		x.of(party(t.FromOwner, "unnamed"), at).add(at, -usd)
	}
}

// of finds or makes an exchange.
func (x *exchanges) of(name string, at schemas.Time) *exchange {
	i, found := slices.BinarySearchFunc(x.list, name, func(e exchange, n string) int { return strings.Compare(e.name, n) })
	if found {
		return &x.list[i]
	}
	if len(x.list) == maxExchanges {
		least := -1
		for k := range x.list {
			if x.list[k].episode.Phase() != alarm.Active && (least < 0 || x.list[k].usualLong < x.list[least].usualLong) {
				least = k
			}
		}
		if least < 0 {
			return &exchange{at: at} // all have events that must end first
		}
		x.list = slices.Delete(x.list, least, least+1)
		if least < i {
			i--
		}
	}
	x.list = slices.Insert(x.list, i, exchange{name: strings.Clone(name), at: at})
	return &x.list[i]
}

func (x *exchanges) interrupt() {
	x.short.Interrupt()
	x.long.Interrupt()
	x.crowd.Interrupt()
}

// A flowVerdict is what the net flow of an exchange is worth.
type flowVerdict struct {
	severity alarm.Severity
	stay     bool
	// leg is the rarest of the scores: that of the flow of an hour, of a day, or of a crowd. value is the flow in USD, or the count, ratio
	// its size over the usual one, days its return period.
	leg                string
	value, usual       float64
	ratio, score, days float64
}

// better is the graver verdict, or the rarer one; the episode goes on when either says so.
func (v flowVerdict) better(o flowVerdict) flowVerdict {
	stay := v.stay || o.stay
	if v.severity > o.severity || v.severity == o.severity && v.days >= o.days {
		o = v
	}
	o.stay = stay
	return o
}

// flowScore is what flows are calibrated by.
func flowScore(ratio float64) float64 { return fixed.Ln(1 + ratio) }

// judgeFlows moves the episodes of all exchanges, and lets the baselines learn afterwards.
func (w *whaleMovement) judgeFlows(now schemas.Time, emit processor.Emit) {
	x := &w.flows
	highest := [3]float64{}
	hour := season.Hour(int64(now))
	for i := range x.list {
		e := &x.list[i]
		e.faded(now)
		v := w.weighFlow(e)
		signal := alarm.Signal{At: int64(now), Enter: v.severity > alarm.None, Hard: true, Stay: v.stay, Severity: v.severity}
		if t := e.episode.Step(w.rules, signal); t != alarm.Unchanged {
			v.severity = e.episode.Tells(t, v.severity)
			w.reportFlow(e, v, now, t.Status(), emit)
		}
		if e.usualShort.Weight() >= flowHours {
			highest[0] = max(highest[0], flowScore(math.Abs(e.short)/max(e.usualShort.Mean(), 1)))
			highest[1] = max(highest[1], flowScore(math.Abs(e.long)/max(e.usualLong, 1)))
			crowd, _, _ := e.crowdScore()
			highest[2] = max(highest[2], crowd)
		}
		if hour != x.hour {
			e.sample()
		}
	}
	x.hour = hour
	x.short.Observe(w.flowPlan, int64(now-1), highest[0])
	x.long.Observe(w.flowPlan, int64(now-1), highest[1])
	x.crowd.Observe(w.crowdPlan, int64(now-1), highest[2])
}

// sample lets what is usual learn from the hour that ended.
func (e *exchange) sample() {
	full := e.usualShort.Weight() >= flowHours
	clipped := func(size, usual float64) float64 {
		if full {
			return min(size, flowClip*usual)
		}
		return size
	}
	e.usualShort.Add(usualDecay, clipped(math.Abs(e.short), e.usualShort.Mean()))
	weight := e.usualShort.Weight()
	e.usualLong += (clipped(math.Abs(e.long), e.usualLong) - e.usualLong) / weight
	for i := range e.crowds {
		c := &e.crowds[i]
		c.usual += float32((clipped(float64(c.long), max(float64(c.usual), rareCrowd)) - float64(c.usual)) / weight)
	}
}

// usualDecay is 2^(-1/336): fourteen days of hours.
const usualDecay = 0.99793917

// weighFlow judges the net flow of an exchange, which must be beyond the knob and rare, and the crowd at it, which must be rare.
func (w *whaleMovement) weighFlow(e *exchange) flowVerdict {
	if w.cfg.Strict || e.usualShort.Weight() < flowHours {
		return flowVerdict{}
	}
	score, n, usual := e.crowdScore()
	x := &w.flows
	return w.weighLeg(flowVerdict{leg: legCrowd, value: n, usual: max(usual, rareCrowd), score: score}, &x.crowd, w.crowdPlan, crowdBudget*w.cfg.BudgetDays).
		better(w.weighSum(legLongFlow, e.long, e.usualLong, &x.long)).
		better(w.weighSum(legShortFlow, e.short, e.usualShort.Mean(), &x.short))
}

// weighSum judges a sum of USD.
func (w *whaleMovement) weighSum(name string, flow, usual float64, leg *calibration.Leg) flowVerdict {
	v := flowVerdict{leg: name, value: flow, usual: max(usual, 1)}
	v.score = flowScore(math.Abs(flow) / v.usual)
	v = w.weighLeg(v, leg, w.flowPlan, w.cfg.BudgetDays)
	switch {
	case math.Abs(flow) < w.cfg.MinUSD:
		v.severity, v.stay = alarm.None, false
	case v.severity > alarm.None && v.days >= whaleMonths && flow > 0:
		v.severity = alarm.Critical
	}
	return v
}

// weighLeg grades a score by its rarity.
func (w *whaleMovement) weighLeg(v flowVerdict, leg *calibration.Leg, plan *calibration.Plan, budget float64) flowVerdict {
	v.ratio = math.Abs(v.value) / v.usual
	v.days = leg.ReturnDays(plan, v.score)
	threshold, _ := leg.Threshold()
	v.stay = v.score >= alarm.DefaultExitRatio*threshold
	if v.score >= threshold && v.days >= budget {
		v.severity = alarm.Medium
		if v.days >= max(whaleWeek, budget) {
			v.severity = alarm.High
		}
	}
	return v
}

func (x *exchanges) appendTo(dst []byte, now schemas.Time) []byte {
	dst = pack.Uint(pack.Int(dst, x.hour), uint64(len(x.list)))
	for i := range x.list {
		e := &x.list[i]
		dst = pack.Float(pack.Float(pack.Float(pack.String(dst, e.name), e.short), e.long), e.usualLong)
		dst = appendAll(pack.Int(dst, int64(now-e.at)), &e.usualShort, &e.crowds[0], &e.crowds[1], &e.episode)
	}
	return dst
}

// restore returns a reader of what follows.
func (x *exchanges) restore(r *pack.Reader, now schemas.Time) *pack.Reader {
	x.hour = r.Int()
	x.list = x.list[:0]
	for range r.Count(maxExchanges) {
		e := exchange{name: r.String(), short: r.Float(), long: r.Float(), usualLong: r.Float(), at: now - schemas.Time(r.Int())}
		rest, err := restoreAll(r.Rest(), &e.usualShort, &e.crowds[0], &e.crowds[1], &e.episode)
		if err != nil {
			return pack.NewReader(nil).Fail()
		}
		r = pack.NewReader(rest)
		x.list = append(x.list, e)
	}
	return r
}
