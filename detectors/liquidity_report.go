package detectors

import (
	"math"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// report publishes an event of the episode.
func (l *liquidityDrop) report(now schemas.Time, v liquidityVerdict, status string, emit processor.Emit) {
	emit(&schemas.Event{
		Type: liquidityDropName, Severity: v.severity.String(), Status: status, Assets: assetsOf(l.key.Symbol), EventTime: int64(now),
		DedupKey:    schemas.DedupKey(liquidityDropName, liquidityDropVersion, l.key.String(), schemas.Time(l.episode.Onset())),
		Description: l.sentence(now, v, status), Evidence: l.explain(now, v),
	})
	l.late = 0
}

func (l *liquidityDrop) explain(now schemas.Time, v liquidityVerdict) *schemas.Evidence {
	ev := &schemas.Evidence{
		WindowStart: int64(now.Add(-l.cfg.Persist.D())), WindowEnd: int64(now), LateRecords: l.late, SampleSize: l.seconds,
		Calibrated: l.calib.Days() >= calibratedDays, Legs: v.legs, Notes: v.notes,
		Threshold: new(l.cfg.ThresholdPct), ThresholdOrigin: originKnob,
	}
	for i := range l.sides {
		if l.view.at != 0 && !l.view.known(i) {
			ev.Notes = append(ev.Notes, "truncated:"+sideName(i))
		}
	}
	if firstOf(v.legs) == "rare_depth" {
		t, from := l.calib.Threshold()
		ev.Threshold, ev.ThresholdOrigin = new(100*share(t)), origin(from)
	}
	if l.view.at == 0 || v.band == nil {
		return ev
	}
	if v.band.width < l.bands.band {
		ev.Notes = append(ev.Notes, "narrower_band")
	}
	s := &v.band.sides[v.side]
	ev.Value, ev.Expected, ev.Ratio = new(100*v.gone), new(0.0), new(1-v.gone)
	if scale := s.level.Var(); scale > 0 {
		ev.Z = new(v.score / math.Sqrt(scale))
	}
	if days := l.calib.ReturnDays(l.plan, v.score); days > 0 {
		days = min(days, longestDays)
		ev.ReturnPeriodDays, ev.P = new(days), new(min(1/(days*secondsOfDay), 1))
	}
	for _, off := range s.off.list() {
		ev.Series = append(ev.Series, 100*share(off))
	}
	ev.Measures = l.measures(v)
	return ev
}

// secondsOfDay is how often a day judges.
const secondsOfDay = 24 * 60 * 60

func (l *liquidityDrop) measures(v liquidityVerdict) []*schemas.Measure {
	asset := strings.Join(assetsOf(l.key.Symbol)[:1], "")
	s, view := &l.sides[v.side], &l.view.sides[v.side]
	var list measures
	for i := range l.followed {
		if &l.followed[i] == v.band {
			list.add("current_depth", l.view.bands[i].quantity[v.side], asset)
		}
	}
	list.add("avg_depth", fixed.Exp(v.band.sides[v.side].level.Mean()+l.season), asset)
	list.add("drop_pct", 100*v.gone, "percent")
	list.add("depth_ratio", 1-v.gone, "")
	list.add("threshold_pct", l.cfg.ThresholdPct, "percent")
	list.add("band_pct", pctOf(v.band.width), "percent")
	list.add("time_window_seconds", l.cfg.Persist.D().Seconds(), "seconds")
	for i := range l.sides {
		if band := l.widest(i); band != nil {
			list.add(sideName(i)+"_drop_pct", 100*share(band.sides[i].off.latest()), "percent")
		}
	}
	if view.near >= 0 {
		list.add("near_depth", view.near, asset)
	}
	if s.near.Weight() > 0 {
		list.add("near_avg_depth", fixed.Exp(s.near.Mean()), asset)
	}
	list.add("spread_bp", l.view.spreadBp, "bp")
	list.add("spread_avg_bp", fixed.Exp(l.spread.level.Mean()), "bp")
	if view.slippage >= 0 {
		list.add("slippage_bp", view.slippage, "bp")
	}
	if s.slip.Weight() > 0 {
		list.add("slippage_avg_bp", fixed.Exp(s.slip.Mean()), "bp")
	}
	list.add("slippage_notional", l.cfg.Notional, "")
	list.add("mid", l.view.mid, "")
	list.add("mid_change_pct", l.movePct(), "percent")
	list.add("season", fixed.Exp(l.season), "")
	return list
}

func (l *liquidityDrop) sentence(now schemas.Time, v liquidityVerdict, status string) string {
	name := "the book of " + l.key.Symbol + " on " + l.key.Venue
	if status == schemas.Resolved {
		switch {
		case v.band != nil:
			within := name + ", within " + number(pctOf(v.band.width), 3) + " % of " + number(l.view.mid, 8)
			if other := 1 - v.side; l.widest(other) == nil {
				return "Depth is as usual on the " + sideName(v.side) + " side of " + within + "; the " + sideName(other) + " side is not known: the episode ends."
			}
			return "Depth is back in " + within + "."
		case now.Sub(l.heard) >= idleSeconds*time.Second:
			return "Nothing was heard of " + name + " for ten minutes: the episode ends."
		}
		return "No band of " + name + " was known as a whole for ten minutes: the episode ends."
	}
	s := number(100*v.gone, 3) + " % of the usual " + sideName(v.side) + " depth within " + number(pctOf(v.band.width), 3) + " % of the mid is gone in " + name +
		" for at least " + briefly(l.cfg.Persist.D())
	return strings.ToUpper(s[:1]) + s[1:] + " (" + strings.Join(v.legs, ", ") + ")."
}

// briefly prints a duration without empty parts.
func briefly(d time.Duration) string {
	if d < time.Minute {
		return number(d.Seconds(), 6) + " s"
	}
	return span(d)
}
