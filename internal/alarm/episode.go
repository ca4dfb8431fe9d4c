package alarm

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/tapewatch/tapewatch/schemas"
)

// DefaultExitRatio is the usual hysteresis: an episode goes on while the score is at least 0.6 of its enter threshold.
const DefaultExitRatio = 0.6

// maxPending is the longest pending window in bars.
const maxPending = 64

// ErrState is what RestoreState says of bytes that are not an episode.
var ErrState = errors.New("alarm state bytes are broken")

// Rules are the constants of an episode; they come from configuration and are not part of the state.
type Rules struct {
	Need     int   // bars out of Of on which the enter condition must hold before an alarm opens; at least 1
	Of       int   // length of the pending window in bars, Need..64
	ExitBars int   // consecutive bars below the exit threshold that resolve it; at least 1
	CoolDown int64 // quiet time after a resolution, ns of event time
}

// A Signal is one bar's verdict.
type Signal struct {
	At       int64    // end of the bar, ns of event time
	Enter    bool     // the enter condition holds
	Hard     bool     // hard trigger: opens at once without m of n
	Stay     bool     // the score is at least the exit threshold (implied by Enter and Hard)
	Severity Severity // of this bar; None enters nothing
}

// A Phase is where an episode stands.
type Phase uint8

// The phases in their usual order.
const (
	Quiet Phase = iota
	Pending
	Active
	Cooling
)

// A Transition is what a step asks the detector to emit.
type Transition uint8

// Transitions; Unchanged emits nothing.
const (
	Unchanged Transition = iota
	Open
	Update
	Resolve
)

// Status returns the life-cycle status of the event that a transition asks for, as schemas has it; "" for Unchanged.
func (t Transition) Status() string {
	switch t {
	case Open:
		return schemas.Open
	case Update:
		return schemas.Update
	case Resolve:
		return schemas.Resolved
	case Unchanged:
	}
	return ""
}

// An Episode is the state machine of one dedup key: Quiet, Pending, Active, Cooling. The zero value is quiet. It is not safe for
// concurrent use.
type Episode struct {
	phase    Phase
	peak     Severity // highest of the running or of the last episode
	charged  bool     // to the budget, the running or last one
	below    int      // consecutive bars below the exit threshold
	hits     uint64   // enter history while pending, newest in bit 0
	onset    int64    // bar on which the running or last episode began to pend
	opened   int64
	resolved int64
}

// Phase returns where the episode stands; Cooling lasts until the first step after its end.
func (e *Episode) Phase() Phase { return e.phase }

// Peak returns the highest severity of the running or last episode.
func (e *Episode) Peak() Severity { return e.peak }

// Tells returns the severity that the event of a transition states: that of the bar, and at the end the peak.
func (e *Episode) Tells(t Transition, bar Severity) Severity {
	if t == Resolve {
		return e.peak
	}
	return bar
}

// Lift raises the peak of a running episode to the severity that an event beside its transitions tells.
func (e *Episode) Lift(to Severity) {
	if e.phase == Active {
		e.peak = max(e.peak, to)
	}
}

// Onset returns the end of the bar on which the running or last episode began to pend: the bar its dedup key hashes.
func (e *Episode) Onset() int64 { return e.onset }

// Opened returns when the running or last episode opened.
func (e *Episode) Opened() int64 { return e.opened }

// Charge says that the running episode counts against the budget of its key: true the first time in an episode.
func (e *Episode) Charge() bool {
	first := e.phase == Active && !e.charged
	e.charged = e.charged || first
	return first
}

// Step takes one bar and says what to emit. Open and Update carry s.Severity, which is then Peak.
func (e *Episode) Step(r Rules, s Signal) Transition {
	enter := (s.Enter || s.Hard) && s.Severity > None
	if e.phase == Active {
		return e.active(r, s, enter)
	}
	// A bar that breaks the cool-down ends it for itself, not for lesser ones behind it.
	cooling := e.peak > None && s.At-e.resolved < r.CoolDown
	enter = enter && (!cooling || s.Severity >= e.peak+2)
	if e.phase == Cooling {
		if cooling && !enter {
			return Unchanged
		}
		e.phase = Quiet
	}
	return e.pend(r, s, enter)
}

func (e *Episode) pend(r Rules, s Signal, enter bool) Transition {
	if e.phase == Quiet {
		if !enter {
			return Unchanged
		}
		e.phase, e.hits, e.onset = Pending, 0, s.At
	}
	of := min(max(r.Of, 1), maxPending)
	e.hits <<= 1
	if enter {
		e.hits |= 1
	}
	e.hits &= ^uint64(0) >> (maxPending - of)
	if e.hits == 0 {
		e.phase = Quiet
		return Unchanged
	}
	if !enter || (!s.Hard && bits.OnesCount64(e.hits) < r.Need) {
		return Unchanged
	}
	e.phase, e.peak, e.below, e.hits, e.opened, e.charged = Active, s.Severity, 0, 0, s.At, false
	return Open
}

func (e *Episode) active(r Rules, s Signal, enter bool) Transition {
	if enter || s.Stay {
		e.below = 0
	} else if e.below++; e.below >= max(r.ExitBars, 1) {
		return e.Withdraw(s.At)
	}
	if enter && s.Severity > e.peak {
		e.peak = s.Severity
		return Update
	}
	return Unchanged
}

// Withdraw ends the episode at once, for a gap, a correction or a reorganisation: Resolve if it was active, else Unchanged. A
// pending one is forgotten.
func (e *Episode) Withdraw(at int64) Transition {
	switch e.phase {
	case Active:
		e.phase, e.below, e.resolved = Cooling, 0, at
		return Resolve
	case Pending:
		e.phase, e.hits = Quiet, 0
	case Quiet, Cooling:
	}
	return Unchanged
}

// chargedBit stands beside the phase.
const chargedBit = 0x80

// AppendState appends the episode: about 3 bytes when it never ran, 30 else.
func (e *Episode) AppendState(dst []byte) []byte {
	phase := byte(e.phase)
	if e.charged {
		phase |= chargedBit
	}
	dst = append(dst, phase, byte(e.peak))
	dst = binary.AppendUvarint(dst, uint64(e.below))
	dst = binary.AppendUvarint(dst, e.hits)
	dst = binary.AppendVarint(dst, e.onset)
	dst = binary.AppendVarint(dst, e.opened)
	return binary.AppendVarint(dst, e.resolved)
}

// RestoreState reads what AppendState wrote and returns the bytes after it.
func (e *Episode) RestoreState(src []byte) (rest []byte, err error) {
	if len(src) < 2 || src[0]&^chargedBit > byte(Cooling) || src[1] > byte(Critical) {
		return nil, ErrState
	}
	v := Episode{phase: Phase(src[0] &^ chargedBit), peak: Severity(src[1]), charged: src[0]&chargedBit != 0}
	src = src[2:]
	below, n := binary.Uvarint(src)
	if n <= 0 || below > 1<<31-1 {
		return nil, ErrState
	}
	v.below, src = int(below), src[n:]
	if v.hits, n = binary.Uvarint(src); n <= 0 {
		return nil, ErrState
	}
	src = src[n:]
	for _, p := range []*int64{&v.onset, &v.opened, &v.resolved} {
		if *p, n = binary.Varint(src); n <= 0 {
			return nil, ErrState
		}
		src = src[n:]
	}
	*e = v
	return src, nil
}
