package loopback

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
)

// coinbaseDialect numbers every message of a connection; products of a message stand in its events.
func coinbaseDialect() *dialect {
	d := &dialect{key: same, carries: anywhere}
	d.keys = coinbaseKeys
	d.request = coinbaseRequest
	d.number = func(raw []byte, n uint64, at schemas.Time) []byte {
		before, rest, ok := bytes.Cut(raw, []byte(`"sequence_num":`))
		if !ok {
			return raw
		}
		after := bytes.TrimLeft(rest, "0123456789")
		out := fmt.Appendf(nil, `%s"sequence_num":%d%s`, before, n, after)
		return bytes.Replace(out, []byte(`"timestamp":""`), fmt.Appendf(nil, `"timestamp":%q`, max(at, schemas.MinTime)), 1)
	}
	d.book = func(key string) (string, bool) { return strings.CutPrefix(key, "level2 ") }
	d.snapshot = coinbaseSnapshot
	return d
}

func coinbaseKeys(v *fastjson.Value) []string {
	channel, list := text(v, "channel"), ""
	switch channel {
	case "", "subscriptions":
		return nil
	case "heartbeats":
		return []string{channel}
	case "market_trades":
		list = "trades"
	case "l2_data":
		channel = "level2"
	case "ticker":
		list = "tickers"
	case "candles":
		list = "candles"
	case "status":
		list = "products"
	}
	var keys []string
	for _, event := range v.GetArray("events") {
		items := []*fastjson.Value{event}
		if list != "" {
			items = event.GetArray(list)
		}
		for _, item := range items {
			product := text(item, "product_id")
			if list == "products" {
				product = text(item, "id")
			}
			if key := streamName(channel, product); len(keys) == 0 || keys[len(keys)-1] != key {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func coinbaseRequest(raw []byte) (r request) {
	v, err := fastjson.ParseBytes(raw)
	kind := ""
	if err == nil {
		kind = text(v, "type")
	}
	if kind != "subscribe" && kind != "unsubscribe" {
		return request{answers: [][]byte{[]byte(`{"type":"error","message":"invalid request"}`)}}
	}
	channel, products := text(v, "channel"), texts(v, "product_ids")
	names := []string{channel}
	if channel != "heartbeats" {
		names = nil
		for _, p := range products {
			names = append(names, streamName(channel, p))
		}
	}
	if kind == "subscribe" {
		r.join = names
	} else {
		r.leave = names
	}
	r.answers = [][]byte{encode(map[string]any{
		"channel": "subscriptions", "timestamp": "", "sequence_num": 0,
		"events": []any{map[string]any{"subscriptions": map[string][]string{channel: products}}},
	})}
	return r
}

func coinbaseSnapshot(f snapshot) []byte {
	type update struct {
		Side     string `json:"side"`
		At       string `json:"event_time"`
		Price    string `json:"price_level"`
		Quantity string `json:"new_quantity"`
	}
	side := func(name string) func(p, q string) update {
		return func(p, q string) update { return update{name, f.at.String(), p, q} }
	}
	bids, asks := f.book.Depth()
	type event struct {
		Type    string   `json:"type"`
		Product string   `json:"product_id"`
		Updates []update `json:"updates"`
	}
	return encode(struct {
		Channel  string  `json:"channel"`
		At       string  `json:"timestamp"`
		Sequence int     `json:"sequence_num"`
		Events   []event `json:"events"`
	}{"l2_data", f.at.String(), 0, []event{{
		"snapshot", f.symbol, append(rows(bids, 0, f.book.Bid, side("bid")), rows(asks, 0, f.book.Ask, side("offer"))...),
	}}})
}

// exchangeDialect takes any channels for any products in one request, and answers with all that is subscribed to by it. A
// status is of all products. Source: https://docs.cdp.coinbase.com/exchange/websocket-feed/overview.
func exchangeDialect() *dialect {
	d := &dialect{key: same, carries: anywhere, request: exchangeRequest}
	d.keys = func(v *fastjson.Value) []string {
		var channel string
		switch kind := text(v, "type"); kind {
		case "match", "last_match":
			channel = "matches"
		case "snapshot", "l2update":
			channel = "level2_batch"
		case "ticker", "heartbeat":
			channel = kind
		case "status":
			return []string{kind}
		default:
			return nil
		}
		return []string{streamName(channel, text(v, "product_id"))}
	}
	d.book = func(key string) (string, bool) { return strings.CutPrefix(key, "level2_batch ") }
	d.snapshot = func(f snapshot) []byte {
		bids, asks := sides(f, 0, pair)
		return encode(struct {
			Type    string      `json:"type"`
			Product string      `json:"product_id"`
			Bids    [][2]string `json:"bids"`
			Asks    [][2]string `json:"asks"`
		}{"snapshot", f.symbol, bids, asks})
	}
	return d
}

func exchangeRequest(raw []byte) (r request) {
	refusal := func(reason string) request {
		return request{answers: [][]byte{encode(struct {
			Type    string `json:"type"`
			Message string `json:"message"`
			Reason  string `json:"reason"`
		}{"error", "Failed to subscribe", reason})}}
	}
	v, err := fastjson.ParseBytes(raw)
	kind := ""
	if err == nil {
		kind = text(v, "type")
	}
	if kind != "subscribe" && kind != "unsubscribe" {
		return refusal("Type has to be either subscribe or unsubscribe")
	}
	type channel struct {
		Name     string   `json:"name"`
		Products []string `json:"product_ids"`
	}
	var names []string
	channels, products := []channel{}, texts(v, "product_ids")
	for _, name := range texts(v, "channels") {
		switch name {
		case "matches", "level2_batch", "ticker", "heartbeat":
			for _, p := range products {
				names = append(names, streamName(name, p))
			}
			channels = append(channels, channel{name, products})
		case "status":
			names = append(names, name)
			channels = append(channels, channel{name, []string{}})
		default:
			return refusal(name + " is not a valid channel")
		}
	}
	if kind == "subscribe" {
		r.join = names
	} else {
		r.leave = names
	}
	r.answers = [][]byte{encode(struct {
		Type     string    `json:"type"`
		Channels []channel `json:"channels"`
	}{"subscriptions", channels})}
	return r
}
