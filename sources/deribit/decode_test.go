package deribit

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

// of wraps the data of a channel as the venue does.
func of(channel, data string) string {
	return `{"jsonrpc":"2.0","method":"subscription","params":{"channel":"` + channel + `","data":` + data + `}}`
}

// Payloads of https://docs.deribit.com/subscriptions and of the recording.
const (
	perpetualTicker = `{"timestamp":1623060194301,"stats":{"volume_usd":284061480,"volume":7871.02139035,"price_change":0.7229,"low":35213.5,"high":36824.5},` +
		`"state":"open","settlement_price":36169.49,"open_interest":502097590,"min_price":35898.37,"max_price":36991.72,"mark_price":36446.51,"last_price":36457.5,` +
		`"instrument_name":"BTC-PERPETUAL","index_price":36441.64,"funding_8h":0.0000211,"estimated_delivery_price":36441.64,"current_funding":1.5e-7,` +
		`"best_bid_price":36442.5,"best_bid_amount":5000,"best_ask_price":36443,"best_ask_amount":100}`
	futureTicker = `{"timestamp":1623060194301,"state":"locked","open_interest":12.5,"mark_price":36446.51,"instrument_name":"BTC_USDC-24SEP21",` +
		`"index_price":36441.64,"estimated_delivery_price":36441.60}`
	optionTicker = `{"underlying_price":2003.61,"underlying_index":"ETH-30JUL21","timestamp":1626993723632,"stats":{"volume":869.0},"state":"open",` +
		`"settlement_price":0.0,"open_interest":12685.0,"mark_price":0.001972,"mark_iv":120.0,"last_price":0.002,"interest_rate":0.0,` +
		`"instrument_name":"ETH-30JUL21-2800-C","index_price":2006.72,"greeks":{"vega":0.20072,"theta":-1.64029,"rho":0.01188,"gamma":0.0002,"delta":0.03127},` +
		`"bid_iv":0.0,"best_bid_price":0.0,"best_bid_amount":0.0,"best_ask_price":0.0025,"best_ask_amount":873.0,"ask_iv":125.0}`
	trade = `{"trade_seq":30289442,"trade_id":"48079269","timestamp":1590484512188,"tick_direction":2,"price":8950.0,"mark_price":8948.9,` +
		`"instrument_name":"BTC-PERPETUAL","index_price":8955.88,"direction":"sell","amount":10}`
)

const ms = schemas.Time(1_000_000)

