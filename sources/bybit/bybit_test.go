package bybit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

const file = "cryptofeed-v3/BYBIT.jsonl.zst"

// spec is the market without any symbol: it takes what comes.
func spec(market string) *venue.Spec {
	c := Defaults()
	c.Market, c.Symbols = market, nil
	s, err := c.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// The recording holds both markets, each on a connection of its own. Together they give INGEST's counts: 6 snapshots and
// 2,142 deltas without a gap in u, 347 trades in 120 messages, 100 bars in 96 messages, 839 tickers of which the 81 of the
// spot market have nothing that is read (cryptofeed counts funding, index and open interest for each of the other 758,
// filling in what is absent; here a record is published when the message carries the value).
func TestRecordingGivesKnownCounts(t *testing.T) {
	totals := func(market string) venuetest.Totals {
		m, out := venuetest.Play(t, venuetest.Recording{File: file, Spec: spec(market)})
		for _, e := range out.Late() {
			t.Logf("%s: late: %s %s %v", market, e.Type, e.Key, schemas.TimeOf(e.Message))
		}
		return venuetest.Measure(m, out)
	}
	linear, spot := totals(Linear), totals(Spot)
	if n := linear.Applied + spot.Applied; n != 2142 {
		t.Errorf("%d deltas applied, want 2142", n)
	}
	if n := linear.Snapshots + spot.Snapshots; n != 6 {
		t.Errorf("%d snapshots, want 6", n)
	}
	if n := linear.Trades + spot.Trades; n != 347 {
		t.Errorf("%d trades, want 347", n)
	}
	if n := linear.Bars + spot.Bars; n != 100 {
		t.Errorf("%d bars, want 100", n)
	}
	for _, g := range []venuetest.Totals{linear, spot} {
		if g.Gaps+g.Lost+g.Crossed+g.Duplicates+g.Unknown+g.Rejected+g.Early+g.Late != 0 {
			t.Errorf("losses or refusals where there are none: %+v", g)
		}
	}
	// What the messages carry, by a scan of their text.
	count := func(field string) (n int) {
		for _, f := range venuetest.Read(t, file) {
			if f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"topic":"tickers.`)) && bytes.Contains(f.Data, []byte(`"`+field+`":"`)) {
				n++
			}
		}
		return n
	}
	if n := count("fundingRate"); linear.Funding != n {
		t.Errorf("%d funding rates, want %d", linear.Funding, n)
	}
	if n := count("openInterest"); linear.Interest != n {
		t.Errorf("%d open interests, want %d", linear.Interest, n)
	}
	if n := count("markPrice"); linear.Marks < n {
		t.Errorf("%d marks, want at least the %d messages with a mark price", linear.Marks, n)
	}
}

// Liquidations have no ids: those of one message that are alike are as many as there are, and the message that comes twice, while a
// connection is renewed, is one.
func TestLiquidationsThatAreAlike(t *testing.T) {
	at := schemas.Time(1739502303210) * 1_000_000
	one, other := `{"T":1739502302929,"s":"ROSEUSDT","S":"Buy","v":"20000","p":"0.04499"}`, `{"T":1739502302929,"s":"ROSEUSDT","S":"Buy","v":"100","p":"0.04499"}`
	f := capture.Frame{
		Kind: capture.Receive, Conn: "a/1", At: at,
		Data: []byte(`{"topic":"allLiquidation.ROSEUSDT","type":"snapshot","ts":1739502303204,"data":[` + one + `,` + other + `,` + one + `]}`),
	}
	_, out := venuetest.Fed(t, spec(Linear), []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: at, URL: address + Linear}, f, f})
	var got []string
	for _, l := range sourcetest.Of[*schemas.Liquidation](out) {
		got = append(got, l.Quantity.Text())
	}
	if !slices.Equal(got, []string{"20000", "100", "20000"}) {
		t.Errorf("quantities %q, want those of three liquidations", got)
	}
}

func TestLaws(t *testing.T) {
	testservices.Study(t)
	for _, market := range []string{Linear, Spot} {
		venuetest.Laws(t, venuetest.Recording{File: file, Spec: spec(market)})
	}
}

// A delta that is missing is one Gap; the book is invalid until the snapshot of the new subscription; other symbols go on.
func TestDroppedDeltaIsOneGap(t *testing.T) {
	frames := venuetest.Read(t, file)
	isDelta := func(f capture.Frame) bool {
		return f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"topic":"orderbook.200.ETHUSDT"`)) && bytes.Contains(f.Data, []byte(`"delta"`)) && f.Conn == "BYBIT.ws.2"
	}
	at, n := 0, 0
	for i, f := range frames {
		if isDelta(f) {
			if n++; n == 100 {
				at = i
			}
		}
	}
	var asked []string
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, spec(Linear), out, venue.Hands{Recover: func(slot, v string) { asked = append(asked, slot+" "+v) }})
	venuetest.Run(t, m, slices.Delete(slices.Clone(frames), at, at+1))
	gaps := sourcetest.Of[*schemas.Gap](out)
	if len(gaps) != 1 || gaps[0].Meta.Symbol != "ETH-USDT-PERP" || gaps[0].Channel != "book" || gaps[0].Cause != "sequence" {
		t.Errorf("gaps %v, want one of the book of ETH-USDT-PERP", gaps)
	}
	// Asked at the loss, and again every 10 s while no snapshot comes.
	if len(asked) < 2 || asked[0] != "BYBIT.ws.2 ETHUSDT" {
		t.Errorf("asked for %v, want the book of ETHUSDT on its connection, again and again", asked)
	}
	whole, _ := venuetest.Play(t, venuetest.Recording{File: file, Spec: spec(Linear)})
	for i, f := range m.Figures() {
		if f.Symbol == "ETH-USDT-PERP" {
			if f.Valid {
				t.Error("the broken book is valid")
			}
			continue
		}
		if f.Book != whole.Figures()[i].Book {
			t.Errorf("%s: %+v, want it untouched: %+v", f.Symbol, f.Book, whole.Figures()[i].Book)
		}
	}
}

