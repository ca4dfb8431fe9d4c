package detectors

import (
	"math"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// report publishes an event of the episode.
func (p *priceAnomaly) report(m moment, v verdictOf, status string, emit processor.Emit) {
	e := p.event(m, "price_anomaly", v.severity.String(), status)
	ev := e.Evidence
	ev.Legs, ev.Notes = v.legs, v.notes
	p.explain(ev, m)
	e.Description = p.sentence(m, v, status)
	emit(e)
}

func (p *priceAnomaly) event(m moment, typ, severity, status string) *schemas.Event {
	late, _ := p.closes.counts()
	return &schemas.Event{
		Type: typ, Severity: severity, Status: status, Assets: assetsOf(p.key.Symbol), EventTime: int64(m.at),
		DedupKey: schemas.DedupKey(priceAnomalyName, priceAnomalyVersion, p.key.String(), schemas.Time(p.episode.Onset())),
		Evidence: &schemas.Evidence{
			WindowStart: int64(m.at.Add(-p.window(m))), WindowEnd: int64(m.at), LateRecords: late + p.late, Series: p.closes.list(),
		},
	}
}

// window is how long the move took: across a silence from the last price before it.
func (p *priceAnomaly) window(m moment) time.Duration {
	if m.stale {
		return time.Duration(p.silent+1) * time.Minute
	}
	return p.cfg.Window.D()
}

// movePct is the move in percent of the price at the start of the window.
func (m moment) movePct() float64 {
	if m.past == 0 {
		return 0
	}
	return float64(100*(m.spot-m.past)) / m.past
}

// compare states a move, in percent, beside the usual one.
func (p *priceAnomaly) compare(ev *schemas.Evidence, m moment, move float64) {
	usual := float64(100*m.scores.sigma) * math.Sqrt(float64(p.cfg.minutes()))
	ev.Value, ev.Expected = new(move), new(usual)
	if usual > 0 {
		ev.Ratio = new(math.Abs(move) / usual)
	}
}

// explain fills in the figures that a person needs to check the event by hand.
func (p *priceAnomaly) explain(ev *schemas.Evidence, m moment) {
	ev.SampleSize = p.vol.minutes
	ev.Calibrated = p.jumps.Calibrated() && p.jumps.Days() >= calibratedDays
	ev.Threshold, ev.ThresholdOrigin = new(p.cfg.ThresholdPct), originKnob
	switch leg := firstOf(ev.Legs); leg {
	case legJump:
		t, from := p.jumps.Threshold()
		ev.Threshold, ev.ThresholdOrigin = new(t), origin(from)
	case legDrift:
		t, from := p.drifts.Threshold()
		ev.Threshold, ev.ThresholdOrigin = new(t), origin(from)
	case legWarning:
		ev.Threshold = new(float64(warningEffect * p.cfg.ThresholdPct))
	}
	if m.spot == 0 {
		return // the prices were forgotten
	}
	move := m.movePct()
	p.compare(ev, m, move)
	ev.Z = new(m.scores.jump)
	if firstOf(ev.Legs) == legDrift {
		ev.Z = new(m.scores.drift)
	}
	rarity(ev, p.returnDays(m.scores))
	var list measures
	list.add("current_price", m.spot, "")
	list.add("past_price", m.past, "")
	list.add("change_pct", move, "percent")
	list.add("time_window_seconds", p.window(m).Seconds(), "seconds")
	list.add("return_1m_pct", 100*m.scores.ret, "percent")
	list.add("jump_score", m.scores.jump, "sigma")
	list.add("drift_score", m.scores.drift, "sigma")
	list.add("sigma_1m_pct", 100*m.scores.sigma, "percent")
	list.add("level_pct", 100*p.vol.level(), "percent")
	list.add("season", p.vol.season(m.at-1), "")
	list.add("threshold_pct", p.cfg.ThresholdPct, "percent")
	if _, held := p.closes.counts(); held+p.held > 0 {
		list.add("prints_held_back", float64(held+p.held), "")
	}
	ev.Measures = list
}

func firstOf(legs []string) string {
	if len(legs) == 0 {
		return ""
	}
	return legs[0]
}

func (p *priceAnomaly) sentence(m moment, v verdictOf, status string) string {
	name := p.key.Symbol + " on " + p.key.Venue
	if status == schemas.Resolved {
		if len(v.notes) > 0 {
			return name + " could not be judged for an hour: the episode ends."
		}
		return name + " has been calm for " + span(p.cfg.QuietFor.D()) + ", at " + number(m.spot, 8) + "."
	}
	verb := " rose "
	if m.spot < m.past {
		verb = " fell "
	}
	s := name + verb + number(math.Abs(m.movePct()), 3) + " % in " + span(p.window(m)) + ", from " + number(m.past, 8) + " to " + number(m.spot, 8)
	if m.scores.jump >= calmScore {
		s += "; the last minute moved " + number(m.scores.jump, 3) + " times its usual size"
	}
	return s + " (" + strings.Join(v.legs, ", ") + ")."
}

// span prints a duration in minutes as a person writes it.
func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return number(d.Minutes(), 6) + " min"
	}
	return d.String()
}

