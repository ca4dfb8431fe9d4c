package loopback

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// modern writes a recording of Kraken's v1 as v2 has it; one of v2 stays as it is. v1 does not number its trades: they are
// numbered from 1 on for each pair. All is moved to one connection, as v2 needs no more.
func modern(spec *venue.Spec, frames []capture.Frame) []capture.Frame {
	w := v1{spec: spec, ids: map[string]int{}}
	out := make([]capture.Frame, 0, len(frames))
	for _, f := range frames {
		if f.Kind == capture.Receive {
			f.Data = w.message(f.Data)
		}
		out = append(out, f)
	}
	return out
}

type v1 struct {
	spec   *venue.Spec
	ids    map[string]int
	parser fastjson.Parser
}

// message translates one message; acknowledgements become what v2 answers.
func (w *v1) message(raw []byte) []byte {
	v, err := w.parser.ParseBytes(raw)
	switch {
	case err != nil:
		return raw
	case v.Type() == fastjson.TypeArray && len(v.GetArray()) >= 4:
		return w.data(raw, v.GetArray())
	case !v.Exists("event"):
		return raw
	case text(v, "event") == "heartbeat":
		return []byte(`{"channel":"heartbeat"}`)
	case text(v, "event") == "systemStatus":
		return []byte(`{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"2.0.4"}]}`)
	}
	return []byte(`{"method":"subscribe","result":{"channel":"trade"},"success":true}`)
}

func (w *v1) data(raw []byte, parts []*fastjson.Value) []byte {
	name, symbol := string(parts[len(parts)-2].GetStringBytes()), currentPair(string(parts[len(parts)-1].GetStringBytes()))
	switch {
	case name == "trade":
		return w.trades(symbol, parts[1])
	case name == "ticker":
		at := func(side, i string) string { return text(parts[1], side, i) }
		return fmt.Appendf(nil, `{"channel":"ticker","type":"update","data":[{"symbol":%q,"bid":%s,"bid_qty":%s,"ask":%s,"ask_qty":%s,"last":%s}]}`,
			symbol, at("b", "0"), at("b", "2"), at("a", "0"), at("a", "2"), at("c", "0"))
	case !strings.HasPrefix(name, "book"):
		return raw
	}
	return w.book(raw, symbol, parts[1:len(parts)-2])
}

func (w *v1) trades(symbol string, list *fastjson.Value) []byte {
	var out []string
	for _, r := range list.GetArray() {
		w.ids[symbol]++
		side := "sell"
		if text(r, "3") == "b" {
			side = "buy"
		}
		out = append(out, fmt.Sprintf(`{"symbol":%q,"side":%q,"price":%s,"qty":%s,"ord_type":"limit","trade_id":%d,"timestamp":%q}`,
			symbol, side, text(r, "0"), text(r, "1"), w.ids[symbol], dateOf(text(r, "2"))))
	}
	return fmt.Appendf(nil, `{"channel":"trade","type":"update","data":[%s]}`, strings.Join(out, ","))
}

// book joins the parts of a message. Snapshots of v1 have no checksum: it is computed. They have no time either: their rows
// are of any age.
func (w *v1) book(raw []byte, symbol string, parts []*fastjson.Value) []byte {
	kind, sum, latest := "update", "", ""
	var bids, asks []string
	for _, part := range parts {
		for _, from := range []string{"as", "a", "bs", "b"} {
			to := &bids
			if from[0] == 'a' {
				to = &asks
			}
			for _, r := range part.GetArray(from) {
				*to = append(*to, level(r))
				latest = max(latest, text(r, "2"))
			}
			if part.Exists(from) && len(from) == 2 {
				kind = "snapshot"
			}
		}
		if part.Exists("c") {
			sum = text(part, "c")
		}
	}
	when := fmt.Sprintf(`,"timestamp":%q`, dateOf(latest))
	if kind == "snapshot" {
		sum, when = "0", ""
		if events, err := w.spec.NewDecoder().Message(raw); err == nil && len(events) > 0 {
			sum = checksumOf(w.spec.Books.Checksum, events[0].Bids, events[0].Asks)
		}
	}
	return fmt.Appendf(nil, `{"channel":"book","type":%q,"data":[{"symbol":%q,"bids":[%s],"asks":[%s],"checksum":%s%s}]}`,
		kind, symbol, strings.Join(bids, ","), strings.Join(asks, ","), sum, when)
}

// dateOf writes seconds since the epoch as v2 does.
func dateOf(seconds string) string {
	whole, fraction, _ := strings.Cut(seconds, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return ""
	}
	at := bytes.TrimSuffix([]byte(schemas.Time(n*1e9).String()), []byte("Z"))
	return string(at) + "." + fraction + "Z"
}

// currentPair spells a pair of v1 as v2 does.
func currentPair(pair string) string {
	base, quote, _ := strings.Cut(pair, "/")
	return currentAsset(base) + "/" + currentAsset(quote)
}

func currentAsset(name string) string {
	switch name {
	case "XBT":
		return "BTC"
	case "XDG":
		return "DOGE"
	}
	return name
}
