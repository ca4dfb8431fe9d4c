package loopback

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A dialect is how one venue spells what the server reads and writes. Streams go by the venue's own names; where a channel
// and an instrument are apart, a space joins them.
type dialect struct {
	// keys are the streams of a recorded frame; none for what is no data, such as acknowledgements.
	keys func(v *fastjson.Value) []string
	// asked lists the streams that an address subscribes to; nil where addresses do not.
	asked func(u *url.URL) []string
	// request reads a message of a client.
	request func(raw []byte) request
	// key is what a stream goes by, of the name that a client has for it.
	key func(name string) string
	// carries says that a stream is had by a path of the address.
	carries func(path, key string) bool
	// book says which instrument's book a stream is; snapshot writes it whole. nil where books are asked for by GET.
	book     func(key string) (symbol string, ok bool)
	snapshot func(f snapshot) []byte
	// depth reads the address of a GET for a book, and answer writes it; nil where there is none.
	depth  func(u *url.URL) (symbol string, limit int, ok bool)
	answer func(f snapshot, limit int) []byte
	// number sets the number of a message, and its time where it has none; nil where messages are not numbered.
	number func(raw []byte, n uint64, at schemas.Time) []byte
	// greeting goes out at once; shutdown announces the end of a connection.
	greeting []string
	shutdown string
	// translate writes a recording of an older interface as the present one has it.
	translate func(spec *venue.Spec, frames []capture.Frame) []capture.Frame
}

// request is what a client's message asks for.
type request struct {
	join, leave []string
	answers     [][]byte
}

// snapshot is a whole book.
type snapshot struct {
	stream, symbol string
	book           *book.Book
	last           uint64
	at             schemas.Time
	checksum       uint32
}

// dialects by the source's name.
var dialects = map[string]*dialect{
	"binance.spot":        binanceDialect("", false),
	"binance.usdm":        binanceDialect("/fapi/v1/depth", true),
	"bybit.spot":          bybitDialect(true),
	"bybit.linear":        bybitDialect(false),
	"okx.public":          okxDialect(),
	"kraken.spot":         krakenDialect(),
	"kraken.futures":      krakenFuturesDialect(),
	"coinbase.advanced":   coinbaseDialect(),
	"coinbase.exchange":   exchangeDialect(),
	"deribit.derivatives": deribitDialect(),
}

// same and anywhere are the parts of a dialect that has nothing to say of them.
func same(name string) string                       { return name }
func anywhere(string, string) bool                  { return true }
func millis(t schemas.Time) int64                   { return int64(t) / int64(time.Millisecond) }
func text(v *fastjson.Value, keys ...string) string { return string(v.GetStringBytes(keys...)) }

// texts are the strings of an array.
func texts(v *fastjson.Value, keys ...string) []string {
	var out []string
	for _, e := range v.GetArray(keys...) {
		out = append(out, string(e.GetStringBytes()))
	}
	return out
}

