package venue

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// request is the asking for the snapshot of a book. Of several in a row each waits twice as long as the one before: a book that cannot be
// kept in step, because an interface has changed, would use up what the venue allows of requests (OKX: 480 an hour and connection),
// and tell of a Gap with each.
type request struct {
	wanted bool         // a snapshot is on its way, or will be asked for
	later  bool         // it will be asked for at due
	due    schemas.Time // receipt clock
	sent   schemas.Time // receipt clock of the last request, or since when a snapshot is expected unasked
	row    int          // requests in a row
}

const (
	// again is how long a request for a snapshot may stay without an answer.
	again = 10 * time.Second
	// The wait behind the first request of a row, and the longest.
	secondWait  = time.Second
	longestWait = 5 * time.Minute
	// calm ends a row: no request for so long, beyond the wait.
	calm = 30 * time.Second
)

// want wants a snapshot and says whether it is to be asked for at once.
func (r *request) want(now schemas.Time) bool {
	wait := time.Duration(0)
	if r.row > 0 {
		wait = min(secondWait<<min(r.row-1, 20), longestWait)
	}
	if now.Sub(r.sent) >= calm+wait {
		r.row, wait = 0, 0
	}
	r.wanted, r.due = true, r.sent.Add(wait)
	if r.later = r.due > now; !r.later {
		r.send(now)
	}
	return !r.later
}

// send notes that the snapshot is asked for.
func (r *request) send(now schemas.Time) { r.later, r.sent, r.row = false, now, r.row+1 }

// expect waits for a snapshot that comes unasked.
func (r *request) expect(now schemas.Time) { r.wanted, r.later, r.sent = true, false, now }

// done ends the waiting.
func (r *request) done() { r.wanted, r.later = false, false }
