package loopback

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/sources/venue"
)

// What each venue answers to a request, by its documentation.
func TestAnswers(t *testing.T) {
	tested := map[string]int{}
	for _, c := range []struct {
		source, request string
		join, leave     []string
		answers         []string
	}{
		{
			"binance.spot", `{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth@100ms"],"id":7}`,
			[]string{"btcusdt@trade", "btcusdt@depth@100ms"},
			nil,
			[]string{`{"result":null,"id":7}`},
		},
		{"binance.usdm", `{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}`, nil, []string{"btcusdt@aggTrade"}, []string{`{"result":null,"id":1}`}},
		{"binance.usdm", `{"method":"LIST"}`, nil, nil, []string{`{"error":{"code":2,"msg":"Invalid request: unknown variant"}}`}},
		{"binance.spot", `x`, nil, nil, []string{`{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`}},
		{
			"bybit.spot", `{"req_id":"a","op":"subscribe","args":["publicTrade.BTCUSDT","orderbook.50.BTCUSDT"]}`,
			[]string{"publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"},
			nil,
			[]string{`{"success":true,"ret_msg":"","conn_id":"loopback","req_id":"a","op":"subscribe"}`},
		},
		{
			"bybit.linear", `{"op":"unsubscribe","args":["allLiquidation.BTCUSDT"]}`, nil,
			[]string{"allLiquidation.BTCUSDT"},
			[]string{`{"success":true,"ret_msg":"","conn_id":"loopback","req_id":"","op":"unsubscribe"}`},
		},
		{"bybit.linear", `{"op":"ping"}`, nil, nil, []string{`{"success":true,"ret_msg":"pong","conn_id":"loopback","req_id":"","op":"ping"}`}},
		{
			"bybit.spot", `{"op":"subscribe","args":["a","b","c","d","e","f","g","h","i","j","k"]}`, nil, nil,
			[]string{`{"success":false,"ret_msg":"args size >10","conn_id":"loopback","req_id":"","op":"subscribe"}`},
		},
		{
			"bybit.linear", `{"op":"subscribe","args":["trades.BTCUSDT"]}`, nil, nil,
			[]string{`{"success":false,"ret_msg":"error:handler not found,topic:trades.BTCUSDT","conn_id":"loopback","req_id":"","op":"subscribe"}`},
		},
		{
			"okx.public", `{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"},{"channel":"liquidation-orders","instType":"SWAP"}]}`,
			[]string{"books BTC-USDT", "liquidation-orders SWAP"},
			nil,
			[]string{
				`{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"loopback"}`,
				`{"event":"subscribe","arg":{"channel":"liquidation-orders","instType":"SWAP"},"connId":"loopback"}`,
			},
		},
		{
			"okx.public", `{"op":"unsubscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}`, nil,
			[]string{"books BTC-USDT"},
			[]string{`{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"loopback"}`},
		},
		{"okx.public", `ping`, nil, nil, []string{`pong`}},
		{"okx.public", `{"op":"dance"}`, nil, nil, []string{`{"event":"error","code":"60012","msg":"Invalid request","connId":"loopback"}`}},
		{
			"kraken.spot", `{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":10}}`,
			[]string{"book BTC/USD", "book ETH/USD"},
			nil,
			[]string{
				`{"method":"subscribe","result":{"channel":"book","symbol":"BTC/USD"},"success":true}`,
				`{"method":"subscribe","result":{"channel":"book","symbol":"ETH/USD"},"success":true}`,
			},
		},
		{
			"kraken.spot", `{"method":"subscribe","params":{"channel":"instrument"}}`,
			[]string{"instrument"},
			nil,
			[]string{`{"method":"subscribe","result":{"channel":"instrument"},"success":true}`},
		},
		{
			"kraken.spot", `{"method":"unsubscribe","params":{"channel":"trade","symbol":["BTC/USD"]}}`, nil,
			[]string{"trade BTC/USD"},
			[]string{`{"method":"unsubscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}`},
		},
		{"kraken.spot", `{"method":"ping"}`, nil, nil, []string{`{"method":"pong"}`}},
		{"kraken.spot", `{"method":"shout"}`, nil, nil, []string{`{"error":"Unsupported method","method":"shout","success":false}`}},
		{
			"kraken.futures", `{"event":"subscribe","feed":"book","product_ids":["PI_XBTUSD","PI_ETHUSD"]}`,
			[]string{"book PI_XBTUSD", "book PI_ETHUSD"},
			nil,
			[]string{`{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}`, `{"event":"subscribed","feed":"book","product_ids":["PI_ETHUSD"]}`},
		},
		{"kraken.futures", `{"event":"subscribe","feed":"heartbeat"}`, []string{"heartbeat"}, nil, []string{`{"event":"subscribed","feed":"heartbeat"}`}},
		{
			"kraken.futures", `{"event":"unsubscribe","feed":"trade","product_ids":["PI_XBTUSD"]}`, nil,
			[]string{"trade PI_XBTUSD"},
			[]string{`{"event":"unsubscribed","feed":"trade","product_ids":["PI_XBTUSD"]}`},
		},
		{"kraken.futures", `{"event":"dance"}`, nil, nil, []string{`{"event":"alert","message":"Bad websocket message"}`}},
		{
			"coinbase.advanced", `{"type":"subscribe","channel":"level2","product_ids":["BTC-USD","ETH-USD"]}`,
			[]string{"level2 BTC-USD", "level2 ETH-USD"},
			nil,
			[]string{`{"channel":"subscriptions","events":[{"subscriptions":{"level2":["BTC-USD","ETH-USD"]}}],"sequence_num":0,"timestamp":""}`},
		},
		{
			"coinbase.advanced", `{"type":"subscribe","channel":"heartbeats"}`,
			[]string{"heartbeats"},
			nil,
			[]string{`{"channel":"subscriptions","events":[{"subscriptions":{"heartbeats":null}}],"sequence_num":0,"timestamp":""}`},
		},
		{"coinbase.advanced", `{"type":"hello"}`, nil, nil, []string{`{"type":"error","message":"invalid request"}`}},
		{
			"coinbase.exchange", `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","level2_batch","heartbeat","status"]}`,
			[]string{"matches BTC-USD", "level2_batch BTC-USD", "heartbeat BTC-USD", "status"},
			nil,
			[]string{`{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]},{"name":"level2_batch","product_ids":["BTC-USD"]},` +
				`{"name":"heartbeat","product_ids":["BTC-USD"]},{"name":"status","product_ids":[]}]}`},
		},
		{
			"coinbase.exchange", `{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["ticker"]}`, nil,
			[]string{"ticker BTC-USD"},
			[]string{`{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]}]}`},
		},
		{
			"coinbase.exchange", `{"type":"subscribe","product_ids":["BTC-USD"],"channels":["l3"]}`, nil, nil,
			[]string{`{"type":"error","message":"Failed to subscribe","reason":"l3 is not a valid channel"}`},
		},
		{
			"deribit.derivatives", `{"jsonrpc":"2.0","id":3,"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms","platform_state"]}}`,
			[]string{"book.BTC-PERPETUAL.100ms", "platform_state"},
			nil,
			[]string{`{"jsonrpc":"2.0","id":3,"result":["book.BTC-PERPETUAL.100ms","platform_state"]}`},
		},
		{
			"deribit.derivatives", `{"jsonrpc":"2.0","id":4,"method":"public/unsubscribe","params":{"channels":["trades.BTC-PERPETUAL.raw"]}}`,
			nil,
			[]string{"trades.BTC-PERPETUAL.raw"},
			[]string{`{"jsonrpc":"2.0","id":4,"result":["trades.BTC-PERPETUAL.raw"]}`},
		},
		{"deribit.derivatives", `{"jsonrpc":"2.0","id":5,"method":"public/test"}`, nil, nil, []string{`{"jsonrpc":"2.0","id":5,"result":{"version":"1.2.26"}}`}},
		{"deribit.derivatives", `{"jsonrpc":"2.0","id":6,"method":"x"}`, nil, nil, []string{`{"jsonrpc":"2.0","id":6,"error":{"code":-32601,"message":"Method not found"}}`}},
	} {
		tested[c.source]++
		r := dialects[c.source].request([]byte(c.request))
		var answers []string
		for _, a := range r.answers {
			answers = append(answers, string(a))
		}
		if diff := cmp.Diff([][]string{c.join, c.leave, c.answers}, [][]string{r.join, r.leave, answers}); diff != "" {
			t.Errorf("%s answers %s (-want +got):\n%s", c.source, c.request, diff)
		}
	}
	for _, name := range Spoken() {
		if tested[name] == 0 {
			t.Errorf("no request to %s is tested", name)
		}
	}
}

