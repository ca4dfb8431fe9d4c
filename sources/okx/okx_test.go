package okx

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

const file = "cryptofeed-v3/OKX.jsonl.zst"

// spec is the market without any symbol: it takes what comes.
func spec() *venue.Spec {
	c := Defaults()
	c.Symbols = nil
	s, err := c.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// The recording is of 2022: its books have no sequence numbers, and a checksum each. 290 of 290 are right: 3 snapshots and
// 287 updates, which is cryptofeed's count of l2_book; 74 trades and 28 tickers are its counts too. The 18 remaining
// messages acknowledge subscriptions.
//
// Two trades are late, the last ones of BTC-USD-220527 and UNI-USD-SWAP: sent at subscription, 25.5 and 10 s old.
func TestRecordingGivesKnownCounts(t *testing.T) {
	m, out := venuetest.Play(t, venuetest.Recording{File: file, Spec: spec()})
	want := venuetest.Totals{Applied: 287, Snapshots: 3, Checked: 290, Quotes: 28, Trades: 74, Late: 2}
	got := venuetest.Measure(m, out)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	old := 0
	for _, tr := range sourcetest.Of[*schemas.Trade](out) {
		if tr.Meta.Flags != 0 {
			old++
			if behind := schemas.Time(tr.Meta.ReceiveTime).Sub(schemas.Time(tr.Meta.EventTime)); behind < 5*time.Second {
				t.Errorf("trade %s of %s is marked as old, %v behind", tr.Meta.Id, tr.Meta.Symbol, behind)
			}
		}
	}
	if old == 0 {
		t.Error("no trade is marked as old: the recording has one of 25.5 s")
	}
	for _, b := range sourcetest.Of[*schemas.BookSnapshot](out) {
		if b.Meta.SequenceKind != schemas.SequenceKind_SEQUENCE_KIND_CHECKSUM {
			t.Fatalf("book %v: it is proved by its checksum", b.Meta)
		}
	}
}

// Contracts count: an inverse future 100 USD, so 1 contract at 30,218.8 is 0.0033091982 BTC; on the spot market the quantity
// stands as it is.
func TestContractsAreConverted(t *testing.T) {
	_, out := venuetest.Play(t, venuetest.Recording{File: file, Spec: spec()})
	seen := map[string]string{}
	for _, tr := range sourcetest.Of[*schemas.Trade](out) {
		seen[tr.Meta.Symbol+" "+tr.Meta.Id] = tr.Price.Text() + " " + tr.Quantity.Text()
	}
	for id, want := range map[string]string{
		"BTC-USD-FUT-20220527 7849": "30218.8 0.0033091982", "BTC-USDT 338476375": "30227.6 0.00000088",
	} {
		if seen[id] != want {
			t.Errorf("trade %s: %q, want %q", id, seen[id], want)
		}
	}
	// Without the list of instruments nobody knows what a contract is: nothing is invented.
	frames := slices.DeleteFunc(venuetest.Read(t, file), func(f capture.Frame) bool { return f.Kind == capture.HTTP })
	m, out := venuetest.Fed(t, spec(), frames)
	for _, tr := range sourcetest.Of[*schemas.Trade](out) {
		if tr.Meta.Symbol != "BTC-USDT" {
			t.Fatalf("trade %v without a multiplier", tr)
		}
	}
	if _, rejected := m.Core().Counts(); rejected == 0 {
		t.Error("no record was rejected for want of a multiplier")
	}
}

// Liquidations are subscribed to by the type of instrument: those of instruments that are not followed are passed over, not counted as
// messages that nobody knows. Both sides of a hedge that is closed at one time are two.
func TestLiquidations(t *testing.T) {
	c := Defaults()
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	out := &sourcetest.Memory{}
	m, err := venue.NewMachine(s, c.Config, out, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	at := schemas.Time(1692266434020) * 1_000_000
	of := func(instrument, details string) capture.Frame {
		return capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at, Data: []byte(`{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[` + details + `],"instId":"` + instrument + `","instType":"SWAP"}]}`)}
	}
	long, short := `{"bkPx":"29000.1","posSide":"long","side":"sell","sz":"13","ts":"1692266434010"}`, `{"bkPx":"29000.1","posSide":"short","side":"buy","sz":"13","ts":"1692266434010"}`
	venuetest.Run(t, m, []capture.Frame{
		{Kind: capture.Connect, Conn: "a/1", At: at, URL: streamAddress},
		{Kind: capture.HTTP, Conn: "http", At: at, URL: s.Gets[0].URL, Data: []byte(`{"code":"0","data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","ctVal":"0.01","ctType":"linear"}]}`)},
		of("BTC-USDT-SWAP", long+","+short), of("BTC-USDT-SWAP", long), of("IOST-USDT-SWAP", long),
	})
	forced := sourcetest.Of[*schemas.Liquidation](out)
	if len(forced) != 2 || forced[0].PositionSide != schemas.Side_SIDE_BUY || forced[1].PositionSide != schemas.Side_SIDE_SELL {
		t.Errorf("liquidations %v, want one of a long and one of a short", forced)
	}
	if unknown, rejected := m.Core().Counts(); unknown != 0 || rejected != 0 {
		t.Errorf("%d messages unknown, %d rejected, want none", unknown, rejected)
	}
}

func TestLaws(t *testing.T) { venuetest.Laws(t, venuetest.Recording{File: file, Spec: spec()}) }

// One wrong digit in any update of a book is caught on that very message: one Gap, one request for a snapshot, and the other
// books untouched. The negative control: without the change nothing is.
func TestOneWrongDigitIsCaughtOnThatFrame(t *testing.T) {
	frames := venuetest.Read(t, file)
	var updates []int
	for i, f := range frames {
		if f.Kind == capture.Receive && bytes.Contains(f.Data, []byte(`"action":"update"`)) {
			updates = append(updates, i)
		}
	}
	if len(updates) != 287 {
		t.Fatalf("%d updates, want 287", len(updates))
	}
	caught := 0
	for k := 0; k < len(updates); k += 7 {
		at := updates[k]
		broken := slices.Clone(frames[:at+1])
		flipped, ok := flip(frames[at].Data)
		if !ok {
			continue
		}
		broken[at].Data = flipped
		var asked []string
		out := &sourcetest.Memory{}
		m := venuetest.Machine(t, spec(), out, venue.Hands{Recover: func(_, v string) { asked = append(asked, v) }})
		venuetest.Run(t, m, broken[:at])
		if n := len(sourcetest.Of[*schemas.Gap](out)); n != 0 {
			t.Fatalf("%d gaps ahead of the wrong digit", n)
		}
		venuetest.Run(t, m, broken[at:])
		gaps := sourcetest.Of[*schemas.Gap](out)
		// A level that is removed and does not stand has no digit that counts; one beyond the 25 best is not covered.
		if len(gaps) == 0 && !covered(t, frames[:at+1], flipped) {
			continue
		}
		if len(gaps) != 1 || gaps[0].Cause != "checksum" || len(asked) != 1 {
			t.Errorf("update %d: gaps %v, asked for %v, want one of each", k, gaps, asked)
		}
		caught++
	}
	if caught < 20 {
		t.Errorf("%d wrong digits were caught, want at least 20", caught)
	}
	t.Logf("%d wrong digits, each caught on its frame", caught)
}

// covered says that a changed message leads to another text of the best 25 levels.
func covered(t *testing.T, frames []capture.Frame, flipped []byte) bool {
	t.Helper()
	sum := func(last []byte) uint32 {
		m := venuetest.Machine(t, unchecked(), &sourcetest.Memory{})
		venuetest.Run(t, m, frames[:len(frames)-1])
		f := frames[len(frames)-1]
		f.Data = last
		venuetest.Run(t, m, []capture.Frame{f})
		events, err := (&decoder{}).Message(last)
		if err != nil {
			t.Fatal(err)
		}
		symbol, _ := canonical(string(events[0].Symbol))
		b, _, _ := m.Book(symbol)
		return checksum(b)
	}
	return sum(frames[len(frames)-1].Data) != sum(flipped)
}

// unchecked is the market with the checksum left unread.
func unchecked() *venue.Spec {
	s := spec()
	s.Books.Checksum = nil
	return s
}

// flip changes the last digit of the first price.
func flip(raw []byte) ([]byte, bool) {
	i := bytes.Index(raw, []byte(`[["`))
	if i < 0 {
		return nil, false
	}
	end := i + 3 + bytes.IndexByte(raw[i+3:], '"')
	out := slices.Clone(raw)
	out[end-1] = '0' + (out[end-1]-'0'+1)%10
	return out, true
}

// Every level of the recording is written again byte for byte: 8,264 rows.
func TestLevelsRoundTrip(t *testing.T) {
	rows := 0
	for _, f := range venuetest.Read(t, file) {
		if f.Kind != capture.Receive || !bytes.Contains(f.Data, []byte(`"action":`)) {
			continue
		}
		events, err := (&decoder{}).Message(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		var again strings.Builder
		for _, side := range [][]book.Level{events[0].Asks, events[0].Bids} {
			for _, l := range side {
				fmt.Fprintf(&again, `["%s","%s","`, l.Price.Decimal().Text(), l.Quantity.Decimal().Text())
				rows++
			}
		}
		for part := range strings.SplitAfterSeq(again.String(), `","`) {
			if !bytes.Contains(f.Data, []byte(part)) {
				t.Fatalf("%s is not in %.200s", part, f.Data)
			}
		}
	}
	if rows != 8264 {
		t.Errorf("%d rows, want 8264", rows)
	}
}

// Payloads as in https://www.okx.com/docs-v5/en/.
func TestDecode(t *testing.T) {
	const ms = schemas.Time(time.Millisecond)
	n := func(text string) venue.Number {
		d, err := schemas.ParseDecimal([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return venue.Number{Mantissa: d.Mantissa, Exponent: d.Exponent}
	}
	some := func(text string) venue.Optional { return venue.Some(n(text)) }
	for _, c := range []struct {
		name, raw string
		want      venue.Event
	}{
		{
			"trade of three fills", `{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}]}`,
			venue.Event{Kind: venue.Trade, Symbol: []byte("BTC-USDT"), At: 1630048897897 * ms, Number: 130639474, Price: n("42219.9"), Quantity: n("0.12060306"), Side: schemas.Side_SIDE_BUY, Fills: 3},
		},
		{
			"book with numbers; a checksum of 0 is none",
			`{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],"ts":"1597026383085","checksum":0,"prevSeqId":123455,"seqId":123456}]}`,
			venue.Event{Kind: venue.BookUpdate, Symbol: []byte("BTC-USDT"), At: 1597026383085 * ms, Last: 123456, Prev: 123455, Depth: 400},
		},
		{
			"first book", `{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[],"bids":[],"ts":"1597026383085","prevSeqId":-1,"seqId":123456}]}`,
			venue.Event{Kind: venue.BookSnapshot, Symbol: []byte("BTC-USDT"), At: 1597026383085 * ms, Last: 123456, Depth: 400},
		},
		{
			"funding of 8 hours",
			`{"arg":{"channel":"funding-rate","instId":"BTC-USD-SWAP"},"data":[{"fundingRate":"0.0001875391284828","fundingTime":"1700726400000","instId":"BTC-USD-SWAP","instType":"SWAP","maxFundingRate":"0.00375","minFundingRate":"-0.00375","nextFundingRate":"","nextFundingTime":"1700755200000","ts":"1700724675402"}]}`,
			venue.Event{
				Kind: venue.Derivative, Channel: venue.Funding, Symbol: []byte("BTC-USD-SWAP"), At: 1700724675402 * ms, Rate: some("0.0001875391284828"), Cap: some("0.00375"),
				Next: 1700726400000 * ms, Interval: 28800,
			},
		},
		{
			"a long is liquidated by a sale",
			`{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"0.007831","ccy":"","posSide":"long","side":"sell","sz":"13","ts":"1692266434010"}],"instFamily":"IOST-USDT","instId":"IOST-USDT-SWAP","instType":"SWAP","uly":"IOST-USDT"}]}`,
			venue.Event{Kind: venue.Liquidation, Partial: true, Wide: true, Symbol: []byte("IOST-USDT-SWAP"), At: 1692266434010 * ms, Price: n("0.007831"), Quantity: n("13"), Side: schemas.Side_SIDE_SELL},
		},
		{
			"open interest in coins",
			`{"arg":{"channel":"open-interest","instId":"LTC-USD-SWAP"},"data":[{"instType":"SWAP","instId":"LTC-USD-SWAP","oi":"5000","oiCcy":"555.55","ts":"1597026383085"}]}`,
			venue.Event{Kind: venue.Derivative, Channel: venue.Interest, Symbol: []byte("LTC-USD-SWAP"), At: 1597026383085 * ms, OpenInterest: some("555.55"), Unit: schemas.QuantityUnit_QUANTITY_UNIT_BASE},
		},
		{
			"maintenance",
			`{"arg":{"channel":"status"},"data":[{"begin":"1672823400000","end":"1672825980000","href":"","preOpenBegin":"","scheDesc":"","serviceType":"0","state":"ongoing","system":"unified","maintType":"1","env":"1","title":"Trading account WebSocket system upgrade","ts":"1672826038470"}]}`,
			venue.Event{
				Kind: venue.Status, At: 1672826038470 * ms, State: "maintenance", Scope: "maintenance/1672823400000-0", Starts: 1672823400000 * ms, Ends: 1672825980000 * ms,
				Detail: []byte("Trading account WebSocket system upgrade (ongoing)"),
			},
		},
		{"maintenance of the demo trading", `{"arg":{"channel":"status"},"data":[{"begin":"1672823400000","end":"1672825980000","serviceType":"0","state":"ongoing","env":"2","title":"x","ts":"1672826038470"}]}`, venue.Event{Kind: venue.Note}},
		{"subscribed", `{"event":"subscribe","arg":{"channel":"tickers","instId":"LTC-USDT"},"connId":"a4d3ae55"}`, venue.Event{Kind: venue.Note}},
		{"refused", `{"event":"error","code":"60012","msg":"Invalid request","connId":"a4d3ae55"}`, venue.Event{Kind: venue.Refusal, Detail: []byte("Invalid request")}},
		{"about to be cut", `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}`, venue.Event{Kind: venue.Shutdown}},
		{"pong", `pong`, venue.Event{Kind: venue.Note}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&decoder{}).Message([]byte(c.raw))
			if err != nil || len(got) != 1 {
				t.Fatalf("%d events, %v", len(got), err)
			}
			if diff := cmp.Diff(c.want, got[0], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, c := range []struct{ raw, says string }{
		{`{"arg":{"channel":"trades"},"data":[{}]}`, "instId"},
		{`{"arg":{"channel":"books","instId":"X-Y"},"action":"delta","data":[{}]}`, "snapshot or update"},
		{`{"arg":{"channel":"trades","instId":"X-Y"},"data":[{"tradeId":"1","px":"1","sz":"1","side":"up","ts":"1630048897897"}]}`, "buy or sell"},
		{`{"arg":{"channel":"trades","instId":"X-Y"}}`, "data"},
		{`[]`, "array"},
	} {
		if _, err := (&decoder{}).Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", c.raw, err, c.says)
		}
	}
}

func TestSymbols(t *testing.T) {
	for okx, want := range map[string]string{"BTC-USDT": "BTC-USDT", "BTC-USDT-SWAP": "BTC-USDT-PERP", "BTC-USD-220527": "BTC-USD-FUT-20220527"} {
		got, err := canonical(okx)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", okx, got, err, want)
		}
		if back, err := venueSymbol(want); err != nil || back != okx {
			t.Errorf("%s at OKX: %s, %v, want %s", want, back, err, okx)
		}
	}
	for _, v := range []string{"", "BTC", "btc-usdt", "BTC-USD-99", "BTC-USD-220514-22000-C"} {
		if got, err := canonical(v); err == nil {
			t.Errorf("%q gives %s, want an error", v, got)
		}
	}
}

func TestConnections(t *testing.T) {
	c := Defaults()
	c.Symbols = []string{"BTC-USDT", "BTC-USDT-PERP"}
	s, err := c.Spec()
	if err != nil || len(s.Connections) != 2 || s.Connections[0].Counts || !s.Connections[1].Counts || len(s.Gets) != 1 || !s.Gets[0].Lists || s.Gets[0].URL != "https://www.okx.com/api/v5/public/instruments?instType=SWAP" {
		t.Fatalf("%v, %v, %v", s.Connections, s.Gets, err)
	}
	named := map[string]bool{}
	for _, conn := range s.Connections {
		for _, st := range streams(capture.Frame{Kind: capture.Send, Data: conn.Send[0]}) {
			named[st.Symbol+" "+st.Channel] = conn.Counts == (st.Symbol == "BTC-USDT-SWAP")
		}
	}
	for _, want := range []string{"BTC-USDT trades", "BTC-USDT book", "BTC-USDT-SWAP funding", "BTC-USDT-SWAP marks", "BTC-USDT-SWAP open_interest"} {
		if !named[want] {
			t.Errorf("streams %v lack %s", named, want)
		}
	}
	if !bytes.Contains(s.Connections[1].Send[0], []byte(`{"channel":"liquidation-orders","instType":"SWAP"}`)) {
		t.Errorf("request %s", s.Connections[1].Send[0])
	}
	for says, change := range map[string]func(*Config){
		"okx.symbols":  func(c *Config) { c.Symbols = []string{"BTCUSDT"} },
		"okx.channels": func(c *Config) { c.Channels = []string{"options"} },
	} {
		c := Defaults()
		change(&c)
		if _, err := venue.New(c, nil, sources.NewMetrics(nil)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"tradeId":"1","px":"4","sz":"1","side":"buy","ts":"1630048897897","count":"3"}]}`,
		`{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["3","4","0","1"]],"bids":[["1","2","0","1"]],"ts":"1597026383085","checksum":-1,"prevSeqId":-1,"seqId":5}]}`,
		`{"arg":{"channel":"funding-rate","instId":"BTC-USD-SWAP"},"data":[{"fundingRate":"0.1","fundingTime":"1700726400000","nextFundingTime":"1700755200000","ts":"1700724675402"}]}`,
		`{"code":"0","data":[{"instType":"SWAP","instId":"BTC-USD-SWAP","ctVal":"100","ctType":"inverse"}]}`, `pong`,
		`{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		venuetest.Fuzz(t, spec(), raw)
		if _, err := (&decoder{}).Answer("/api/v5/public/instruments", raw); err != nil {
			return
		}
	})
}

func BenchmarkTrades(b *testing.B) {
	frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: 1_652_459_224_000_000_000}}
	const many = 20_000
	for i := range many {
		ms := 1_652_459_224_000 + i
		frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: schemas.Time(ms) * 1_000_000, Data: fmt.Appendf(nil,
			`{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"%d","px":"30227.6","sz":"0.00000088","side":"buy","ts":"%d"}]}`, 338476375+i, ms)})
	}
	venuetest.Benchmark(b, spec(), frames)
}
