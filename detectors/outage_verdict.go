package detectors

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// States of a venue in VenueStatus.
const (
	stateOnline      = "online"
	stateDegraded    = "degraded"
	stateMaintenance = "maintenance"
	stateDown        = "down"
)

// probeReporter is the reporter that asks the venue itself; the others say what they think of it.
const probeReporter = "probe"

// Grades of a probe's answer.
const (
	probeGood uint8 = iota
	probeSlow
	probeError // not 200
	probeNone
)

// badProbes is how many of the last three answers must be bad.
const badProbes = 2

// A report is what one reporter last said of one part of the venue.
type report struct {
	reporter, scope, state string
	at, starts, ends       schemas.Time
	// probes are the grades of the last three answers.
	probes [3]uint8
	http   uint32
	answer uint64 // ns
}

const (
	// maxReports bounds the reports of a venue.
	maxReports = 64
	// reportStale is how long a report counts that nobody renews.
	reportStale = 24 * time.Hour
	// onlineKept is how long it is remembered that the whole venue is online, against older words that come late.
	onlineKept = time.Hour
)

// hear takes a status.
func (x *exchangeOutage) hear(at schemas.Time, m *schemas.VenueStatus) {
	i, found := slices.BinarySearchFunc(x.reports, m, func(r report, m *schemas.VenueStatus) int {
		return cmp.Or(strings.Compare(r.reporter, m.Reporter), strings.Compare(r.scope, m.Scope))
	})
	if !found {
		if len(x.reports) == maxReports {
			return
		}
		x.reports = slices.Insert(x.reports, i, report{reporter: strings.Clone(m.Reporter), scope: strings.Clone(m.Scope)})
	}
	r := &x.reports[i]
	if at < r.at {
		x.late++
		return
	}
	if r.state != m.State {
		r.state = strings.Clone(m.State)
	}
	r.at, r.starts, r.ends = at, schemas.Time(m.Starts), schemas.Time(m.Ends)
	r.http, r.answer = m.GetHttpStatus(), m.GetResponseNs()
	if m.Reporter == probeReporter {
		copy(r.probes[1:], r.probes[:])
		r.probes[0] = x.grade(m)
	}
}

// grade is how bad a probe's answer is.
func (x *exchangeOutage) grade(m *schemas.VenueStatus) uint8 {
	switch {
	case m.HttpStatus != nil && m.GetHttpStatus() != 200:
		return probeError
	case m.State == stateDown:
		return probeNone
	case m.GetResponseNs() > uint64(x.cfg.SlowAnswer), m.State == stateDegraded:
		return probeSlow
	}
	return probeGood
}

// probed is how bad badProbes of the last three answers are at least, and how many are so bad.
func (r *report) probed() (grade uint8, bad int) {
	p := r.probes
	slices.Sort(p[:])
	grade = p[len(p)-badProbes]
	for _, g := range p {
		if g >= grade {
			bad++
		}
	}
	return grade, bad
}

// expire drops what is over.
func (x *exchangeOutage) expire(now schemas.Time) {
	if len(x.reports) == 0 {
		return
	}
	x.reports = slices.DeleteFunc(x.reports, func(r report) bool {
		online := r.state == stateOnline && r.probes == [3]uint8{} && (!r.whole() || now.Sub(r.at) > onlineKept)
		return online || now.Sub(r.at) > reportStale && r.ends <= now || r.ends != 0 && r.ends <= now
	})
}

// whole says that the report is about the whole venue.
func (r *report) whole() bool { return r.scope == "" || r.scope == "all" }

// severity of a report now; a probe's is that of two out of its last three answers.
func (r *report) severity(now schemas.Time) (alarm.Severity, string) {
	if r.reporter == probeReporter {
		switch grade, _ := r.probed(); grade {
		case probeGood:
			return alarm.None, ""
		case probeSlow:
			return r.partly(alarm.Medium), legProbe
		}
		return r.partly(alarm.High), legProbe
	}
	s := alarm.None
	switch {
	case r.state == stateMaintenance && r.starts <= now:
		return alarm.Low, legMaintenance
	case r.state == stateDown:
		s = alarm.High
	case r.state == stateDegraded:
		s = alarm.Medium
	}
	return r.partly(s), legStatus
}

