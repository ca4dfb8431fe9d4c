package krakenfutures

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

func number(text string) venue.Number {
	d, err := schemas.ParseDecimal([]byte(text))
	if err != nil {
		panic(err)
	}
	return venue.Number{Mantissa: d.Mantissa, Exponent: d.Exponent}
}

func some(text string) venue.Optional { return venue.Some(number(text)) }

const ms = schemas.Time(1_000_000)

// Payloads of https://docs.kraken.com/exchange/api-reference/futures-websocket and of the recording.
const (
	inverseTicker = `{"time":1612270825253,"product_id":"PI_XBTUSD","funding_rate":3.891007752e-9,"funding_rate_prediction":4.2233756e-9,` +
		`"relative_funding_rate":0.000135046879166667,"relative_funding_rate_prediction":0.000146960125,"next_funding_rate_time":1612281600000,"feed":"ticker",` +
		`"bid":34832.5,"ask":34847.5,"bid_size":42864,"ask_size":2300,"volume":262306237,"dtm":0,"leverage":"50x","index":34803.45,"premium":0.1,"last":34852,` +
		`"change":2.995109121267192,"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":107706940,"markPrice":34844.25,"maturityTime":0}`
	linearTicker = `{"time":1790359997224,"product_id":"PF_XBTUSD","next_funding_rate_time":1790362800000,"feed":"ticker","bid":84001.0,"ask":84002.0,` +
		`"bid_size":0.0273,"ask_size":0.006,"index":83995.76,"suspended":false,"tag":"perpetual","openInterest":2189.7813,"markPrice":84004.11362574516,"post_only":true}`
	datedTicker = `{"time":1612270825253,"product_id":"FI_XBTUSD_210924","feed":"ticker","ask":34847.5,"ask_size":2300,"index":34803.45,"suspended":true,` +
		`"tag":"quarter","openInterest":100,"markPrice":34844.25,"maturityTime":1632495600000}`
	trade = `{"feed":"trade","product_id":"PI_XBTUSD","uid":"05af78ac-a774-478c-a50c-8b9c234e071e","side":"sell","type":"fill","seq":653355,"time":1612266317519,"qty":15000,"price":34969.5}`
)

