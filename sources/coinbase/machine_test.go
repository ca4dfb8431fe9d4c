package coinbase

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

const began = schemas.Time(1_700_000_000_000_000_000)

// script writes frames of Exchange; %s in a message is the time at which the venue made it, 20 ms ahead of its receipt.
type script []capture.Frame

func (s *script) at(ms int, kind capture.Kind, conn, data string) {
	at := began.Add(time.Duration(ms) * time.Millisecond)
	if strings.Contains(data, "%s") {
		data = fmt.Sprintf(data, at.Add(-20*time.Millisecond))
	}
	*s = append(*s, capture.Frame{Kind: kind, Conn: conn, At: at, Data: []byte(data)})
}

func (s *script) match(ms int, conn, kind string, id int) {
	s.at(ms, capture.Receive, conn, fmt.Sprintf(`{"type":%q,"trade_id":%d,"time":"%%s","product_id":"BTC-USD","size":"1","price":"400.23","side":"sell"}`, kind, id))
}

func (s *script) beat(ms int, conn string, id int) {
	s.at(ms, capture.Receive, conn, fmt.Sprintf(`{"type":"heartbeat","sequence":90,"last_trade_id":%d,"product_id":"BTC-USD","time":"%%s"}`, id))
}

// A session of Exchange: the match at subscription is old, a dropped match shows by the next id, or, when none follows, by
// the heartbeats; a book begins with its snapshot; states are those of what is followed.
func TestExchange(t *testing.T) {
	var s script
	c := ExchangeDefaults()
	s.at(0, capture.Connect, "a/1", "")
	s.at(1, capture.Send, "a/1", string(c.request("subscribe", []string{"BTC-USD"}, "matches", "ticker", "level2_batch", "status", "heartbeat")))
	s.match(30, "a/1", "last_match", 100)
	s.at(40, capture.Receive, "a/1", `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","1"]],"time":"%s"}`)
	s.at(50, capture.Receive, "a/1", `{"type":"snapshot","product_id":"BTC-USD","bids":[["400.22","0.45"]],"asks":[["400.23","0.57"]]}`)
	s.at(60, capture.Receive, "a/1", `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","400.22","0.00000000"],["buy","400.21","2"]],"time":"%s"}`)
	s.at(70, capture.Receive, "a/1", `{"type":"status","products":[{"id":"BTC-USD","status":"online"},{"id":"ETH-USD","status":"online"}]}`)
	s.beat(80, "a/1", 100)
	s.match(200, "a/1", "match", 101)
	s.match(300, "a/1", "match", 103)
	s.at(400, capture.Receive, "a/1", `{"type":"ticker","sequence":9,"product_id":"BTC-USD","best_bid":"400.21","best_bid_size":"2","best_ask":"400.23","best_ask_size":"0.57","time":"%s"}`)
	s.beat(1080, "a/1", 103)
	s.beat(2080, "a/1", 105)
	s.beat(3080, "a/1", 105)
	s.match(3200, "a/1", "match", 106)
	s.at(3300, capture.Receive, "a/1", `{"type":"status","products":[{"id":"BTC-USD","status":"online","cancel_only":true}]}`)

	m, out := venuetest.Fed(t, spec(Exchange), s)
	var got []string
	for _, e := range out.Entries() {
		switch r := e.Message.(type) {
		case *schemas.Trade:
			got = append(got, fmt.Sprintf("trade %s %s %d", r.Meta.Id, r.TakerSide, r.Meta.Flags))
		case *schemas.Gap:
			got = append(got, fmt.Sprintf("gap %s %s %d", r.Channel, r.Cause, r.GetMissing()))
		case *schemas.BookSnapshot:
			got = append(got, fmt.Sprintf("book %s %s", r.Bids[0].Price.Text(), r.Asks[0].Price.Text()))
		case *schemas.Quote:
			got = append(got, "quote "+r.Meta.Id)
		case *schemas.VenueStatus:
			got = append(got, fmt.Sprintf("status %s %s %s", r.Scope, r.State, r.Description))
		}
	}
	want := []string{
		"trade 100 SIDE_BUY 4", "status BTC-USD online online", "book 400.21 400.23", "trade 101 SIDE_BUY 0", "gap trades sequence 1", "trade 103 SIDE_BUY 0",
		"quote 9", "gap trades sequence 2", "trade 106 SIDE_BUY 0", "status BTC-USD degraded cancel_only",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f := m.Figures(); len(f) != 1 || f[0].Book.Early != 1 || f[0].Book.Applied != 1 {
		t.Errorf("figures %+v, want one instrument, its first update ahead of the snapshot", f)
	}
}

func TestSymbols(t *testing.T) {
	for _, s := range []string{"BTC-USD", "1INCH-EUR", "USDT-USDC", "EURC-USDC"} {
		if got, err := canonical(s); got != s || err != nil {
			t.Errorf("%s is %s, %v", s, got, err)
		}
		for _, market := range []string{Advanced, Exchange} {
			if got, err := venueSymbol(s, market); got != s || err != nil {
				t.Errorf("%s: %s is %s, %v", market, s, got, err)
			}
		}
	}
	for _, s := range []string{"BIT-26SEP25-CDE", "BTCUSD", "", "btc-usd", "BTC-"} {
		if _, err := canonical(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	if _, err := venueSymbol("BTC-USDC", Advanced); err == nil || !strings.Contains(err.Error(), "BTC-USD: name that") {
		t.Errorf("BTC-USDC has no data of its own: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"coinbase.market":           func(c *Config) { c.Market = "pro" },
		"coinbase.symbols: symbol":  func(c *Config) { c.Symbols = []string{"BTCUSD"} },
		"the order book of ETH-USD": func(c *Config) { c.Symbols = []string{"ETH-USDC"} },
		"coinbase.symbols is empty": func(c *Config) { c.Symbols = nil },
		"coinbase.channels":         func(c *Config) { c.Channels = []string{"marks"} },
		"coinbase.silence":          func(c *Config) { c.Silence = 0 },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	for _, c := range []Config{Defaults(), ExchangeDefaults()} {
		if s, err := venue.New(c, nil, sources.NewMetrics(nil)); err != nil || s.Name() != "coinbase."+c.Market {
			t.Errorf("defaults: %v, %v", s, err)
		}
	}
}

func TestRequests(t *testing.T) {
	texts := func(raw [][]byte) (out []string) {
		for _, r := range raw {
			out = append(out, string(r))
		}
		return out
	}
	for _, c := range []struct {
		config        Config
		url           string
		send, recover []string
	}{
		{
			Defaults(), "wss://advanced-trade-ws.coinbase.com",
			[]string{
				`{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"market_trades"}`, `{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"ticker"}`,
				`{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"level2"}`, `{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"status"}`,
				`{"type":"subscribe","channel":"heartbeats"}`,
			},
			[]string{`{"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"}`, `{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}`},
		},
		{
			ExchangeDefaults(), "wss://ws-feed.exchange.coinbase.com",
			[]string{`{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","ticker","level2_batch","status","heartbeat"]}`},
			[]string{`{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}`, `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}`},
		},
	} {
		s, err := c.config.Spec()
		if err != nil || len(s.Connections) != 1 || s.Connections[0].URL != c.url {
			t.Fatalf("connections %v, %v", s.Connections, err)
		}
		if diff := cmp.Diff(c.send, texts(s.Connections[0].Send)); diff != "" {
			t.Errorf("subscriptions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(c.recover, texts(s.Recover("BTC-USD").Send)); diff != "" {
			t.Errorf("recovery (-want +got):\n%s", diff)
		}
		var known []venue.Stream
		for _, raw := range s.Connections[0].Send {
			known = append(known, streams(capture.Frame{Kind: capture.Send, Data: raw})...)
		}
		for _, channel := range []string{venue.Trades, venue.Quotes, venue.Book} {
			for _, symbol := range []string{"BTC-USD", "ETH-USD"} {
				if !slices.Contains(known, venue.Stream{Symbol: symbol, Channel: channel}) {
					t.Errorf("%s of %s is not among the streams asked for: %v", channel, symbol, known)
				}
			}
		}
		if len(known) != 6 {
			t.Errorf("%d streams, want 6", len(known))
		}
		if got := streams(capture.Frame{Kind: capture.Send, Data: s.Recover("BTC-USD").Send[0]}); len(got) != 0 {
			t.Errorf("unsubscribing asks for %v", got)
		}
	}
	c := Defaults()
	c.Symbols, c.StreamsPerConn = []string{"A-USD", "B-USD", "C-USD"}, 8
	if s, err := c.Spec(); err != nil || len(s.Connections) != 2 {
		t.Errorf("connections %v, %v, want two of at most two symbols", s.Connections, err)
	}
	for raw, want := range map[string]bool{
		`{"channel":"l2_data","timestamp":"x"}`: true, `{"type":"match"}`: true, `{"channel":"heartbeats"}`: false, `{"type":"heartbeat"}`: false,
		`{"channel":"subscriptions"}`: false, `{"type":"error"}`: false, `{"type":"status"}`: false,
	} {
		if isData([]byte(raw)) != want {
			t.Errorf("%s: data %v, want %v", raw, !want, want)
		}
	}
}
