package venue

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// A Machine is decode and state of one market: a function of the frames.
type Machine struct {
	spec    *Spec
	cfg     Config
	core    *feed.Core
	decoder Decoder
	hands   Hands
	flushed schemas.Time // receipt clock of the last flush
	// refreshed is when a book that is valid was last asked for.
	refreshed schemas.Time

	instruments map[string]*instrument // by the venue's spelling
	order       []*instrument          // by canonical symbol
	listings    map[string]listing     // by the venue's spelling
	numbers     map[string]uint64      // next message number by connection
	states      map[string]string      // last published by scope
	foreign     map[string]bool        // connections of another market in the same capture
	unlisted    map[string]bool        // lists of contracts that have not come
	renewals    map[string]string      // session that takes over, by slot
	behind      bool                   // the message at hand has a number that was passed

	out records
}

// Hands are what a machine can do about the venue; nil ones do nothing, as in playback.
type Hands struct {
	// Recover asks for a snapshot of a book; slot is where its connection stands. The answer comes as a frame.
	Recover func(slot, venueSymbol string)
	// Get asks for an address again. The answer comes as a frame.
	Get func(address string)
	// Listed says that all lists of contracts have come.
	Listed func()
	// Renew opens the next session of a slot ahead of the end of this one.
	Renew func(slot string)
	// Settled says that the next session of a slot has all its books: the one before may end.
	Settled func(slot string)
}

var _ feed.Machine = (*Machine)(nil)

// NewMachine makes the machine of a market. The log may be nil.
func NewMachine(spec *Spec, cfg Config, p sources.Publisher, metrics *sources.Metrics, log *slog.Logger, hands Hands) (*Machine, error) {
	clock := feed.DefaultClock()
	clock.Delay = cfg.TickDelay
	if spec.Grace > 0 {
		clock.Grace = spec.Grace
	}
	name := cfg.Name
	if name == "" {
		name = spec.SourceName()
	}
	m := &Machine{
		spec: spec, cfg: cfg, decoder: spec.NewDecoder(), hands: hands,
		core: feed.NewCore(feed.Options{
			Source: name, Venue: spec.Venue, Clock: clock, Topics: spec.Topics, Publisher: p, Metrics: metrics, Log: log,
		}),
		instruments: map[string]*instrument{}, listings: map[string]listing{}, numbers: map[string]uint64{}, states: map[string]string{}, foreign: map[string]bool{}, unlisted: map[string]bool{},
		renewals: map[string]string{}, out: newRecords(),
	}
	if hands.Recover == nil {
		m.hands.Recover = func(string, string) {}
	}
	if hands.Renew == nil {
		m.hands.Renew = func(string) {}
	}
	if hands.Settled == nil {
		m.hands.Settled = func(string) {}
	}
	if hands.Get == nil {
		m.hands.Get = func(string) {}
	}
	if hands.Listed == nil {
		m.hands.Listed = func() {}
	}
	for _, g := range spec.Gets {
		if g.Lists {
			m.unlisted[g.URL] = true
		}
	}
	m.core.Flush = m.flush
	for _, s := range cfg.Symbols {
		v, err := spec.VenueSymbol(s)
		if err != nil {
			return nil, err
		}
		m.add(s, v)
	}
	return m, nil
}

// Core is what the machine publishes through.
func (m *Machine) Core() *feed.Core { return m.core }

func (m *Machine) add(symbol, venueSymbol string) *instrument {
	in := &instrument{
		symbol: symbol, venueSymbol: venueSymbol, asset: asset(symbol), sync: bookSync{rules: &m.spec.Books},
		streams: map[string]*feed.Stream{}, reached: map[string]*stamps{},
	}
	in.convert = func(l book.Level) (Number, bool) { return in.base(l.Quantity, l.Price) }
	l := m.listings[venueSymbol]
	in.multiplier, in.inverse = l.multiplier, l.inverse
	m.instruments[venueSymbol] = in
	i, _ := slices.BinarySearchFunc(m.order, in, func(a, b *instrument) int { return strings.Compare(a.symbol, b.symbol) })
	m.order = slices.Insert(m.order, i, in)
	return in
}

// instrument finds the instrument of a venue symbol. Without configured symbols, as in playback, it takes what comes.
func (m *Machine) instrument(venueSymbol []byte) *instrument {
	if in := m.instruments[string(venueSymbol)]; in != nil {
		return in
	}
	if len(m.cfg.Symbols) > 0 || len(m.order) >= maxInstruments {
		return nil
	}
	symbol, err := m.spec.Canonical(string(venueSymbol))
	if err != nil {
		return nil
	}
	return m.add(symbol, string(venueSymbol))
}

// maxInstruments bounds what a recording can make the machine hold.
const maxInstruments = 5000

// Owns says that a frame is of this market: one capture may hold the connections of several, one after the other.
func (m *Machine) Owns(f capture.Frame) bool {
	if f.Kind == capture.Connect && m.spec.Serves != nil {
		m.foreign[f.Conn] = !m.spec.Serves(f.URL)
	}
	return !m.foreign[f.Conn]
}

