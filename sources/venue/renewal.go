package venue

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// An heir is the book of an instrument as the next session of its slot has it, from its own snapshot on. Two sockets race:
// that snapshot may be older than the book, and the session that the book follows may end first. So the heir is followed
// beside the book and takes over once it has come as far. Nothing is lost, and no book goes back in time.
type heir struct {
	conn string
	sync bookSync
}

// overdue is how long a book stands without a session for an heir that does not come as far: its snapshot has no time and
// nothing has changed since, but something may have before, on the session that ended.
const overdue = 5 * time.Second

// elsewhere says that the book is valid by another session than conn.
func (in *instrument) elsewhere(conn string) bool {
	return !in.sync.rules.Asked && in.sync.valid() && in.source != conn
}

// inherit takes a book message of a session that the book does not follow. applied says that this session has taken over.
func (m *Machine) inherit(in *instrument, e *Event, conn string, digest uint64) outcome {
	h := in.heir
	var out outcome
	switch {
	case e.Kind == BookSnapshot && m.core.Epoch(conn) > m.core.Epoch(in.source):
		if h == nil || h.conn != conn {
			h = &heir{conn, bookSync{rules: in.sync.rules}}
			in.heir = h
		}
		in.request.done()
		out = h.sync.snapshot(e, digest)
	case e.Kind == BookUpdate && h != nil && h.conn == conn:
		out = h.sync.update(e, digest)
	default:
		return known
	}
	switch {
	case out == known:
		return known
	case !h.sync.valid():
		m.disinherit(in, conn)
		return known
	case !h.reaches(&in.sync, e):
		return known
	}
	in.succeed()
	return applied
}

// succeed makes the heir's book the instrument's.
func (in *instrument) succeed() {
	stats, at := in.sync.stats, in.sync.at
	stats.Snapshots++
	in.sync, in.source = in.heir.sync, in.heir.conn
	in.sync.stats, in.sync.at = stats, max(at, in.sync.at)
	in.heir = nil
}

// reaches says that the heir is as far as the book, by e, its latest message. A snapshot without a time does not say how far
// it is: the first update behind it does.
func (h *heir) reaches(b *bookSync, e *Event) bool {
	if e.At == 0 {
		return e.Kind == BookUpdate
	}
	return h.sync.at > b.at || (h.sync.at == b.at && h.sync.last >= b.last)
}

// disinherit drops the heir that follows conn, and asks for a snapshot to make it anew.
func (m *Machine) disinherit(in *instrument, conn string) {
	if in.heir != nil && in.heir.conn == conn {
		in.heir = nil
		m.recover(in)
	}
}

// orphaned says that the end of a session leaves a book without one to follow. One that has an heir stands as it is until
// the heir takes over.
func (m *Machine) orphaned(in *instrument, conn string) bool {
	if in.heir != nil && in.heir.conn == conn {
		in.heir = nil
		return in.source == ""
	}
	if in.source != conn {
		return false
	}
	in.source, in.alone = "", m.core.Clock.Now()
	return in.heir == nil
}

// settle lets the heirs that are overdue take over, and tells of the slots whose next session has every book that the one
// before has.
func (m *Machine) settle(at schemas.Time) {
	if at.Floor(time.Second) == at {
		for _, in := range m.order {
			if in.heir != nil && in.source == "" && at.Sub(in.alone) >= overdue {
				in.succeed()
				in.sync.at, in.timed = max(in.sync.at, m.core.Clock.Estimate(at)), false
				in.change(capture.Frame{At: at, Conn: in.source})
			}
		}
	}
	for slot, conn := range m.renewals {
		if m.settled(conn) {
			delete(m.renewals, slot)
			m.hands.Settled(slot)
		}
	}
}

func (m *Machine) settled(conn string) bool {
	for _, in := range m.order {
		if in.elsewhere(conn) && feed.Slot(in.conn) == feed.Slot(conn) && (in.heir == nil || in.heir.conn != conn) {
			return false
		}
	}
	return true
}
