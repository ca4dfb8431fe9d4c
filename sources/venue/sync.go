package venue

import (
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

// Chain is how the updates of a venue's books follow each other.
type Chain uint8

// The chains.
const (
	// ChainNone: nothing in the update proves that none is missing; a checksum may.
	ChainNone Chain = iota
	// ChainStep: Last is one more than that of the update before.
	ChainStep
	// ChainRange: an update covers the numbers First to Last, and First is one more than the Last before.
	ChainRange
	// ChainPrevious: Prev is the Last of the update before.
	ChainPrevious
	// ChainOverlap: as ChainPrevious, and the first update after a snapshot may begin before it.
	ChainOverlap
)

// BookRules say how a venue's books are kept in step.
type BookRules struct {
	Chain Chain
	// Proof is what the books published are proved by.
	Proof schemas.SequenceKind
	// Asked books begin with a snapshot by HTTP and updates are kept until it comes; the others have theirs in the stream.
	Asked bool
	// Checksum computes what the venue sends along, nil where it sends none.
	Checksum func(b *book.Book) uint32
}

// syncState is where a book stands in its synchronisation.
type syncState uint8

const (
	// buffering: no snapshot yet, or the book is broken. It is not valid.
	buffering syncState = iota
	// overlapping: a snapshot that was asked for is in the book, no update has followed it yet.
	overlapping
	// synced: every update has followed its predecessor.
	synced
)

// outcome is what a message did to a book.
type outcome uint8

const (
	kept     outcome = iota // waits for a snapshot
	applied                 // the book changed
	idle                    // says that nothing changed
	stale                   // older than the snapshot
	known                   // seen before
	lost                    // the chain is broken: the book is invalid from here
	corrupt                 // bid not below ask, or a price out of range: the book is invalid from here
	mismatch                // the checksum is another: the book is invalid from here
	refetch                 // the snapshot is older than the updates at hand
)

// Bounds of the buffer, in messages and in levels. When they are reached everything is dropped and the wait begins anew:
// dropping the oldest alone would hide the very update that matches the snapshot.
const (
	maxBuffered       = 10_000
	maxBufferedLevels = 1_000_000
)

// update is a buffered book message, with levels of its own.
type update struct {
	first, last, prev uint64
	at                schemas.Time
	bids, asks        []book.Level
	checksum          uint32
	summed            bool
}

// bookSync keeps one instrument's book in step with the venue's.
type bookSync struct {
	rules  *BookRules
	state  syncState
	book   book.Book
	depth  int          // levels a side that the subscription keeps, 0 all
	heard  uint64       // highest Last that came
	last   uint64       // Last of what was applied last
	at     schemas.Time // its time
	digest uint64       // that of the message applied last, where there is no chain
	// unnumbered books are of an older interface, whose messages have no numbers.
	unnumbered bool
	buffer     []update
	levels     int // in the buffer
	stats      SyncStats
}

// SyncStats counts what happened to the messages of a book.
type SyncStats struct {
	Stale, Applied, Idle, Known, Snapshots, Unused, Lost, Crossed, Mismatched, Checked, Overflows, Early int
}

// chain is the venue's, unless the book's messages have no numbers, as those of an older interface.
func (s *bookSync) chain() Chain {
	if s.unnumbered {
		return ChainNone
	}
	return s.rules.Chain
}

// proof is what the book is proved by.
func (s *bookSync) proof() schemas.SequenceKind {
	switch {
	case !s.unnumbered || s.rules.Chain == ChainNone:
		return s.rules.Proof
	case s.rules.Checksum != nil:
		return schemas.SequenceKind_SEQUENCE_KIND_CHECKSUM
	}
	return schemas.SequenceKind_SEQUENCE_KIND_NONE
}

// update takes a change of the book; digest is that of the message.
func (s *bookSync) update(e *Event, digest uint64) outcome {
	if s.seen(e, digest) {
		if s.numberedAnew(e) {
			return s.begin(e)
		}
		s.stats.Known++
		return known
	}
	u := update{
		first: e.First, last: e.Last, prev: e.Prev, at: e.At, bids: e.Bids, asks: e.Asks, checksum: e.Checksum, summed: e.HasChecksum,
	}
	if s.chain() == ChainPrevious && e.Prev == e.Last && s.state == synced && e.Last == s.last {
		s.stats.Idle++
		return idle
	}
	s.heard = e.Last
	if s.state == buffering {
		if s.rules.Asked {
			s.keep(u)
		} else {
			s.stats.Early++
		}
		return kept
	}
	out := s.step(u)
	switch out {
	case applied:
		s.digest = digest
	case lost, refetch:
		s.invalidate()
		if s.rules.Asked {
			s.keep(u)
		}
	case kept, idle, stale, known, corrupt, mismatch:
	}
	return out
}

// seen says that a message came before.
func (s *bookSync) seen(e *Event, digest uint64) bool {
	switch s.chain() {
	case ChainNone:
		return s.digest == digest && s.state != buffering
	case ChainPrevious:
		// Numbers may begin anew under maintenance: then the message still names its predecessor.
		if s.state == synced && e.Prev == s.last {
			return false
		}
		return e.Last <= s.heard
	case ChainStep, ChainRange, ChainOverlap:
	}
	return e.Last <= s.heard
}

// numberedAnew says of a message with a number that was passed that it is none that came before: it is much later than all of them.
// A little later it may be, where the venue stamps what it sends on two sessions one by one.
func (s *bookSync) numberedAnew(e *Event) bool {
	return s.chain() != ChainNone && e.At.Sub(s.at) >= anewAfter
}

// begin gives up a book whose numbers begin anew with a message.
func (s *bookSync) begin(e *Event) outcome {
	out := kept
	if s.state != buffering {
		s.stats.Lost++
		out = lost
	}
	s.invalidate()
	s.heard = e.Last
	return out
}

// step judges an update against the book and applies it if it follows.
func (s *bookSync) step(u update) outcome {
	follows := s.follows(u)
	switch {
	case s.state == overlapping && (u.last < s.last || (u.last == s.last && s.chain() != ChainOverlap)):
		s.stats.Stale++
		return stale
	case !follows && s.state == overlapping:
		return refetch
	case !follows:
		s.stats.Lost++
		return lost
	}
	if err := s.book.Apply(u.bids, u.asks); err != nil {
		return s.broken(corrupt)
	}
	s.book.Truncate(s.depth)
	if out := s.verify(u.checksum, u.summed); out != applied {
		return s.broken(out)
	}
	s.last, s.at, s.state = u.last, max(s.at, u.at), synced
	s.stats.Applied++
	return applied
}

func (s *bookSync) follows(u update) bool {
	switch s.chain() {
	case ChainStep:
		return u.last == s.last+1
	case ChainRange:
		return u.first <= s.last+1
	case ChainPrevious:
		return u.prev == s.last
	case ChainOverlap:
		return u.prev <= s.last || u.first <= s.last
	case ChainNone:
	}
	return true
}

// verify holds the book against the checksum, where one came, and against reason.
func (s *bookSync) verify(checksum uint32, summed bool) outcome {
	if summed && s.rules.Checksum != nil {
		s.stats.Checked++
		if s.rules.Checksum(&s.book) != checksum {
			return mismatch
		}
	}
	if s.book.Crossed() {
		return corrupt
	}
	return applied
}

// broken gives the book up and counts why.
func (s *bookSync) broken(why outcome) outcome {
	if why == mismatch {
		s.stats.Mismatched++
	} else {
		s.stats.Crossed++
	}
	s.invalidate()
	return why
}

// snapshot takes a whole book that came in the stream. One that is older than the book is a repetition.
func (s *bookSync) snapshot(e *Event, digest uint64) outcome {
	if s.state == synced && (digest == s.digest || (s.chain() != ChainNone && e.At < s.at)) {
		s.stats.Known++
		return known
	}
	s.invalidate()
	s.depth, s.unnumbered = e.Depth, e.Unnumbered
	if err := s.book.Replace(e.Bids, e.Asks); err != nil {
		return s.broken(corrupt)
	}
	s.book.Truncate(s.depth)
	if out := s.verify(e.Checksum, e.HasChecksum); out != applied {
		return s.broken(out)
	}
	s.stats.Snapshots++
	s.last, s.heard, s.at, s.state, s.digest = e.Last, e.Last, max(s.at, e.At), synced, digest
	return applied
}

// answer takes the snapshot that was asked for and then what was buffered. Once the book is valid another one is of no use.
func (s *bookSync) answer(e *Event) outcome {
	if s.state != buffering {
		s.stats.Unused++
		return known
	}
	if err := s.book.Replace(e.Bids, e.Asks); err != nil || s.book.Crossed() {
		return s.broken(corrupt)
	}
	s.book.Cut(e.Depth)
	s.last, s.at, s.state = e.Last, max(s.at, e.At), overlapping
	s.stats.Snapshots++
	buffered := s.buffer
	s.buffer, s.levels = nil, 0
	for i, u := range buffered {
		switch out := s.step(u); out {
		case lost, refetch:
			s.invalidate()
			s.buffer = slices.Clone(buffered[i:])
			return out
		case corrupt, mismatch:
			return out
		case kept, applied, idle, stale, known:
		}
	}
	return applied
}

// keep buffers an update.
func (s *bookSync) keep(u update) {
	if len(s.buffer) >= maxBuffered || s.levels+len(u.bids)+len(u.asks) > maxBufferedLevels {
		s.buffer, s.levels = nil, 0
		s.stats.Overflows++
	}
	u.bids, u.asks = slices.Clone(u.bids), slices.Clone(u.asks)
	s.levels += len(u.bids) + len(u.asks)
	s.buffer = append(s.buffer, u)
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
	s.heard, s.digest, s.unnumbered = 0, 0, false
}

// valid says that the book may be published.
func (s *bookSync) valid() bool { return s.state != buffering }
