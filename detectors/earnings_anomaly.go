package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	earningsAnomalyName    = "earnings_anomaly"
	earningsAnomalyVersion = 1
)

// An announcement is judged when its record comes. Only the end of an episode waits for OnTime.
func init() {
	processor.Register(processor.Spec[earningsAnomalyConfig]{
		Name:    earningsAnomalyName,
		Kind:    processor.Watchdog,
		Summary: "Earnings per share that missed or beat the consensus by more than usual.",
		Version: earningsAnomalyVersion,
		Input:   schemas.ReferenceEquities,
		Output:  schemas.Events,
		Step:    time.Minute,
		Defaults: earningsAnomalyConfig{
			ThresholdPct: 10, CheckInterval: processor.Duration(5 * time.Minute), MinSurprise: 0.02, FloorEPS: 0.05,
			OpenFor: processor.Duration(72 * time.Hour), MaxAge: processor.Duration(7 * 24 * time.Hour),
		},
		New: func(c earningsAnomalyConfig, key processor.Key) processor.Processor {
			return &earningsAnomaly{cfg: c, key: key}
		},
	})
}

// earningsAnomalyConfig is the configuration of earnings_anomaly.
type earningsAnomalyConfig struct {
	ThresholdPct  float64            `koanf:"threshold_pct" json:"threshold_pct" doc:"Surprise that raises an event, in percent of the consensus."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often it is looked for events that have been open long enough, in event time, whole minutes; an announcement is judged at once."`
	MinSurprise   float64            `koanf:"min_surprise" json:"min_surprise" doc:"Least surprise in currency a share: a cent is rounding, whatever its percentage."`
	FloorEPS      float64            `koanf:"floor_eps" json:"floor_eps" doc:"A consensus nearer to zero than this counts as this when the percentage is taken."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Grade by the percentage alone: high beyond twice the threshold, else medium."`
	OpenFor       processor.Duration `koanf:"open_for" json:"open_for" doc:"How long after the announcement or its last correction an event stays open."`
	MaxAge        processor.Duration `koanf:"max_age" json:"max_age" doc:"Announcements that come later than this are history: they feed the baseline and raise nothing."`
}

// Validate checks the settings.
func (c earningsAnomalyConfig) Validate() error {
	switch {
	case !(c.ThresholdPct > 0 && c.ThresholdPct <= 1000):
		return fmt.Errorf("earnings_anomaly.threshold_pct is %v: it must be greater than 0 and at most 1000", c.ThresholdPct)
	case c.CheckInterval.D()%time.Minute != 0 || c.CheckInterval.D() < time.Minute:
		return fmt.Errorf("earnings_anomaly.check_interval is %v: it must be whole minutes, at least 1m", c.CheckInterval.D())
	case !(c.MinSurprise >= 0 && c.MinSurprise <= 100):
		return fmt.Errorf("earnings_anomaly.min_surprise is %v: it must be 0 to 100", c.MinSurprise)
	case !(c.FloorEPS > 0 && c.FloorEPS <= 100):
		return fmt.Errorf("earnings_anomaly.floor_eps is %v: it must be greater than 0 and at most 100", c.FloorEPS)
	case c.OpenFor.D() < time.Minute:
		return fmt.Errorf("earnings_anomaly.open_for is %v: it must be at least 1m", c.OpenFor.D())
	case c.MaxAge.D() < time.Hour:
		return fmt.Errorf("earnings_anomaly.max_age is %v: it must be at least 1h", c.MaxAge.D())
	}
	return nil
}

// earningsAnomaly watches the announcements of one ticker.
type earningsAnomaly struct {
	cfg earningsAnomalyConfig
	key processor.Key

	seen dedup.Recent
	// now is the last step of event time, 0 before the first.
	now schemas.Time
	// blind says that a Gap came since the last announcement: one may be missing.
	blind bool
	// late counts the records since the last event that came after their time had passed.
	late uint32
	// bases are the announcements counted by GAAP and by the street, which do not compare.
	bases [2]quarters
}

var _ processor.Deduplicator = (*earningsAnomaly)(nil)

func (e *earningsAnomaly) Duplicates() uint64 { return e.seen.Duplicates() }

// largestEPS bounds what a company can earn a share; beyond it a unit is wrong.
const largestEPS = 1e6

func (e *earningsAnomaly) OnRecord(rec schemas.Record, emit processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Gap:
		e.blind = true
	case *schemas.Earnings:
		e.earnings(rec, m, emit)
	}
}

