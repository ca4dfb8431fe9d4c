package evaluate

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A notice is what a detector or rule said of one member. Without a status it is no alarm but the score of a rule, whatever its threshold.
type notice struct {
	symbol   string
	at       schemas.Time
	severity int
	status   string
	episode  string
	// score is what a cut can be set against: the return period in days that an event states, 0 for none, or the score of a rule.
	score float64
}

// counted says that a notice that was kept is an event, and no score alone.
func counted(n notice) bool { return n.status != "" }

// A machine runs one detector or rule over a unit: the members that it must see together.
type machine interface {
	// minute takes one minute of every member.
	minute(r row) error
	// take returns what was said since the last call; it is valid until the next one.
	take() []notice
	// save returns the state, and fork a machine that goes on from it: what one does leaves the other alone.
	save() (any, error)
	fork(saved any) (machine, error)
}

// A watch follows the episodes of one member and counts its alarms: an episode is an alarm from the first of its events that
// reaches the least severity.
type watch struct {
	least    int
	coolDown time.Duration
	open     map[string]bool // running episodes: was it counted?
	until    schemas.Time    // end of the last cool-down
}

func newWatch(least int, coolDown time.Duration) *watch {
	return &watch{least: least, coolDown: coolDown, open: map[string]bool{}}
}

// see takes a notice and reports whether it is a new alarm.
func (w *watch) see(n notice) bool {
	if !counted(n) {
		return false
	}
	before, known := w.open[n.episode]
	if n.status == schemas.Resolved {
		if known {
			delete(w.open, n.episode)
			w.until = max(w.until, n.at.Add(w.coolDown))
		}
		return false
	}
	alarm := !before && n.severity >= w.least
	w.open[n.episode] = before || alarm
	return alarm
}

// keeps reports whether a notice is worth keeping for cuts: an event that counts, or a score.
func (w *watch) keeps(n notice) bool {
	return !counted(n) || n.status != schemas.Resolved && n.severity >= w.least
}

// busy reports whether an episode or its cool-down is on.
func (w *watch) busy(at schemas.Time) bool { return len(w.open) > 0 || at < w.until }
