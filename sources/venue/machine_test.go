package venue_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

const began = schemas.Time(1_700_000_000_000_000_000)

// play is a venue without a wire format: a frame names the events that it stands for.
type play struct {
	rules  venue.BookRules
	events map[string][]venue.Event
	frames []capture.Frame
	asked  []string // books asked for, slot and symbol
	quotes []*schemas.Quote
}

func newPlay() *play { return &play{events: map[string][]venue.Event{}} }

func at(ms int) schemas.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

// do is what a connection does at so many milliseconds.
func (p *play) do(ms int, kind capture.Kind, conn string) *play {
	p.frames = append(p.frames, capture.Frame{Kind: kind, Conn: conn, At: at(ms)})
	return p
}

// say is a message that the venue stamps at ms.
func (p *play) say(ms int, conn string, events ...venue.Event) *play {
	name := strconv.Itoa(len(p.frames))
	for i := range events {
		if events[i].At == 0 && events[i].Kind != venue.Status {
			events[i].At = at(ms)
		}
	}
	p.events[name] = events
	p.frames = append(p.frames, capture.Frame{Kind: capture.Receive, Conn: conn, At: at(ms), Data: []byte(name)})
	return p
}

// again repeats the last message, on a connection.
func (p *play) again(conn string) *play {
	f := p.frames[len(p.frames)-1]
	f.Conn = conn
	p.frames = append(p.frames, f)
	return p
}

// Message is the decoder: "panic" is one that it does not survive, "torn KIND SYMBOL" one that it reads as far as the kind.
func (p *play) Message(raw []byte) ([]venue.Event, error) {
	what, rest, _ := strings.Cut(string(raw), " ")
	switch what {
	case "panic":
		panic("decoder")
	case "torn":
		kind, _, _ := strings.Cut(rest, " ")
		kinds := map[string]venue.Kind{"trade": venue.Trade, "book": venue.BookUpdate, "bar": venue.Bar, "unknown": venue.Unknown}
		e := venue.Event{Kind: kinds[kind]}
		if n, err := strconv.ParseUint(kind, 10, 64); err == nil {
			e = numbered(venue.Event{Kind: venue.Trade}, n)
		}
		return []venue.Event{e}, venue.ErrField
	}
	return slices.Clone(p.events[string(raw)]), nil
}

func (p *play) Answer(string, []byte) ([]venue.Event, error) { return nil, nil }

// spec is the market of the play.
func (p *play) spec() *venue.Spec {
	return &venue.Spec{
		Venue: "toy", Market: "spot", NewDecoder: func() venue.Decoder { return p }, Contiguous: true, Books: p.rules,
		Topics:      []schemas.Topic{schemas.MarketTrades, schemas.MarketQuotes, schemas.MarketBooks, schemas.VenuesStatus},
		Canonical:   func(v string) (string, error) { return v + "-USD", nil },
		VenueSymbol: func(s string) (string, error) { return strings.TrimSuffix(s, "-USD"), nil },
		Streams:     func(capture.Frame) []venue.Stream { return nil },
	}
}

