package detectors

import (
	"math"
	"strconv"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// quarterDays is how far announcements lie apart.
const quarterDays = 91

// report publishes an event of an announcement that has just come.
func (e *earningsAnomaly) report(a *announcement, q *quarters, m *schemas.Earnings, s surpriseScore, status string, emit processor.Emit, note string) {
	ev := e.explain(a, q, s)
	list := measures(ev.Measures)
	if m.RevenueActual != nil {
		list.add("revenue", m.RevenueActual.Float(), "")
	}
	if m.RevenueEstimate != nil {
		list.add("revenue_estimate", m.RevenueEstimate.Float(), "")
	}
	if m.Estimates >= 3 && m.EstimateSd != nil {
		list.add("estimates", float64(m.Estimates), "")
		list.add("estimate_sd", m.EstimateSd.Float(), "per share")
		list.add("surprise_over_sd", a.surprise/max(m.EstimateSd.Float(), 0.01), "")
	}
	if m.Price.Sign() > 0 {
		list.add("surprise_over_price_pct", float64(100*a.surprise)/m.Price.Float(), "percent")
	}
	ev.Measures = list
	ev.Legs = []string{basisName(q == &e.bases[1])}
	if note != "" {
		ev.Notes = append(ev.Notes, note)
	}
	if e.blind {
		ev.Notes = append(ev.Notes, "gap")
	}
	if e.late > 0 {
		ev.Notes = append(ev.Notes, "late")
	}
	e.blind, e.late = false, 0
	text := e.sentence(a, m.PeriodEnd, s)
	switch {
	case status == schemas.Resolved:
		text = "Corrected, and no surprise any more: " + text
	case note != "":
		text = "Corrected: " + text
	}
	e.publish(a, q, ev, a.at, status, text, emit)
}

// Why an event ends that nothing corrects: it has been open long enough, or its announcement makes room for a later one.
const (
	noteExpired   = "expired"
	noteForgotten = "forgotten"
)

// expire ends an event that has been open long enough, or whose announcement is forgotten.
func (e *earningsAnomaly) expire(a *announcement, q *quarters, now schemas.Time, why string, emit processor.Emit) {
	ev := e.explain(a, q, q.score(a))
	ev.Notes = append(ev.Notes, why)
	text := e.key.Symbol + " reported " + number(e.cfg.OpenFor.D().Hours(), 4) + " hours ago: the event ends."
	if a.at != a.opened {
		text = e.key.Symbol + " corrected its report " + number(e.cfg.OpenFor.D().Hours(), 4) + " hours ago: the event ends."
	}
	if why == noteForgotten {
		text = e.key.Symbol + " has reported " + strconv.Itoa(remembered+1) + " periods since: the event ends."
	}
	e.publish(a, q, ev, now, schemas.Resolved, text, emit)
}

func (e *earningsAnomaly) publish(a *announcement, q *quarters, ev *schemas.Evidence, at schemas.Time, status, text string, emit processor.Emit) {
	name := e.key.String() + "/" + strconv.Itoa(int(a.period)) + "/" + basisName(q == &e.bases[1])
	emit(&schemas.Event{
		Type: earningsAnomalyName, Severity: a.severity.String(), Status: status, Assets: []string{e.key.Symbol}, EventTime: int64(at), Evidence: ev,
		DedupKey:    schemas.DedupKey(earningsAnomalyName, earningsAnomalyVersion, name, a.opened),
		Description: text,
	})
}

func basisName(street bool) string {
	if street {
		return "street"
	}
	return "gaap"
}

// explain fills in the figures that a person needs to check the event by hand.
func (e *earningsAnomaly) explain(a *announcement, q *quarters, s surpriseScore) *schemas.Evidence {
	pct := a.percent(e.cfg.FloorEPS)
	usual := float64(100*float64(s.mean*a.scale())) / max(math.Abs(a.estimate), e.cfg.FloorEPS)
	p := tailShare(s.z)
	ev := &schemas.Evidence{
		Value: new(pct), Expected: new(usual), Ratio: new(math.Abs(pct) / e.cfg.ThresholdPct), Z: new(s.z), P: new(p), ReturnPeriodDays: new(quarterDays / p),
		Threshold: new(e.cfg.ThresholdPct), ThresholdOrigin: originKnob, SampleSize: uint64(s.n), Calibrated: s.n >= populationWeight,
		WindowEnd: int64(a.at), LateRecords: e.late,
	}
	for k := range q.list[:q.n] {
		if b := &q.list[k]; b.period < a.period {
			ev.Series = append(ev.Series, b.scaled())
			ev.WindowStart = int64(b.at)
		}
	}
	ev.Series = append(ev.Series, a.scaled())
	var list measures
	list.add("actual_eps", a.actual, "per share")
	list.add("estimated_eps", a.estimate, "per share")
	list.add("surprise", a.surprise, "per share")
	if a.estimate != 0 {
		list.add("surprise_pct", float64(100*a.surprise)/math.Abs(a.estimate), "percent")
	} else {
		ev.Notes = append(ev.Notes, "zero_estimate")
	}
	list.add("report_date", float64(a.at.Floor(24*60*60*1e9)/1e9), "seconds")
	list.add("sue", s.z, "sigma")
	list.add("scaled_surprise", a.scaled(), "")
	list.add("usual_scaled_surprise", s.mean, "")
	list.add("scale", s.scale, "")
	if a.others > 0 {
		list.add("differing_reports", float64(a.others), "")
	}
	if float64(a.actual*a.estimate) < 0 {
		ev.Notes = append(ev.Notes, "sign_flip")
	}
	ev.Measures = list
	return ev
}

func (e *earningsAnomaly) sentence(a *announcement, period string, s surpriseScore) string {
	verb := " beat "
	switch {
	case a.surprise < 0:
		verb = " missed "
	case a.surprise == 0:
		verb = " met "
	}
	text := e.key.Symbol + verb + "the consensus of " + number(a.estimate, 6) + " with " + number(a.actual, 6) + " a share for the period to " + period
	if a.estimate != 0 && a.surprise != 0 {
		text += ", by " + number(math.Abs(float64(100*a.surprise)/a.estimate), 3) + " %"
	}
	return text + "; " + number(math.Abs(s.z), 3) + " times its usual surprise."
}
