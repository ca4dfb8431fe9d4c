package detectors

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func init() {
	generators["arbitrage"] = crossed
	others["arbitrage"] = map[string]string{
		"min_net_bps": `40`, "fee_bps": `30`, "fees": `[{"venue":"v1","bps":60}]`, "off_market_pct": `0.4`, "max_age": `"2s"`, "persist": `"10s"`, "quiet_for": `"1s"`,
		"cool_down": `"0s"`,
	}
	broken["arbitrage"] = map[string]string{
		"min_net_bps": `0`, "fee_bps": `-1`, "fees": `[{"venue":"","bps":1}]`, "off_market_pct": `0`, "max_age": `"0s"`, "persist": `"64s"`, "quiet_for": `"0s"`,
		"cool_down": `"-1s"`,
	}
	samples[schemas.MarketCrossquotes.Name] = struct {
		fresh func() func(seq uint64, at schemas.Time) schemas.Message
		every time.Duration
	}{sampleCross, 300 * time.Millisecond}
}

// sampleCross is a pair at three venues that agree.
func sampleCross() func(seq uint64, at schemas.Time) schemas.Message {
	q := quoteOf("v", "BTC-USD", t0, 61345)
	q.Meta.Id = ""
	return func(seq uint64, at schemas.Time) schemas.Message {
		q.Meta.Venue, q.Meta.EventTime = [...]string{"v1", "v2", "v3"}[seq%3], int64(at)
		q.BidPrice.Mantissa = 6134000000 + int64(seq%7)*1000
		return q
	}
}

// quoteOf is a quote of a hundredth of a percent around a price.
func quoteOf(venue, symbol string, at schemas.Time, mid float64) *schemas.Quote {
	return &schemas.Quote{
		Meta:     &schemas.Meta{Source: "test", Venue: venue, Symbol: symbol, Id: strconv.FormatInt(int64(at), 10), EventTime: int64(at)},
		BidPrice: schemas.NewDecimal(int64(mid*0.99995*1e6), -6), BidQuantity: schemas.NewDecimal(25, -1),
		AskPrice: schemas.NewDecimal(int64(mid*1.00005*1e6), -6), AskQuantity: schemas.NewDecimal(15, -1), Pair: symbol,
	}
}

// crossed makes a minute of two pairs at three venues for each of some hours: prices that wander together, venues that go off by some
// tenths of a percent or more, fall silent, quote crossed prices; late and doubled quotes.
func crossed(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	price := [2]float64{100, 5}
	var off [6]float64
	var left, silent [6]int
	for second := range hours * 60 {
		at := t0.Add(time.Duration(second) * time.Second)
		for i, pair := range []string{"A-USD", "B-USD"} {
			price[i] *= 1 + 5e-5*r.NormFloat64()
			for k := range 3 {
				n := i*3 + k
				if left[n]--; left[n] < 0 {
					off[n] = 0
				}
				if r.IntN(300) == 0 {
					left[n], off[n] = 2+r.IntN(60), 0.02*(r.Float64()-0.5)
				}
				if silent[n]--; silent[n] > 0 || r.IntN(10) == 0 {
					continue
				}
				if r.IntN(300) == 0 {
					silent[n] = 2 + r.IntN(30)
				}
				when := at.Add(time.Duration(1+r.IntN(999)) * time.Millisecond)
				if r.IntN(200) == 0 {
					when = when.Add(-5 * time.Second)
				}
				q := quoteOf(fmt.Sprintf("v%d", k+1), pair, when, price[i]*(1+off[n]))
				if r.IntN(400) == 0 {
					q.BidPrice, q.AskPrice = q.AskPrice, q.BidPrice
				}
				out = append(out, q)
				if r.IntN(100) == 0 {
					out = append(out, q)
				}
			}
		}
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at.Add(time.Second))})
	}
	return out
}

// The way and the figures of an opportunity, by hand: bought at 100.00 and sold at 101.00 with fees of 10 basis points each,
// 101*0.999/(100*1.001)-1 is 79.82 basis points; 1.5 of it cost 150.15 and bring 1.1985 more.
func TestArbitrageFigures(t *testing.T) {
	b := newBench(t, "arbitrage", "A-USD", `{"persist":"0s"}`)
	quote := func(venue string, bid, ask int64) {
		q := quoteOf(venue, "A-USD", t0.Add(500*time.Millisecond), 1)
		q.BidPrice, q.AskPrice = schemas.NewDecimal(bid, -2), schemas.NewDecimal(ask, -2)
		b.record(q)
	}
	quote("v1", 9990, 10000)
	quote("v2", 10100, 10110)
	b.to(t0.Add(time.Second))
	if len(b.events) != 1 {
		t.Fatalf("%d events, want 1", len(b.events))
	}
	e := b.events[0]
	got := map[string]float64{}
	for _, m := range e.Evidence.Measures {
		got[m.Name] = m.Value
	}
	for name, want := range map[string]float64{
		"net_bps": 79.82017982017982, "gross_bps": 100, "quantity": 1.5, "profit": 1.1985, "buy_price": 100, "sell_price": 101,
	} {
		if d := got[name] - want; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if notes := strings.Join(e.Evidence.Notes, " "); notes != "buy:v1 sell:v2" || e.Severity != schemas.High {
		t.Errorf("notes %q, severity %s", notes, e.Severity)
	}
}

// What cannot be traded raises nothing: a quote that is crossed in itself, one that is too old, two of one venue.
func TestArbitrageNeedsTradableQuotes(t *testing.T) {
	for name, quotes := range map[string][]*schemas.Quote{
		"crossed": {quoteOf("v1", "A-USD", t0.Add(1), 100), {
			Meta: &schemas.Meta{Source: "test", Venue: "v2", Symbol: "A-USD", Id: "1", EventTime: int64(t0) + 1}, Pair: "A-USD",
			BidPrice: schemas.NewDecimal(103, 0), BidQuantity: schemas.NewDecimal(1, 0), AskPrice: schemas.NewDecimal(102, 0), AskQuantity: schemas.NewDecimal(1, 0),
		}},
		"old":       {quoteOf("v1", "A-USD", t0.Add(1), 100), quoteOf("v2", "A-USD", t0.Add(-10*time.Second), 103)},
		"one venue": {quoteOf("v1", "A-USD", t0.Add(1), 100)},
	} {
		b := newBench(t, "arbitrage", "A-USD", `{"persist":"0s"}`)
		for _, q := range quotes {
			b.record(q)
		}
		b.to(t0.Add(time.Second))
		if len(b.events) != 0 {
			t.Errorf("%s: %v", name, b.events)
		}
	}
	def, err := processor.Lookup("arbitrage")
	if err != nil || def.Input.Name != schemas.MarketCrossquotes.Name {
		t.Fatal(def, err)
	}
}