func number(t *testing.T, text string) venue.Number {
	t.Helper()
	d, err := schemas.ParseDecimal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return venue.Number{Mantissa: d.Mantissa, Exponent: d.Exponent}
}

// Payloads as in https://bybit-exchange.github.io/docs/v5/websocket/public/{trade,orderbook,ticker,all-liquidation}.
func TestDecode(t *testing.T) {
	const ms = schemas.Time(time.Millisecond)
	n := func(text string) venue.Number { return number(t, text) }
	some := func(text string) venue.Optional { return venue.Some(n(text)) }
	for _, c := range []struct {
		name, raw string
		want      venue.Event
	}{
		{
			"trade", `{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false}]}`,
			venue.Event{
				Kind: venue.Trade, Symbol: []byte("BTCUSDT"), Sent: 1672304486868 * ms, At: 1672304486865 * ms, ID: []byte("20f43950-d8dd-5b31-9112-a178eb6023af"),
				Price: n("16578.50"), Quantity: n("0.001"), Side: schemas.Side_SIDE_BUY,
			},
		},
		{
			"ticker delta", `{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"17217.33","openInterest":"68744.761","nextFundingTime":"1673280000000","fundingRate":"-0.000212","fundingIntervalHour":"8"},"cs":24987956059,"ts":1673272861686}`,
			venue.Event{
				Kind: venue.Derivative, Symbol: []byte("BTCUSDT"), Sent: 1673272861686 * ms, At: 1673272861686 * ms, Number: 24987956059, Mark: some("17217.33"),
				OpenInterest: some("68744.761"), Rate: some("-0.000212"), Next: 1673280000000 * ms, Interval: 28800, Unit: schemas.QuantityUnit_QUANTITY_UNIT_BASE,
			},
		},
		{
			"a long is liquidated: S is the side of the position", `{"topic":"allLiquidation.ROSEUSDT","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"ROSEUSDT","S":"Buy","v":"20000","p":"0.04499"}]}`,
			venue.Event{
				Kind: venue.Liquidation, Symbol: []byte("ROSEUSDT"), Sent: 1739502303204 * ms, At: 1739502302929 * ms, Price: n("0.04499"), Quantity: n("20000"), Side: schemas.Side_SIDE_SELL,
			},
		},
		{
			"first level", `{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":1672304484976}`,
			venue.Event{
				Kind: venue.Quote, Symbol: []byte("BTCUSDT"), Sent: 1672304484978 * ms, At: 1672304484976 * ms, Number: 18521288,
				Price: n("16493.50"), Quantity: n("0.006"), AskPrice: n("16611.00"), AskQuantity: n("0.029"),
			},
		},
		{
			"two hundred levels", `{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[],"u":18521288,"seq":7961638724},"cts":1672304484976}`,
			venue.Event{Kind: venue.BookUpdate, Symbol: []byte("BTCUSDT"), Sent: 1672304484978 * ms, At: 1672304484976 * ms, Last: 18521288, Depth: 200},
		},
		{"subscribed", `{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}`, venue.Event{Kind: venue.Note}},
		{"refused", `{"success":false,"ret_msg":"error:handler not found","conn_id":"x","op":"subscribe"}`, venue.Event{Kind: venue.Refusal, Detail: []byte("error:handler not found")}},
		{"pong", `{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"","op":"ping"}`, venue.Event{Kind: venue.Note}},
		{"unknown", `{"topic":"lt.X","data":{}}`, venue.Event{Kind: venue.Unknown, Detail: []byte("lt")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&decoder{}).Message([]byte(c.raw))
			if err != nil || len(got) != 1 {
				t.Fatalf("%d events, %v", len(got), err)
			}
			if diff := cmp.Diff(c.want, got[0], cmpopts.EquateEmpty(), cmpopts.IgnoreFields(venue.Event{}, "Bids", "Asks")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, c := range []struct{ raw, says string }{
		{`{"topic":"publicTrade.X"}`, "data"},
		{`{"topic":"publicTrade.X","data":{}}`, "not an array"},
		{`{"topic":"publicTrade.X","data":[{"T":1672304486865,"s":"X","S":"Up","v":"1","p":"1","i":"1"}]}`, "Buy or Sell"},
		{`{"topic":"orderbook.50.X","type":"other","data":{"s":"X","u":1,"b":[],"a":[]}}`, "snapshot or delta"},
		{`[]`, "array"},
	} {
		if _, err := (&decoder{}).Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", c.raw, err, c.says)
		}
	}
}

func TestSymbols(t *testing.T) {
	for _, c := range []struct {
		canonical, bybit string
		linear           bool
	}{
		{"BTC-USDT", "BTCUSDT", false},
		{"ETH-BTC", "ETHBTC", false},
		{"BTC-USDT-PERP", "BTCUSDT", true},
		{"BTC-USDC-PERP", "BTCPERP", true},
		{"1000PEPE-USDT-PERP", "1000PEPEUSDT", true},
	} {
		if got, err := venueSymbol(c.canonical, c.linear); err != nil || got != c.bybit {
			t.Errorf("%s at Bybit: %s, %v, want %s", c.canonical, got, err, c.bybit)
		}
		if got, err := canonical(c.bybit, c.linear); err != nil || got != c.canonical {
			t.Errorf("%s canonical: %s, %v, want %s", c.bybit, got, err, c.canonical)
		}
	}
	for _, v := range []string{"", "PERP", "BTCUSDT-26DEC25", "BTCUSD"} {
		if got, err := canonical(v, true); err == nil {
			t.Errorf("%q gives %s, want an error", v, got)
		}
	}
}

func TestConnections(t *testing.T) {
	c := LinearDefaults()
	c.Symbols, c.Channels = []string{"BTC-USDT-PERP"}, []string{venue.Trades, venue.Quotes, venue.Book, venue.Marks, venue.Liquidations}
	s, err := c.Spec()
	if err != nil || len(s.Connections) != 1 || s.Connections[0].URL != "wss://stream.bybit.com/v5/public/linear" {
		t.Fatalf("connections %v, %v", s.Connections, err)
	}
	want := `{"op":"subscribe","args":["publicTrade.BTCUSDT","orderbook.1.BTCUSDT","orderbook.200.BTCUSDT","tickers.BTCUSDT","allLiquidation.BTCUSDT"]}`
	if got := s.Connections[0].Send; len(got) != 1 || string(got[0]) != want {
		t.Errorf("requests %s, want %s", got, want)
	}
	named := map[string]bool{}
	for _, st := range streams(capture.Frame{Kind: capture.Send, Data: []byte(want)}) {
		named[st.Symbol+" "+st.Channel] = true
	}
	if len(named) != 5 || !named["BTCUSDT quotes"] || !named["BTCUSDT liquidations"] {
		t.Errorf("streams %v", named)
	}
	for says, change := range map[string]func(*Config){
		"bybit.market":     func(c *Config) { c.Market = "option" },
		"bybit.book_topic": func(c *Config) { c.BookTopic = 25 },
		"bybit.symbols":    func(c *Config) { c.Symbols = []string{"BTC-USDT"} },
		"bybit.channels":   func(c *Config) { c.Channels = []string{"options"} },
	} {
		c := LinearDefaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","i":"x"}]}`,
		`{"topic":"orderbook.200.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["1","2"]],"a":[["3","4"]],"u":1,"seq":2},"cts":1672304484976}`,
		`{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1672304484978,"data":{"s":"BTCUSDT","b":[],"a":[["3","0"]],"u":2},"cts":1672304484976}`,
		`{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","fundingRate":"-0.000212","fundingIntervalHour":"8"},"cs":1,"ts":1673272861686}`,
		`{"topic":"allLiquidation.X","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"XUSDT","S":"Buy","v":"2","p":"0.04"}]}`,
		`{"op":"subscribe","args":["publicTrade.BTCUSDT"]}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		venuetest.Fuzz(t, spec(Linear), raw)
		venuetest.Fuzz(t, spec(Spot), raw)
	})
}

func BenchmarkTrades(b *testing.B) {
	var frames []capture.Frame
	for _, f := range venuetest.Read(b, file) {
		if f.Kind == capture.Connect || f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"topic":"publicTrade`)) {
			frames = append(frames, f)
		}
	}
	// The recording over and over, with other ids: its messages alone would measure how a machine is made. They have three trades each.
	var many []capture.Frame
	for i := range 100 {
		for _, f := range frames {
			if f.Kind == capture.Receive {
				f.Data = bytes.ReplaceAll(f.Data, []byte(`"i":"`), fmt.Appendf(nil, `"i":"%d-`, i))
			}
			if i == 0 || f.Kind == capture.Receive {
				many = append(many, f)
			}
		}
	}
	b.Run("recorded", func(b *testing.B) { venuetest.Benchmark(b, spec(Linear), many) })
	single := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: 1_786_310_818_000_000_000, URL: "wss://stream.bybit.com/v5/public/linear"}}
	for i := range 20_000 {
		ms := 1_786_310_818_000 + i
		single = append(single, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: schemas.Time(ms) * 1_000_000, Data: fmt.Appendf(nil,
			`{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":%[1]d,"data":[{"T":%[1]d,"s":"BTCUSDT","S":"Sell","v":"0.001","p":"65078.50","L":"ZeroMinusTick","i":"20f43950-d8dd-5b31-9112-%012[2]d","BT":false,"RPI":false,"seq":%[2]d}]}`, ms, i)})
	}
	b.Run("one each", func(b *testing.B) { venuetest.Benchmark(b, spec(Linear), single) })
}