// run plays all and lists what was published besides ticks and health.
func (p *play) run(t *testing.T) (m *venue.Machine, said []string) {
	t.Helper()
	out := &sourcetest.Memory{}
	m = venuetest.Machine(t, p.spec(), out, venue.Hands{Recover: func(slot, symbol string) { p.asked = append(p.asked, slot+" "+symbol) }})
	venuetest.Run(t, m, p.frames)
	if err := m.Finish(); err != nil {
		t.Fatal(err)
	}
	if late := out.Late(); len(late) > 0 {
		t.Errorf("late: %v", late)
	}
	for _, e := range out.Entries() {
		switch r := e.Message.(type) {
		case *schemas.Trade:
			said = append(said, "trade "+r.Meta.Id)
		case *schemas.BookSnapshot:
			said = append(said, fmt.Sprintf("book %s %s", r.Meta.Symbol, r.Bids[0].Price.Text()))
		case *schemas.Gap:
			size := "?"
			if r.Missing != nil {
				size = strconv.FormatUint(*r.Missing, 10)
			}
			said = append(said, fmt.Sprintf("gap %s %s %s %s", r.Meta.Symbol, r.Channel, r.Cause, size))
		case *schemas.VenueStatus:
			said = append(said, fmt.Sprintf("status %s %s (%s)", r.Scope, r.State, r.Meta.VenueSymbol))
		case *schemas.Quote:
			said = append(said, "quote "+r.Meta.Symbol)
			p.quotes = append(p.quotes, r)
		}
	}
	return m, said
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func trade(symbol string, id uint64) venue.Event {
	one := venue.Number{Mantissa: 1}
	return venue.Event{Kind: venue.Trade, Symbol: []byte(symbol), Number: id, Price: one, Quantity: one, Side: schemas.Side_SIDE_BUY}
}

func bookOf(kind venue.Kind, symbol string, bid int64) venue.Event {
	return venue.Event{
		Kind: kind, Symbol: []byte(symbol),
		Bids: []book.Level{{Price: venue.Number{Mantissa: bid}, Quantity: venue.Number{Mantissa: 1}}},
	}
}

func numbered(e venue.Event, n uint64) venue.Event {
	e.Stream, e.HasStream = n, true
	return e
}

// A number of the connection that is missing may have been of any of its streams: each says so, and those of other
// connections do not. What comes twice is no gap.
func TestMissingNumberOfAConnection(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").do(0, capture.Connect, "b/1")
	p.say(10, "a/1", numbered(trade("X", 1), 0)).say(20, "a/1", numbered(bookOf(venue.BookSnapshot, "X", 10), 1)).again("a/1")
	p.say(30, "b/1", numbered(trade("Y", 1), 0))
	p.say(200, "a/1", numbered(venue.Event{Kind: venue.Note}, 2))
	p.say(400, "a/1", numbered(trade("X", 4), 5)) // 3 and 4 are missing
	p.say(500, "a/1", numbered(bookOf(venue.BookSnapshot, "X", 12), 6))
	_, got := p.run(t)
	expect(t, got, "trade 1", "trade 1", "book X-USD 10", "gap X-USD book sequence ?", "gap X-USD trades sequence ?",
		"gap X-USD trades sequence 2", "trade 4", "book X-USD 12")
	expect(t, p.asked, "a X")
}

// While a session is renewed both carry everything. The book follows the one that its snapshot came on, and nothing is lost
// when the other ends.
func TestRenewal(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", bookOf(venue.BookSnapshot, "X", 10)).say(20, "a/1", trade("X", 1))
	p.do(1000, capture.Connect, "a/2")
	p.say(1010, "a/2", bookOf(venue.BookUpdate, "X", 99)) // not of the book that we have
	p.say(1020, "a/1", bookOf(venue.BookUpdate, "X", 11)).say(1100, "a/1", trade("X", 2)).again("a/2")
	p.say(1200, "a/2", bookOf(venue.BookSnapshot, "X", 12))
	p.say(1210, "a/1", bookOf(venue.BookUpdate, "X", 98)) // the book has moved to the other session
	p.do(1300, capture.Close, "a/1").say(1400, "a/2", bookOf(venue.BookUpdate, "X", 13)).say(1500, "a/2", trade("X", 3))
	m, got := p.run(t)
	expect(t, got, "book X-USD 10", "trade 1", "book X-USD 11", "trade 2", "book X-USD 12", "book X-USD 13", "trade 3")
	if f := m.Figures()[0]; f.Book.Snapshots != 2 || f.Book.Applied != 2 || !f.Valid {
		t.Errorf("%+v", f)
	}
	expect(t, p.asked)
}

// The session that the book follows ends before the next one sent its snapshot: that is a loss of the book alone.
func TestRenewalWithoutASnapshot(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", bookOf(venue.BookSnapshot, "X", 10)).say(20, "a/1", trade("X", 1))
	p.do(1000, capture.Connect, "a/2").say(1010, "a/2", trade("X", 2)).do(1100, capture.Close, "a/1")
	p.say(1200, "a/2", bookOf(venue.BookUpdate, "X", 99)).say(1300, "a/2", bookOf(venue.BookSnapshot, "X", 11))
	m, got := p.run(t)
	expect(t, got, "book X-USD 10", "trade 1", "trade 2", "gap X-USD book disconnect ?", "book X-USD 11")
	expect(t, p.asked, "a X")
	if !m.Figures()[0].Valid {
		t.Error("the book is not valid after its snapshot")
	}
}

// A number that is missing on one of two sessions taints no book that follows the other.
func TestMissingNumberBesideTheBook(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", numbered(bookOf(venue.BookSnapshot, "X", 10), 0))
	p.do(100, capture.Connect, "a/2").say(110, "a/2", numbered(venue.Event{Kind: venue.Note}, 0)).say(120, "a/2", numbered(venue.Event{Kind: venue.Note}, 7))
	m, got := p.run(t)
	if expect(t, got, "book X-USD 10"); !m.Figures()[0].Valid {
		t.Error("the book was given up")
	}
}

// A checksum that fails is one gap and one request; the request is made again when nothing comes, and other books go on.
func TestChecksumFails(t *testing.T) {
	p := newPlay()
	p.rules = venue.BookRules{Checksum: func(b *book.Book) uint32 { return uint32(b.Bid(0).Price.Mantissa) }}
	sum := func(e venue.Event, n uint32) venue.Event {
		e.Checksum, e.HasChecksum = n, true
		return e
	}
	p.do(0, capture.Connect, "a/1")
	p.say(10, "a/1", sum(bookOf(venue.BookSnapshot, "X", 10), 10)).say(11, "a/1", sum(bookOf(venue.BookSnapshot, "Y", 20), 20))
	p.say(200, "a/1", sum(bookOf(venue.BookUpdate, "X", 12), 11)).say(210, "a/1", sum(bookOf(venue.BookUpdate, "X", 13), 13))
	p.say(300, "a/1", sum(bookOf(venue.BookUpdate, "Y", 21), 21))
	p.say(12_500, "a/1", sum(bookOf(venue.BookUpdate, "Y", 22), 22))
	p.say(12_600, "a/1", sum(bookOf(venue.BookSnapshot, "X", 14), 14))
	m, got := p.run(t)
	expect(t, got, "book X-USD 10", "book Y-USD 20", "gap X-USD book checksum ?", "book Y-USD 21", "book Y-USD 22", "book X-USD 14")
	expect(t, p.asked, "a X", "a X")
	totals := venuetest.Measure(m, &sourcetest.Memory{})
	if totals.Mismatched != 1 || totals.Early != 1 || totals.Checked != 6 {
		t.Errorf("%+v, want one mismatch of six and one update too early", totals)
	}
}

// A heartbeat names the last trade. One that has not come by the next heartbeat is lost, and is named once.
func TestHeartbeat(t *testing.T) {
	beat := func(id uint64) venue.Event {
		return venue.Event{Kind: venue.Heartbeat, Symbol: []byte("X"), Number: id}
	}
	p := newPlay().do(0, capture.Connect, "a/1").say(5, "a/1", beat(3))                                    // before any trade it says nothing
	p.say(10, "a/1", trade("X", 5)).say(1000, "a/1", beat(6)).again("a/1").say(1010, "a/1", trade("X", 6)) // overtaken
	p.say(2000, "a/1", beat(6)).say(3000, "a/1", beat(8)).say(4000, "a/1", beat(8)).say(5000, "a/1", beat(8))
	p.say(5100, "a/1", trade("X", 9)).say(5200, "a/1", trade("X", 7)).again("a/1")
	_, got := p.run(t)
	expect(t, got, "trade 5", "trade 6", "gap X-USD trades sequence 2", "trade 9", "trade 7")
}

// States are published when they change: of the venue as a whole, and of the instruments that are followed.
func TestStatus(t *testing.T) {
	of := func(symbol, state string) venue.Event {
		return venue.Event{Kind: venue.Status, Symbol: []byte(symbol), State: state, Detail: []byte(state)}
	}
	all := venue.Event{Kind: venue.Status, Scope: "all", State: "online"}
	p := newPlay().do(0, capture.Connect, "a/1").say(5, "a/1", all).say(6, "a/1", of("X", "online")).say(10, "a/1", trade("X", 1))
	p.say(20, "a/1", of("X", "online"), of("Y", "down")).say(30, "a/1", of("X", "online"), all).say(40, "a/1", of("X", "degraded"))
	m, got := p.run(t)
	expect(t, got, "status all online ()", "trade 1", "status X-USD online (X)", "status X-USD degraded (X)")
	if unknown, rejected := m.Core().Counts(); unknown != 0 || rejected != 0 {
		t.Errorf("%d unknown, %d rejected", unknown, rejected)
	}
}

// A gap that a trade's number shows is blamed on what was lost before.
func TestCauseOfMissingTrades(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", trade("X", 1)).say(20, "a/1", trade("X", 3))
	p.do(30, capture.Close, "a/1").do(40, capture.Connect, "a/2").say(50, "a/2", trade("X", 6))
	_, got := p.run(t)
	expect(t, got, "trade 1", "gap X-USD trades sequence 1", "trade 3", "gap X-USD trades disconnect ?", "gap X-USD trades disconnect 2", "trade 6")
}

// A decoder that panics costs the frame.
func TestDecoderPanics(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", trade("X", 1))
	p.frames = append(p.frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at(20), Data: []byte("panic")})
	p.say(30, "a/1", trade("X", 2))
	m, got := p.run(t)
	expect(t, got, "trade 1", "gap X-USD trades undecodable ?", "trade 2")
	if _, rejected := m.Core().Counts(); rejected != 1 {
		t.Errorf("%d rejected, want 1", rejected)
	}
}

