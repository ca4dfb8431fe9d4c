package poll

import (
	"context"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// now reads the wall clock, for the receipt stamp of frames and the waits between requests: the only place where polling does.
func now() schemas.Time {
	return schemas.Time(time.Now().UnixNano()) //nolint:forbidigo // the receipt clock; everything else gets it from frames
}

// sleep waits until d has passed or ctx is done, and reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
