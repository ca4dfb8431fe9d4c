package deribit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

func TestLossOfOneChange(t *testing.T) {
	changes := 0
	for i, f := range venuetest.Read(t, file.File) {
		if f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"book.BTC-24SEP21-8000-P.raw","data":{"type":"change"`)) {
			if changes++; changes == 2 {
				venuetest.Loss(t, file, i, "BTC-USD-PUT-20210924-8000", "BTC-24SEP21-8000-P")
				return
			}
		}
	}
	t.Fatal("the recording has no second change of that book")
}

const began = schemas.Time(1_590_484_500_000_000_000)

// script writes frames: one a tenth of a second, on one connection.
type script struct{ frames []capture.Frame }

func (s *script) add(kind capture.Kind, url, data string) {
	at := began.Add(time.Duration(len(s.frames)) * 100 * time.Millisecond)
	s.frames = append(s.frames, capture.Frame{Kind: kind, Conn: "a/1", At: at, URL: url, Data: []byte(strings.ReplaceAll(data, "NOW", strconv.FormatInt(int64(at)/1e6, 10)))})
}

func (s *script) say(channel, data string) { s.add(capture.Receive, "", of(channel, data)) }

func (s *script) trade(number int, extra string) {
	s.say("trades.BTC-PERPETUAL.100ms", fmt.Sprintf(`[{"trade_seq":%d,"trade_id":"x%d","timestamp":NOW,"price":8000.0,"instrument_name":"BTC-PERPETUAL","direction":"sell","amount":20%s}]`, number, number, extra))
}

func (s *script) book(kind string, id, prev int) {
	s.say("book.BTC-PERPETUAL.100ms", fmt.Sprintf(`{"type":%q,"timestamp":NOW,"instrument_name":"BTC-PERPETUAL","change_id":%d,"prev_change_id":%d,"bids":[["new",8000,%d]],"asks":[["new",8001,400]]}`, kind, id, prev, id))
}

const listing = `{"result":[{"kind":"future","quote_currency":"USD","contract_size":10.0,"instrument_name":"BTC-PERPETUAL"}]}`

// An inverse contract counts dollars: records have coins. A trade whose number is missing is a gap; one that closed
// positions by force gives a Liquidation of each.
func TestTrades(t *testing.T) {
	var s script
	s.add(capture.Connect, streamURL, "")
	s.trade(7, "") // before the listing nobody knows what it counts
	s.add(capture.HTTP, restURL+"/api/v2/public/get_instruments?currency=BTC", listing)
	s.trade(8, "")
	s.trade(8, "")
	s.trade(11, `,"liquidation":"MT"`)
	m, out := venuetest.Fed(t, spec(), s.frames)
	trades, gaps, forced := sourcetest.Of[*schemas.Trade](out), sourcetest.Of[*schemas.Gap](out), sourcetest.Of[*schemas.Liquidation](out)
	if len(trades) != 2 || trades[0].Meta.Id != "x8" || trades[0].Quantity.Text() != "0.0025000000" || trades[1].Meta.Sequence != 11 {
		t.Errorf("trades %v, want x8 and x11 of 0.0025 BTC", trades)
	}
	if len(gaps) != 1 || gaps[0].Missing == nil || *gaps[0].Missing != 2 {
		t.Errorf("gaps %v, want one of two trades", gaps)
	}
	if len(forced) != 2 || forced[0].PositionSide != schemas.Side_SIDE_BUY || forced[1].PositionSide != schemas.Side_SIDE_SELL || !forced[0].Complete ||
		forced[0].Quantity.Text() != "0.0025000000" || forced[0].Meta.Id == forced[1].Meta.Id {
		t.Errorf("liquidations %v, want a long and a short", forced)
	}
	if got := venuetest.Measure(m, out); got.Rejected != 1 || got.Duplicates != 1 {
		t.Errorf("%d rejected, %d duplicates, want one of each", got.Rejected, got.Duplicates)
	}
}

// After a loss the snapshot that a new subscription brings makes the book valid again.
func TestBookRecovers(t *testing.T) {
	var s script
	s.add(capture.Connect, streamURL, "")
	s.add(capture.HTTP, restURL+"/api/v2/public/get_instruments?currency=BTC", listing)
	s.book("snapshot", 10, 0)
	s.book("change", 14, 10)
	s.book("change", 30, 22)
	s.book("change", 31, 30)
	s.book("snapshot", 40, 0)
	s.book("change", 42, 40)
	m, out := venuetest.Fed(t, spec(), s.frames)
	got := venuetest.Measure(m, out)
	if got.Gaps != 1 || got.Snapshots != 2 || got.Applied != 2 || got.Early != 1 || !m.Figures()[0].Valid {
		t.Errorf("%+v, want one gap, two snapshots, two changes applied, one too early, and a valid book", got)
	}
	books := sourcetest.Of[*schemas.BookSnapshot](out)
	if last := books[len(books)-1]; last.Meta.Sequence != 42 || last.Bids[0].Quantity.Text() != "0.0052500000" {
		t.Errorf("the last book is %v, want number 42 with a bid of 42 dollars", last)
	}
}

func TestConfigErrors(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"deribit.symbols is empty": func(c *Config) { c.Symbols = nil },
		"cannot be mapped":         func(c *Config) { c.Symbols = []string{"BTC-PERPETUAL"} },
		"deribit.channels has":     func(c *Config) { c.Channels = []string{"liquidations"} },
		"deribit.channels is":      func(c *Config) { c.Channels = []string{venue.Options} },
		"deribit.book_depth":       func(c *Config) { c.BookDepth = 0 },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

// What goes out: subscriptions in parts, those of inverse contracts apart, the lists of inverse contracts once for each base, a resubscription for a book. The
// requests name the streams that are expected.
func TestRequests(t *testing.T) {
	c := Defaults()
	c.Symbols = []string{"BTC-USD-PERP", "BTC-USD-FUT-20210924", "ETH-USD-CALL-20210730-2800", "SOL-USDC-PERP"}
	c.Channels, c.StreamsPerConn = []string{venue.Book, venue.Marks, venue.Options, venue.State}, 5
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if len(s.Connections) == 2 && (s.Connections[0].Counts || !s.Connections[1].Counts || !s.Gets[0].Lists) {
		t.Error("the connection of inverse contracts, and it alone, waits for their list")
	}
	for _, conn := range s.Connections {
		got = append(got, conn.URL+" "+string(conn.Send[0]))
	}
	for _, g := range s.Gets {
		got = append(got, g.URL)
	}
	for _, r := range s.Recover("BTC-PERPETUAL").Send {
		got = append(got, string(r))
	}
	want := []string{
		`wss://www.deribit.com/ws/api/v2 {"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["book.ETH-30JUL21-2800-C.100ms","ticker.ETH-30JUL21-2800-C.100ms","book.SOL_USDC-PERPETUAL.100ms","ticker.SOL_USDC-PERPETUAL.100ms","platform_state"]}}`,
		`wss://www.deribit.com/ws/api/v2 {"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms","ticker.BTC-PERPETUAL.100ms","book.BTC-24SEP21.100ms","ticker.BTC-24SEP21.100ms"]}}`,
		`https://www.deribit.com/api/v2/public/get_instruments?currency=BTC&kind=future&expired=false`,
		`{"jsonrpc":"2.0","id":1,"method":"public/unsubscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}`,
		`{"jsonrpc":"2.0","id":1,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms"]}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if ping := string(s.Connections[0].Ping); ping != `{"jsonrpc":"2.0","id":1,"method":"public/test","params":{}}` || s.Connections[0].PingEvery != 20*time.Second {
		t.Errorf("ping %s every %v", ping, s.Connections[0].PingEvery)
	}
	var expected []venue.Stream
	for _, conn := range s.Connections {
		expected = append(expected, s.Streams(capture.Frame{Kind: capture.Send, Data: conn.Send[0]})...)
	}
	streams := []venue.Stream{
		{Symbol: "ETH-30JUL21-2800-C", Channel: venue.Book},
		{Symbol: "ETH-30JUL21-2800-C", Channel: venue.Options},
		{Symbol: "SOL_USDC-PERPETUAL", Channel: venue.Book},
		{Symbol: "SOL_USDC-PERPETUAL", Channel: venue.Marks},
		{Symbol: "BTC-PERPETUAL", Channel: venue.Book},
		{Symbol: "BTC-PERPETUAL", Channel: venue.Marks},
		{Symbol: "BTC-24SEP21", Channel: venue.Book},
		{Symbol: "BTC-24SEP21", Channel: venue.Marks},
	}
	if diff := cmp.Diff(streams, expected); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	if !s.IsData([]byte(of("quote.X", "{}"))) || s.IsData([]byte(`{"jsonrpc":"2.0","id":1,"result":{"version":"1.2.26"}}`)) {
		t.Error("data and answers are not told apart")
	}
}

func BenchmarkTrades(b *testing.B) {
	var s script
	s.add(capture.Connect, streamURL, "")
	s.add(capture.HTTP, restURL+"/api/v2/public/get_instruments?currency=BTC", listing)
	for i := range 20_000 {
		s.trade(1+i, `,"tick_direction":2,"mark_price":8000.89,"index_price":8000.88,"contracts":2.0`)
	}
	venuetest.Benchmark(b, spec(), s.frames)
}
