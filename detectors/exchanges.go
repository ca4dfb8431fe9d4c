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
	// maxExchanges bounds the exchanges of an asset that are followed: the least active one makes room.
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
	// usual sizes of the two flows, sampled each hour.
	usualShort, usualLong series.Level
	episode               alarm.Episode
}

// faded moves the sums to a time.
func (e *exchange) faded(at schemas.Time) {
	if d := int64(at - e.at); d > 0 {
		e.short *= fixed.Decay(d, shortFlow)
		e.long *= fixed.Decay(d, longFlow)
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
	list        []exchange
	short, long calibration.Leg
	hour        int64
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
		least := 0
		for k := range x.list {
			if x.list[k].usualLong.Mean() < x.list[least].usualLong.Mean() {
				least = k
			}
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
}

// A flowVerdict is what the net flow of an exchange is worth.
type flowVerdict struct {
	severity alarm.Severity
	stay     bool
	// long says that the flow of a day is the rarer one; usd is the flow, ratio its size over the usual one, days its return period.
	long        bool
	usd, usual  float64
	ratio, days float64
}

// flowScore is what flows are calibrated by.
func flowScore(ratio float64) float64 { return fixed.Ln(1 + ratio) }

// judgeFlows moves the episodes of all exchanges, and lets the baselines learn afterwards.
func (w *whaleMovement) judgeFlows(now schemas.Time, emit processor.Emit) {
	x := &w.flows
	highest := [2]float64{}
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
			highest[1] = max(highest[1], flowScore(math.Abs(e.long)/max(e.usualLong.Mean(), 1)))
		}
		if hour != x.hour {
			e.sample()
		}
	}
	x.hour = hour
	x.short.Observe(w.flowPlan, int64(now-1), highest[0])
	x.long.Observe(w.flowPlan, int64(now-1), highest[1])
}

// sample lets the usual sizes learn from the hour that ended.
func (e *exchange) sample() {
	learn := func(l *series.Level, flow float64) {
		size := math.Abs(flow)
		if l.Weight() >= flowHours {
			size = min(size, flowClip*l.Mean())
		}
		l.Add(usualDecay, size)
	}
	learn(&e.usualShort, e.short)
	learn(&e.usualLong, e.long)
}

// usualDecay is 2^(-1/336): fourteen days of hours.
const usualDecay = 0.99793917

// weighFlow judges the net flow of an exchange: beyond the knob and rare.
func (w *whaleMovement) weighFlow(e *exchange) flowVerdict {
	var best flowVerdict
	if w.cfg.Strict || e.usualShort.Weight() < flowHours {
		return best
	}
	for _, leg := range []struct {
		flow, usual float64
		calibrated  *calibration.Leg
		long        bool
	}{{e.short, e.usualShort.Mean(), &w.flows.short, false}, {e.long, e.usualLong.Mean(), &w.flows.long, true}} {
		v := flowVerdict{long: leg.long, usd: leg.flow, usual: max(leg.usual, 1)}
		v.ratio = math.Abs(v.usd) / v.usual
		score := flowScore(v.ratio)
		v.days = leg.calibrated.ReturnDays(w.flowPlan, score)
		threshold, _ := leg.calibrated.Threshold()
		beyond := math.Abs(v.usd) >= w.cfg.MinUSD
		v.stay = beyond && score >= alarm.DefaultExitRatio*threshold
		if beyond && score >= threshold && v.days >= w.cfg.BudgetDays {
			v.severity = alarm.Medium
			switch {
			case v.days >= whaleMonths && v.usd > 0:
				v.severity = alarm.Critical
			case v.days >= max(whaleWeek, w.cfg.BudgetDays):
				v.severity = alarm.High
			}
		}
		stay := best.stay || v.stay
		if v.severity > best.severity || v.severity == best.severity && v.days >= best.days {
			best = v
		}
		best.stay = stay
	}
	return best
}

func (x *exchanges) appendTo(dst []byte, now schemas.Time) []byte {
	dst = pack.Uint(pack.Int(dst, x.hour), uint64(len(x.list)))
	for i := range x.list {
		e := &x.list[i]
		dst = pack.Float(pack.Float(pack.String(dst, e.name), e.short), e.long)
		dst = appendAll(pack.Int(dst, int64(now-e.at)), &e.usualShort, &e.usualLong, &e.episode)
	}
	return dst
}

// restore returns a reader of what follows.
func (x *exchanges) restore(r *pack.Reader, now schemas.Time) *pack.Reader {
	x.hour = r.Int()
	x.list = x.list[:0]
	for range r.Count(maxExchanges) {
		e := exchange{name: r.String(), short: r.Float(), long: r.Float(), at: now - schemas.Time(r.Int())}
		rest, err := restoreAll(r.Rest(), &e.usualShort, &e.usualLong, &e.episode)
		if err != nil {
			return pack.NewReader(nil).Fail()
		}
		r = pack.NewReader(rest)
		x.list = append(x.list, e)
	}
	return r
}