// raw is a message that the decoder gets as it is.
func (p *play) raw(ms int, conn, text string) *play {
	p.frames = append(p.frames, capture.Frame{Kind: capture.Receive, Conn: conn, At: at(ms), Data: []byte(text)})
	return p
}

// A message that cannot be read tells a loss on the streams that it may have been of, once until one of them goes on; a book
// is invalid and asked for again. The control is a message of a kind that no stream loses.
func TestUndecodableIsALoss(t *testing.T) {
	for _, c := range []struct {
		torn string
		want []string
	}{
		{"torn trade X", []string{"gap X-USD trades undecodable ?"}},
		{"torn trade", []string{"gap X-USD trades undecodable ?", "gap Y-USD trades undecodable ?"}},
		{"torn book X", []string{"gap X-USD book undecodable ?"}},
		{"torn unknown X", []string{"gap X-USD book undecodable ?", "gap X-USD trades undecodable ?"}},
		{"panic X", []string{"gap X-USD book undecodable ?", "gap X-USD trades undecodable ?"}},
		{"torn trade X-Y", []string{"gap X-USD trades undecodable ?", "gap Y-USD trades undecodable ?"}}, // a symbol that is not followed
		{"torn bar X", nil},
	} {
		t.Run(c.torn, func(t *testing.T) {
			p := newPlay().do(0, capture.Connect, "a/1").do(0, capture.Connect, "b/1")
			p.say(10, "a/1", trade("X", 1), bookOf(venue.BookSnapshot, "X", 5), trade("Y", 1)).say(10, "b/1", trade("Z", 1))
			p.raw(20, "a/1", c.torn).raw(30, "a/1", c.torn).say(1500, "a/1", trade("X", 2))
			m, said := p.run(t)
			var gaps []string
			for _, s := range said {
				if strings.HasPrefix(s, "gap") {
					gaps = append(gaps, s)
				}
			}
			expect(t, gaps, c.want...)
			torn := slices.Contains(c.want, "gap X-USD book undecodable ?")
			if valid := m.Figures()[0].Valid; valid == torn || (len(p.asked) > 0) != torn {
				t.Errorf("the book is valid: %v, asked for %q", valid, p.asked)
			}
			if _, rejected := m.Core().Counts(); rejected != 2 {
				t.Errorf("%d rejected, want 2", rejected)
			}
		})
	}
}

