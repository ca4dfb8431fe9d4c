package transport

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff gives waits with full jitter: anything from nothing to a bound that doubles up to the cap, so that a thousand
// clients of a venue that comes back do not come back together.
type backoff struct {
	cap   time.Duration
	bound time.Duration
}

func (b *backoff) next() time.Duration {
	b.bound = min(max(2*b.bound, firstWait), b.cap)
	if b.bound <= 0 {
		return 0
	}
	return rand.N(b.bound)
}

func (b *backoff) reset() { b.bound = 0 }

// jittered shortens a period by up to a tenth, so that connections made together do not end together.
func jittered(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
