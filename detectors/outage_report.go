package detectors

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// report publishes an event of the venue's episode.
func (x *exchangeOutage) report(now schemas.Time, v outageVerdict, status string, emit processor.Emit) {
	emit(&schemas.Event{
		Type: exchangeOutageName, Severity: v.severity.String(), Status: status, EventTime: int64(now),
		DedupKey:    schemas.DedupKey(exchangeOutageName, exchangeOutageVersion, x.key.String(), schemas.Time(x.episode.Onset())),
		Description: x.sentence(now, v, status), Evidence: x.explain(now, v),
	})
	x.late = 0
}

func (x *exchangeOutage) explain(now schemas.Time, v outageVerdict) *schemas.Evidence {
	silence, began := v.silence, now.Add(-v.silence)
	if x.silent != 0 {
		silence, began = now.Sub(x.silent), x.silent
		if x.resumed != 0 {
			silence = x.resumed.Sub(x.silent)
		}
	}
	ev := &schemas.Evidence{
		Value: new(silence.Seconds()), WindowStart: int64(began), WindowEnd: int64(now), LateRecords: x.late, SampleSize: x.bars,
		Calibrated: x.calib.Days() >= calibratedDays, Legs: v.legs, Notes: v.notes,
	}
	ev.Threshold, ev.ThresholdOrigin = new(v.threshold), originKnob
	z := v.pooled
	switch firstOf(v.legs) {
	case legHeartbeat:
		z, *ev.Threshold = v.heartbeat, x.cfg.HeartbeatPhi
	case legPooled:
		if _, from := x.calib.Threshold(); v.threshold > x.floor() {
			ev.ThresholdOrigin = origin(from)
		}
	case legTimeout:
		*ev.Threshold = x.cfg.SilenceTimeout.D().Seconds()
	case legSymbol:
		z, *ev.Threshold = v.worst, x.cfg.SymbolPhi
	case legReconnect, legProbe, legMaintenance, legStatus:
		x.explainTold(ev, now, firstOf(v.legs))
		ev.Measures = x.measures(now, v, silence)
		return ev
	}
	ev.Z, ev.P = new(z), new(fixed.Exp(-float64(z*ln10)))
	if n := x.pulse.n; n > 0 {
		mean := x.pulse.sum / float64(n)
		ev.Expected = new(mean)
		if mean > 0 {
			ev.Ratio = new(silence.Seconds() / mean)
		}
	}
	if days := x.calib.ReturnDays(x.plan, v.pooled); days > 0 && v.pooled > 0 {
		ev.ReturnPeriodDays = new(min(days, longestDays))
	}
	for _, n := range x.trading {
		ev.Series = append(ev.Series, float64(n))
	}
	ev.Measures = x.measures(now, v, silence)
	return ev
}

// explainTold fills in what raised an event that no silence did: reconnects, or bad answers of a probe; what others say has no figure.
func (x *exchangeOutage) explainTold(ev *schemas.Evidence, now schemas.Time, leg string) {
	ev.Value, ev.Threshold, ev.ThresholdOrigin = nil, nil, ""
	switch r := x.worst(now); {
	case leg == legReconnect:
		most := 0.0
		for i := range x.vantages {
			most = max(most, x.vantages[i].flaps)
		}
		ev.Value, ev.Threshold, ev.ThresholdOrigin = new(most), new(float64(flapping)), originKnob
	case r == nil:
	case r.reporter == probeReporter:
		_, bad := r.probed()
		ev.Value, ev.Threshold, ev.ThresholdOrigin = new(float64(bad)), new(float64(badProbes)), originKnob
		ev.WindowStart = int64(r.at)
	default:
		ev.WindowStart = int64(r.at)
		ev.Notes = append(ev.Notes, "state:"+r.state)
	}
}

