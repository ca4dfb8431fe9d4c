package coinbase

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

func number(t *testing.T, text string) venue.Number {
	t.Helper()
	d, err := schemas.ParseDecimal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return venue.Number{Mantissa: d.Mantissa, Exponent: d.Exponent}
}

const (
	sent = schemas.Time(1_675_974_199_247_000_000) // 2023-02-09T20:23:19.247Z
	made = schemas.Time(1_675_974_199_123_456_000) // 2023-02-09T20:23:19.123456Z
)

func TestDecodeAdvanced(t *testing.T) {
	n := func(text string) venue.Number { return number(t, text) }
	level := func(price, quantity string) book.Level { return book.Level{Price: n(price), Quantity: n(quantity)} }
	head := venue.Event{Kind: venue.Note, Stream: 7, HasStream: true}
	frame := func(channel, events string) string {
		return `{"channel":"` + channel + `","client_id":"","timestamp":"2023-02-09T20:23:19.247Z","sequence_num":7,"events":[` + events + `]}`
	}
	eth := []byte("ETH-USD")
	for _, c := range []struct {
		name, raw string
		want      []venue.Event
	}{
		{
			"a trade: the maker sold", frame("market_trades", `{"type":"update","trades":[{"trade_id":"000000000","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"SELL","time":"2023-02-09T20:23:19.123456Z"}]}`),
			[]venue.Event{head, {Kind: venue.Trade, Symbol: eth, Sent: sent, At: made, Price: n("1260.01"), Quantity: n("0.3"), Side: schemas.Side_SIDE_BUY}},
		},
		{
			"trades of a snapshot are old and come newest first", frame("market_trades", `{"type":"snapshot","trades":[{"trade_id":"12","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"BUY","time":"2023-02-09T20:23:19.123456Z"},`+
				`{"trade_id":"11","product_id":"ETH-USD","price":"1260.00","size":"0.2","side":"SELL","time":"2023-02-09T20:23:19.123456Z"}]}`),
			[]venue.Event{
				head,
				{Kind: venue.Trade, Symbol: eth, Sent: sent, At: made, Old: true, Number: 11, Price: n("1260.00"), Quantity: n("0.2"), Side: schemas.Side_SIDE_BUY},
				{Kind: venue.Trade, Symbol: eth, Sent: sent, At: made, Old: true, Number: 12, Price: n("1260.01"), Quantity: n("0.3"), Side: schemas.Side_SIDE_SELL},
			},
		},
		{
			"ticker without a bid", frame("ticker", `{"type":"update","tickers":[{"type":"ticker","product_id":"ETH-USD","price":"21932.98","best_bid":"","best_bid_quantity":"","best_ask":"21933.98","best_ask_quantity":"8038.07770938"}]}`),
			[]venue.Event{head, {Kind: venue.Note}},
		},
		{
			"ticker", frame("ticker", `{"type":"snapshot","tickers":[{"type":"ticker","product_id":"ETH-USD","price":"21932.98","volume_24_h":"16038.28770938","best_bid":"21931.98","best_bid_quantity":"8000.21","best_ask":"21933.98","best_ask_quantity":"8038.07770938"}]}`),
			[]venue.Event{head, {Kind: venue.Quote, Symbol: eth, Sent: sent, At: sent, Number: 7, Price: n("21931.98"), Quantity: n("8000.21"), AskPrice: n("21933.98"), AskQuantity: n("8038.07770938")}},
		},
		{
			"book snapshot", frame("l2_data", `{"type":"snapshot","product_id":"ETH-USD","updates":[{"side":"bid","event_time":"2023-02-09T20:23:19.123456Z","price_level":"21921.73","new_quantity":"0.06317902"},{"side":"offer","event_time":"2023-02-09T20:23:19.123456Z","price_level":"21921.8","new_quantity":"0.02"}]}`),
			[]venue.Event{head, {Kind: venue.BookSnapshot, Symbol: eth, Sent: sent, At: made, Last: 7, Bids: []book.Level{level("21921.73", "0.06317902")}, Asks: []book.Level{level("21921.8", "0.02")}}},
		},
		{
			"book update", frame("l2_data", `{"type":"update","product_id":"ETH-USD","updates":[{"side":"offer","event_time":"2023-02-09T20:23:19.123456Z","price_level":"21921.8","new_quantity":"0"}]}`),
			[]venue.Event{head, {Kind: venue.BookUpdate, Symbol: eth, Sent: sent, At: made, Last: 7, Asks: []book.Level{level("21921.8", "0")}}},
		},
		{
			"an empty book", frame("l2_data", `{"type":"snapshot","product_id":"ETH-USD","updates":null}`),
			[]venue.Event{head, {Kind: venue.BookSnapshot, Symbol: eth, Sent: sent, At: sent, Last: 7}},
		},
		{
			"candles", frame("candles", `{"type":"snapshot","candles":[{"start":"1675974000","high":"1867.72","low":"1865.63","open":"1867.38","close":"1866.81","volume":"0.20269406","product_id":"ETH-USD"}]},{"type":"update","candles":[{"start":"1675974000","product_id":"ETH-USD"}]}`),
			[]venue.Event{head, {Kind: venue.Bar, Symbol: eth, Sent: sent, At: 1_675_974_000_000_000_000, Old: true}, {Kind: venue.Bar, Symbol: eth, Sent: sent, At: sent}},
		},
		{
			"status", frame("status", `{"type":"snapshot","products":[{"product_type":"SPOT","id":"ETH-USD","base_currency":"ETH","quote_currency":"USD","status":"online","status_message":"","min_market_funds":"1"},{"id":"X-USD","status":"delisted"}]}`),
			[]venue.Event{
				head,
				{Kind: venue.Status, Symbol: eth, At: sent, State: "online", Detail: []byte("online")},
				{Kind: venue.Status, Symbol: []byte("X-USD"), At: sent, State: "down", Detail: []byte("delisted")},
			},
		},
		{"heartbeat", frame("heartbeats", `{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC m=+91717.525857105","heartbeat_counter":3049}`), []venue.Event{head}},
		{"acknowledgement", frame("subscriptions", `{"subscriptions":{"level2":["ETH-USD"]}}`), []venue.Event{head}},
		{"unknown", frame("user", `{"type":"snapshot"}`), []venue.Event{{Kind: venue.Unknown, Detail: []byte("user"), Stream: 7, HasStream: true}}},
		{"refusal", `{"type":"error","message":"authentication failure"}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte("authentication failure")}}},
	} {
		t.Run(c.name, func(t *testing.T) { decodes(t, &decoder{}, c.raw, c.want) })
	}
}

func decodes(t *testing.T, d venue.Decoder, raw string, want []venue.Event) {
	t.Helper()
	got, err := d.Message([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeExchange(t *testing.T) {
	n := func(text string) venue.Number { return number(t, text) }
	level := func(price, quantity string) book.Level { return book.Level{Price: n(price), Quantity: n(quantity)} }
	btc := []byte("BTC-USD")
	match := `"trade_id":10,"sequence":50,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.23"`
	const at = schemas.Time(1_415_348_367_028_459_000)
	for _, c := range []struct {
		name, raw string
		want      []venue.Event
	}{
		{
			"an up-tick: the maker sold", `{"type":"match",` + match + `,"side":"sell"}`,
			[]venue.Event{{Kind: venue.Trade, Symbol: btc, At: at, Number: 10, Price: n("400.23"), Quantity: n("5.23512"), Side: schemas.Side_SIDE_BUY}},
		},
		{
			"the last one before the subscription", `{"type":"last_match",` + match + `,"side":"buy"}`,
			[]venue.Event{{Kind: venue.Trade, Symbol: btc, At: at, Old: true, Number: 10, Price: n("400.23"), Quantity: n("5.23512"), Side: schemas.Side_SIDE_SELL}},
		},
		{
			"heartbeat", `{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}`,
			[]venue.Event{{Kind: venue.Heartbeat, Symbol: btc, At: 1_415_348_368_464_459_000, Number: 20}},
		},
		{
			"ticker", `{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22","open_24h":"1310.79","volume_24h":"245532.79269678","low_24h":"1280.52","high_24h":"1313.8","volume_30d":"9788783.60117027","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy","time":"2022-10-19T23:28:22.061769Z","trade_id":370843401,"last_size":"11.4396987"}`,
			[]venue.Event{{Kind: venue.Quote, Symbol: []byte("ETH-USD"), At: 1_666_222_102_061_769_000, Last: 37475248783, Price: n("1285.04"), Quantity: n("0.46688654"), AskPrice: n("1285.27"), AskQuantity: n("1.56637040")}},
		},
		{
			"book snapshot", `{"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.45054140"]],"asks":[["10102.55","0.57753524"]]}`,
			[]venue.Event{{Kind: venue.BookSnapshot, Symbol: btc, Bids: []book.Level{level("10101.10", "0.45054140")}, Asks: []book.Level{level("10102.55", "0.57753524")}}},
		},
		{
			"book update", `{"type":"l2update","product_id":"BTC-USD","changes":[["buy","22356.270000","0.00000000"],["sell","22356.300000","1.00000000"]],"time":"2022-08-04T15:25:05.010758Z"}`,
			[]venue.Event{{Kind: venue.BookUpdate, Symbol: btc, At: 1_659_626_705_010_758_000, Bids: []book.Level{level("22356.270000", "0.00000000")}, Asks: []book.Level{level("22356.300000", "1.00000000")}}},
		},
		{
			"status", `{"type":"status","products":[{"id":"BTC-USD","base_currency":"BTC","status":"online","status_message":null,"post_only":false,"limit_only":false,"cancel_only":false},` +
				`{"id":"A-USD","status":"online","post_only":true},{"id":"B-USD","status":"offline"},{"id":"C-USD","status":"online","trading_disabled":true}],"currencies":[{"id":"USD","status":"online"}]}`,
			[]venue.Event{
				{Kind: venue.Status, Symbol: btc, State: "online", Detail: []byte("online")},
				{Kind: venue.Status, Symbol: []byte("A-USD"), State: "degraded", Detail: []byte("post_only")},
				{Kind: venue.Status, Symbol: []byte("B-USD"), State: "down", Detail: []byte("offline")},
				{Kind: venue.Status, Symbol: []byte("C-USD"), State: "down", Detail: []byte("trading_disabled")},
			},
		},
		{"acknowledgement", `{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}`, []venue.Event{{Kind: venue.Note}}},
		{"refusal", `{"type":"error","message":"Failed to subscribe","reason":"FOO-BAR is not a valid product"}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte("Failed to subscribe: FOO-BAR is not a valid product")}}},
		{"unknown", `{"type":"received","product_id":"BTC-USD"}`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("received")}}},
	} {
		t.Run(c.name, func(t *testing.T) { decodes(t, &exchangeDecoder{}, c.raw, c.want) })
	}
}

func TestDecodeRefuses(t *testing.T) {
	advanced := func(channel, events string) string {
		return `{"channel":"` + channel + `","timestamp":"2023-02-09T20:23:19.247Z","sequence_num":7,"events":[` + events + `]}`
	}
	for _, c := range []struct {
		name string
		d    venue.Decoder
		raw  string
		says string
	}{
		{"no JSON", &decoder{}, `{"channel"`, "parsing"},
		{"array", &decoder{}, `[]`, "in place of an object"},
		{"no number", &decoder{}, `{"channel":"heartbeats","events":[]}`, "sequence_num"},
		{"time", &decoder{}, `{"channel":"heartbeats","timestamp":"today","sequence_num":7,"events":[]}`, "timestamp"},
		{"trade without a product", &decoder{}, advanced("market_trades", `{"trades":[{"trade_id":"1"}]}`), "product_id"},
		{"trade without a time", &decoder{}, advanced("market_trades", `{"trades":[{"product_id":"X-USD","trade_id":"1","price":"1","size":"1","side":"BUY"}]}`), "time"},
		{"side of a trade", &decoder{}, advanced("market_trades", `{"trades":[{"product_id":"X-USD","trade_id":"1","price":"1","size":"1","side":"UNKNOWN_ORDER_SIDE","time":"2023-02-09T20:23:19.1Z"}]}`), "side is"},
		{"ticker without a bid", &decoder{}, advanced("ticker", `{"tickers":[{"product_id":"X-USD","price":"1"}]}`), "best_bid"},
		{"side of a level", &decoder{}, advanced("l2_data", `{"product_id":"X-USD","updates":[{"side":"ask","price_level":"1","new_quantity":"1"}]}`), "side is"},
		{"half a level", &decoder{}, advanced("l2_data", `{"product_id":"X-USD","updates":[{"side":"bid","price_level":"1"}]}`), "price and quantity"},
		{"candle without a start", &decoder{}, advanced("candles", `{"candles":[{"product_id":"X-USD"}]}`), "start"},
		{"product without a status", &decoder{}, advanced("status", `{"products":[{"id":"X-USD"}]}`), "status"},
		{"exchange: array", &exchangeDecoder{}, `[]`, "in place of an object"},
		{"exchange: no product", &exchangeDecoder{}, `{"type":"match"}`, "product_id"},
		{"exchange: half a level", &exchangeDecoder{}, `{"type":"l2update","product_id":"X-USD","changes":[["buy","1"]]}`, "price and quantity"},
		{"exchange: side of a level", &exchangeDecoder{}, `{"type":"l2update","product_id":"X-USD","changes":[["bid","1","1"]]}`, "side is"},
		{"exchange: snapshot without asks", &exchangeDecoder{}, `{"type":"snapshot","product_id":"X-USD","bids":[]}`, "asks"},
		{"exchange: heartbeat without an id", &exchangeDecoder{}, `{"type":"heartbeat","product_id":"X-USD"}`, "last_trade_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if events, err := c.d.Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, error %v, want one that says %q", events, err, c.says)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"channel":"market_trades","timestamp":"2023-02-09T20:23:19.247Z","sequence_num":1,"events":[{"type":"snapshot","trades":[{"trade_id":"1","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"SELL","time":"2023-02-09T20:23:19.1Z"}]}]}`,
		`{"channel":"l2_data","timestamp":"2023-02-09T20:23:19.247Z","sequence_num":2,"events":[{"type":"snapshot","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2023-02-09T20:23:19.1Z","price_level":"1","new_quantity":"1"},{"side":"offer","price_level":"2","new_quantity":"1"}]}]}`,
		`{"channel":"ticker","timestamp":"2023-02-09T20:23:19.247Z","sequence_num":9,"events":[{"tickers":[{"product_id":"X-USD","best_bid":"1","best_bid_quantity":"1","best_ask":"2","best_ask_quantity":"1"}]}]}`,
		`{"channel":"candles","sequence_num":4,"events":[{"type":"snapshot","candles":[{"start":"1688998200","product_id":"ETH-USD"}]}]}`,
		`{"type":"match","trade_id":10,"time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.2","price":"400.23","side":"sell"}`,
		`{"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.45"]],"asks":[["10102.55","0.57"]]}`,
		`{"type":"l2update","product_id":"BTC-USD","changes":[["buy","10101.8","0.16"]],"time":"2019-08-14T20:42:27.265Z"}`,
		`{"type":"heartbeat","last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}`,
		`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}`, `{"type":"error"}`, `[]`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, market := range []string{Advanced, Exchange} {
			venuetest.Fuzz(t, spec(market), raw)
		}
	})
}
