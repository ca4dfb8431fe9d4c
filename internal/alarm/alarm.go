// Package alarm is the life of an alarm: the severity table, and the episode state machine that turns bar-by-bar conditions into
// open, update and resolve. It knows no clock, no detector and no event format.
package alarm

// A Severity orders alarms; None means that there is no event.
type Severity uint8

// Severities, in rising order.
const (
	None Severity = iota
	Low
	Medium
	High
	Critical
)

// String returns the lower-case name.
func (s Severity) String() string {
	if s > Critical {
		return "unknown"
	}
	return [...]string{"none", "low", "medium", "high", "critical"}[s]
}

// Limits of the severity table and of the alarm rule.
const (
	rareDays     = 7   // return period from which a score is rare: one alarm a week
	veryRareDays = 91  // one alarm a quarter
	criticalKnob = 2   // effect over the knob that is critical by itself
	EffectFloor  = 0.4 // least effect over the knob at which rarity may raise an alarm
)

// Grade is the severity of an alarm by the return period of its score in days and by its effect over the knob (1 = the knob is
// reached). Reached: low under 1 day, medium to 7, high to 91, critical beyond, critical at twice the knob. By rarity alone, from
// EffectFloor: none, low, medium, high. A NaN counts as none.
func Grade(returnDays, effectOverKnob float64) Severity {
	s := rarity(returnDays)
	switch {
	case effectOverKnob >= criticalKnob:
		return Critical
	case effectOverKnob >= 1:
		return s + 1
	case effectOverKnob >= EffectFloor:
		return s
	}
	return None
}

// GradeByRarity is the column of the table for legs whose severity is rarity alone although the knob is needed, as for unusual
// volume: low from 1 day, medium from 7, high beyond 91, critical there at twice the knob.
func GradeByRarity(returnDays, effectOverKnob float64) Severity {
	s := rarity(returnDays)
	switch {
	case !(effectOverKnob >= 1):
		return None
	case s == High && effectOverKnob >= criticalKnob:
		return Critical
	}
	return s
}

// GradeUncalibrated is the severity while a key has under two days of data: medium at the knob, critical at twice the knob.
func GradeUncalibrated(effectOverKnob float64) Severity {
	switch {
	case effectOverKnob >= criticalKnob:
		return Critical
	case effectOverKnob >= 1:
		return Medium
	}
	return None
}

func rarity(days float64) Severity {
	switch {
	case days > veryRareDays:
		return High
	case days >= rareDays:
		return Medium
	case days >= 1:
		return Low
	}
	return None
}
