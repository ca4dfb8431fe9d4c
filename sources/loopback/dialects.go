package loopback

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/sources/book"
)

// krakenDialect takes one channel at a time and acknowledges each instrument; numbers are JSON numbers.
func krakenDialect() *dialect {
	d := &dialect{
		key: same, carries: anywhere, translate: modern,
		greeting: []string{`{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"2.0.4"}]}`},
	}
	d.keys = func(v *fastjson.Value) []string {
		channel := text(v, "channel")
		switch channel {
		case "", "status":
			return nil
		case "heartbeat":
			return []string{everyone}
		case "instrument":
			return []string{channel}
		}
		var keys []string
		for _, row := range v.GetArray("data") {
			if key := streamName(channel, text(row, "symbol")); len(keys) == 0 || keys[len(keys)-1] != key {
				keys = append(keys, key)
			}
		}
		return keys
	}
	d.request = krakenRequest
	d.book = func(key string) (string, bool) { return strings.CutPrefix(key, "book ") }
	d.snapshot = func(f snapshot) []byte {
		bids, asks := sides(f, 0, numbers)
		type data struct {
			Symbol   string   `json:"symbol"`
			Bids     []priced `json:"bids"`
			Asks     []priced `json:"asks"`
			Checksum uint32   `json:"checksum"`
			At       string   `json:"timestamp"`
		}
		return encode(struct {
			Channel string `json:"channel"`
			Type    string `json:"type"`
			Data    []data `json:"data"`
		}{"book", "snapshot", []data{{f.symbol, bids, asks, f.checksum, f.at.String()}}})
	}
	return d
}

func krakenRequest(raw []byte) (r request) {
	v, err := fastjson.ParseBytes(raw)
	if err != nil {
		return request{answers: [][]byte{[]byte(`{"error":"Malformed request","success":false}`)}}
	}
	method, params := text(v, "method"), v.Get("params")
	channel, symbols := text(params, "channel"), texts(params, "symbol")
	switch method {
	case "ping":
		return request{answers: [][]byte{[]byte(`{"method":"pong"}`)}}
	case "subscribe", "unsubscribe":
	default:
		return request{answers: [][]byte{fmt.Appendf(nil, `{"error":"Unsupported method","method":%q,"success":false}`, method)}}
	}
	if channel == "instrument" {
		symbols = []string{""}
	}
	for _, symbol := range symbols {
		if name := streamName(channel, symbol); method == "subscribe" {
			r.join = append(r.join, name)
		} else {
			r.leave = append(r.leave, name)
		}
		result := map[string]any{"channel": channel}
		if symbol != "" {
			result["symbol"] = symbol
		}
		r.answers = append(r.answers, encode(struct {
			Method  string         `json:"method"`
			Result  map[string]any `json:"result"`
			Success bool           `json:"success"`
		}{method, result, true}))
	}
	return r
}

