package venue

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// refreshEvery is how often the book of an instrument is made anew at most.
const refreshEvery = time.Minute

// refresh asks for a snapshot of a book of which less and less is known: it is asked for by HTTP, goes so many levels far, and the price
// has come halfway to where that ends. One book at a time, with half of the requests that the venue allows: the other half is for books
// that are lost.
func (m *Machine) refresh(at schemas.Time) {
	if !m.spec.Books.Asked || at.Floor(time.Second) != at || at.Sub(m.refreshed) < 2*time.Minute/time.Duration(m.cfg.RequestsPerMinute) {
		return
	}
	var next *instrument
	for _, in := range m.order {
		if in.anew != nil {
			return
		}
		if next == nil && in.sync.state == synced && !in.request.wanted && at.Sub(in.request.sent) >= refreshEvery && in.sync.book.Short() {
			next = in
		}
	}
	if next != nil {
		m.refreshed = at
		next.anew = &bookSync{rules: next.sync.rules}
		m.recover(next)
	}
}

// renewed keeps the book that is made anew in step, by out of its latest message; once it has come as far as the one at hand it takes
// its place. One that is broken, or waits for too long, is given up: the book at hand is none the worse.
func (m *Machine) renewed(in *instrument, out outcome) {
	switch next := in.anew; {
	case out == lost, out == corrupt, out == mismatch, next.stats.Overflows > 0:
		in.anew = nil
		in.request.done()
	case out == refetch:
		m.recover(in)
	case next.state == synced && next.last == in.sync.last:
		stats, at := in.sync.stats, in.sync.at
		stats.Snapshots++
		in.sync, in.anew = *next, nil
		in.sync.stats, in.sync.at = stats, max(at, next.at)
	}
}
