package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// documented has messages of each channel as the venues' documentation shows them, with MS, SEC and ISO for the time; what
// begins with an address is the answer to a GET. Lists of instruments come ahead.
var documented = map[string]struct {
	lists    []string
	channels map[string][]string
}{
	"binance": {nil, map[string][]string{
		venue.Trades: {`{"e":"trade","E":MS,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":MS,"m":true,"M":true}`},
		venue.Quotes: {`{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}`},
		venue.Book: {
			`{"e":"depthUpdate","E":MS,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`,
			`https://api.binance.com/api/v3/depth?symbol=BNBBTC&limit=1000 {"lastUpdateId":158,"bids":[["0.0024","9"]],"asks":[["0.0026","12"]]}`,
		},
	}},
	"binance_usdm": {nil, map[string][]string{
		venue.Trades: {`{"e":"trade","E":MS,"T":MS,"s":"BTCUSDT","t":5933014,"p":"0.001","q":"100","X":"MARKET","m":true}`},
		venue.Quotes: {`{"e":"bookTicker","u":400900217,"E":MS,"T":MS,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}`},
		venue.Book: {
			`{"e":"depthUpdate","E":MS,"T":MS,"s":"BTCUSDT","U":157,"u":160,"pu":149,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`,
			`https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000 {"lastUpdateId":158,"E":MS,"T":MS,"bids":[["0.0024","9"]],"asks":[["0.0026","12"]]}`,
		},
		venue.Marks:        {`{"e":"markPriceUpdate","E":MS,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"0.00038167","T":MS}`},
		venue.Liquidations: {`{"e":"forceOrder","E":MS,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9910","X":"FILLED","l":"0.014","z":"0.014","T":MS}}`},
		venue.Interest:     {`https://fapi.binance.com/fapi/v1/openInterest?symbol=BTCUSDT {"openInterest":"10659.509","symbol":"BTCUSDT","time":MS}`},
	}},
	"coinbase": {nil, map[string][]string{
		venue.Trades: {`{"channel":"market_trades","client_id":"","timestamp":"ISO","sequence_num":0,"events":[{"type":"update","trades":[{"trade_id":"7","product_id":"ETH-USD","price":"1260.01","size":"0.3","side":"BUY","time":"ISO"}]}]}`},
		venue.Quotes: {`{"channel":"ticker","client_id":"","timestamp":"ISO","sequence_num":0,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"21932.98","best_bid":"21931.98","best_bid_quantity":"8000.21","best_ask":"21933.98","best_ask_quantity":"8038.07770938"}]}]}`},
		venue.Book:   {`{"channel":"l2_data","client_id":"","timestamp":"ISO","sequence_num":0,"events":[{"type":"snapshot","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"ISO","price_level":"21921.73","new_quantity":"0.06317902"},{"side":"offer","event_time":"ISO","price_level":"21921.8","new_quantity":"0.02"}]}]}`},
		venue.State:  {`{"channel":"status","client_id":"","timestamp":"ISO","sequence_num":0,"events":[{"type":"snapshot","products":[{"product_type":"SPOT","id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online","status_message":""}]}]}`},
	}},
	"coinbase_exchange": {nil, map[string][]string{
		venue.Trades: {`{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac928c66","taker_order_id":"132fb6ae","time":"ISO","product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"sell"}`},
		venue.Quotes: {`{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy","time":"ISO","trade_id":370843401,"last_size":"11.4396987"}`},
		venue.Book:   {`{"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.45054140"]],"asks":[["10102.55","0.57753524"]]}`},
		venue.State:  {`{"type":"status","products":[{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online","status_message":null,"post_only":false,"limit_only":false,"cancel_only":false}],"currencies":[]}`},
	}},
	"kraken": {nil, map[string][]string{
		venue.Trades: {`{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"ISO"}]}`},
		venue.Quotes: {`{"channel":"ticker","type":"snapshot","data":[{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035}]}`},
		venue.Book:   {`{"channel":"book","type":"snapshot","data":[{"symbol":"MATIC/USD","bids":[{"price":0.5666,"qty":4831.75496356}],"asks":[{"price":0.5668,"qty":4410.79769741}],"checksum":2652227746,"timestamp":"ISO"}]}`},
		venue.State:  {`{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":12393906104898154338,"system":"online","version":"2.0.4"}]}`},
	}},
	"bybit": {nil, map[string][]string{
		venue.Trades: {`{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":MS,"data":[{"T":MS,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false}]}`},
		venue.Quotes: {`{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":MS,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":MS}`},
		venue.Book:   {`{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":MS,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":MS}`},
	}},
	"bybit_linear": {nil, map[string][]string{
		venue.Trades:       {`{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":MS,"data":[{"T":MS,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false}]}`},
		venue.Quotes:       {`{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":MS,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":MS}`},
		venue.Book:         {`{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":MS,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":MS}`},
		venue.Marks:        {`{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"PlusTick","lastPrice":"17216.00","markPrice":"17217.33","indexPrice":"17227.36","openInterest":"68744.761","openInterestValue":"1183601235.91","nextFundingTime":"MS","fundingRate":"-0.000212","fundingIntervalHour":"8"},"cs":24987956059,"ts":MS}`},
		venue.Liquidations: {`{"topic":"allLiquidation.ROSEUSDT","type":"snapshot","ts":MS,"data":[{"T":MS,"s":"ROSEUSDT","S":"Buy","v":"20000","p":"0.04499"}]}`},
	}},
	"okx": {
		[]string{`https://www.okx.com/api/v5/public/instruments?instType=SWAP {"code":"0","msg":"","data":[{"instType":"SWAP","instId":"BTC-USD-SWAP","ctVal":"100","ctMult":"1","ctType":"inverse"},{"instType":"SWAP","instId":"IOST-USDT-SWAP","ctVal":"1000","ctMult":"1","ctType":"linear"}]}`},
		map[string][]string{
			venue.Trades: {`{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"MS","count":"3"}]}`},
			venue.Quotes: {`{"arg":{"channel":"tickers","instId":"LTC-USDT"},"data":[{"instType":"SPOT","instId":"LTC-USDT","last":"9999.99","lastSz":"0.1","askPx":"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","ts":"MS"}]}`},
			venue.Book:   {`{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"MS","checksum":0,"prevSeqId":-1,"seqId":123456}]}`},
			venue.Marks: {
				`{"arg":{"channel":"mark-price","instId":"BTC-USD-SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USD-SWAP","markPx":"42310.6","ts":"MS"}]}`,
				`{"arg":{"channel":"funding-rate","instId":"BTC-USD-SWAP"},"data":[{"fundingRate":"0.0001875391284828","fundingTime":"MS","instId":"BTC-USD-SWAP","instType":"SWAP","maxFundingRate":"0.00375","minFundingRate":"-0.00375","nextFundingRate":"","nextFundingTime":"MS","ts":"MS"}]}`,
			},
			venue.Interest:     {`{"arg":{"channel":"open-interest","instId":"BTC-USD-SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USD-SWAP","oi":"5000","oiCcy":"555.55","ts":"MS"}]}`},
			venue.Liquidations: {`{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"0.007831","ccy":"","posSide":"short","side":"buy","sz":"13","ts":"MS"}],"instFamily":"IOST-USDT","instId":"IOST-USDT-SWAP","instType":"SWAP","uly":"IOST-USDT"}]}`},
		},
	},
	"deribit": {
		[]string{`https://www.deribit.com/api/v2/public/get_instruments?currency=BTC&kind=future {"jsonrpc":"2.0","result":[{"kind":"future","quote_currency":"USD","contract_size":10.0,"instrument_name":"BTC-PERPETUAL"}]}`},
		map[string][]string{
			venue.Trades:  {deribitSays(`trades.BTC-PERPETUAL.100ms`, `[{"trade_seq":30289442,"trade_id":"48079269","timestamp":MS,"tick_direction":2,"price":8950.0,"mark_price":8948.9,"instrument_name":"BTC-PERPETUAL","index_price":8955.88,"direction":"sell","amount":10,"liquidation":"T"}]`)},
			venue.Quotes:  {deribitSays(`quote.BTC-PERPETUAL`, `{"timestamp":MS,"instrument_name":"BTC-PERPETUAL","best_bid_price":3914.97,"best_bid_amount":40,"best_ask_price":3996.61,"best_ask_amount":50}`)},
			venue.Book:    {deribitSays(`book.BTC-PERPETUAL.100ms`, `{"type":"snapshot","timestamp":MS,"instrument_name":"BTC-PERPETUAL","change_id":297217,"bids":[["new",5042.34,30]],"asks":[["new",5042.64,40]]}`)},
			venue.Marks:   {deribitSays(`ticker.BTC-PERPETUAL.100ms`, `{"timestamp":MS,"state":"open","settlement_price":36169.49,"open_interest":502097590,"mark_price":36446.51,"instrument_name":"BTC-PERPETUAL","index_price":36441.64,"funding_8h":0.0000211,"current_funding":0.00001,"best_bid_price":36442.5,"best_bid_amount":5000,"best_ask_price":36443,"best_ask_amount":100}`)},
			venue.Options: {deribitSays(`ticker.ETH-30JUL21-2800-C.100ms`, `{"underlying_price":2003.61,"underlying_index":"ETH-30JUL21","timestamp":MS,"state":"open","open_interest":12685.0,"mark_price":0.001972,"mark_iv":120.0,"interest_rate":0.0,"instrument_name":"ETH-30JUL21-2800-C","index_price":2006.72,"greeks":{"vega":0.20072,"theta":-1.64029,"rho":0.01188,"gamma":0.0002,"delta":0.03127},"bid_iv":0.0,"best_bid_price":0.0,"best_bid_amount":0.0,"best_ask_price":0.0025,"best_ask_amount":873.0,"ask_iv":125.0}`)},
			venue.State:   {deribitSays(`platform_state`, `{"price_index":"sol_usdc","locked":true}`)},
		},
	},
	"kraken_futures": {
		[]string{`https://futures.kraken.com/derivatives/api/v3/instruments {"result":"success","instruments":[{"symbol":"PI_XBTUSD","type":"futures_inverse","contractSize":1}]}`},
		map[string][]string{
			venue.Trades: {`{"feed":"trade","product_id":"PI_XBTUSD","uid":"05af78ac-a774-478c-a50c-8b9c234e071e","side":"sell","type":"liquidation","seq":653355,"time":MS,"qty":15000,"price":34969.5}`},
			venue.Quotes: {krakenTicker},
			venue.Book:   {`{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":MS,"seq":326072249,"tickSize":null,"bids":[{"price":34892.5,"qty":6385}],"asks":[{"price":34911.5,"qty":20598}]}`},
			venue.Marks:  {krakenTicker},
		},
	},
}

