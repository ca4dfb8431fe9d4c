package binance

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

func numberOf(t *testing.T, text string) venue.Number {
	t.Helper()
	d, err := schemas.ParseDecimal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return venue.Number{Mantissa: d.Mantissa, Exponent: d.Exponent}
}

func TestDecode(t *testing.T) {
	n := func(text string) venue.Number { return numberOf(t, text) }
	const ms = schemas.Time(1_000_000)
	for _, c := range []struct {
		name, raw string
		want      venue.Event
	}{
		{
			"spot trade", `{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100","q":"100","T":1672515782130,"m":true,"M":true}}`,
			venue.Event{Kind: venue.Trade, Channel: "trade", Sent: 1672515782136 * ms, At: 1672515782130 * ms, Number: 12345, Price: n("0.00100"), Quantity: n("100"), Side: schemas.Side_SIDE_SELL},
		},
		{
			"microseconds", `{"e":"trade","E":1672515782136123,"s":"BNBBTC","t":1,"p":"1","q":"1","T":1672515782130999,"m":false}`,
			venue.Event{Kind: venue.Trade, Channel: "trade", Sent: 1672515782136123000, At: 1672515782130999000, Number: 1, Price: n("1"), Quantity: n("1"), Side: schemas.Side_SIDE_BUY},
		},
		{
			"off book", `{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":5,"p":"61800.30","q":"0.006","X":"INSURANCE_FUND","m":false}`,
			venue.Event{Kind: venue.Trade, Channel: "trade", Sent: 1723161256322 * ms, At: 1723161256322 * ms, Number: 5, Price: n("61800.30"), Quantity: n("0.006"), OffBook: schemas.OffBook_OFF_BOOK_INSURANCE_FUND, Side: schemas.Side_SIDE_BUY},
		},
		{
			"aggregate of three fills", `{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":5933014,"p":"0.001","q":"100","f":100,"l":102,"T":1672515782136,"m":false}`,
			venue.Event{Kind: venue.Trade, Channel: "aggTrade", Sent: 1672515782136 * ms, At: 1672515782136 * ms, Number: 5933014, Price: n("0.001"), Quantity: n("100"), Fills: 3, Side: schemas.Side_SIDE_BUY},
		},
		{
			"spot best bid and offer has no type and no time", `{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}`,
			venue.Event{Kind: venue.Quote, Last: 400900217, Price: n("25.35190000"), Quantity: n("31.21000000"), AskPrice: n("25.36520000"), AskQuantity: n("40.66000000")},
		},
		{
			"mark price", `{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"0.00038167","T":1562306400000}`,
			venue.Event{
				Kind: venue.Derivative, Sent: 1562305380000 * ms, At: 1562305380000 * ms, Next: 1562306400000 * ms, Mark: venue.Some(n("11794.15000000")), Index: venue.Some(n("11784.62659091")),
				Settle: venue.Some(n("11784.25641265")), Rate: venue.Some(n("0.00038167")),
			},
		},
		{
			"mark price of a dated future has no funding", `{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15","i":"11784.62","P":"11784.25","r":"","T":0}`,
			venue.Event{Kind: venue.Derivative, Sent: 1562305380000 * ms, At: 1562305380000 * ms, Mark: venue.Some(n("11794.15")), Index: venue.Some(n("11784.62")), Settle: venue.Some(n("11784.25"))},
		},
		{
			"a long is liquidated by a sale",
			`{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9912.5","X":"FILLED","l":"0.010","z":"0.012","T":1568014460890}}`,
			venue.Event{
				Kind: venue.Liquidation, Partial: true, Sent: 1568014460893 * ms, At: 1568014460890 * ms, Side: schemas.Side_SIDE_SELL, LimitPrice: venue.Some(n("9910")), Price: n("9912.5"), Quantity: n("0.012"),
			},
		},
		{"acknowledgement", `{"result":null,"id":1}`, venue.Event{Kind: venue.Note}},
		{"shutdown", `{"e":"serverShutdown","E":1770123456789}`, venue.Event{Kind: venue.Shutdown}},
		{"unknown", `{"e":"24hrTicker","s":"BTCUSDT"}`, venue.Event{Kind: venue.Unknown, Detail: []byte("24hrTicker")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			got, err := d.Message([]byte(c.raw))
			if err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			if diff := cmp.Diff(c.want, got[0], cmpopts.IgnoreFields(venue.Event{}, "Symbol"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, raw, says string }{
		{"no JSON", `{"e":"trade"`, "parsing"},
		{"array", `[1,2]`, "in place of an object"},
		{"no symbol", `{"e":"trade","E":1672515782136,"t":1,"p":"1","q":"1","m":true}`, "missing or of another type: s"},
		{"keys of the other case", `{"e":"trade","E":1672515782136,"S":"X","t":1,"p":"1","q":"1","m":true}`, "missing or of another type: s"},
		{"price is neither text nor number", `{"e":"trade","E":1672515782136,"s":"X","t":1,"p":[1],"q":"1","m":true}`, "p is array"},
		{"price is no number", `{"e":"trade","E":1672515782136,"s":"X","t":1,"p":"1,5","q":"1","m":true}`, "reading p"},
		{"id is a fraction", `{"e":"trade","E":1672515782136,"s":"X","t":1.5,"p":"1","q":"1","m":true}`, "reading t"},
		{"seconds for milliseconds", `{"e":"trade","E":167251578,"s":"X","t":1,"p":"1","q":"1","m":true}`, "not a time"},
		{"no side", `{"e":"trade","E":1672515782136,"s":"X","t":1,"p":"1","q":"1"}`, "another type: m"},
		{"half a level", `{"e":"depthUpdate","E":1672515782136,"s":"X","U":1,"u":2,"b":[["1"]],"a":[]}`, "two parts"},
		{"negative level", `{"e":"depthUpdate","E":1672515782136,"s":"X","U":1,"u":2,"b":[["1","-1"]],"a":[]}`, "negative"},
		{"side of a liquidation", `{"e":"forceOrder","E":1568014460893,"o":{"s":"X","S":"LONG","T":1568014460890}}`, "S is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			if _, err := d.Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	var d decoder
	// Where the limit is not known to hold, the longer side may have been cut at it.
	for address, want := range map[string]int{
		"/api/v3/depth?symbol=BTCUSDT": 2, "/api/v3/depth?symbol=BTCUSDT&limit=1000": 1000, "/api/v3/depth?symbol=BTCUSDT&limit=1": 2, "/api/v3/depth?symbol=BTCUSDT&limit=9999": 2,
	} {
		got, err := d.Answer(address, []byte(`{"lastUpdateId":1,"bids":[["2","1"],["1","1"]],"asks":[["3","1"]]}`))
		if err != nil || len(got) != 1 || got[0].Depth != want {
			t.Errorf("%s: %v, %v, want a depth of %d", address, got, err, want)
		}
	}
	if _, err := d.Answer("/api/v3/depth?symbol=BTCUSDT", []byte(`{"code":-1003,"msg":"Too many requests."}`)); !errors.Is(err, venue.ErrField) {
		t.Errorf("an error for a snapshot gives %v", err)
	}
}

// What cannot be decoded, is unknown or belongs to no configured symbol is counted, and what follows flows.
func TestBadMessagesAreCountedAndTheRestFlows(t *testing.T) {
	out := &sourcetest.Memory{}
	m := venuetest.Machine(t, spec(Spot), out)
	start := schemas.Time(1_672_515_782_000_000_000)
	frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: start}}
	for _, raw := range []string{
		`{"e":"trade","E":16725`, `{"e":"bogus","s":"BTCUSDT"}`, `{"e":"trade","E":1672515782136,"s":"???","t":1,"p":"1","q":"1","T":1672515782136,"m":true}`,
		`{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":1,"p":"1","q":"0","T":1672515782136,"m":true}`,
		`{"error":{"code":2,"msg":"Invalid request"},"id":1}`,
		`{"u":1,"s":"BTCUSDT","b":"2","B":"1","a":"1","A":"1"}`,
		`{"e":"trade","E":1672515782137,"s":"BTCUSDT","t":2,"p":"1","q":"1","T":1672515782137,"m":true}`,
	} {
		frames = append(frames, capture.Frame{Kind: capture.Receive, Conn: "a/1", At: start.Add(200e6), Data: []byte(raw)})
	}
	venuetest.Run(t, m, frames)
	if unknown, rejected := m.Core().Counts(); unknown != 2 || rejected != 4 {
		t.Errorf("%d unknown, %d rejected, want 2 and 4", unknown, rejected)
	}
	if got := sourcetest.Of[*schemas.Trade](out); len(got) != 1 || got[0].Meta.Id != "2" {
		t.Errorf("trades %v, want number 2", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"stream":"x@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true}}`,
		`{"e":"depthUpdate","E":1672515782136,"T":1672515782136,"s":"X","U":1,"u":2,"pu":0,"b":[["1","2"]],"a":[["3","4"]]}`,
		`{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}`,
		`{"lastUpdateId":1,"E":1672515782136,"T":1672515782136,"bids":[["1","2"]],"asks":[["3","4"]]}`,
		`{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"1","i":"1","P":"1","r":"0.1","T":1562306400000}`,
		`{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","q":"0.014","p":"9910","ap":"9910","z":"0.014","T":1568014460893}}`,
		`{"result":null,"id":1}`, `{"e":"kline","E":1672515782136,"s":"X","k":{}}`, `[]`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, market := range []string{Spot, USDM} {
			venuetest.Fuzz(t, spec(market), raw)
		}
	})
}