// Frame takes the next frame.
func (m *Machine) Frame(f capture.Frame) error {
	m.core.Clock.Advance(f.At)
	switch f.Kind {
	case capture.Connect:
		m.core.Connect(f.Conn, f.At)
		if m.core.Health.Open(f.Conn) > 1 {
			m.renewals[feed.Slot(f.Conn)] = f.Conn
		}
		delete(m.numbers, f.Conn)
		m.expect(f)
	case capture.Send:
		m.expect(f)
	case capture.Close:
		return m.closed(f)
	case capture.HTTP:
		return m.answer(f)
	case capture.Receive:
		return m.receive(f)
	case capture.Peers:
		m.core.Health.Peers(string(f.Data) == "1")
	case capture.Header:
	}
	return nil
}

// expect notes the streams that a connection is to carry, so that one that never speaks is named.
func (m *Machine) expect(f capture.Frame) {
	for _, s := range m.spec.Streams(f) {
		if in := m.instrument([]byte(s.Symbol)); in != nil {
			in.stream(m.core.Health, s.Channel, f.Conn)
		}
	}
}

// receive decodes a message and brings it into the state.
func (m *Machine) receive(f capture.Frame) error {
	m.core.Received(f.Conn, f.At)
	events, err := m.decode(func() ([]Event, error) { return m.decoder.Message(f.Data) })
	if err != nil {
		if err := m.undecodable(err, events, f.Data, f); err != nil {
			return err
		}
		return m.core.Tick()
	}
	return m.events(events, f)
}