func TestDecode(t *testing.T) {
	xbt, sell := []byte("PI_XBTUSD"), schemas.Side_SIDE_SELL
	sold := venue.Event{
		Kind: venue.Trade, Symbol: xbt, At: 1612266317519 * ms, ID: []byte("05af78ac-a774-478c-a50c-8b9c234e071e"), Number: 653355,
		Price: number("34969.5"), Quantity: number("15000"), Side: sell,
	}
	forced := sold
	forced.Kind = venue.Liquidation
	block, odd, old, before := sold, sold, sold, sold
	block.OffBook, odd.OffBook = schemas.OffBook_OFF_BOOK_BLOCK, schemas.OffBook_OFF_BOOK_OTHER
	old.Old, before.Old, before.Number, before.ID = true, true, 653354, []byte("05af78ac-a774-478c-a50c-8b9c234e071d")
	earlier := strings.NewReplacer("653355", "653354", "071e", "071d").Replace(trade)
	typed := func(name string) string { return strings.Replace(trade, `"fill"`, `"`+name+`"`, 1) }
	for _, c := range []struct {
		name, raw string
		want      []venue.Event
	}{
		{"trade", trade, []venue.Event{sold}},
		{"liquidation: the taker's position", typed("liquidation"), []venue.Event{sold, forced}},
		{"termination", typed("termination"), []venue.Event{sold, forced}},
		{"block trade", typed("block"), []venue.Event{block}},
		{"a type that is not known", typed("assignment"), []venue.Event{odd}},
		{"old trades come newest first", `{"feed":"trade_snapshot","product_id":"PI_XBTUSD","trades":[` + trade + `,` + earlier + `]}`, []venue.Event{before, old}},
		{
			"snapshot of a book", `{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":1612269825817,"seq":326072249,"tickSize":null,` +
				`"bids":[{"price":34892.5,"qty":6385},{"price":34892,"qty":10924}],"asks":[{"price":34911.5,"qty":20598}]}`,
			[]venue.Event{{
				Kind: venue.BookSnapshot, Symbol: xbt, At: 1612269825817 * ms, Last: 326072249,
				Bids: []book.Level{{Price: number("34892.5"), Quantity: number("6385")}, {Price: number("34892"), Quantity: number("10924")}},
				Asks: []book.Level{{Price: number("34911.5"), Quantity: number("20598")}},
			}},
		},
		{
			"change of an offer", `{"feed":"book","product_id":"PI_XBTUSD","side":"sell","seq":326094134,"price":34981,"qty":0,"timestamp":1612269953629}`,
			[]venue.Event{{Kind: venue.BookUpdate, Symbol: xbt, At: 1612269953629 * ms, Last: 326094134, Asks: []book.Level{{Price: number("34981"), Quantity: number("0")}}}},
		},
		{
			"change of a bid", `{"feed":"book","product_id":"PI_XBTUSD","side":"buy","seq":326094135,"price":34980.5,"qty":7,"timestamp":1612269953629}`,
			[]venue.Event{{Kind: venue.BookUpdate, Symbol: xbt, At: 1612269953629 * ms, Last: 326094135, Bids: []book.Level{{Price: number("34980.5"), Quantity: number("7")}}}},
		},
		{
			"ticker of an inverse perpetual: interest in dollars, the relative rate", inverseTicker,
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: xbt, At: 1612270825253 * ms, Mark: some("34844.25"), Index: some("34803.45"), OpenInterest: some("107706940"),
				Unit: schemas.QuantityUnit_QUANTITY_UNIT_QUOTE, Rate: some("0.000135046879166667"), Interval: 3600, Next: 1612281600000 * ms,
			}, {
				Kind: venue.Quote, Symbol: xbt, At: 1612270825253 * ms, Price: number("34832.5"), Quantity: number("42864"), AskPrice: number("34847.5"), AskQuantity: number("2300"),
			}, {Kind: venue.Status, Symbol: xbt, State: "online"}},
		},
		{
			"ticker of a linear perpetual: a rate that is left out is zero", linearTicker,
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: []byte("PF_XBTUSD"), At: 1790359997224 * ms, Mark: some("84004.11362574516"), Index: some("83995.76"), OpenInterest: some("2189.7813"),
				Unit: schemas.QuantityUnit_QUANTITY_UNIT_CONTRACT, Rate: some("0"), Interval: 3600, Next: 1790362800000 * ms,
			}, {
				Kind: venue.Quote, Symbol: []byte("PF_XBTUSD"), At: 1790359997224 * ms, Price: number("84001.0"), Quantity: number("0.0273"), AskPrice: number("84002.0"), AskQuantity: number("0.006"),
			}, {Kind: venue.Status, Symbol: []byte("PF_XBTUSD"), State: "degraded", Detail: []byte("post only")}},
		},
		{
			"ticker of a dated future without a bid: no funding, no quote", datedTicker,
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: []byte("FI_XBTUSD_210924"), At: 1612270825253 * ms, Mark: some("34844.25"), Index: some("34803.45"), OpenInterest: some("100"),
				Unit: schemas.QuantityUnit_QUANTITY_UNIT_QUOTE,
			}, {Kind: venue.Status, Symbol: []byte("FI_XBTUSD_210924"), State: "down", Detail: []byte("suspended")}},
		},
		{
			"ticker_lite", `{"feed":"ticker_lite","product_id":"FI_BCHUSD_210730","bid":439.3,"ask":439.6,"change":2.64,"premium":0.3,"volume":3413476.0,"tag":"month","pair":"BCH:USD","dtm":7,"maturityTime":1627657200000}`,
			[]venue.Event{{Kind: venue.Quote, Symbol: []byte("FI_BCHUSD_210730"), Unsized: true, Price: number("439.3"), AskPrice: number("439.6")}},
		},
		{"acknowledgements name a feed too", `{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}`, []venue.Event{{Kind: venue.Note}}},
		{"info", `{"event":"info","version":1}`, []venue.Event{{Kind: venue.Note}}},
		{"heartbeat", `{"feed":"heartbeat","time":1534262350627}`, []venue.Event{{Kind: venue.Note}}},
		{"refusal", `{"event":"error","message":"Invalid product id"}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte(`{"event":"error","message":"Invalid product id"}`)}}},
		{"another event", `{"event":"challenge"}`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("challenge")}}},
		{"another feed", `{"feed":"fills"}`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("fills")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			got, err := d.Message([]byte(c.raw))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	change := `{"feed":"book","product_id":"PI_XBTUSD","side":"sell","seq":326094134,"price":34981,"qty":0,"timestamp":1612269953629}`
	with := func(raw, from, to string) string { return strings.Replace(raw, from, to, 1) }
	for _, c := range []struct{ name, raw, says string }{
		{"no JSON", `{"feed"`, "parsing"},
		{"array", `[1]`, "in place of an object"},
		{"no product", with(change, "product_id", "product"), "another type: product_id"},
		{"no time", with(change, "timestamp", "time"), "another type: timestamp"},
		{"no number", with(change, "seq", "sequence"), "another type: seq"},
		{"side", with(change, "sell", "ask"), `side is "ask"`},
		{"no quantity", with(change, "qty", "size"), "has not price and quantity"},
		{"negative level", with(change, `"qty":0`, `"qty":-1`), "negative"},
		{"snapshot without bids", `{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":1612269825817,"seq":1,"asks":[]}`, "another type: bids"},
		{"trade without id", with(trade, "uid", "id"), "another type: uid"},
		{"trade without number", with(trade, "seq", "n"), "another type: seq"},
		{"trade whose price is no number", with(trade, "34969.5", "null"), "price is null"},
		{"trades", `{"feed":"trade_snapshot","trades":{}}`, "another type: trades"},
		{"rate", with(inverseTicker, "0.000135046879166667", `"x"`), "relative_funding_rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			if _, err := d.Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	var d decoder
	if _, err := d.Answer(restURL+"/derivatives/api/v3/instruments", []byte(`{"result":"error"}`)); !errors.Is(err, venue.ErrField) {
		t.Errorf("an error for a list gives %v", err)
	}
}

// Symbols of the list were in small letters in 2021; indices are none of it.
func TestListings(t *testing.T) {
	var d decoder
	got, err := d.Answer(restURL+"/derivatives/api/v3/instruments", []byte(`{"result":"success","instruments":[`+
		`{"symbol":"pi_xbtusd","type":"futures_inverse","contractSize":1},{"symbol":"PF_XBTUSD","type":"flexible_futures","contractSize":1},`+
		`{"symbol":"in_xbtusd","type":"spot index"}]}`))
	want := []venue.Event{
		{Kind: venue.Listing, Symbol: []byte("PI_XBTUSD"), Multiplier: some("1"), Inverse: true},
		{Kind: venue.Listing, Symbol: []byte("PF_XBTUSD"), Multiplier: some("1")},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := d.Answer(restURL+"/derivatives/api/v3/tickers", []byte(`?`)); err != nil || len(got) > 0 {
		t.Errorf("another answer gives %v, %v", got, err)
	}
}

func TestSymbols(t *testing.T) {
	for product, symbol := range map[string]string{
		"PI_XBTUSD": "BTC-USD-PERP", "PF_XBTUSD": "BTC-USD-LPERP", "FI_ETHUSD_211231": "ETH-USD-FUT-20211231", "FF_XBTUSD_250926": "BTC-USD-LFUT-20250926",
		"PF_USDCUSD": "USDC-USD-LPERP", "PF_1INCHUSD": "1INCH-USD-LPERP",
	} {
		if got, err := canonical(product); err != nil || got != symbol {
			t.Errorf("%s is %s, %v, want %s", product, got, err, symbol)
		}
		if got, err := venueSymbol(symbol); err != nil || got != product {
			t.Errorf("%s is %s, %v, want %s", symbol, got, err, product)
		}
	}
	for _, product := range []string{"", "PI_", "XBTUSD", "PI_USD", "PI_XBTEUR", "pi_xbtusd", "PI_XBTUSD_211231", "FI_XBTUSD", "FI_XBTUSD_211332", "IN_XBTUSD", "PI_BTCUSD", "PV_XRPXBT"} {
		if got, err := canonical(product); !errors.Is(err, venue.ErrSymbol) {
			t.Errorf("%s is %q, %v, want an error", product, got, err)
		}
	}
	for _, symbol := range []string{"", "BTC-USD", "XBT-USD-PERP", "BTC-EUR-PERP", "BTC-USD-PERP-20211231", "BTC-USD-FUT", "BTC-USD-FUT-211231", "BTC-USD-SWAP", "btc-USD-PERP"} {
		if got, err := venueSymbol(symbol); !errors.Is(err, venue.ErrSymbol) {
			t.Errorf("%s is %q, %v, want an error", symbol, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		trade, strings.Replace(trade, "fill", "liquidation", 1), `{"feed":"trade_snapshot","trades":[` + trade + `]}`, inverseTicker, linearTicker, datedTicker,
		`{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":1612269825817,"seq":1,"bids":[{"price":1,"qty":1}],"asks":[{"price":2,"qty":1}]}`,
		`{"feed":"book","product_id":"PI_XBTUSD","side":"sell","seq":2,"price":3,"qty":0,"timestamp":1612269953629}`,
		`{"feed":"ticker_lite","product_id":"FI_BCHUSD_210730","bid":439.3,"ask":439.6}`, `{"event":"subscribe","feed":"ticker","product_ids":["pi_xbtusd"]}`,
		`{"instruments":[{"symbol":"pi_xbtusd","type":"futures_inverse","contractSize":1}]}`, `{"event":"error"}`, `[]`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { venuetest.Fuzz(t, spec(), raw) })
}