// krakenFuturesDialect takes one feed at a time; a snapshot is a feed of its own name.
func krakenFuturesDialect() *dialect {
	d := &dialect{key: strings.ToLower, carries: anywhere, greeting: []string{`{"event":"info","version":1}`}}
	d.keys = func(v *fastjson.Value) []string {
		feed := strings.TrimSuffix(text(v, "feed"), "_snapshot")
		if v.Exists("event") || feed == "" {
			return nil
		}
		return []string{strings.ToLower(streamName(feed, text(v, "product_id")))}
	}
	d.request = func(raw []byte) (r request) {
		v, err := fastjson.ParseBytes(raw)
		if err != nil {
			return request{answers: [][]byte{[]byte(`{"event":"error","message":"Bad request"}`)}}
		}
		event, feed := text(v, "event"), text(v, "feed")
		if event != "subscribe" && event != "unsubscribe" {
			return request{answers: [][]byte{[]byte(`{"event":"alert","message":"Bad websocket message"}`)}}
		}
		products := texts(v, "product_ids")
		if len(products) == 0 {
			products = []string{""}
		}
		for _, p := range products {
			a := map[string]any{"event": event + "d", "feed": feed}
			if p != "" {
				a["product_ids"] = []string{p}
			}
			r.answers = append(r.answers, encode(a))
			if event == "subscribe" {
				r.join = append(r.join, streamName(feed, p))
			} else {
				r.leave = append(r.leave, streamName(feed, p))
			}
		}
		return r
	}
	d.book = func(key string) (string, bool) {
		symbol, ok := strings.CutPrefix(key, "book ")
		return strings.ToUpper(symbol), ok
	}
	d.snapshot = func(f snapshot) []byte {
		bids, asks := sides(f, 0, numbers)
		return encode(struct {
			Feed    string   `json:"feed"`
			Product string   `json:"product_id"`
			At      int64    `json:"timestamp"`
			Seq     uint64   `json:"seq"`
			Tick    *int     `json:"tickSize"`
			Bids    []priced `json:"bids"`
			Asks    []priced `json:"asks"`
		}{"book_snapshot", f.symbol, millis(f.at), f.last, nil, bids, asks})
	}
	return d
}

// deribitDialect is JSON-RPC. The pace of a channel is left out of its key: a recording has one of them.
func deribitDialect() *dialect {
	d := &dialect{carries: anywhere}
	d.key = func(name string) string {
		for _, pace := range []string{".raw", ".100ms", ".agg2"} {
			name = strings.TrimSuffix(name, pace)
		}
		return name
	}
	d.keys = func(v *fastjson.Value) []string {
		if channel := text(v, "params", "channel"); text(v, "method") == "subscription" && channel != "" {
			return []string{d.key(channel)}
		}
		return nil
	}
	d.request = func(raw []byte) (r request) {
		v, err := fastjson.ParseBytes(raw)
		if err != nil {
			return request{answers: [][]byte{[]byte(`{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}`)}}
		}
		var result, failure any
		channels := texts(v, "params", "channels")
		switch method := text(v, "method"); method {
		case "public/subscribe":
			r.join, result = channels, channels
		case "public/unsubscribe":
			r.leave, result = channels, channels
		case "public/test":
			result = map[string]string{"version": "1.2.26"}
		case "public/set_heartbeat":
			result = "ok"
		default:
			failure = map[string]any{"code": -32601, "message": "Method not found"}
		}
		r.answers = [][]byte{encode(struct {
			Version string `json:"jsonrpc"`
			ID      int    `json:"id"`
			Result  any    `json:"result,omitempty"`
			Error   any    `json:"error,omitempty"`
		}{"2.0", v.GetInt("id"), result, failure})}
		return r
	}
	d.book = func(key string) (string, bool) { return strings.CutPrefix(key, "book.") }
	d.snapshot = func(f snapshot) []byte {
		bids, asks := sides(f, 0, func(p, q string) [3]any { return [3]any{"new", json.Number(p), json.Number(q)} })
		return encode(map[string]any{
			"jsonrpc": "2.0", "method": "subscription", "params": map[string]any{"channel": f.stream, "data": map[string]any{
				"type": "snapshot", "timestamp": millis(f.at), "instrument_name": f.symbol, "change_id": f.last, "bids": bids, "asks": asks,
			}},
		})
	}
	return d
}

// level is one row of a snapshot of Kraken's v1.
func level(v *fastjson.Value) string {
	return fmt.Sprintf(`{"price":%s,"qty":%s}`, v.GetStringBytes("0"), v.GetStringBytes("1"))
}

// checksumOf writes the checksum of whole sides.
func checksumOf(sum func(*book.Book) uint32, bids, asks []book.Level) string {
	var b book.Book
	if sum == nil || b.Replace(bids, asks) != nil {
		return "0"
	}
	return strconv.FormatUint(uint64(sum(&b)), 10)
}
