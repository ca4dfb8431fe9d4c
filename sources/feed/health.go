package feed

import (
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Stream is one channel of one instrument: what a FeedHealth record speaks of.
type Stream struct {
	Symbol, VenueSymbol string
	// Channel is "trades", "book", "quotes", "derivatives" or another name of what the stream carries.
	Channel string

	slot    string
	records uint32 // in the second at hand
	total   uint64
	last    schemas.Time // receipt of the last record
	event   schemas.Time // its event time
	gaps    uint32
	told    uint64 // of total, when a loss was last told
	dups    uint64
	skews   []time.Duration
}

// maxSkews bounds the samples of one second.
const maxSkews = 256

// Record counts a record of the stream.
func (s *Stream) Record(received, event schemas.Time, timed bool) {
	s.records++
	s.total++
	s.last = max(s.last, received)
	s.event = max(s.event, event)
	if timed && len(s.skews) < maxSkews {
		s.skews = append(s.skews, received.Sub(event))
	}
}

// Event returns the latest event time of the stream, 0 before the first record.
func (s *Stream) Event() schemas.Time { return s.event }

// Total returns how many records the stream has had.
func (s *Stream) Total() uint64 { return s.total }

// Duplicates returns how many records were dropped because they were known.
func (s *Stream) Duplicates() uint64 { return s.dups }

// Told notes that a loss is told now, and reports whether nothing has come since one was told before.
func (s *Stream) Told() bool {
	again := s.told != 0 && s.told == s.total
	s.told = s.total
	return again
}

// Conn returns the slot that carries the stream.
func (s *Stream) Conn() string { return s.slot }

// Duplicate counts a record that was dropped because it was known.
func (s *Stream) Duplicate() { s.dups++ }

// Health keeps the state of every stream of a source.
type Health struct {
	source, venue string
	streams       []*Stream // sorted by symbol, then channel
	index         map[streamKey]*Stream
	slots         map[string]*slot
	order         []string // slot names, sorted
	unknown       uint64
	peers         bool // other sources of the process receive data
	out           schemas.FeedHealth
}

type streamKey struct{ symbol, channel string }

// slot is one place for a connection: the sessions that follow each other there, and overlap when one is renewed.
type slot struct {
	open     int
	opened   uint32
	since    schemas.Time // receipt clock at the first session
	received schemas.Time
}

// NewHealth makes the health of one source.
func NewHealth(source, venue string) *Health {
	return &Health{
		source: source, venue: venue, index: map[streamKey]*Stream{}, slots: map[string]*slot{},
		out: schemas.FeedHealth{Meta: &schemas.Meta{}},
	}
}

// Slot is the part of a connection's name that its successors share.
func Slot(conn string) string {
	name, _, _ := strings.Cut(conn, "/")
	return name
}

// Connect counts a session of a slot.
func (h *Health) Connect(conn string, at schemas.Time) {
	s := h.slot(Slot(conn))
	if s.opened == 0 {
		s.since = at
	}
	s.open++
	s.opened++
}

// Close ends a session and reports whether the slot is now without one.
func (h *Health) Close(conn string) bool {
	s := h.slot(Slot(conn))
	s.open = max(s.open-1, 0)
	return s.open == 0
}

// Open counts the sessions that stand in the slot of a connection: two while it is renewed.
func (h *Health) Open(conn string) int { return h.slot(Slot(conn)).open }

// Received notes data on a slot.
func (h *Health) Received(conn string, at schemas.Time) {
	s := h.slot(Slot(conn))
	s.received = max(s.received, at)
}

// Peers notes whether other sources of the process receive data.
func (h *Health) Peers(alive bool) { h.peers = alive }

// Unknown counts a message that no decoder knows.
func (h *Health) Unknown() { h.unknown++ }

// Reconnects counts the sessions after the first of each slot.
func (h *Health) Reconnects() uint32 {
	var n uint32
	for _, s := range h.slots {
		n += max(s.opened, 1) - 1
	}
	return n
}

func (h *Health) slot(name string) *slot {
	s := h.slots[name]
	if s == nil {
		s = &slot{}
		h.slots[name] = s
		i, _ := slices.BinarySearch(h.order, name)
		h.order = slices.Insert(h.order, i, name)
	}
	return s
}

// Stream returns the stream of a symbol and channel, new when it is not known, and notes the slot that carries it.
func (h *Health) Stream(symbol, venueSymbol, channel, conn string) *Stream {
	k := streamKey{symbol, channel}
	s := h.index[k]
	if s == nil {
		s = &Stream{Symbol: symbol, VenueSymbol: venueSymbol, Channel: channel}
		h.index[k] = s
		i, _ := slices.BinarySearchFunc(h.streams, s, func(a, b *Stream) int {
			if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
				return c
			}
			return strings.Compare(a.Channel, b.Channel)
		})
		h.streams = slices.Insert(h.streams, i, s)
	}
	s.slot = Slot(conn)
	return s
}

