package evaluate

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A notice is what a detector or rule said of one member.
type notice struct {
	symbol   string
	at       schemas.Time
	severity int
	status   string
	episode  string
}

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
	counted, known := w.open[n.episode]
	if n.status == schemas.Resolved {
		if known {
			delete(w.open, n.episode)
			w.until = max(w.until, n.at.Add(w.coolDown))
		}
		return false
	}
	alarm := !counted && n.severity >= w.least
	w.open[n.episode] = counted || alarm
	return alarm
}

// busy reports whether an episode or its cool-down is on.
func (w *watch) busy(at schemas.Time) bool { return len(w.open) > 0 || at < w.until }

// alarmed reports whether a counted episode is on.
func (w *watch) alarmed() bool {
	for _, counted := range w.open {
		if counted {
			return true
		}
	}
	return false
}