// partly is a severity less by one where the report is about a part of the venue.
func (r *report) partly(s alarm.Severity) alarm.Severity {
	if s > alarm.None && !r.whole() {
		return s - 1
	}
	return s
}

// Legs of a silence.
const (
	legHeartbeat = "heartbeat"
	legPooled    = "pooled_silence"
	legTimeout   = "silence_timeout"
	legSymbol    = "symbol_silence"
	legReconnect = "reconnects"
	// What a probe finds, and what others say.
	legProbe       = "probe"
	legMaintenance = "maintenance"
	legStatus      = "status"
)

// An outageVerdict is what a second says.
type outageVerdict struct {
	severity alarm.Severity
	legs     []string
	notes    []string
	see      sight
	// out says that the venue is silent, stay that the running episode goes on.
	out, stay bool
	// Scores: of the heartbeat, of the symbols together and of the worst one; the threshold of the pooled one.
	heartbeat, pooled, worst, threshold float64
	// silence is how long nothing has come.
	silence time.Duration
	symbol  string // the worst one
}

const (
	// fullPool is how many symbols make pooled_phi count in full. The score takes their silences to be independent, which they are not:
	// the more of them, the more it claims.
	fullPool = 4
	// timeoutPhi is the least pooled phi at which a timeout means anything: symbols that trade now and then are silent often.
	timeoutPhi = 4
	// halfShare of symbol_phi is what half of the symbols must reach together.
	halfShare = 0.75
	// flapping is how many reconnects of late make a degraded venue.
	flapping = 3
	// longestHealth is the health interval up to which heartbeats are judged: slower ones are no heartbeats.
	longestHealth = 5 * time.Second
)

func (v *outageVerdict) raise(to alarm.Severity, leg string) {
	v.severity = max(v.severity, to)
	v.legs = append(v.legs, leg)
}

// weigh looks at every leg.
func (x *exchangeOutage) weigh(now schemas.Time, see sight) outageVerdict {
	v := outageVerdict{see: see}
	if see != unknown {
		x.weighSilence(now, &v)
		x.weighSymbols(now, &v)
		for i := range x.vantages {
			if x.vantages[i].flaps >= flapping {
				v.raise(alarm.Medium, legReconnect)
				break
			}
		}
	}
	maintenance := false
	for i := range x.reports {
		s, leg := x.reports[i].severity(now)
		if s == alarm.None {
			continue
		}
		v.stay = true
		maintenance = maintenance || leg == legMaintenance && x.reports[i].whole()
		if !slices.Contains(v.legs, leg) {
			v.legs = append(v.legs, leg)
		}
		v.severity = max(v.severity, s)
	}
	if maintenance { // announced: whatever it brings is expected
		v.severity = min(v.severity, alarm.Low)
	}
	if see == alone && v.out {
		v.notes = append(v.notes, "no_other_connection")
	}
	return v
}

// weighSilence looks for an outage.
func (x *exchangeOutage) weighSilence(now schemas.Time, v *outageVerdict) {
	v.silence = max(now.Sub(x.heard), 0)
	floor := x.floor()
	v.pooled, v.threshold = x.pooled, floor
	unusual := float64(timeoutPhi)
	if t, _ := x.calib.Threshold(); x.calib.Calibrated() {
		v.threshold = min(max(t, floor), 2*floor)
		unusual = max(min(t, floor), timeoutPhi)
	}
	if x.cfg.HealthInterval.D() <= longestHealth && x.pulse.outlasts(now) {
		v.heartbeat = x.pulse.phi(now, x.cfg.Pause.D())
	}
	if v.heartbeat >= x.cfg.HeartbeatPhi {
		v.raise(alarm.High, legHeartbeat)
	}
	if x.pool >= 2 && x.pooled >= v.threshold {
		v.raise(alarm.High, legPooled)
	}
	if x.pool > 0 && x.pooled >= unusual && now.Sub(x.traded()) >= x.cfg.SilenceTimeout.D() {
		v.raise(alarm.High, legTimeout)
	}
	v.out = v.severity >= alarm.High
	if !v.out {
		return
	}
	began := x.traded()
	if began == 0 || v.heartbeat >= x.cfg.HeartbeatPhi {
		began = x.heard
	}
	began = max(began, x.blind) // before that it may have been ours
	if x.silent == 0 || x.resumed != 0 && began.Sub(x.resumed) >= x.cfg.QuietFor.D() {
		x.silent = began // the one before, if the episode had one, is over
	}
	x.resumed = 0
	if now.Sub(x.silent) >= x.cfg.CriticalAfter.D() {
		v.severity = alarm.Critical
	}
}