// OnSlot calls fn for every stream that a slot carries, by symbol, then channel.
func (h *Health) OnSlot(conn string, fn func(*Stream) error) error {
	name := Slot(conn)
	for _, s := range h.streams {
		if s.slot == name {
			if err := fn(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// Silent names the streams that have had no record for longer than the bound since they were first expected, and says how
// many streams there are.
func (h *Health) Silent(now schemas.Time, bound time.Duration) (silent []string, all int) {
	for _, s := range h.streams {
		if h.silence(s, now) > bound {
			silent = append(silent, s.Symbol+" "+s.Channel)
		}
	}
	return silent, len(h.streams)
}

// silence is how long a stream has had no record, counted from its first connection while it never had one.
func (h *Health) silence(s *Stream, now schemas.Time) time.Duration {
	since := s.last
	if since == 0 && h.slots[s.slot] != nil {
		since = h.slots[s.slot].since
	}
	return now.Sub(since)
}

// Connected says that at least one session stands.
func (h *Health) Connected() bool {
	for _, s := range h.slots {
		if s.open > 0 {
			return true
		}
	}
	return false
}

// Report publishes a record for every stream, as of the second of source time that ends at at. now is the receipt clock.
func (h *Health) Report(at, now schemas.Time, epoch uint32, publish func(*schemas.FeedHealth) error) error {
	reconnects := h.Reconnects()
	for _, s := range h.streams {
		h.fill(s, at, now)
		h.out.Meta.Epoch, h.out.Reconnects = epoch, reconnects
		if err := publish(&h.out); err != nil {
			return err
		}
		s.records, s.skews = 0, s.skews[:0]
	}
	return nil
}

func (h *Health) fill(s *Stream, at, now schemas.Time) {
	m := h.out.Meta
	m.Reset()
	m.Source, m.Venue, m.Symbol = h.source, h.venue, s.Symbol
	m.EventTime, m.ReceiveTime = int64(at), int64(now)
	m.TimeSource, m.SequenceKind = schemas.TimeSource_TIME_SOURCE_RECEIPT, schemas.SequenceKind_SEQUENCE_KIND_NONE
	m.Id = s.Symbol + "/" + s.Channel + "/" + at.String()
	o := &h.out
	o.Channel, o.Records, o.Connected = s.Channel, s.records, h.slots[s.slot] != nil && h.slots[s.slot].open > 0
	o.Gaps, o.Duplicates, o.UnknownMessages = s.gaps, s.dups, h.unknown
	o.SilentNs, o.SkewNs, o.OthersAlive = nil, nil, h.peers
	if s.last > 0 {
		silent := uint64(max(now.Sub(s.last), 0))
		o.SilentNs = &silent
	}
	if len(s.skews) > 0 {
		slices.Sort(s.skews)
		skew := int64(s.skews[len(s.skews)/2])
		o.SkewNs = &skew
	}
	for _, name := range h.order {
		if name != s.slot && h.slots[name].received > 0 && now.Sub(h.slots[name].received) <= time.Second {
			o.OthersAlive = true
		}
	}
}
