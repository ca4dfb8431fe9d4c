package binance

import (
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// syncState is where a book stands in its synchronisation.
type syncState uint8

const (
	// buffering: differences are kept until a snapshot comes. The book is not valid.
	buffering syncState = iota
	// overlapping: a snapshot is in the book, no difference has followed it yet.
	overlapping
	// synced: every difference has followed its predecessor.
	synced
)

// outcome is what a message did to a book.
type outcome uint8

const (
	kept    outcome = iota // buffered
	applied                // the book changed
	stale                  // older than the snapshot
	known                  // seen before
	lost                   // the chain is broken: the book is invalid from here
	crossed                // bid not below ask: the book is invalid from here
	refetch                // the snapshot is older than the differences at hand
)

// Bounds of the buffer, in messages and in levels. When they are reached everything is dropped and the wait begins anew:
// dropping the oldest alone would hide the very difference that matches the snapshot.
const (
	maxBuffered       = 10_000
	maxBufferedLevels = 1_000_000
)

// difference is a buffered depth message, with levels of its own.
type difference struct {
	first, last, prev uint64
	at                schemas.Time
	bids, asks        []book.Level
}

// bookSync keeps one instrument's book in step with the venue's. Spot differences follow each other by number (U = u before
// + 1), futures ones by naming their predecessor (pu).
type bookSync struct {
	futures bool
	state   syncState
	book    book.Book
	heard   uint64       // highest u that came
	last    uint64       // u of the last difference applied, or the snapshot's id
	at      schemas.Time // its time
	buffer  []difference
	levels  int // in the buffer
	stats   syncStats
}

// syncStats counts what happened to the messages of a book.
type syncStats struct {
	stale, applied, known, snapshots, unused, lost, crossed, overflows int
}

// difference takes a depth message.
func (s *bookSync) difference(e *event) outcome {
	d := difference{first: e.first, last: e.last, prev: e.prev, at: e.at, bids: e.bids, asks: e.asks}
	if d.last <= s.heard {
		s.stats.known++
		return known
	}
	s.heard = d.last
	if s.state == buffering {
		s.keep(d)
		return kept
	}
	out := s.step(d)
	if out == lost || out == refetch {
		s.invalidate()
		s.keep(d)
	}
	return out
}

// step judges a difference against the book and applies it if it follows.
func (s *bookSync) step(d difference) outcome {
	follows := d.first <= s.last+1
	if s.futures {
		follows = d.prev <= s.last || d.first <= s.last
	}
	switch {
	case s.state == overlapping && (d.last < s.last || (d.last == s.last && !s.futures)):
		s.stats.stale++
		return stale
	case !follows && s.state == overlapping:
		return refetch
	case !follows:
		s.stats.lost++
		return lost
	}
	if s.book.Apply(d.bids, d.asks) != nil || s.book.Crossed() {
		s.stats.crossed++
		s.invalidate()
		return crossed
	}
	s.last, s.at, s.state = d.last, max(s.at, d.at), synced
	s.stats.applied++
	return applied
}

// snapshot takes the answer to a depth request and then what was buffered. Once the book is valid another one is of no use.
func (s *bookSync) snapshot(e *event) outcome {
	if s.state != buffering {
		s.stats.unused++
		return known
	}
	s.book.Clear()
	if s.book.Apply(e.bids, e.asks) != nil || s.book.Crossed() {
		s.stats.crossed++
		return crossed
	}
	s.last, s.at, s.state = e.last, e.at, overlapping
	s.stats.snapshots++
	buffered := s.buffer
	s.buffer, s.levels = nil, 0
	for i, d := range buffered {
		switch out := s.step(d); out {
		case lost, refetch:
			s.invalidate()
			s.buffer = slices.Clone(buffered[i:])
			return out
		case crossed:
			return out
		case kept, applied, stale, known:
		}
	}
	return applied
}

// keep buffers a difference.
func (s *bookSync) keep(d difference) {
	if len(s.buffer) >= maxBuffered || s.levels+len(d.bids)+len(d.asks) > maxBufferedLevels {
		s.buffer, s.levels = nil, 0
		s.stats.overflows++
	}
	d.bids, d.asks = slices.Clone(d.bids), slices.Clone(d.asks)
	s.levels += len(d.bids) + len(d.asks)
	s.buffer = append(s.buffer, d)
}

// invalidate gives the book up until the next snapshot.
func (s *bookSync) invalidate() {
	s.state = buffering
	s.book.Clear()
	s.buffer, s.levels = nil, 0
}

// restart forgets everything: the connection was lost, and numbers may begin anew.
func (s *bookSync) restart() {
	s.invalidate()
	s.heard = 0
}

// valid says that the book may be published.
func (s *bookSync) valid() bool { return s.state != buffering }