const krakenTicker = `{"time":MS,"product_id":"PI_XBTUSD","funding_rate":3.891007752e-9,"relative_funding_rate":0.000135046879166667,"next_funding_rate_time":MS,"feed":"ticker",` +
	`"bid":34832.5,"ask":34847.5,"bid_size":42864,"ask_size":2300,"index":34803.45,"suspended":false,"tag":"perpetual","openInterest":107706940,"markPrice":34844.25}`

func deribitSays(channel, data string) string {
	return `{"jsonrpc":"2.0","method":"subscription","params":{"channel":"` + channel + `","data":` + data + `}}`
}

// Every channel of every venue gives the records that `feeds list` says, no more and no less, from the messages that its
// documentation shows; and of derivatives, each venue gives all: marks, funding, open interest, liquidations.
func TestChannelsGiveTheirRecords(t *testing.T) {
	const at = schemas.Time(1_790_000_000_000_000_000)
	clock := strings.NewReplacer("MS", strconv.FormatInt(int64(at)/1e6, 10), "ISO", at.String())
	v := venuesDefaults()
	for _, c := range v.connectors() {
		t.Run(c.name, func(t *testing.T) {
			spec, err := c.section.Spec()
			if err != nil {
				t.Fatal(err)
			}
			d, all := documented[c.name], map[string]bool{}
			if got, want := slices.Sorted(maps.Keys(d.channels)), slices.Sorted(slices.Values(spec.Channels)); !slices.Equal(got, want) {
				t.Fatalf("messages of %q, the channels are %q", got, want)
			}
			for channel, messages := range d.channels {
				frames := []capture.Frame{{Kind: capture.Connect, Conn: "a/1", At: at, URL: spec.Connections[0].URL}}
				for _, request := range spec.Connections[0].Send {
					frames = append(frames, capture.Frame{Kind: capture.Send, Conn: "a/1", At: at, Data: request})
				}
				for _, raw := range slices.Concat(d.lists, messages) {
					f := capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at.Add(time.Duration(20+len(frames)) * time.Millisecond), Data: []byte(clock.Replace(raw))}
					if url, body, ok := strings.Cut(raw, " "); ok && strings.HasPrefix(url, "https://") {
						f.Kind, f.URL, f.Data = capture.HTTP, url, []byte(clock.Replace(body))
					}
					frames = append(frames, f)
				}
				m, out := venuetest.Fed(t, spec, frames)
				if unknown, rejected := m.Core().Counts(); unknown+rejected > 0 {
					t.Errorf("%s: %d messages unknown, %d rejected", channel, unknown, rejected)
				}
				got := map[string]bool{}
				for _, e := range out.Entries() {
					if e.Type != "Tick" && e.Type != "FeedHealth" && e.Type != "Gap" {
						got[e.Type], all[e.Type] = true, true
					}
					if l, ok := e.Message.(*schemas.Liquidation); ok && l.Complete == slices.Contains(spec.Partial, channel) {
						t.Errorf("%s: the record says that it is one of all: %v, the channel is a part: %v", channel, l.Complete, slices.Contains(spec.Partial, channel))
					}
				}
				if want := slices.Sorted(slices.Values(spec.Records(channel))); !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
					t.Errorf("%s gives %q, want %q", channel, slices.Sorted(maps.Keys(got)), want)
				}
			}
			for _, kind := range []string{"Mark", "Funding", "OpenInterest", "Liquidation"} {
				if all["Mark"] && !all[kind] {
					t.Errorf("no channel of a venue of derivatives gives %s", kind)
				}
			}
		})
	}
}
