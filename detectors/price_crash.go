package detectors

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A crash follows a move beyond the knob: if half of it comes back soon, it was a flash crash.
type crash struct {
	// since is when the move reached the knob; 0 when none is followed.
	since schemas.Time
	// ref is the price before the move, extreme the furthest price of it.
	ref, extreme float64
	// told says that this episode has its flash_crash event.
	told bool
}

// followCrash takes a moment within an episode; fired says that leg A fired at it.
func (p *priceAnomaly) followCrash(m moment, fired bool, emit processor.Emit) {
	c := &p.crash
	if p.episode.Phase() != alarm.Active || c.told {
		return
	}
	if c.since == 0 {
		if fired {
			*c = crash{since: m.at, ref: m.past, extreme: m.spot}
		}
		return
	}
	if passed := m.at.Sub(c.since); passed > p.cfg.CrashWindow.D() {
		// The move was no crash. The next one is looked for when this one has left the window, or it would be taken for it.
		if passed > p.cfg.Window.D() {
			*c = crash{}
		}
		return
	}
	if math.Abs(m.spot-c.ref) > math.Abs(c.extreme-c.ref) && (m.spot > c.ref) == (c.extreme > c.ref) {
		c.extreme = m.spot
		return
	}
	if (m.spot-c.extreme)/(c.ref-c.extreme) >= 0.5 {
		p.reportCrash(m, emit)
		*c = crash{told: true}
	}
}

func (c *crash) appendTo(dst []byte) []byte {
	dst = pack.Bool(pack.Int(dst, int64(c.since)), c.told)
	return pack.Float(pack.Float(dst, c.ref), c.extreme)
}

func (c *crash) restore(r *pack.Reader) {
	c.since, c.told = schemas.Time(r.Int()), r.Bool()
	c.ref, c.extreme = r.Float(), r.Float()
}