// The number that an undecodable message has on its connection has come: only the stream that it was of lost something.
func TestUndecodableKeepsItsNumber(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1")
	p.say(10, "a/1", numbered(trade("X", 1), 0)).say(20, "a/1", numbered(trade("Y", 1), 1)).raw(30, "a/1", "torn 2 X").say(40, "a/1", numbered(trade("Y", 2), 3))
	_, said := p.run(t)
	expect(t, said, "trade 1", "trade 1", "gap X-USD trades undecodable ?", "trade 2")
}

// Contiguous trades with a text for an id are named by it and proved by their number.
func TestContiguousTradesWithTextIDs(t *testing.T) {
	named := func(id string, n uint64) venue.Event {
		e := trade("BTC", n)
		e.ID = []byte(id)
		return e
	}
	p := newPlay().do(0, capture.Connect, "a/1")
	p.say(100, "a/1", named("x", 7)).again("a/1").say(200, "a/1", named("y", 8)).say(300, "a/1", named("z", 11))
	_, said := p.run(t)
	expect(t, said, "trade x", "trade y", "gap BTC-USD trades sequence 2", "trade z")
}

// A quote without quantities has none in the record, and the next one with quantities has its own.
func TestUnsizedQuote(t *testing.T) {
	one, two := venue.Number{Mantissa: 1}, venue.Number{Mantissa: 2}
	quote := venue.Event{Kind: venue.Quote, Symbol: []byte("BTC"), Price: one, AskPrice: two, Quantity: two, AskQuantity: one}
	bare := venue.Event{Kind: venue.Quote, Symbol: []byte("BTC"), Price: one, AskPrice: two, Unsized: true}
	p := newPlay().do(0, capture.Connect, "a/1")
	p.say(100, "a/1", quote).say(200, "a/1", bare).say(300, "a/1", quote)
	p.run(t)
	var got []string
	for _, q := range p.quotes {
		got = append(got, q.BidQuantity.Text()+" "+q.AskQuantity.Text())
	}
	if p.quotes[1].BidQuantity != nil || p.quotes[1].AskQuantity != nil {
		t.Errorf("the quote without quantities has %v", got[1])
	}
	if got[0] != "2 1" || got[2] != "2 1" {
		t.Errorf("quantities %q, want 2 1 of the first and the last", got)
	}
}

// What the other sources of the process receive is told by frames, so that a capture plays back to the same health: from the
// second after they say so, this source's silence is the venue's and not ours.
func TestPeersAreToldByFrames(t *testing.T) {
	p := newPlay().do(0, capture.Connect, "a/1").say(10, "a/1", trade("X", 1)).say(3000, "a/1", trade("X", 2))
	p.frames = append(p.frames, capture.Frame{Kind: capture.Peers, Conn: "a", At: at(3100), Data: []byte("1")})
	p.say(6000, "a/1", trade("X", 3))
	p.frames = append(p.frames, capture.Frame{Kind: capture.Peers, Conn: "a", At: at(6100), Data: []byte("0")})
	p.say(9000, "a/1", trade("X", 4))
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, p.spec(), out)
	venuetest.Run(t, m, p.frames)
	var told []bool
	for _, h := range sourcetest.Of[*schemas.FeedHealth](out) {
		if n := len(told); n == 0 || told[n-1] != h.OthersAlive {
			told = append(told, h.OthersAlive)
		}
	}
	if fmt.Sprint(told) != "[false true false]" {
		t.Errorf("others alive: %v, want no, yes, no", told)
	}
}