// decode runs a decoder; a panic in it costs the frame only.
func (m *Machine) decode(run func() ([]Event, error)) (events []Event, err error) {
	defer func() {
		if v := recover(); v != nil {
			events, err = nil, fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	return run()
}

var errPanic = errors.New("decoding panicked")

// reasonOf is the reason of a frame that the decoder did not read.
func reasonOf(err error) string {
	if errors.Is(err, errPanic) {
		return "panic"
	}
	return "undecodable"
}

func (m *Machine) events(events []Event, f capture.Frame) error {
	for i := range events {
		e := &events[i]
		m.behind = false
		if e.HasStream {
			if err := m.numbered(e.Stream, f); err != nil {
				return err
			}
		}
		if err := m.event(e, i, f); err != nil {
			return err
		}
	}
	return m.core.Tick()
}

// event takes one event, the i-th of its message.
func (m *Machine) event(e *Event, i int, f capture.Frame) error {
	switch e.Kind {
	case Note:
		return nil
	case Unknown:
		m.core.Unknown("type "+clip(e.Detail), f.Data)
		return nil
	case Refusal:
		m.core.Reject("refused", fmt.Errorf("venue answers %s", e.Detail), f.Data)
		return nil
	case Shutdown:
		m.hands.Renew(feed.Slot(f.Conn))
		return nil
	case Status:
		return m.status(e, f)
	case Listing:
		m.listed(e)
		return nil
	default:
	}
	in := m.instrument(e.Symbol)
	if in == nil {
		if f.Kind == capture.Receive && !e.Wide {
			m.core.Unknown("symbol", f.Data)
		}
		return nil
	}
	fresh, err := m.apply(in, e, i, f)
	if err != nil {
		return err
	}
	stamp := e.Sent
	if stamp == 0 {
		stamp = e.At
	}
	if fresh && stamp != 0 && !e.Old && f.Kind == capture.Receive {
		m.core.Clock.Observe(f.Conn, stamp, f.At)
	}
	return nil
}

// apply brings an event into the state and publishes what follows from it; fresh is false for one that was seen before.
func (m *Machine) apply(in *instrument, e *Event, i int, f capture.Frame) (fresh bool, err error) {
	switch e.Kind {
	case Trade:
		return m.trade(in, e, f)
	case Quote:
		return m.quote(in, e, f, feed.Fingerprint(f.Data, i))
	case BookUpdate, BookSnapshot:
		return m.book(in, e, f, i)
	case BookAnswer:
		return false, m.bookAnswer(in, e, f)
	case Derivative:
		return m.derivative(in, e, f, feed.Fingerprint(f.Data, i))
	case Liquidation:
		return m.liquidate(in, e, f)
	case Heartbeat:
		return false, m.heartbeat(in, e, f)
	case Option:
		return m.option(in, e, f, feed.Fingerprint(f.Data, i))
	case Bar:
		return m.bar(in, e, f, feed.Fingerprint(f.Data, i))
	default:
		return false, nil
	}
}

// numbered holds the messages of a connection against their numbers. One that is missing may have been of any stream: all
// of them have lost something. One that comes behind a later one was told of as lost by then.
func (m *Machine) numbered(n uint64, f capture.Frame) error {
	next, begun := m.numbers[f.Conn]
	// Every event of a message has its number: n+1 == next is the one at hand, or one that came twice.
	if m.behind = begun && n+1 < next; begun && n < next {
		return nil
	}
	m.numbers[f.Conn] = n + 1
	if !begun || n == next {
		return nil
	}
	return m.core.Health.OnSlot(f.Conn, func(s *feed.Stream) error {
		in := m.instruments[s.VenueSymbol]
		switch {
		case in == nil || s.Event() == 0:
			return nil
		case s.Channel == Book && in.source != "" && in.source != f.Conn:
			m.disinherit(in, f.Conn)
			return nil // a book that follows another session of the slot has lost nothing
		}
		return m.lost(in, s, f.Conn, "sequence")
	})
}

// status publishes what the venue says of itself, when it says something new.
func (m *Machine) status(e *Event, f capture.Frame) error {
	scope, about := e.Scope, &feed.Stream{Symbol: "ALL"}
	if len(e.Symbol) > 0 {
		in := m.instruments[string(e.Symbol)]
		if in == nil {
			return nil
		}
		scope, about = in.symbol, &feed.Stream{Symbol: in.symbol, VenueSymbol: in.venueSymbol}
	}
	said := e.State + " " + string(e.Detail) + " " + strconv.FormatInt(int64(e.Starts), 10)
	if m.states[scope] == said {
		return nil
	}
	m.states[scope] = said
	at := e.At
	if at == 0 {
		at = m.core.Clock.Estimate(f.At)
	}
	v := &schemas.VenueStatus{
		Meta: &schemas.Meta{}, State: e.State, Scope: scope, Reporter: "stream", Description: string(e.Detail), Starts: int64(e.Starts), Ends: int64(e.Ends),
	}
	m.core.Meta(v.Meta, about, f.Conn, at, f.At)
	if e.At == 0 {
		v.Meta.TimeSource = schemas.TimeSource_TIME_SOURCE_RECEIPT
	}
	v.Meta.Id = "stream/" + scope + "/" + strconv.FormatInt(int64(at), 10)
	v.Meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_NONE
	return m.core.Publish(schemas.VenuesStatus, v)
}

// closed takes the end of a session. Only when the slot has no other one left is something lost, besides the books that
// follow this very session.
func (m *Machine) closed(f capture.Frame) error {
	delete(m.numbers, f.Conn)
	delete(m.renewals, feed.Slot(f.Conn))
	last := m.core.Close(f.Conn)
	return m.core.Health.OnSlot(f.Conn, func(s *feed.Stream) error {
		in := m.instruments[s.VenueSymbol]
		switch {
		case in == nil || s.Event() == 0:
			return nil
		case last:
			return m.lost(in, s, f.Conn, "disconnect")
		case s.Channel == Book && m.orphaned(in, f.Conn):
			if err := m.lost(in, s, f.Conn, "disconnect"); err != nil {
				return err
			}
			m.recover(in)
		}
		return nil
	})
}

// Advance publishes the books that changed, asks again for snapshots that did not come, and makes a Tick if it is time.
func (m *Machine) Advance(at schemas.Time) error {
	m.core.Clock.Advance(at)
	if at.Sub(m.flushed) >= m.cfg.BookInterval {
		m.flushed = at
		if err := m.flush(); err != nil {
			return err
		}
	}
	if at.Floor(time.Second) == at {
		m.askAgain(at)
	}
	m.settle(at)
	m.refresh(at)
	if at.Floor(again) == at {
		m.relist()
	}
	return m.core.Tick()
}

// flush publishes every book that changed since it was last published, by symbol.
func (m *Machine) flush() error {
	for _, in := range m.order {
		if in.dirty {
			if err := m.publishBook(in); err != nil {
				return err
			}
		}
	}
	return nil
}

// Finish is the end of a recording.
func (m *Machine) Finish() error { return m.core.Finish() }

// maxDetail bounds the part of a venue's text that becomes a metric label.
const maxDetail = 32

func clip(b []byte) string {
	if len(b) > maxDetail {
		b = b[:maxDetail]
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// Figures are what became of the messages of one instrument.
type Figures struct {
	Symbol     string
	Book       SyncStats
	Valid      bool
	Duplicates uint64
	// Records by channel that were new.
	Records map[string]uint64
}

// Figures lists the instruments by symbol.
func (m *Machine) Figures() []Figures {
	var out []Figures
	for _, in := range m.order {
		f := Figures{Symbol: in.symbol, Book: in.sync.stats, Valid: in.sync.valid(), Records: map[string]uint64{}}
		for channel, s := range in.streams {
			f.Records[channel] = s.Total()
			f.Duplicates += s.Duplicates()
		}
		out = append(out, f)
	}
	return out
}

// Book returns the book of a symbol and the number and time of its last update; nil when there is none that is valid.
func (m *Machine) Book(symbol string) (b *book.Book, last uint64, at schemas.Time) {
	for _, in := range m.order {
		if in.symbol == symbol && in.sync.valid() {
			return &in.sync.book, in.sync.last, in.sync.at
		}
	}
	return nil, 0, 0
}