func (x *exchangeOutage) measures(now schemas.Time, v outageVerdict, silence time.Duration) []*schemas.Measure {
	var list measures
	list.add("silent_seconds", silence.Seconds(), "seconds")
	list.add("silence_timeout_seconds", x.cfg.SilenceTimeout.D().Seconds(), "seconds")
	list.add("heartbeat_phi", v.heartbeat, "")
	list.add("pooled_phi", v.pooled, "")
	list.add("symbol_phi", v.worst, "")
	silent := 0
	for _, f := range x.flows {
		if f.phi > 0 {
			silent++
		}
	}
	list.add("symbols", float64(len(x.flows)), "")
	list.add("symbols_silent", float64(silent), "")
	connected, others := 0, 0
	for i := range x.vantages {
		w := &x.vantages[i]
		if w.connected {
			connected++
		}
		if w.others >= now.Add(-x.patience()) {
			others++
		}
	}
	list.add("sources", float64(len(x.vantages)), "")
	list.add("sources_connected", float64(connected), "")
	list.add("sources_others_alive", float64(others), "")
	for i := range x.reports {
		r := &x.reports[i]
		if s, _ := r.severity(now); r.reporter != probeReporter || s == 0 {
			continue
		}
		if r.http != 0 {
			list.add("status_code", float64(r.http), "")
		}
		if r.answer != 0 {
			list.add("response_time_ms", float64(r.answer)/1e6, "ms")
		}
		break
	}
	return list
}

func (x *exchangeOutage) sentence(now schemas.Time, v outageVerdict, status string) string {
	name := x.key.Venue
	switch {
	case status == schemas.Resolved && x.silent != 0:
		return name + " is back: data came again after " + rounded(max(x.resumed, x.silent).Sub(x.silent)) + " of silence."
	case status == schemas.Resolved:
		return name + " works as usual again."
	case v.out:
		s := name + " has been silent for " + rounded(now.Sub(x.silent))
		if slices.ContainsFunc(x.vantages, func(v vantage) bool { return v.others > x.heard }) {
			s += ", while our other connections receive data"
		}
		return s + " (" + strings.Join(v.legs, ", ") + ")."
	case firstOf(v.legs) == legSymbol:
		return v.symbol + " on " + name + " has been silent for unusually long (" + strings.Join(v.legs, ", ") + ")."
	}
	if r := x.worst(now); r != nil {
		return name + r.says() + " (" + r.reporter + ", " + r.scope + ")."
	}
	return name + " is degraded (" + strings.Join(v.legs, ", ") + ")."
}

// worst is the report of the highest severity, the first of several; nil for none.
func (x *exchangeOutage) worst(now schemas.Time) *report {
	var found *report
	highest := alarm.None
	for i := range x.reports {
		if s, _ := x.reports[i].severity(now); s > highest {
			found, highest = &x.reports[i], s
		}
	}
	return found
}

// says is what a report tells of its venue. A probe tells no state but how it was answered.
func (r *report) says() string {
	if r.reporter != probeReporter {
		if r.state == stateMaintenance {
			return " is said to be in maintenance"
		}
		return " is said to be " + r.state
	}
	grade, bad := r.probed()
	of := strconv.Itoa(bad) + " of the last " + strconv.Itoa(len(r.probes)) + " probes"
	switch grade {
	case probeSlow:
		return " was slow to answer " + of
	case probeError:
		return " answered " + of + " with an error"
	}
	return " did not answer " + of
}

// rounded prints a duration in whole seconds.
func rounded(d time.Duration) string { return d.Round(time.Second).String() }

// reportStall says that it is we who do not see.
func (x *exchangeOutage) reportStall(now schemas.Time, see sight, status string, emit processor.Emit) {
	since := schemas.Time(x.stall.Onset())
	ev := &schemas.Evidence{
		WindowStart: int64(since), WindowEnd: int64(now), SampleSize: x.bars, Value: new(now.Sub(since).Seconds()),
		Threshold: new(x.patience().Seconds()), ThresholdOrigin: originKnob, Legs: []string{pipelineStall},
	}
	text := "We see " + x.key.Venue + " again."
	if status == schemas.Open {
		reason := "no_feed_health"
		text = "No health of our feeds of " + x.key.Venue + " arrives: this is a stall of our own and says nothing of the venue."
		if see == noLine {
			reason = "own_network"
			text = "All our connections fell silent with those to " + x.key.Venue + ": this is a fault on our side and says nothing of the venue."
		}
		ev.Notes = []string{reason}
		ev.Value = new(x.patience().Seconds())
	}
	emit(&schemas.Event{
		Type: pipelineStall, Severity: schemas.Low, Status: status, EventTime: int64(now), Description: text, Evidence: ev,
		DedupKey: schemas.DedupKey(exchangeOutageName, exchangeOutageVersion, x.key.String()+"/"+pipelineStall, since),
	})
}
