package loopback

import (
	"fmt"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// weave writes trades of an instrument into a recording that has few or none: one behind every so many messages, on their
// connection, numbered from one on, in the shape of the recording's own or of the venue's documentation.
type weave struct {
	every int
	first int
	shape func(n int, at schemas.Time) string
}

func (w *weave) into(frames []capture.Frame) []capture.Frame {
	const settled = 40 // messages, by when all subscriptions are answered
	var out []capture.Frame
	n, seen := 0, 0
	for _, f := range frames {
		out = append(out, f)
		if f.Kind != capture.Receive {
			continue
		}
		if seen++; seen > settled && seen%w.every == 0 {
			out = append(out, capture.Frame{Kind: capture.Receive, Conn: f.Conn, At: f.At, Data: []byte(w.shape(w.first+n, f.At))})
			n++
		}
	}
	return out
}

func side(n int, buy, sell string) string {
	if n%3 == 0 {
		return sell
	}
	return buy
}

var (
	binanceTrades = &weave{12, 9_000_001, func(n int, at schemas.Time) string {
		return fmt.Sprintf(`{"stream":"blzeth@aggTrade","data":{"e":"aggTrade","E":%d,"s":"BLZETH","a":%d,"p":"0.00004%03d","q":"%d.00000000","f":%d,"l":%d,"T":%d,"m":%s,"M":true}}`,
			millis(at), n, n%90, 50+n%7, n+3_000_000, n+3_000_000, millis(at), side(n, "true", "false"))
	}}
	krakenTrades = &weave{25, 1, func(n int, at schemas.Time) string {
		return fmt.Sprintf(`{"channel":"trade","type":"update","data":[{"symbol":"WAVES/EUR","side":%q,"price":11.2%03d,"qty":%d.50000000,"ord_type":"limit","trade_id":%d,"timestamp":%q}]}`,
			side(n, "buy", "sell"), n%90, 1+n%5, n, at.String())
	}}
	// The recording begins with the last hundred trades, up to 9,597.
	krakenFuturesTrades = &weave{50, 9_598, func(n int, at schemas.Time) string {
		return fmt.Sprintf(`{"feed":"trade","product_id":"PI_XRPUSD","uid":"05af78ac-a774-478c-a50c-%012d","side":%q,"type":"fill","seq":%d,"time":%d,"qty":%d.0,"price":0.59%02d}`,
			n, side(n, "buy", "sell"), n, millis(at), 100+n%9, n%20)
	}}
	deribitTrades = &weave{5, 701, func(n int, at schemas.Time) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-24SEP21-8000-P.raw","data":[{"trade_seq":%d,"trade_id":"%d","timestamp":%d,`+
			`"tick_direction":1,"price":0.00%02d,"mark_price":0.001972,"iv":120.0,"instrument_name":"BTC-24SEP21-8000-P","index_price":32120.72,"direction":%q,"amount":%d.0}]}}`,
			n, 170_000_000+n, millis(at), 19+n%3, side(n, "buy", "sell"), 1+n%4)
	}}
)
