package detectors

import (
	"math"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	legRareDepth = "rare_depth" // below the knob, but beyond the calibrated threshold

	deepDrop = 0.8 // share gone that is critical by itself
	backAt   = 0.8 // share of the depth that must be back after the recovery time
	wideBy   = 3   // spread over its baseline that makes a drop high
	fastMove = 2   // move of the mid over the last minute that makes a drop critical, percent
	// moveSeconds is the window of that move.
	moveSeconds = 60
)

// A liquidityVerdict is what a moment says.
type liquidityVerdict struct {
	severity alarm.Severity
	legs     []string
	notes    []string
	side     int
	band     *bookBand // that the side was judged by, nil for none
	// gone is the share of the depth of that side that has been gone for the whole window, score its logarithm; latest the larger
	// share of both sides now.
	gone, score, latest float64
}

// share turns a logarithmic deviation into the share that is gone.
func share(off float64) float64 { return 1 - fixed.Exp(-off) }

// weigh looks at the smallest drop of the window on each side.
func (l *liquidityDrop) weigh(now schemas.Time) liquidityVerdict {
	var v liquidityVerdict
	knob := l.cfg.ThresholdPct / 100
	hits := 0
	for i := range l.sides {
		band := l.widest(i)
		if band == nil {
			continue
		}
		off := &band.sides[i].off
		lasted, _ := off.value()
		if share(lasted) >= knob {
			hits++
		}
		l.strikes[i].follow(now, share(lasted), knob, l.cfg.QuietFor.D())
		if v.band == nil || lasted > v.score {
			v.score, v.side, v.band = max(lasted, 0), i, band
		}
		v.latest = max(v.latest, share(off.latest()))
	}
	v.gone = share(v.score)
	if hits > 0 {
		v.severity, v.legs = alarm.Medium, append(v.legs, "depth")
		l.aggravate(hits, &v)
	} else if threshold, _ := l.calib.Threshold(); !l.cfg.Strict && v.gone >= float64(alarm.EffectFloor*knob) && v.score >= threshold {
		v.severity, v.legs = alarm.Low, append(v.legs, legRareDepth)
		if l.calib.ReturnDays(l.plan, v.score) >= rareDays {
			v.severity = alarm.Medium
		}
	}
	l.recovery(now, &v)
	return v
}

// rareDays is the return period from which rarity alone is medium.
const rareDays = 7

// aggravate raises a drop beyond the knob by what else is wrong with the book.
func (l *liquidityDrop) aggravate(hits int, v *liquidityVerdict) {
	if hits == bookSides {
		v.raise(alarm.High, "both_sides")
	}
	if wide, ok := l.spread.off.value(); ok && fixed.Exp(wide) >= wideBy {
		v.raise(alarm.High, "spread")
	}
	if v.gone >= deepDrop {
		v.raise(alarm.Critical, "deep")
	}
	if math.Abs(l.movePct()) >= fastMove {
		v.raise(alarm.Critical, "fast_move")
	}
}

func (v *liquidityVerdict) raise(to alarm.Severity, leg string) {
	v.severity = max(v.severity, to)
	v.legs = append(v.legs, leg)
}

// follow takes the share that is gone. A strike is over when the depth has been back for quiet: what goes then is another one.
func (s *strike) follow(now schemas.Time, gone, knob float64, quiet time.Duration) {
	if s.back != 0 && now.Sub(s.back) >= quiet {
		*s = strike{}
	}
	if s.since == 0 {
		if gone < knob {
			return
		}
		s.since = now
	}
	if gone > 1-backAt {
		s.back = 0
	} else if s.back == 0 {
		s.back = now
	}
}

// recovery is the resilience of the book: a drop beyond the knob of which too much is still gone after the recovery time.
func (l *liquidityDrop) recovery(now schemas.Time, v *liquidityVerdict) {
	if l.episode.Phase() != alarm.Active {
		return
	}
	for i := range l.strikes {
		s := &l.strikes[i]
		if l.widest(i) != nil && s.since != 0 && s.back == 0 && now.Sub(s.since) >= l.cfg.Recovery.D() {
			v.raise(alarm.Critical, "not_back")
			return
		}
	}
}

// movePct is the move of the mid over the last minute, in percent.
func (l *liquidityDrop) movePct() float64 {
	past, last := l.path.Last(l.path.Len()-1), l.path.Last(0)
	if past == 0 {
		return 0
	}
	return float64(100*(last-past)) / past
}

// judge moves the episode.
func (l *liquidityDrop) judge(now schemas.Time, emit processor.Emit) {
	v := l.weigh(now)
	enter := v.severity > alarm.None
	s := alarm.Signal{
		At: int64(now), Enter: enter, Hard: enter, Severity: v.severity,
		Stay: v.latest >= float64(alarm.DefaultExitRatio*l.cfg.ThresholdPct/100),
	}
	if t := l.episode.Step(l.rules, s); t != alarm.Unchanged {
		if slices.Contains(v.legs, legRareDepth) && l.episode.Charge() {
			l.calib.Alarm()
		}
		v.severity = l.episode.Tells(t, v.severity)
		l.report(now, v, t.Status(), emit)
	}
	if l.episode.Phase() != alarm.Active {
		l.strikes = [bookSides]strike{}
	}
	l.calib.Observe(l.plan, int64(now)-1, v.score)
}
