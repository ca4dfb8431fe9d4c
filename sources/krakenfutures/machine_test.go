package krakenfutures

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
		if f.Kind == capture.Receive && bytes.HasPrefix(f.Data, []byte(`{"feed":"book","product_id":"PI_ETHUSD"`)) {
			if changes++; changes == 100 {
				venuetest.Loss(t, file, i, "ETH-USD-PERP", "PI_ETHUSD")
				return
			}
		}
	}
	t.Fatal("the recording has no hundred changes of that book")
}

const began = schemas.Time(1_612_266_300_000_000_000)

// script writes frames: one a tenth of a second, on one connection.
type script struct{ frames []capture.Frame }

func (s *script) add(kind capture.Kind, url, data string) {
	at := began.Add(time.Duration(len(s.frames)) * 100 * time.Millisecond)
	s.frames = append(s.frames, capture.Frame{Kind: kind, Conn: "a/1", At: at, URL: url, Data: []byte(strings.ReplaceAll(data, "NOW", strconv.FormatInt(int64(at)/1e6, 10)))})
}

func tradeOf(number int, kind string) string {
	return fmt.Sprintf(`{"feed":"trade","product_id":"PI_XBTUSD","uid":"05af78ac-a774-478c-a50c-%012d","side":"sell","type":%q,"seq":%d,"time":NOW,"qty":20,"price":8000.0}`, number, kind, number)
}

const listing = `{"instruments":[{"symbol":"PI_XBTUSD","type":"futures_inverse","contractSize":1},{"symbol":"PF_XBTUSD","type":"flexible_futures","contractSize":1}]}`

func begin() *script {
	s := &script{}
	s.add(capture.Connect, streamURL, "")
	s.add(capture.HTTP, restURL+"/derivatives/api/v3/instruments", listing)
	return s
}

// An inverse contract counts dollars: records have coins. A trade whose number is missing is a gap; what a snapshot of old
// trades has of it is no gap, and is marked.
func TestTrades(t *testing.T) {
	s := begin()
	s.add(capture.Receive, "", tradeOf(8, "fill"))
	s.add(capture.Receive, "", tradeOf(11, "liquidation"))
	s.add(capture.Receive, "", `{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[`+tradeOf(13, "fill")+`,`+tradeOf(12, "fill")+`,`+tradeOf(11, "liquidation")+`]}`)
	s.add(capture.Receive, "", tradeOf(14, "fill"))
	m, out := venuetest.Fed(t, spec(), s.frames)
	var got []string
	for _, tr := range sourcetest.Of[*schemas.Trade](out) {
		got = append(got, fmt.Sprintf("%d %s %d", tr.Meta.Sequence, tr.Quantity.Text(), tr.Meta.Flags))
	}
	want := []string{"8 0.0025000000 0", "11 0.0025000000 0", "12 0.0025000000 4", "13 0.0025000000 4", "14 0.0025000000 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("number, quantity and flags (-want +got):\n%s", diff)
	}
	gaps, forced := sourcetest.Of[*schemas.Gap](out), sourcetest.Of[*schemas.Liquidation](out)
	if len(gaps) != 1 || gaps[0].Missing == nil || *gaps[0].Missing != 2 {
		t.Errorf("gaps %v, want one of two trades", gaps)
	}
	if len(forced) != 1 || forced[0].PositionSide != schemas.Side_SIDE_BUY || !forced[0].Complete || forced[0].Quantity.Text() != "0.0025000000" {
		t.Errorf("liquidations %v, want one of a long", forced)
	}
	if got := venuetest.Measure(m, out); got.Duplicates != 2 {
		t.Errorf("%d duplicates, want the trade and its liquidation", got.Duplicates)
	}
}

