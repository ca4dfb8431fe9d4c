package binance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
)

// machine is decode and state of one market: a function of the frames.
type machine struct {
	cfg     Config
	futures bool
	core    *feed.Core
	decoder decoder
	books   time.Duration // least time between two publications of a book
	flushed schemas.Time  // receipt clock of the last one

	instruments map[string]*instrument // by the venue's spelling
	order       []*instrument          // by canonical symbol
	// want asks for a depth snapshot of a venue symbol; the answer comes as an HTTP frame. No-op in playback.
	want func(venueSymbol string)

	out records
}

var _ feed.Machine = (*machine)(nil)

// newMachine makes the machine of a market. want may be nil.
func newMachine(cfg Config, core *feed.Core, want func(string)) (*machine, error) {
	m := &machine{
		cfg: cfg, futures: cfg.Market == USDM, core: core, books: cfg.BookInterval,
		instruments: map[string]*instrument{}, want: want, out: newRecords(),
	}
	if want == nil {
		m.want = func(string) {}
	}
	core.Flush = m.flush
	for _, s := range cfg.Symbols {
		v, err := venueSymbol(s, m.futures)
		if err != nil {
			return nil, err
		}
		m.add(s, v)
	}
	return m, nil
}

func (m *machine) add(symbol, venueSymbol string) *instrument {
	in := &instrument{symbol: symbol, venueSymbol: venueSymbol, asset: baseAsset(symbol), sync: bookSync{futures: m.futures}}
	m.instruments[venueSymbol] = in
	i, _ := slices.BinarySearchFunc(m.order, in, func(a, b *instrument) int { return strings.Compare(a.symbol, b.symbol) })
	m.order = slices.Insert(m.order, i, in)
	return in
}

// instrument finds the instrument of a venue symbol. Without configured symbols, as in playback, it takes what comes.
func (m *machine) instrument(venueSymbol []byte) *instrument {
	if in := m.instruments[string(venueSymbol)]; in != nil {
		return in
	}
	if len(m.cfg.Symbols) > 0 || len(m.order) >= maxInstruments {
		return nil
	}
	symbol, err := canonical(string(venueSymbol), m.futures)
	if err != nil {
		return nil
	}
	return m.add(symbol, string(venueSymbol))
}

// maxInstruments bounds what a recording can make the machine hold.
const maxInstruments = 5000

// Frame takes the next frame.
func (m *machine) Frame(f capture.Frame) error {
	m.core.Clock.Advance(f.At)
	switch f.Kind {
	case capture.Connect:
		m.core.Connect(f.Conn, f.At)
		m.expect(f.Conn, streamsIn(f.URL))
	case capture.Send:
		m.expect(f.Conn, subscribed(f.Data))
	case capture.Close:
		return m.closed(f)
	case capture.HTTP:
		return m.answer(f)
	case capture.Receive:
		return m.receive(f)
	case capture.Header:
	}
	return nil
}

// expect notes the streams that a connection is to carry, so that one that never speaks is named.
func (m *machine) expect(conn string, streams []string) {
	for _, name := range streams {
		symbol, channel := channelOf(name)
		if channel == "" {
			continue
		}
		if in := m.instrument([]byte(symbol)); in != nil {
			in.stream(m.core.Health, channel, conn)
		}
	}
}

// subscribed lists the streams of a SUBSCRIBE request.
func subscribed(request []byte) []string {
	v, err := fastjson.ParseBytes(request)
	if err != nil || string(v.GetStringBytes("method")) != "SUBSCRIBE" {
		return nil
	}
	var out []string
	for _, p := range v.GetArray("params") {
		out = append(out, string(p.GetStringBytes()))
	}
	return out
}

// receive decodes a message and brings it into the state.
func (m *machine) receive(f capture.Frame) error {
	m.core.Received(f.Conn, f.At)
	e, err := m.decode(f.Data, m.decoder.decode)
	if err != nil {
		m.core.Reject("undecodable", err, f.Data)
		return m.core.Tick()
	}
	switch e.kind {
	case unknown:
		m.core.Unknown("type "+clip(e.detail), f.Data)
		return m.core.Tick()
	case acknowledgement, shutdown:
		return m.core.Tick()
	case refusal:
		m.core.Reject("refused", fmt.Errorf("venue answers %s", e.detail), f.Data)
		return m.core.Tick()
	default:
	}
	in := m.instrument(e.symbol)
	if in == nil {
		m.core.Unknown("symbol", f.Data)
		return m.core.Tick()
	}
	fresh, err := m.apply(in, e, f)
	if err != nil {
		return err
	}
	if fresh && e.pushed != 0 {
		m.core.Clock.Observe(f.Conn, e.pushed, f.At)
	}
	return m.core.Tick()
}

// decode runs a decoder; a panic in it costs the frame only.
func (m *machine) decode(raw []byte, with func([]byte) (*event, error)) (e *event, err error) {
	defer func() {
		if v := recover(); v != nil {
			e, err = &event{}, fmt.Errorf("decoding panicked: %v", v)
		}
	}()
	return with(raw)
}

// maxDetail bounds the part of a venue's text that becomes a metric label.
const maxDetail = 32

func clip(b []byte) string {
	if len(b) > maxDetail {
		b = b[:maxDetail]
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// apply brings an event into the state and publishes what follows from it; fresh is false for one that was seen before.
func (m *machine) apply(in *instrument, e *event, f capture.Frame) (fresh bool, err error) {
	switch e.kind {
	case trade, aggTrade:
		return m.trade(in, e, f)
	case quote:
		return m.quote(in, e, f)
	case depth:
		return m.depth(in, e, f)
	case mark:
		return m.mark(in, e, f)
	case liquidation:
		return m.liquidation(in, e, f)
	case kline:
		return m.kline(in, e, f)
	default:
		return false, nil
	}
}

// answer takes the body of a depth request; other requests are of no interest here.
func (m *machine) answer(f capture.Frame) error {
	symbol, asked := snapshotSymbol(f.URL)
	if !asked {
		return nil
	}
	in := m.instrument([]byte(symbol))
	if in == nil {
		m.core.Unknown("symbol", f.Data)
		return nil
	}
	in.wanted = false
	e, err := m.decode(f.Data, m.decoder.snapshot)
	if err != nil {
		m.core.Reject("snapshot", err, f.Data)
		m.fetch(in)
		return nil
	}
	if e.at == 0 {
		e.at = m.core.Clock.Estimate(f.At)
	}
	if err := m.snapshot(in, e, f); err != nil {
		return err
	}
	return m.core.Tick()
}

// closed takes the end of a session. Only when the slot has no other one left is something lost.
func (m *machine) closed(f capture.Frame) error {
	if !m.core.Close(f.Conn) {
		return nil
	}
	return m.core.Health.OnSlot(f.Conn, func(s *feed.Stream) error {
		in := m.instruments[s.VenueSymbol]
		if in == nil || s.Event() == 0 {
			return nil
		}
		return m.disconnected(in, s, f.Conn)
	})
}

// Advance publishes the books that changed, and a Tick if it is time.
func (m *machine) Advance(at schemas.Time) error {
	m.core.Clock.Advance(at)
	if at.Sub(m.flushed) >= m.books {
		m.flushed = at
		if err := m.flush(); err != nil {
			return err
		}
	}
	return m.core.Tick()
}

// flush publishes every book that changed since it was last published, by symbol.
func (m *machine) flush() error {
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
func (m *machine) Finish() error { return m.core.Finish() }