// encode writes JSON of what always has a form, signs as they are.
func encode(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings and numbers always encode
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// rows writes the levels of one side, best first, at most limit unless that is 0.
func rows[R any](n, limit int, level func(int) book.Level, row func(price, quantity string) R) []R {
	if limit > 0 {
		n = min(n, limit)
	}
	out := make([]R, 0, n)
	for i := range n {
		l := level(i)
		out = append(out, row(l.Price.Decimal().Text(), l.Quantity.Decimal().Text()))
	}
	return out
}

// sides writes both sides.
func sides[R any](f snapshot, limit int, row func(price, quantity string) R) (bids, asks []R) {
	b, a := f.book.Depth()
	return rows(b, limit, f.book.Bid, row), rows(a, limit, f.book.Ask, row)
}

func pair(price, quantity string) [2]string { return [2]string{price, quantity} }

// priced is a level of numbers.
type priced struct {
	Price    json.Number `json:"price"`
	Quantity json.Number `json:"qty"`
}

func numbers(price, quantity string) priced { return priced{json.Number(price), json.Number(quantity)} }

// binanceDialect has its streams in the address, or takes SUBSCRIBE. The futures market parts them: books and quotes come by
// /public, the rest by /market, and on an address without a part what is not books or quotes is taken and never sent.
func binanceDialect(depthPath string, futures bool) *dialect {
	if depthPath == "" {
		depthPath = "/api/v3/depth"
	}
	d := &dialect{key: unpaced, carries: anywhere, shutdown: `{"e":"serverShutdown","E":0}`}
	d.keys = func(v *fastjson.Value) []string {
		if s := text(v, "stream"); s != "" {
			return []string{unpaced(s)}
		}
		return nil
	}
	d.asked = func(u *url.URL) []string {
		if list := u.Query().Get("streams"); list != "" {
			return strings.Split(list, "/")
		}
		return nil
	}
	if futures {
		d.carries = func(path, key string) bool {
			book := strings.HasSuffix(key, "@depth") || strings.HasSuffix(key, "@bookTicker")
			return book != strings.HasPrefix(path, "/market")
		}
	}
	d.request = binanceRequest
	d.depth = func(u *url.URL) (string, int, bool) {
		limit, err := strconv.Atoi(u.Query().Get("limit"))
		if err != nil {
			limit = 500
		}
		return u.Query().Get("symbol"), limit, u.Path == depthPath
	}
	d.answer = func(f snapshot, limit int) []byte {
		bids, asks := sides(f, limit, pair)
		type body struct {
			Last uint64      `json:"lastUpdateId"`
			Sent int64       `json:"E,omitempty"`
			Time int64       `json:"T,omitempty"`
			Bids [][2]string `json:"bids"`
			Asks [][2]string `json:"asks"`
		}
		b := body{Last: f.last, Bids: bids, Asks: asks}
		if futures {
			b.Sent, b.Time = millis(f.at), millis(f.at)
		}
		return encode(b)
	}
	return d
}

func binanceRequest(raw []byte) (r request) {
	v, err := fastjson.ParseBytes(raw)
	if err != nil {
		r.answers = [][]byte{[]byte(`{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`)}
		return r
	}
	switch text(v, "method") {
	case "SUBSCRIBE":
		r.join = texts(v, "params")
	case "UNSUBSCRIBE":
		r.leave = texts(v, "params")
	default:
		r.answers = [][]byte{[]byte(`{"error":{"code":2,"msg":"Invalid request: unknown variant"}}`)}
		return r
	}
	r.answers = [][]byte{[]byte(`{"result":null,"id":` + strconv.Itoa(v.GetInt("id")) + `}`)}
	return r
}

// unpaced leaves the pace out of a stream's name: a recording has one of them.
func unpaced(name string) string {
	parts := strings.SplitN(name, "@", 3)
	return strings.Join(parts[:min(len(parts), 2)], "@")
}

// bybitDialect takes topics; on the spot market at most ten a request.
func bybitDialect(spot bool) *dialect {
	d := &dialect{key: same, carries: anywhere}
	d.keys = func(v *fastjson.Value) []string {
		if topic := text(v, "topic"); topic != "" {
			return []string{topic}
		}
		return nil
	}
	d.request = func(raw []byte) (r request) {
		type answer struct {
			Success bool   `json:"success"`
			Message string `json:"ret_msg"`
			Conn    string `json:"conn_id"`
			Request string `json:"req_id"`
			Op      string `json:"op"`
		}
		a := answer{Success: true, Conn: "loopback"}
		v, err := fastjson.ParseBytes(raw)
		if err != nil {
			a.Success, a.Message = false, "error:invalid request"
			return request{answers: [][]byte{encode(a)}}
		}
		a.Op, a.Request = text(v, "op"), text(v, "req_id")
		topics := texts(v, "args")
		switch {
		case a.Op == "ping":
			a.Message = "pong"
		case a.Op != "subscribe" && a.Op != "unsubscribe":
			a.Success, a.Message = false, "error:unknown op"
		case spot && len(topics) > 10:
			a.Success, a.Message = false, "args size >10"
		case a.Op == "subscribe":
			for _, t := range topics {
				if !bybitTopic(t) {
					a.Success, a.Message = false, "error:handler not found,topic:"+t
				}
			}
			if a.Success {
				r.join = topics
			}
		default:
			r.leave = topics
		}
		r.answers = [][]byte{encode(a)}
		return r
	}
	d.book = func(key string) (string, bool) {
		parts := strings.Split(key, ".")
		return parts[len(parts)-1], len(parts) == 3 && parts[0] == "orderbook" && parts[1] != "1"
	}
	d.snapshot = func(f snapshot) []byte {
		bids, asks := sides(f, 0, pair)
		type data struct {
			Symbol string      `json:"s"`
			Bids   [][2]string `json:"b"`
			Asks   [][2]string `json:"a"`
			Last   uint64      `json:"u"`
			Seq    uint64      `json:"seq"`
		}
		return encode(struct {
			Topic string `json:"topic"`
			Type  string `json:"type"`
			Sent  int64  `json:"ts"`
			Data  data   `json:"data"`
			At    int64  `json:"cts"`
		}{f.stream, "snapshot", millis(f.at), data{f.symbol, bids, asks, f.last, f.last}, millis(f.at)})
	}
	return d
}

// bybitTopic says that a topic is one of the public ones.
func bybitTopic(topic string) bool {
	parts := strings.Split(topic, ".")
	switch parts[0] {
	case "publicTrade", "tickers", "allLiquidation":
		return len(parts) == 2
	case "orderbook", "kline":
		return len(parts) == 3
	}
	return false
}

func okxSnapshot(f snapshot) []byte {
	bids, asks := sides(f, 0, func(p, q string) [4]string { return [4]string{p, q, "0", "1"} })
	type data struct {
		Asks     [][4]string `json:"asks"`
		Bids     [][4]string `json:"bids"`
		Time     string      `json:"ts"`
		Checksum int32       `json:"checksum"`
		// Recordings of before 2023 have no numbers, and then nor has this.
		Seq      uint64 `json:"seqId,omitempty"`
		Previous int    `json:"prevSeqId,omitempty"`
	}
	row := data{Asks: asks, Bids: bids, Time: strconv.FormatInt(millis(f.at), 10), Checksum: int32(f.checksum)}
	if f.last > 0 {
		row.Seq, row.Previous = f.last, -1
	}
	return encode(struct {
		Arg    map[string]string `json:"arg"`
		Action string            `json:"action"`
		Data   []data            `json:"data"`
	}{map[string]string{"channel": "books", "instId": f.symbol}, "snapshot", []data{row}})
}

// okxDialect takes a channel with an instrument or a type of instruments; a ping is the bare word.
func okxDialect() *dialect {
	d := &dialect{
		key: same, carries: anywhere,
		shutdown: `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"loopback"}`,
	}
	name := func(arg *fastjson.Value) string {
		return streamName(text(arg, "channel"), text(arg, "instId")+text(arg, "instType"))
	}
	d.keys = func(v *fastjson.Value) []string {
		if v.Exists("event") || !v.Exists("data") || !v.Exists("arg") {
			return nil
		}
		return []string{name(v.Get("arg"))}
	}
	d.request = func(raw []byte) (r request) {
		if string(raw) == "ping" {
			return request{answers: [][]byte{[]byte("pong")}}
		}
		v, err := fastjson.ParseBytes(raw)
		op := ""
		if err == nil {
			op = text(v, "op")
		}
		if op != "subscribe" && op != "unsubscribe" {
			return request{answers: [][]byte{[]byte(`{"event":"error","code":"60012","msg":"Invalid request","connId":"loopback"}`)}}
		}
		for _, arg := range v.GetArray("args") {
			if op == "subscribe" {
				r.join = append(r.join, name(arg))
			} else {
				r.leave = append(r.leave, name(arg))
			}
			r.answers = append(r.answers, []byte(`{"event":"`+op+`","arg":`+arg.String()+`,"connId":"loopback"}`))
		}
		return r
	}
	d.book = func(key string) (string, bool) {
		channel, symbol, _ := strings.Cut(key, " ")
		return symbol, channel == "books"
	}
	d.snapshot = okxSnapshot
	return d
}