func TestMarks(t *testing.T) {
	s := begin()
	s.add(capture.Receive, "", inverseTicker)
	s.add(capture.Receive, "", strings.NewReplacer("1790359997224", "NOW", "1790362800000", "0").Replace(linearTicker))
	_, out := venuetest.Fed(t, spec(), s.frames)
	var got []string
	for _, r := range sourcetest.Of[*schemas.Funding](out) {
		got = append(got, fmt.Sprintf("%s rate %s in %d s, next %d", r.Meta.Symbol, r.Rate.Text(), r.IntervalSeconds, r.NextTime/1e6))
	}
	for _, r := range sourcetest.Of[*schemas.OpenInterest](out) {
		got = append(got, fmt.Sprintf("%s interest %s %s x %s", r.Meta.Symbol, r.Quantity.Text(), r.Unit, r.Multiplier.Text()))
	}
	for _, r := range sourcetest.Of[*schemas.Quote](out) {
		got = append(got, fmt.Sprintf("%s bid %s of %s", r.Meta.Symbol, r.BidPrice.Text(), r.BidQuantity.Text()))
	}
	want := []string{
		"BTC-USD-PERP rate 0.000135046879166667 in 3600 s, next 1612281600000",
		"BTC-USD-LPERP rate 0 in 3600 s, next 0",
		"BTC-USD-PERP interest 107706940 QUANTITY_UNIT_QUOTE x ",
		"BTC-USD-LPERP interest 2189.7813 QUANTITY_UNIT_CONTRACT x 1",
		"BTC-USD-PERP bid 34832.5 of 1.2305748941",
		"BTC-USD-LPERP bid 84001.0 of 0.0273",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// After a loss the snapshot that a new subscription brings makes the book valid again.
func TestBookRecovers(t *testing.T) {
	s := begin()
	snapshot := func(seq int) {
		s.add(capture.Receive, "", fmt.Sprintf(`{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":NOW,"seq":%d,"bids":[{"price":8000,"qty":5}],"asks":[{"price":8001,"qty":5}]}`, seq))
	}
	change := func(seq int) {
		s.add(capture.Receive, "", fmt.Sprintf(`{"feed":"book","product_id":"PI_XBTUSD","side":"buy","seq":%d,"price":8000,"qty":%d,"timestamp":NOW}`, seq, seq))
	}
	snapshot(10)
	change(11)
	change(13)
	change(14)
	snapshot(41)
	change(42)
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
		"kraken_futures.symbols is empty":  func(c *Config) { c.Symbols = nil },
		"cannot be mapped":                 func(c *Config) { c.Symbols = []string{"PI_XBTUSD"} },
		"kraken_futures.channels has":      func(c *Config) { c.Channels = []string{"liquidations"} },
		"kraken_futures.channels is empty": func(c *Config) { c.Channels = nil },
		"kraken_futures.book_depth":        func(c *Config) { c.BookDepth = 0 },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

// What goes out: one request for each feed, a resubscription for a book. The requests name the streams that are expected.
func TestRequests(t *testing.T) {
	c := Defaults()
	c.Symbols, c.Channels, c.StreamsPerConn = []string{"BTC-USD-PERP", "BTC-USD-LPERP", "ETH-USD-FUT-20211231"}, []string{venue.Book, venue.Quotes, venue.Marks}, 4
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var expected []venue.Stream
	for _, conn := range s.Connections {
		if conn.PingEvery <= 0 || conn.PingEvery >= time.Minute || len(conn.Ping) > 0 {
			t.Errorf("ping %q every %v, want one of the protocol within a minute", conn.Ping, conn.PingEvery)
		}
		for _, request := range conn.Send {
			got = append(got, conn.URL+" "+string(request))
			expected = append(expected, s.Streams(capture.Frame{Kind: capture.Send, Data: request})...)
		}
	}
	for _, g := range s.Gets {
		got = append(got, g.URL)
	}
	for _, r := range s.Recover("PI_XBTUSD").Send {
		got = append(got, string(r))
	}
	want := []string{
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"heartbeat"}`,
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"book","product_ids":["PI_XBTUSD","PF_XBTUSD"]}`,
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"ticker","product_ids":["PI_XBTUSD","PF_XBTUSD"]}`,
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"heartbeat"}`,
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"book","product_ids":["FI_ETHUSD_211231"]}`,
		`wss://futures.kraken.com/ws/v1 {"event":"subscribe","feed":"ticker","product_ids":["FI_ETHUSD_211231"]}`,
		`https://futures.kraken.com/derivatives/api/v3/instruments`,
		`{"event":"unsubscribe","feed":"book","product_ids":["PI_XBTUSD"]}`,
		`{"event":"subscribe","feed":"book","product_ids":["PI_XBTUSD"]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	streams := []venue.Stream{
		{Symbol: "PI_XBTUSD", Channel: venue.Book},
		{Symbol: "PF_XBTUSD", Channel: venue.Book},
		{Symbol: "PI_XBTUSD", Channel: venue.Marks},
		{Symbol: "PI_XBTUSD", Channel: venue.Quotes},
		{Symbol: "PF_XBTUSD", Channel: venue.Marks},
		{Symbol: "PF_XBTUSD", Channel: venue.Quotes},
		{Symbol: "FI_ETHUSD_211231", Channel: venue.Book},
		{Symbol: "FI_ETHUSD_211231", Channel: venue.Marks},
		{Symbol: "FI_ETHUSD_211231", Channel: venue.Quotes},
	}
	if diff := cmp.Diff(streams, expected); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	for raw, want := range map[string]bool{
		trade: true, inverseTicker: true, `{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}`: false, `{"feed":"heartbeat","time":1}`: false,
	} {
		if s.IsData([]byte(raw)) != want {
			t.Errorf("%s is data: %v, want %v", raw, !want, want)
		}
	}
}

func BenchmarkTrades(b *testing.B) {
	s := begin()
	for i := range 20_000 {
		s.add(capture.Receive, "", tradeOf(1+i, "fill"))
	}
	venuetest.Benchmark(b, spec(), s.frames)
}

func BenchmarkPlayback(b *testing.B) {
	venuetest.Benchmark(b, spec(), venuetest.Read(b, file.File))
}
