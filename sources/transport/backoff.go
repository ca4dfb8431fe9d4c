package transport

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
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

// RetryAfter reads the header of that name, seconds or a date (RFC 9110, section 10.2.3): how long a server wants to be left alone from at on, at least 0 and at most
// the bound; false where it does not say.
func RetryAfter(h http.Header, at schemas.Time, most time.Duration) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(n, uint64(most/time.Second))) * time.Second, true
	}
	if until, err := http.ParseTime(text); err == nil {
		return min(max(until.Sub(at.UTC()), 0), most), true
	}
	return 0, false
}
