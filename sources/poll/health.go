package poll

import (
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// health is the state of every stream of a source, as FeedHealth tells it. A stream is connected while its last request
// had an answer, and silent since that answer: that nothing new was in it is no silence.
type health struct {
	streams []*channel // by name
	unknown uint64
	out     schemas.FeedHealth
}

type channel struct {
	name     string
	ok       bool
	answered schemas.Time
	fails    uint32 // times that it went from answered to failed
	records  uint32 // since the last report
	dups     uint64
}

// everything is the symbol of health records: a stream carries many symbols.
const everything = "all"

func newHealth(source, venue string) health {
	return health{out: schemas.FeedHealth{Meta: &schemas.Meta{Source: source, Venue: venue, Symbol: everything}}}
}

func (h *health) stream(name string) *channel {
	i, found := slices.BinarySearchFunc(h.streams, name, func(s *channel, n string) int { return strings.Compare(s.name, n) })
	if !found {
		h.streams = slices.Insert(h.streams, i, &channel{name: name})
	}
	return h.streams[i]
}

func (h *health) answered(name string, at schemas.Time) {
	s := h.stream(name)
	s.ok, s.answered = true, max(s.answered, at)
}

func (h *health) failed(name string) {
	s := h.stream(name)
	if s.ok {
		s.fails++
	}
	s.ok = false
}

func (h *health) record(name string)    { h.stream(name).records++ }
func (h *health) duplicate(name string) { h.stream(name).dups++ }

// report publishes a record for every stream, as of a moment of the receipt clock.
func (h *health) report(at schemas.Time, publish func(*schemas.FeedHealth) error) error {
	for _, s := range h.streams {
		o := &h.out
		o.Meta.EventTime, o.Meta.ReceiveTime = int64(at), int64(at)
		o.Meta.TimeSource, o.Meta.SequenceKind = schemas.TimeSource_TIME_SOURCE_RECEIPT, schemas.SequenceKind_SEQUENCE_KIND_NONE
		o.Meta.Id = s.name + "/" + at.String()
		o.Channel, o.Records, o.Connected, o.Reconnects = s.name, s.records, s.ok, s.fails
		o.Duplicates, o.UnknownMessages, o.OthersAlive, o.SilentNs = s.dups, h.unknown, h.othersAlive(s, at), nil
		if s.answered > 0 {
			o.SilentNs = new(uint64(max(at.Sub(s.answered), 0)))
		}
		if err := publish(o); err != nil {
			return err
		}
		s.records = 0
	}
	return nil
}

// recent is how young another stream's answer must be to show that the network is not at fault.
const recent = 10 * time.Minute

func (h *health) othersAlive(s *channel, now schemas.Time) bool {
	return slices.ContainsFunc(h.streams, func(o *channel) bool {
		return o != s && o.ok && o.answered > 0 && now.Sub(o.answered) <= recent
	})
}

// failing names the streams whose last request failed.
func (h *health) failing() []string {
	var names []string
	for _, s := range h.streams {
		if !s.ok {
			names = append(names, s.name)
		}
	}
	return names
}