func (e *earningsAnomaly) earnings(rec schemas.Record, m *schemas.Earnings, emit processor.Emit) {
	if e.seen.Seen(m.Meta) {
		return
	}
	if m.EpsActual == nil || m.EpsEstimate == nil {
		return // announced without a consensus, or not announced yet: absent is not zero
	}
	next := announcement{
		period: dayNumber(m.PeriodEnd), at: rec.Time, source: sourceHash(m.Meta.Source), actual: m.EpsActual.Float(), estimate: m.EpsEstimate.Float(),
		surprise: difference(m.EpsActual, m.EpsEstimate),
	}
	if !(math.Abs(next.actual) <= largestEPS && math.Abs(next.estimate) <= largestEPS) {
		return
	}
	if rec.Late {
		e.late++
	}
	q := &e.bases[0]
	if m.Basis == schemas.EarningsBasis_EARNINGS_BASIS_STREET {
		q = &e.bases[1]
	}
	if old := q.evicts(next.period); old != nil && old.running {
		old.running = false
		e.expire(old, q, max(rec.Time, e.now), noteForgotten, emit)
	}
	a, fresh := q.find(next.period)
	switch {
	case a == nil:
		return // older than all that is remembered
	case fresh:
		*a = next
	case a.actual == next.actual && a.estimate == next.estimate:
		return // told again
	case a.source != next.source && !m.Correction:
		a.others++ // another feed's consensus of what is known: the first one stands
		return
	case next.at < a.at:
		return // what was said later stands
	default:
		next.opened, next.others, next.severity, next.running = a.opened, a.others, a.severity, a.running
		*a = next
	}
	if !a.running && (m.Meta.Flags&backfilled != 0 || e.now > 0 && e.now.Sub(rec.Time) > e.cfg.MaxAge.D()) {
		return
	}
	if fresh && m.AnnouncedAt != 0 && rec.Time.Sub(schemas.Time(m.AnnouncedAt)) > e.cfg.MaxAge.D() {
		return // first heard of long after it was public; a correction is news whenever it comes
	}
	e.judge(a, q, m, fresh, emit)
}

// backfilled is the bit of Meta.flags for old records sent at subscribe.
const backfilled = 4

// judge opens, updates or withdraws the event of an announcement.
func (e *earningsAnomaly) judge(a *announcement, q *quarters, m *schemas.Earnings, fresh bool, emit processor.Emit) {
	s := q.score(a)
	severity := e.grade(a, s)
	switch {
	case severity == alarm.None && a.running:
		a.running = false
		e.report(a, q, m, s, schemas.Resolved, emit, noteCorrection)
	case severity == alarm.None:
	case a.opened == 0:
		a.opened, a.severity, a.running = a.at, severity, true
		e.report(a, q, m, s, schemas.Open, emit, correctionNote(fresh))
	default:
		a.severity, a.running = severity, true
		e.report(a, q, m, s, schemas.Update, emit, noteCorrection)
	}
}

const noteCorrection = "correction"

func correctionNote(fresh bool) string {
	if fresh {
		return ""
	}
	return noteCorrection
}

// grade is the severity of a surprise: the knob decides whether there is an event, the standardised surprise how severe it is.
func (e *earningsAnomaly) grade(a *announcement, s surpriseScore) alarm.Severity {
	pct := math.Abs(a.percent(e.cfg.FloorEPS))
	switch {
	case pct < e.cfg.ThresholdPct*reaches || math.Abs(a.surprise) < e.cfg.MinSurprise*reaches:
		return alarm.None
	case e.cfg.Strict && pct > 2*e.cfg.ThresholdPct:
		return alarm.High
	case e.cfg.Strict:
		return alarm.Medium
	}
	z := math.Abs(s.z)
	flipped := float64(a.actual*a.estimate) < 0
	switch {
	case z >= 5, flipped && z >= 3:
		return alarm.Critical
	case z >= 3:
		return alarm.High
	case z >= 2:
		return alarm.Medium
	}
	return alarm.Low
}

// reaches lets a value that is decimally equal to its threshold reach it: 0.139 over 1.39 is 10 %, and in binary a little less.
const reaches = 1 - 1e-12

func (e *earningsAnomaly) OnTime(now schemas.Time, emit processor.Emit) {
	e.now = now
	if now%schemas.Time(e.cfg.CheckInterval) != 0 {
		return
	}
	for i := range e.bases {
		q := &e.bases[i]
		for k := range q.list[:q.n] {
			if a := &q.list[k]; a.running && now.Sub(a.at) >= e.cfg.OpenFor.D() {
				a.running = false
				e.expire(a, q, now, noteExpired, emit)
			}
		}
	}
}

const earningsAnomalyLayout = 1

func (e *earningsAnomaly) AppendState(dst []byte) []byte {
	dst = append(dst, earningsAnomalyLayout)
	dst = e.seen.Append(dst)
	dst = pack.Bool(pack.Int(dst, int64(e.now)), e.blind)
	dst = pack.Uint(dst, uint64(e.late))
	for i := range e.bases {
		dst = e.bases[i].appendTo(dst)
	}
	return dst
}

func (e *earningsAnomaly) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != earningsAnomalyLayout {
		return fmt.Errorf("state layout of earnings_anomaly is %d: it must be %d", v, earningsAnomalyLayout)
	}
	e.seen.Restore(r)
	e.now, e.blind = schemas.Time(r.Int()), r.Bool()
	e.late = uint32(r.Uint())
	for i := range e.bases {
		e.bases[i].restore(r)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of earnings_anomaly: %w", err)
	}
	return nil
}