func TestDecode(t *testing.T) {
	perp, sell := []byte("BTC-PERPETUAL"), schemas.Side_SIDE_SELL
	sold := venue.Event{Kind: venue.Trade, Symbol: perp, At: 1590484512188 * ms, ID: []byte("48079269"), Number: 30289442, Price: number("8950.0"), Quantity: number("10"), Side: sell}
	forced := func(side schemas.Side) venue.Event {
		return venue.Event{Kind: venue.Liquidation, Symbol: perp, At: sold.At, Number: sold.Number, Price: sold.Price, Quantity: sold.Quantity, Side: side}
	}
	with := func(extra string) string {
		return of("trades.BTC-PERPETUAL.100ms", `[`+strings.TrimSuffix(trade, "}")+extra+`}]`)
	}
	block := sold
	block.OffBook = schemas.OffBook_OFF_BOOK_BLOCK
	second := sold
	second.Number, second.ID, second.Side = 30289443, []byte("48079270"), schemas.Side_SIDE_BUY
	for _, c := range []struct {
		name, raw string
		want      []venue.Event
	}{
		{
			"two trades", of("trades.BTC-PERPETUAL.100ms", `[`+trade+`,`+strings.NewReplacer("442", "443", "79269", "79270", "sell", "buy").Replace(trade)+`]`),
			[]venue.Event{sold, second},
		},
		{"the taker was liquidated", with(`,"liquidation":"T"`), []venue.Event{sold, forced(sell)}},
		{"the maker was liquidated: its order bought", with(`,"liquidation":"M"`), []venue.Event{sold, forced(schemas.Side_SIDE_BUY)}},
		{"both", with(`,"liquidation":"MT"`), []venue.Event{sold, forced(sell), forced(schemas.Side_SIDE_BUY)}},
		{"block trade", with(`,"block_trade_id":"154"`), []venue.Event{block}},
		{
			"snapshot of a book", of("book.BTC-PERPETUAL.100ms", `{"type":"snapshot","timestamp":1554373962454,"instrument_name":"BTC-PERPETUAL","change_id":297217,`+
				`"bids":[["new",5042.34,30],["new",5041.94,20]],"asks":[["new",5042.64,40]]}`),
			[]venue.Event{{
				Kind: venue.BookSnapshot, Symbol: perp, At: 1554373962454 * ms, Last: 297217,
				Bids: []book.Level{{Price: number("5042.34"), Quantity: number("30")}, {Price: number("5041.94"), Quantity: number("20")}},
				Asks: []book.Level{{Price: number("5042.64"), Quantity: number("40")}},
			}},
		},
		{
			"change of a book", of("book.BTC-PERPETUAL.100ms", `{"type":"change","timestamp":1554373911330,"prev_change_id":297217,"instrument_name":"BTC-PERPETUAL","change_id":297218,`+
				`"bids":[["delete",5041.94,0.0],["change",5042.34,7]],"asks":[]}`),
			[]venue.Event{{
				Kind: venue.BookUpdate, Symbol: perp, At: 1554373911330 * ms, Last: 297218, Prev: 297217,
				Bids: []book.Level{{Price: number("5041.94")}, {Price: number("5042.34"), Quantity: number("7")}},
			}},
		},
		{
			"best bid and offer", of("quote.BTC-PERPETUAL", `{"timestamp":1550658624149,"instrument_name":"BTC-PERPETUAL","best_bid_price":3914.97,"best_bid_amount":40,"best_ask_price":3996.61,"best_ask_amount":50}`),
			[]venue.Event{{
				Kind: venue.Quote, Symbol: perp, At: 1550658624149 * ms, Price: number("3914.97"), Quantity: number("40"), AskPrice: number("3996.61"), AskQuantity: number("50"),
			}},
		},
		{
			"no bid", of("quote.BTC-PERPETUAL", `{"timestamp":1550658624149,"instrument_name":"BTC-PERPETUAL","best_bid_price":0.0,"best_bid_amount":0.0,"best_ask_price":3996.61,"best_ask_amount":50}`),
			[]venue.Event{{Kind: venue.Note}},
		},
		{
			"no bid, as documented", of("quote.BTC-PERPETUAL", `{"timestamp":1550658624149,"instrument_name":"BTC-PERPETUAL","best_bid_price":null,"best_bid_amount":null,"best_ask_price":3996.61,"best_ask_amount":50}`),
			[]venue.Event{{Kind: venue.Note}},
		},
		{
			"ticker of a perpetual: interest in dollars", of("ticker.BTC-PERPETUAL.100ms", perpetualTicker),
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: perp, At: 1623060194301 * ms, Mark: some("36446.51"), Index: some("36441.64"), Rate: some("1.5e-7"),
				Interval: 28800, OpenInterest: some("502097590"), Unit: schemas.QuantityUnit_QUANTITY_UNIT_QUOTE,
			}, {Kind: venue.Status, Symbol: perp, State: "online"}},
		},
		{
			"ticker of a linear future: interest in coins, no funding", of("ticker.BTC_USDC-24SEP21.100ms", futureTicker),
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: []byte("BTC_USDC-24SEP21"), At: 1623060194301 * ms, Mark: some("36446.51"), Index: some("36441.64"), Settle: some("36441.60"),
				OpenInterest: some("12.5"), Unit: schemas.QuantityUnit_QUANTITY_UNIT_BASE,
			}, {Kind: venue.Status, Symbol: []byte("BTC_USDC-24SEP21"), State: "down", Detail: []byte("locked")}},
		},
		{
			"ticker of an option without a bid", of("ticker.ETH-30JUL21-2800-C.100ms", optionTicker),
			[]venue.Event{{
				Kind: venue.Option, Symbol: []byte("ETH-30JUL21-2800-C"), At: 1626993723632 * ms,
				Option: venue.OptionFields{
					Strike: number("2800"), Expiry: 1627632000000 * ms, Right: schemas.OptionRight_OPTION_RIGHT_CALL,
					Ask: some("0.0025"), Mark: some("0.001972"), Underlying: some("2003.61"), Interest: some("12685.0"),
					AskIV: new(1.25), MarkIV: new(1.2), Delta: new(0.03127), Gamma: new(0.0002), Vega: new(0.20072), Theta: new(-1.64029), Rho: new(0.01188),
				},
			}, {Kind: venue.Status, Symbol: []byte("ETH-30JUL21-2800-C"), State: "online"}},
		},
		{
			"settlement", of("ticker.BTC-PERPETUAL.100ms", strings.Replace(perpetualTicker, `"open"`, `"settlement"`, 1)),
			[]venue.Event{{
				Kind: venue.Derivative, Symbol: perp, At: 1623060194301 * ms, Mark: some("36446.51"), Index: some("36441.64"), Rate: some("1.5e-7"),
				Interval: 28800, OpenInterest: some("502097590"), Unit: schemas.QuantityUnit_QUANTITY_UNIT_QUOTE,
			}, {Kind: venue.Status, Symbol: perp, State: "maintenance", Detail: []byte("settlement")}},
		},
		{"an index is locked", of("platform_state", `{"price_index":"sol_usdc","locked":true}`), []venue.Event{{Kind: venue.Status, Scope: "sol_usdc", State: "degraded", Detail: []byte("locked")}}},
		{"an index is free", of("platform_state", `{"price_index":"sol_usdc","locked":false}`), []venue.Event{{Kind: venue.Status, Scope: "sol_usdc", State: "online"}}},
		{"maintenance", of("platform_state", `{"maintenance":true}`), []venue.Event{{Kind: venue.Status, Scope: "all", State: "maintenance"}}},
		{"acknowledgement", `{"jsonrpc":"2.0","id":1,"result":["quote.BTC-PERPETUAL"],"usIn":1,"usOut":2,"usDiff":1,"testnet":false}`, []venue.Event{{Kind: venue.Note}}},
		{"heartbeat", `{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}`, []venue.Event{{Kind: venue.Note}}},
		{"refusal", `{"jsonrpc":"2.0","id":1,"error":{"code":10028,"message":"too_many_requests"}}`, []venue.Event{{Kind: venue.Refusal, Detail: []byte(`{"code":10028,"message":"too_many_requests"}`)}}},
		{"another channel", of("announcements", `{}`), []venue.Event{{Kind: venue.Unknown, Detail: []byte("announcements")}}},
		{"another method", `{"jsonrpc":"2.0","method":"bogus"}`, []venue.Event{{Kind: venue.Unknown, Detail: []byte("bogus")}}},
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
	bookOf := func(rows string) string {
		return of("book.X.100ms", `{"type":"change","timestamp":1554373911330,"prev_change_id":1,"instrument_name":"X","change_id":2,"asks":[],"bids":`+rows+`}`)
	}
	one := func(from, to string) string { return of("trades.X.100ms", `[`+strings.Replace(trade, from, to, 1)+`]`) }
	for _, c := range []struct{ name, raw, says string }{
		{"no JSON", `{"jsonrpc"`, "parsing"},
		{"array", `[1]`, "in place of an object"},
		{"no channel", `{"method":"subscription","params":{}}`, "another type: channel"},
		{"no data", `{"method":"subscription","params":{"channel":"quote.X"}}`, "another type: data"},
		{"trades are no array", of("trades.X.100ms", `{}`), "not an array of trades"},
		{"no time", one("timestamp", "time"), "another type: timestamp"},
		{"side", one(`"sell"`, `"zero"`), `direction is "zero"`},
		{"trade without number", one("trade_seq", "seq"), "another type: trade_seq"},
		{"who was liquidated", one(`"amount":10`, `"amount":10,"liquidation":"X"`), `liquidation is "X"`},
		{"price is no number", one("8950.0", "true"), "price is true"},
		{"book without type", of("book.X.100ms", `{"timestamp":1554373911330,"instrument_name":"X","change_id":2,"asks":[],"bids":[]}`), "not snapshot or change"},
		{"level without action", bookOf(`[[1,2]]`), "has 2 parts"},
		{"unknown action", bookOf(`[["keep",1,2]]`), `the action "keep"`},
		{"negative level", bookOf(`[["new",1,-2]]`), "negative"},
		{"ticker of a spot pair", of("ticker.BTC_USDC.100ms", `{"instrument_name":"BTC_USDC","timestamp":1554373911330}`), "cannot be mapped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			if _, err := d.Message([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	var d decoder
	if _, err := d.Answer(restURL+"/api/v2/public/get_instruments?currency=BTC", []byte(`{"error":{"code":10028}}`)); !errors.Is(err, venue.ErrField) {
		t.Errorf("an error for a list gives %v", err)
	}
}

// Inverse are the futures quoted in USD, by the field that all years have; amounts are dollars whatever the contract size.
func TestListings(t *testing.T) {
	var d decoder
	got, err := d.Answer(restURL+"/api/v2/public/get_instruments?currency=BTC", []byte(`{"jsonrpc":"2.0","result":[`+
		`{"kind":"future","quote_currency":"USD","contract_size":10.0,"instrument_name":"BTC-PERPETUAL"},`+
		`{"kind":"future","quote_currency":"USDC","contract_size":0.001,"instrument_name":"BTC_USDC-PERPETUAL","future_type":"linear"},`+
		`{"kind":"option","quote_currency":"BTC","contract_size":1.0,"instrument_name":"BTC-24SEP21-40000-P"}]}`))
	want := []venue.Event{{Kind: venue.Listing, Symbol: []byte("BTC-PERPETUAL"), Multiplier: some("1"), Inverse: true}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := d.Answer(restURL+"/api/v2/public/get_time", []byte(`?`)); err != nil || len(got) > 0 {
		t.Errorf("another answer gives %v, %v", got, err)
	}
}

func TestSymbols(t *testing.T) {
	for name, symbol := range map[string]string{
		"BTC-PERPETUAL": "BTC-USD-PERP", "BTC_USDC-PERPETUAL": "BTC-USDC-PERP", "BTC-24SEP21": "BTC-USD-FUT-20210924", "BTC-6AUG21": "BTC-USD-FUT-20210806",
		"BTC-24SEP21-8000-P": "BTC-USD-PUT-20210924-8000", "ETH-30JUL21-2800-C": "ETH-USD-CALL-20210730-2800",
		"XRP_USDC-30JUN23-0d525-C": "XRP-USDC-CALL-20230630-0.525", "SOL_USDC-30JUN23": "SOL-USDC-FUT-20230630",
	} {
		if got, err := canonical(name); err != nil || got != symbol {
			t.Errorf("%s is %s, %v, want %s", name, got, err, symbol)
		}
		if got, err := venueSymbol(symbol); err != nil || got != name {
			t.Errorf("%s is %s, %v, want %s", symbol, got, err, name)
		}
	}
	for _, name := range []string{
		"", "BTC", "BTC_USDC", "btc-PERPETUAL", "BTC-PERPETUAL-1", "BTC-06AUG21", "BTC-6aug21", "BTC-32AUG21", "BTC-24SEP21-8000", "BTC-24SEP21-8000-X",
		"BTC-24SEP21-8d0d0-C", "BTC-24SEP21--C", "BTC-24SEP21-0-C", "BTC-24SEP21--5-C", "BTC-FS-24SEP21_PERP", "BTC_USD-PERPETUAL", "BTC-24SEP21-8000-P-1",
	} {
		if got, err := canonical(name); !errors.Is(err, venue.ErrSymbol) {
			t.Errorf("%s is %q, %v, want an error", name, got, err)
		}
	}
	for _, symbol := range []string{
		"", "BTC-USD", "BTC-PERPETUAL", "BTC-USD-PERP-20210924", "BTC-USD-FUT", "BTC-USD-FUT-24SEP21", "BTC-USD-PUT-20210924", "BTC-USD-PUT-20210924-", "BTC-USD-SWAP",
		"BTC-USD-PUT-20210924-x", "BTC-USD-PUT-20210924-8d0", "btc-USD-PERP", "BTC-USD-CALL-20210924-1-2",
	} {
		if got, err := venueSymbol(symbol); !errors.Is(err, venue.ErrSymbol) {
			t.Errorf("%s is %q, %v, want an error", symbol, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		of("trades.BTC-PERPETUAL.100ms", `[`+strings.TrimSuffix(trade, "}")+`,"liquidation":"MT"}]`),
		of("book.X.100ms", `{"type":"snapshot","timestamp":1554373962454,"instrument_name":"ETH-30JUL21-2800-C","change_id":1,"bids":[["new",1,2]],"asks":[["delete",3,0]]}`),
		of("quote.X", `{"timestamp":1550658624149,"instrument_name":"BTC-24SEP21","best_bid_price":1,"best_bid_amount":1,"best_ask_price":2,"best_ask_amount":1}`),
		of("ticker.X", perpetualTicker), of("ticker.X", futureTicker), of("ticker.X", optionTicker), of("platform_state", `{"price_index":"x","locked":true}`),
		`{"result":[]}`, `{"error":{}}`, `{"method":"public/subscribe","params":{"channels":["book.BTC-PERPETUAL.100ms","ticker.ETH-30JUL21-2800-C.raw"]}}`,
		`{"result":[{"kind":"future","quote_currency":"USD","instrument_name":"BTC-PERPETUAL"}]}`, `[]`, `{}`, ``,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { venuetest.Fuzz(t, spec(), raw) })
}
