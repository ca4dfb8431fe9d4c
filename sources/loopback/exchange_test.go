package loopback

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// exchangeFrames are ten seconds of Coinbase Exchange, written by hand in the shapes of
// https://docs.cdp.coinbase.com/exchange/websocket-feed/channels, as there is no recording of it: books that begin with a
// snapshot without a time and go on in steps of 50 ms, matches behind a last match, tickers, heartbeats.
func exchangeFrames() []capture.Frame {
	const begun, conn = schemas.Time(1_786_000_000_000_000_000), "coinbase.ws.1"
	random := rand.New(rand.NewPCG(7, 7))
	frames := []capture.Frame{{Kind: capture.Connect, Conn: conn, At: begun, URL: "wss://ws-feed.exchange.coinbase.com"}}
	at := begun
	say := func(v map[string]any) {
		if v["type"] != "snapshot" {
			v["time"] = at.Add(-20 * time.Millisecond).String()
		}
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: conn, At: at, Data: raw})
	}
	price := func(product string, step int) string {
		return fmt.Sprintf("%.2f", map[string]float64{"BTC-USD": 65_000, "ETH-USD": 1_900}[product]+float64(step)/100)
	}
	products, trades := []string{"BTC-USD", "ETH-USD"}, map[string]int{"BTC-USD": 900, "ETH-USD": 500}
	for _, p := range products {
		var bids, asks [][2]string
		for i := range 40 {
			bids, asks = append(bids, [2]string{price(p, -1-i), "1.5"}), append(asks, [2]string{price(p, 1+i), "0.25000000"})
		}
		say(map[string]any{"type": "snapshot", "product_id": p, "bids": bids, "asks": asks})
		say(map[string]any{"type": "last_match", "trade_id": trades[p], "product_id": p, "size": "0.01", "price": price(p, 0), "side": "buy"})
	}
	for n := range 200 {
		at = at.Add(50 * time.Millisecond)
		p := products[n%3%2]
		side, step := "buy", -1-random.IntN(40)
		if n%2 == 0 {
			side, step = "sell", -step
		}
		say(map[string]any{"type": "l2update", "product_id": p, "changes": [][3]string{{side, price(p, step), fmt.Sprintf("%.8f", float64(random.IntN(4))+float64(n)/1000)}}})
		if n%5 == 0 {
			trades[p]++
			say(map[string]any{"type": "match", "trade_id": trades[p], "product_id": p, "size": "0.5", "price": price(p, 0), "side": side})
			say(map[string]any{
				"type": "ticker", "sequence": 7000 + n, "product_id": p, "best_bid": price(p, -1), "best_bid_size": "1", "best_ask": price(p, 1), "best_ask_size": "2",
			})
		}
		if n%20 == 0 {
			for _, p := range products {
				say(map[string]any{"type": "heartbeat", "sequence": 7000 + n, "last_trade_id": trades[p], "product_id": p})
			}
		}
	}
	return frames
}
