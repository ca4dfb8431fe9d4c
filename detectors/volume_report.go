package detectors

import (
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// report publishes an event of a member's episode.
func (u *unusualVolume) report(m *member, now schemas.Time, v volumeVerdict, status string, silent int, emit processor.Emit) {
	ev := u.explain(m, now, v)
	if silent > 0 {
		ev.Notes = append(ev.Notes, "members_missing:"+strconv.Itoa(silent))
	}
	if !v.ok {
		ev.Notes = append(ev.Notes, "no_data")
	}
	emit(&schemas.Event{
		Type: unusualVolumeName, Severity: v.severity.String(), Status: status, Venue: m.venue, Symbol: m.symbol, Assets: assetsOf(m.symbol), EventTime: int64(now),
		DedupKey:    schemas.DedupKey(unusualVolumeName, unusualVolumeVersion, u.key.String()+"/"+m.key(), schemas.Time(m.episode.Onset())),
		Description: u.sentence(m, v, status), Evidence: ev,
	})
	m.late = 0
}

func (u *unusualVolume) explain(m *member, now schemas.Time, v volumeVerdict) *schemas.Evidence {
	leg, calib := &u.legs[v.main], &m.calib[v.main]
	g, st := &u.gauges[leg.effect], &m.gauges[leg.effect]
	s, rare := &st.now, &m.gauges[leg.rare].now
	ev := &schemas.Evidence{
		WindowStart: int64(now.Add(-time.Duration(g.window) * time.Minute)), WindowEnd: int64(now), LateRecords: m.late,
		SampleSize: st.blocks, Calibrated: calib.Days() >= calibratedDays, Series: m.volumes(now, u.gauges[gaugeVolume].window),
	}
	for i := range u.legs {
		if v.fired[i] {
			ev.Legs = append(ev.Legs, u.legs[i].name)
		}
	}
	ev.Threshold, ev.ThresholdOrigin = new(u.cfg.Multiplier), originKnob
	if !s.ok || !rare.ok {
		return ev
	}
	if t, from := calib.Threshold(); calib.Calibrated() && !u.cfg.Strict {
		ev.Threshold, ev.ThresholdOrigin = new(t), origin(from)
	}
	ev.Value, ev.Expected, ev.Ratio, ev.Z = new(s.ratio), new(1.0), new(s.ratio), new(rare.score)
	rarity(ev, calib.ReturnDays(u.plan(m, v.main, rare.peers), rare.score))
	ev.Measures = u.measures(m, now, v.main)
	if rare.peers < u.cfg.MinPeers {
		ev.Notes = append(ev.Notes, "few_peers")
	} else if u.median(leg.effect) >= marketWide {
		ev.Notes = append(ev.Notes, "market_wide")
	}
	return ev
}

func (u *unusualVolume) measures(m *member, now schemas.Time, i int) []*schemas.Measure {
	g := &u.gauges[u.legs[i].effect]
	s, rare := &m.gauges[u.legs[i].effect].now, &m.gauges[u.legs[i].rare].now
	asset := strings.Join(assetsOf(m.symbol)[:1], "")
	if g.figure != figureVolume {
		asset = ""
	}
	var list measures
	list.add("current_volume", s.sum, asset)
	list.add("avg_volume", s.expected(), asset)
	list.add("volume_ratio", s.ratio, "")
	if last, first := m.price(now, g.window); last != 0 {
		list.add("price", last, "")
		list.add("price_change_pct", float64(100*(last-first))/first, "percent")
	}
	list.add("multiplier", u.cfg.Multiplier, "")
	list.add("time_window_seconds", float64(g.window*60), "seconds")
	list.add("score", rare.score, "")
	list.add("season", fixed.Exp(s.season), "")
	list.add("market", fixed.Exp(rare.market), "")
	list.add("peers", float64(rare.peers), "")
	for k := range u.legs {
		if other := &m.gauges[u.legs[k].effect].now; k != i && other.ok {
			list.add(u.legs[k].name+"_ratio", other.ratio, "")
		}
	}
	return list
}

// volumes lists the last minutes' volumes, oldest first.
func (m *member) volumes(now schemas.Time, minutes int) []float64 {
	out := make([]float64, 0, minutes)
	for k := minutes - 1; k >= 0; k-- {
		out = append(out, float64(m.ring[slotOf(now.Add(-time.Duration(k)*time.Minute))].volume))
	}
	return out
}

func (u *unusualVolume) sentence(m *member, v volumeVerdict, status string) string {
	name := m.symbol + " on " + m.venue
	if status == schemas.Resolved {
		if !v.ok {
			return name + " could not be judged for an hour: the episode ends."
		}
		return name + " trades as usual again."
	}
	leg := &u.legs[v.main]
	g, s, rare := &u.gauges[leg.effect], &m.gauges[leg.effect].now, &m.gauges[leg.rare].now
	what := [figures]string{"volume", "trades", "rush orders", "volume"}[g.figure]
	text := name + " had " + number(s.sum, 6) + " " + what + " in " + span(time.Duration(g.window)*time.Minute) + ", " + number(s.ratio, 3) + " times the expected " +
		number(s.expected(), 6)
	if rare.peers < u.cfg.MinPeers {
		return text + "; too few peers to know the market."
	}
	text += "; " + number(rare.score, 3) + " times what its market explains"
	if leg.rare == gaugeRoots {
		text += ", single prints apart"
	}
	return text + "."
}