// reportCrash says that the move of this episode was a flash crash.
func (p *priceAnomaly) reportCrash(m moment, emit processor.Emit) {
	c := &p.crash
	p.episode.Lift(alarm.High)
	e := p.event(m, "flash_crash", p.episode.Peak().String(), schemas.Update)
	p.explain(e.Evidence, m)
	ev := e.Evidence
	move := float64(100*(c.extreme-c.ref)) / c.ref
	back := (m.spot - c.extreme) / (c.ref - c.extreme)
	p.compare(ev, m, move)
	ev.Legs, ev.WindowStart = []string{legAbsolute}, int64(c.since.Add(-p.cfg.Window.D()))
	list := measures(ev.Measures)
	list.add("extreme_price", c.extreme, "")
	list.add("reference_price", c.ref, "")
	list.add("came_back", back, "")
	ev.Measures = list
	word := " fell "
	if move > 0 {
		word = " rose "
	}
	e.Description = p.key.Symbol + " on " + p.key.Venue + word + number(math.Abs(move), 3) + " %, and " + number(100*back, 2) +
		" % of it came back within " + span(m.at.Sub(c.since)) + "."
	emit(e)
}

// reportBadTick says that the one or two prints before this one were wrong. It is over when it is found, so the event is
// resolved from the start; at most one in a cool-down.
func (p *priceAnomaly) reportBadTick(at schemas.Time, emit processor.Emit) {
	if at < p.badTick {
		return
	}
	p.badTick = at.Add(p.cfg.CoolDown.D())
	worst, median := p.prints.worst, p.prints.against
	off := float64(100*(worst-median)) / median
	ev := &schemas.Evidence{
		Value: new(off), Expected: new(0.0), Threshold: new(100 * offMedian), ThresholdOrigin: originKnob, WindowStart: int64(at), WindowEnd: int64(at),
		SampleSize: uint64(p.prints.n), Legs: []string{"print"},
	}
	var list measures
	list.add("current_price", worst, "")
	list.add("past_price", median, "")
	list.add("change_pct", off, "percent")
	_, held := p.closes.counts()
	list.add("prints_held_back", float64(held+p.held), "")
	ev.Measures = list
	emit(&schemas.Event{
		Type: "bad_tick", Severity: schemas.Low, Status: schemas.Resolved, Assets: assetsOf(p.key.Symbol), EventTime: int64(at), Evidence: ev,
		DedupKey: schemas.DedupKey(priceAnomalyName, priceAnomalyVersion, p.key.String()+"/bad_tick", at),
		Description: p.key.Symbol + " on " + p.key.Venue + " printed " + number(worst, 8) + ", " + number(math.Abs(off), 3) +
			" % off the median of the last prints, and came back at once.",
	})
}