// floor is the least threshold of the pooled score: pooled_phi, less where fewer symbols than fullPool are silent.
func (x *exchangeOutage) floor() float64 {
	if x.pool == 0 {
		return x.cfg.PooledPhi
	}
	return x.cfg.PooledPhi * float64(min(x.pool, fullPool)) / fullPool
}

// traded is when any symbol last traded.
func (x *exchangeOutage) traded() schemas.Time {
	last := schemas.Time(0)
	for _, f := range x.flows {
		last = max(last, f.last)
	}
	return last
}

// weighSymbols looks for symbols whose silence is unusual.
func (x *exchangeOutage) weighSymbols(now schemas.Time, v *outageVerdict) {
	quiet, lively := 0, 0
	for _, f := range x.flows {
		if !f.learned() || now.Sub(f.last) >= gone {
			continue
		}
		lively++
		if f.phi > v.worst {
			v.worst, v.symbol = f.phi, f.symbol
		}
		if f.phi >= float64(halfShare*x.cfg.SymbolPhi) {
			quiet++
		}
	}
	if v.worst >= x.cfg.SymbolPhi || quiet > 0 && 2*quiet >= lively && lively > 1 {
		v.raise(alarm.Medium, legSymbol)
	}
	v.stay = v.stay || v.worst >= float64(alarm.DefaultExitRatio*x.cfg.SymbolPhi)
}

// recovered says that a silence is over: enough symbols trade again, or data has come for long enough.
func (x *exchangeOutage) recovered(now schemas.Time) bool {
	if x.silent == 0 {
		return true
	}
	if x.resumed == 0 {
		if x.heard <= x.silent || now.Sub(x.heard) > x.patience() {
			return false
		}
		x.resumed = x.heard
	}
	back, lively := 0, 0
	for _, f := range x.flows {
		if now.Sub(f.last) < gone {
			lively++
		}
		if f.last >= x.resumed {
			back++
		}
	}
	return back >= max(min(3, lively), 1) || now.Sub(x.resumed) >= x.cfg.QuietFor.D()
}

// judge moves the episode.
func (x *exchangeOutage) judge(now schemas.Time, see sight, emit processor.Emit) {
	v := x.weigh(now, see)
	if !v.out && !x.recovered(now) {
		v.stay = true
	}
	enter := v.severity > alarm.None
	if t := x.episode.Step(x.rules, alarm.Signal{At: int64(now), Enter: enter, Hard: enter, Stay: v.stay, Severity: v.severity}); t != alarm.Unchanged {
		v.severity = x.episode.Tells(t, v.severity)
		x.report(now, v, t.Status(), emit)
	}
	if x.episode.Phase() != alarm.Active {
		x.silent, x.resumed = 0, 0
	}
}

func (r *report) appendTo(dst []byte) []byte {
	dst = pack.String(pack.String(pack.String(dst, r.reporter), r.scope), r.state)
	for _, at := range [...]schemas.Time{r.at, r.starts, r.ends} {
		dst = pack.Int(dst, int64(at))
	}
	dst = append(dst, r.probes[:]...)
	return pack.Uint(pack.Uint(dst, uint64(r.http)), r.answer)
}

func (r *report) restore(in *pack.Reader) {
	r.reporter, r.scope, r.state = strings.Clone(in.String()), strings.Clone(in.String()), strings.Clone(in.String())
	for _, at := range [...]*schemas.Time{&r.at, &r.starts, &r.ends} {
		*at = schemas.Time(in.Int())
	}
	for i := range r.probes {
		r.probes[i] = in.Byte()
	}
	r.http, r.answer = uint32(in.Uint()), in.Uint()
}