// What the venue says to the connector's own requests, and ahead of them, the connector takes for what it is: no data, and no
// message that it does not know; what is refused for a refusal.
func TestConnectorsKnowTheAnswers(t *testing.T) {
	refused := map[string]string{
		"binance.spot": `{"method":"LIST"}`, "binance.usdm": `{"method":"LIST"}`, "bybit.spot": `{"op":"dance"}`, "bybit.linear": `{"op":"dance"}`,
		"okx.public": `{"op":"dance"}`, "kraken.spot": `{"method":"shout"}`, "kraken.futures": `{"event":"dance"}`,
		"coinbase.advanced": `{"type":"hello"}`, "coinbase.exchange": `{"type":"hello"}`, "deribit.derivatives": `{"id":6,"method":"x"}`,
	}
	for _, m := range markets() {
		o := oracleOf(t, m)
		spec, err := m.make(venue.Defaults(o.symbols, m.channels)).Spec()
		if err != nil {
			t.Fatal(err)
		}
		d, decoder := dialects[spec.SourceName()], spec.NewDecoder()
		expect := func(raw []byte, kinds ...venue.Kind) {
			events, err := decoder.Message(raw)
			if err != nil || spec.IsData(raw) {
				t.Errorf("%s: %s, %v, is data: %v", m.name, raw, err, spec.IsData(raw))
			}
			for _, e := range events {
				if !slices.Contains(kinds, e.Kind) {
					t.Errorf("%s: %s is of kind %d, want one of %v", m.name, raw, e.Kind, kinds)
				}
			}
		}
		for _, raw := range d.greeting {
			expect([]byte(raw), venue.Note, venue.Status)
		}
		requests := 0
		for _, c := range spec.Connections {
			for _, raw := range append(c.Send, c.Ping) {
				if len(raw) == 0 {
					continue
				}
				requests++
				r := d.request(raw)
				for _, a := range r.answers {
					expect(a, venue.Note)
				}
				if len(r.answers) == 0 || (len(r.join) == 0) != bytes.Equal(raw, c.Ping) {
					t.Errorf("%s: %s is answered by %q and joins %q", m.name, raw, r.answers, r.join)
				}
			}
		}
		if requests == 0 && d.asked == nil {
			t.Errorf("%s asks for nothing", m.name)
		}
		for _, a := range d.request([]byte(refused[spec.SourceName()])).answers {
			expect(a, venue.Refusal)
		}
	}
}
