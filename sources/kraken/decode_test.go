package kraken

import (
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// guide is the worked example of the venue's guide to the checksum of v2.
const guide = `{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":45283.5,"qty":0.10000000},` +
	`{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},` +
	`{"price":45279.0,"qty":0.07990000},{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},` +
	`{"price":45276.6,"qty":0.15445238}],"asks":[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},{"price":45286.6,"qty":1.54571109},` +
	`{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},{"price":45291.8,"qty":1.54553491},{"price":45294.7,"qty":0.04454749},` +
	`{"price":45296.1,"qty":0.35380000},{"price":45297.5,"qty":0.09945542},{"price":45299.5,"qty":0.18772827}],"checksum":3310070434}]}`

// The example and the text that the guide makes of it.
func TestChecksumOfTheGuide(t *testing.T) {
	const text = "45285210000045286415457195345286615457110945289615456091145290215890660452918154553491452947445474945296135380000452975994554245299518772827" +
		"452835100000004528341545820154528211000000045281010000000452803154592586452790799000045277633101034527753000000045277315460273745276615445238"
	var d decoder
	events, err := d.Message([]byte(guide))
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	var b book.Book
	if err := b.Replace(events[0].Bids, events[0].Asks); err != nil {
		t.Fatal(err)
	}
	if got := checksum(&b); got != 3310070434 || got != crc32.ChecksumIEEE([]byte(text)) || events[0].Checksum != got {
		t.Errorf("checksum %d, want 3310070434", got)
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

func TestDecode(t *testing.T) {
	n := func(text string) venue.Number { return number(t, text) }
	level := func(price, quantity string) book.Level { return book.Level{Price: n(price), Quantity: n(quantity)} }
	const at = schemas.Time(1_696_613_755_440_295_000)
	for _, c := range []struct {
		name, raw string
		want      []venue.Event
	}{
		{
			"book update", `{"channel":"book","type":"update","data":[{"symbol":"MATIC/USD","bids":[{"price":0.5657,"qty":1098.3947558}],"asks":[],"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
			[]venue.Event{{
				Kind: venue.BookUpdate, Symbol: []byte("MATIC/USD"), Sent: at, At: at, Bids: []book.Level{level("0.5657", "1098.3947558")},
				Depth: 25, Checksum: 2114181697, HasChecksum: true,
			}},
		},
		{
			"a level is removed, zeros are kept", `{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":105944.20,"qty":0},{"price":105944.30,"qty":0.01000000}],"checksum":1}]}`,
			[]venue.Event{{
				Kind: venue.BookUpdate, Symbol: []byte("BTC/USD"), Asks: []book.Level{level("105944.20", "0"), level("105944.30", "0.01000000")},
				Depth: 25, Checksum: 1, HasChecksum: true,
			}},
		},
		{
			"two trades", `{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"buy","price":0.5147,"qty":6423.46326,"ord_type":"limit","trade_id":4665846,"timestamp":"2023-10-06T17:35:55.440295Z"},` +
				`{"symbol":"MATIC/USD","side":"sell","price":0.5147,"qty":1136.19677815,"ord_type":"market","trade_id":4665847,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
			[]venue.Event{
				{Kind: venue.Trade, Symbol: []byte("MATIC/USD"), Sent: at, At: at, Number: 4665846, Price: n("0.5147"), Quantity: n("6423.46326"), Side: schemas.Side_SIDE_BUY},
				{Kind: venue.Trade, Symbol: []byte("MATIC/USD"), Sent: at, At: at, Number: 4665847, Price: n("0.5147"), Quantity: n("1136.19677815"), Side: schemas.Side_SIDE_SELL},
			},
		},
		{
			"trades of a snapshot are old, and put in order", `{"channel":"trade","type":"snapshot","data":[{"symbol":"X/USD","side":"buy","price":1,"qty":1,"trade_id":9,"timestamp":"2023-10-06T17:35:55.440295Z"},` +
				`{"symbol":"X/USD","side":"buy","price":1,"qty":1,"trade_id":8,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
			[]venue.Event{
				{Kind: venue.Trade, Symbol: []byte("X/USD"), Sent: at, At: at, Old: true, Number: 8, Price: n("1"), Quantity: n("1"), Side: schemas.Side_SIDE_BUY},
				{Kind: venue.Trade, Symbol: []byte("X/USD"), Sent: at, At: at, Old: true, Number: 9, Price: n("1"), Quantity: n("1"), Side: schemas.Side_SIDE_BUY},
			},
		},
		{
			"ticker without a time", `{"channel":"ticker","type":"snapshot","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185,"vwap":0.10148,"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17}]}`,
			[]venue.Event{{Kind: venue.Quote, Symbol: []byte("ALGO/USD"), Price: n("0.10025"), Quantity: n("740.0"), AskPrice: n("0.10036"), AskQuantity: n("1361.44813783")}},
		},
		{
			"ticker", `{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":3.2,"last":105899.40,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
			[]venue.Event{{Kind: venue.Quote, Symbol: []byte("BTC/USD"), Sent: at, At: at, Price: n("105944.20"), Quantity: n("2.5"), AskPrice: n("105944.30"), AskQuantity: n("3.2")}},
		},
		{
			"status at connection", `{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":12393906104898154338,"system":"online","version":"2.0.4"}]}`,
			[]venue.Event{{Kind: venue.Status, State: "online", Scope: "all", Detail: []byte("online")}},
		},
		{
			"cancel only", `{"channel":"status","type":"update","data":[{"system":"cancel_only"}]}`,
			[]venue.Event{{Kind: venue.Status, State: "degraded", Scope: "all", Detail: []byte("cancel_only")}},
		},
		{
			"instruments", `{"channel":"instrument","type":"snapshot","data":{"assets":[{"id":"USD","status":"enabled","precision":4}],"pairs":[` +
				`{"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"online","qty_precision":8,"price_precision":1},{"symbol":"X/USD","status":"work_in_progress"},{"symbol":"Y/USD","status":"delisted"}]}}`,
			[]venue.Event{
				{Kind: venue.Note},
				{Kind: venue.Status, Symbol: []byte("BTC/USD"), State: "online", Detail: []byte("online")},
				{Kind: venue.Status, Symbol: []byte("X/USD"), State: "maintenance", Detail: []byte("work_in_progress")},
				{Kind: venue.Status, Symbol: []byte("Y/USD"), State: "down", Detail: []byte("delisted")},
			},
		},
		{"a state that is not known", `{"channel":"status","data":[{"system":"frozen"}]}`, []venue.Event{{Kind: venue.Unknown, Scope: "all", Detail: []byte("status frozen")}}},
		{"heartbeat", `{"channel":"heartbeat"}`, []venue.Event{{Kind: venue.Note}}},
		{"acknowledgement", `{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"ALGO/USD"},"success":true,"time_in":"2023-10-06T17:35:55.219022Z"}`, []venue.Event{{Kind: venue.Note}}},
		{"refusal", `{"error":"Currency pair not supported FOO/BAR","method":"subscribe","success":false,"symbol":"FOO/BAR"}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte("Currency pair not supported FOO/BAR")}}},
		{"unknown", `{"channel":"level3","type":"update","data":[]}`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("level3")}}},
		{"bar", `{"channel":"ohlc","type":"update","data":[{"symbol":"X/USD","open":1,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`, []venue.Event{{Kind: venue.Bar, Symbol: []byte("X/USD"), Sent: at, At: at}}},

		{
			"v1: book update in two parts", `[1234,{"a":[["5541.30000","2.50700000","1534614248.456738"],["5542.50000","0.40100000","1534614248.456739"]]},{"b":[["5541.30000","0.00000000","1534614335.345903"]],"c":"974942666"},"book-10","XBT/USD"]`,
			[]venue.Event{{
				Kind: venue.BookUpdate, Symbol: []byte("BTC/USD"), At: 1_534_614_335_345_903_000, Depth: 10, Checksum: 974942666, HasChecksum: true,
				Asks: []book.Level{level("5541.30000", "2.50700000"), level("5542.50000", "0.40100000")}, Bids: []book.Level{level("5541.30000", "0.00000000")},
			}},
		},
		{
			"v1: a level that is published anew", `[1234,{"a":[["5541.30000","2.50700000","1534614248.456738","r"]],"c":"974942666"},"book-25","XDG/XBT"]`,
			[]venue.Event{{
				Kind: venue.BookUpdate, Symbol: []byte("DOGE/BTC"), At: 1_534_614_248_456_738_000, Depth: 25, Checksum: 974942666, HasChecksum: true,
				Asks: []book.Level{level("5541.30000", "2.50700000")},
			}},
		},
		{
			"v1: snapshot", `[0,{"as":[["5541.30000","2.50700000","1534614248.123678"]],"bs":[["5541.20000","1.52900000","1534614248.765567"]]},"book-100","XBT/USD"]`,
			[]venue.Event{{
				Kind: venue.BookSnapshot, Symbol: []byte("BTC/USD"), Depth: 100, Asks: []book.Level{level("5541.30000", "2.50700000")}, Bids: []book.Level{level("5541.20000", "1.52900000")},
			}},
		},
		{
			"v1: trades", `[0,[["5541.20000","0.15850568","1534614057.321597","s","l",""],["6060.00000","0.02455000","1534614057.324998","b","l",""]],"trade","XBT/USD"]`,
			[]venue.Event{
				{Kind: venue.Trade, Symbol: []byte("BTC/USD"), At: 1_534_614_057_321_597_000, ID: []byte("1534614057.321597/0/5541.20000/0.15850568/s"), Price: n("5541.20000"), Quantity: n("0.15850568"), Side: schemas.Side_SIDE_SELL},
				{Kind: venue.Trade, Symbol: []byte("BTC/USD"), At: 1_534_614_057_324_998_000, ID: []byte("1534614057.324998/1/6060.00000/0.02455000/b"), Price: n("6060.00000"), Quantity: n("0.02455000"), Side: schemas.Side_SIDE_BUY},
			},
		},
		{
			"v1: ticker", `[0,{"a":["5525.40000",1,"1.000"],"b":["5525.10000",1,"1.500"],"c":["5525.10000","0.00398963"],"h":["5783.00000","5783.00000"]},"ticker","XBT/USD"]`,
			[]venue.Event{{Kind: venue.Quote, Symbol: []byte("BTC/USD"), Price: n("5525.10000"), Quantity: n("1.500"), AskPrice: n("5525.40000"), AskQuantity: n("1.000")}},
		},
		{"v1: bar", `[42,["1542057314.748456","1542057360.435743","3586.70000"],"ohlc-5","XBT/USD"]`, []venue.Event{{Kind: venue.Bar, Symbol: []byte("BTC/USD"), At: 1_542_057_314_748_456_000}}},
		{"v1: system status", `{"connectionID":8628615390848610000,"event":"systemStatus","status":"maintenance","version":"1.0.0"}`, []venue.Event{{Kind: venue.Status, State: "maintenance", Scope: "all", Detail: []byte("maintenance")}}},
		{"v1: refusal", `{"errorMessage":"Subscription depth not supported","event":"subscriptionStatus","pair":"XBT/USD","status":"error","subscription":{"depth":42,"name":"book"}}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte("Subscription depth not supported")}}},
		{"v1: spread", `[0,["5698.40000","5700.00000","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"]`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("spread")}}},
		{"v1: heartbeat", `{"event":"heartbeat"}`, []venue.Event{{Kind: venue.Note}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decoder{depth: 25}
			got, err := d.Message([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, raw, says string }{
		{"no JSON", `{"channel":`, "parsing"},
		{"text", `"x"`, "in place of an object"},
		{"no data", `{"channel":"trade","type":"update"}`, "another type: data"},
		{"no symbol", `{"channel":"book","type":"update","data":[{"bids":[],"asks":[],"checksum":1}]}`, "another type: symbol"},
		{"no checksum", `{"channel":"book","type":"update","data":[{"symbol":"X/USD","bids":[],"asks":[]}]}`, "another type: checksum"},
		{"checksum of 33 bits", `{"channel":"book","type":"update","data":[{"symbol":"X/USD","bids":[],"asks":[],"checksum":4294967296}]}`, "not of 32 bits"},
		{"half a level", `{"channel":"book","type":"update","data":[{"symbol":"X/USD","bids":[{"price":1}],"asks":[],"checksum":1}]}`, "price and quantity"},
		{"side", `{"channel":"trade","type":"update","data":[{"symbol":"X/USD","side":"s","price":1,"qty":1,"trade_id":1,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`, "side is"},
		{"no time", `{"channel":"trade","type":"update","data":[{"symbol":"X/USD","side":"sell","price":1,"qty":1,"trade_id":1}]}`, "timestamp"},
		{"no id", `{"channel":"trade","type":"update","data":[{"symbol":"X/USD","side":"sell","price":1,"qty":1,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`, "trade_id"},
		{"ticker without an ask", `{"channel":"ticker","type":"update","data":[{"symbol":"X/USD","bid":1,"bid_qty":1}]}`, "another type: ask"},
		{"v1: too short", `[1,"trade","X/USD"]`, "3 parts"},
		{"v1: no pair", `[1,[],"trade",7]`, "the pair"},
		{"v1: half a trade", `[1,[["1","1"]],"trade","X/USD"]`, "a trade has 2 parts"},
		{"v1: level without a time", `[1,{"a":[["1","1"]],"c":"1"},"book-10","X/USD"]`, "time of a level"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			if events, err := d.Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, error %v, want one that says %q", events, err, c.says)
			}
		})
	}
}

// What cannot be decoded, is unknown or refused is counted, and what follows flows.
func TestBadMessagesAreCountedAndTheRestFlows(t *testing.T) {
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, spec(), out)
	start := schemas.Time(1_696_613_755_000_000_000)
	frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: start}}
	for _, raw := range []string{
		`{"channel":`, `{"channel":"level3","data":[]}`, `{"method":"subscribe","success":false,"error":"Currency pair not supported FOO/BAR"}`,
		`{"channel":"trade","type":"update","data":[{"symbol":"AAPLx/USD","side":"sell","price":1,"qty":1,"trade_id":1,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
		`{"channel":"trade","type":"update","data":[{"symbol":"X/USD","side":"sell","price":1,"qty":1,"trade_id":7,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`,
	} {
		frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: start.Add(600e6), Data: []byte(raw)})
	}
	venuetest.Run(t, m, frames)
	if unknown, rejected := m.Core().Counts(); unknown != 2 || rejected != 2 {
		t.Errorf("%d unknown, %d rejected, want 2 and 2", unknown, rejected)
	}
	if got := sourcetest.Of[*schemas.Trade](out); len(got) != 1 || got[0].Meta.Id != "7" || got[0].Meta.Symbol != "X-USD" || got[0].Meta.VenueSymbol != "X/USD" {
		t.Errorf("trades %v, want number 7 of X-USD", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		guide, `{"channel":"heartbeat"}`, `{"method":"subscribe","success":false,"error":"x"}`, `{"event":"systemStatus","status":"online"}`, `[]`, `{}`, ``,
		`{"channel":"trade","type":"snapshot","data":[{"symbol":"X/USD","side":"sell","price":0.5117,"qty":40.0,"trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}`,
		`{"channel":"ticker","type":"update","data":[{"symbol":"X/USD","bid":1,"bid_qty":1,"ask":2,"ask_qty":1}]}`,
		`{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"BTC/USD","status":"online"}]}}`,
		`[1,{"a":[["1","1","1534614248.456738"]]},{"b":[["0.5","1","1534614248.456738"]],"c":"1"},"book-10","XBT/USD"]`,
		`[0,[["5541.20000","0.15850568","1534614057.321597","s","l",""]],"trade","XBT/USD"]`,
		`{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]}}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { venuetest.Fuzz(t, spec(), raw) })
}

// The names of what we ask for are those that we know in an answer, in either version.
func TestStreamsOfASubscription(t *testing.T) {
	c := Defaults()
	for _, channel := range []string{venue.Trades, venue.Quotes, venue.Book} {
		got := streams(capture.Frame{Kind: capture.Send, Data: c.request("subscribe", channel, "BTC/USD", "DOGE/USD")})
		want := []venue.Stream{{Symbol: "BTC/USD", Channel: channel}, {Symbol: "DOGE/USD", Channel: channel}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", channel, diff)
		}
		old := `{"event":"subscribe","pair":["XBT/USD","XDG/USD"],"subscription":{"name":"` + names[channel] + `","depth":10}}`
		if diff := cmp.Diff(want, streams(capture.Frame{Kind: capture.Send, Data: []byte(old)})); diff != "" {
			t.Errorf("v1 %s (-want +got):\n%s", channel, diff)
		}
	}
	for _, raw := range []string{`{"method":"unsubscribe","params":{"channel":"book","symbol":["X/USD"]}}`, `{"method":"ping"}`, `x`, string(c.request("subscribe", venue.State))} {
		if got := streams(capture.Frame{Kind: capture.Send, Data: []byte(raw)}); len(got) != 0 {
			t.Errorf("%s gives %v", raw, got)
		}
	}
}

func TestRequests(t *testing.T) {
	c := Defaults()
	s, err := c.Spec()
	if err != nil || len(s.Connections) != 1 || s.Connections[0].URL != "wss://ws.kraken.com/v2" {
		t.Fatalf("connections %v, %v", s.Connections, err)
	}
	want := []string{
		`{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD","ETH/USD"],"snapshot":true}}`,
		`{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","ETH/USD"],"event_trigger":"bbo","snapshot":true}}`,
		`{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":100,"snapshot":true}}`,
		`{"method":"subscribe","params":{"channel":"instrument","snapshot":true}}`,
	}
	texts := func(raw [][]byte) (out []string) {
		for _, r := range raw {
			out = append(out, string(r))
			if fastjson.ValidateBytes(r) != nil {
				t.Errorf("no JSON: %s", r)
			}
		}
		return out
	}
	if diff := cmp.Diff(want, texts(s.Connections[0].Send)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	want = []string{
		`{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":100}}`,
		`{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":100,"snapshot":true}}`,
	}
	if diff := cmp.Diff(want, texts(s.Recover("BTC/USD").Send)); diff != "" {
		t.Errorf("recovery (-want +got):\n%s", diff)
	}
	c.Symbols, c.StreamsPerConn = []string{"A-USD", "B-USD", "C-USD"}, 8
	if s, err = c.Spec(); err != nil || len(s.Connections) != 2 || len(s.Connections[0].Send) != 4 || len(s.Connections[1].Send) != 3 {
		t.Errorf("connections %v, %v, want two of at most two symbols, the first with the instruments", s.Connections, err)
	}
	for raw, want := range map[string]bool{
		guide: true, `[1,[],"trade","X/USD"]`: true, `{"channel":"heartbeat"}`: false, `{"channel":"status","type":"update","data":[]}`: false,
		`{"method":"subscribe","result":{"channel":"instrument"}}`: false, `{"event":"heartbeat"}`: false,
		`{"method":"subscribe","result":{"channel":"book","symbol":"BTC/USD"},"success":true}`: false,
	} {
		if isData([]byte(raw)) != want {
			t.Errorf("%.60s: data %v, want %v", raw, !want, want)
		}
	}
}
