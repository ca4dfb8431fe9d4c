package files

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

// ticker writes the Ticks of a file whose rows come in the order of time, up to a bound of disorder.
type ticker struct {
	publisher sources.Publisher
	source    string
	topics    []schemas.Topic
	disorder  time.Duration

	ticked schemas.Time
	latest schemas.Time // of the rows
	prior  schemas.Time // the latest time before latest
}

// reach says that a row at `at` comes now and that time before it has reached `reached`: a Tick goes ahead of the row if a
// whole second is over.
func (t *ticker) reach(reached, at schemas.Time) error {
	if at > t.latest {
		t.prior, t.latest = t.latest, at
	}
	return t.tick(min(reached.Add(-t.disorder), at-1).Floor(time.Second))
}

// before returns the latest row time that lies before at.
func (t *ticker) before(at schemas.Time) schemas.Time {
	if t.latest < at {
		return t.latest
	}
	return t.prior
}

// end writes the last Tick, behind which nothing follows.
func (t *ticker) end() error {
	if t.latest == 0 {
		return nil
	}
	return t.tick((t.latest - 1).Floor(time.Second).Add(time.Second))
}

func (t *ticker) tick(at schemas.Time) error {
	if at <= t.ticked || at < schemas.MinTime {
		return nil
	}
	t.ticked = at
	return t.publisher.Tick(t.source, at, t.topics...)
}
