package feed

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

const (
	// gravesAMinute bounds the dead letters of one source in a minute of receipt time: a venue that changes its API makes
	// every frame unreadable, and the first few tell as much as all.
	gravesAMinute = 20
	// maxGrave bounds a dead letter's frame; what is larger does not fit a record.
	maxGrave = schemas.MaxOutputBytes - deadletter.MaxDetailBytes
)

// grave writes frames to the dead letters, a bounded number in a minute.
type grave struct {
	minute schemas.Time
	taken  int
}

func (g *grave) bury(c *Core, f deadletter.Frame) {
	if m := f.Received.Floor(time.Minute); m != g.minute {
		g.minute, g.taken = m, 0
	}
	to, ok := c.opt.Publisher.(sources.Burier)
	if !ok || g.taken >= gravesAMinute || len(f.Data) > maxGrave || !to.Bury(f) {
		c.opt.Metrics.Unburied.WithLabelValues(c.opt.Source).Inc()
		return
	}
	g.taken++
}
