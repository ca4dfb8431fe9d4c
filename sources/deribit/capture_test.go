package deribit

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

var file = venuetest.Recording{File: "cryptofeed-v3/DERIBIT.jsonl.zst", Spec: spec()}

// spec is the venue without any symbol: it takes what comes.
func spec() *venue.Spec {
	cfg := Defaults()
	cfg.Symbols = nil
	s, err := cfg.Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// The recording has raw channels of ten options. expected_counts.json has a second opinion by cryptofeed: l2_book 46,
// ticker 89.
//
//   - 46 book messages = 10 snapshots + 36 changes, every prev_change_id is the change_id before.
//   - 89 tickers are 89 quotes of options. Each also has the state of its instrument, which is published when it is new:
//     10 statuses.
//   - The trades channels were subscribed to and had none.
//   - 14 records are late: the first message of a subscription has the time of the instrument's last change, up to 2.9 s
//     before. They are the first tickers and books of instruments, and nothing else.
func TestRecordingGivesKnownCounts(t *testing.T) {
	m, out := venuetest.Play(t, file)
	want := venuetest.Totals{Applied: 36, Snapshots: 10, Options: 89, Statuses: 10, Late: 14}
	if diff := cmp.Diff(want, venuetest.Measure(m, out)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	first := schemas.Time(0)
	for _, e := range out.Late() {
		var meta *schemas.Meta
		switch r := e.Message.(type) {
		case *schemas.OptionQuote:
			meta = r.Meta
		case *schemas.BookSnapshot:
			meta = r.Meta
		default:
			t.Fatalf("a %s is late", e.Type)
		}
		if first == 0 {
			first = schemas.Time(meta.ReceiveTime)
		}
		if d := schemas.Time(meta.ReceiveTime).Sub(first); d > 200*time.Millisecond {
			t.Errorf("%s %s is late %v after the subscription", e.Type, meta.Symbol, d)
		}
	}
}

// Greeks and volatilities are in our units: they are what Black's formula (1976, on the forward, in US dollars, at no
// interest) gives for the record's own volatility, strike, underlying and time to expiry.
func TestGreeksAreThoseOfBlacksFormula(t *testing.T) {
	_, out := venuetest.Play(t, file)
	quotes := sourcetest.Of[*schemas.OptionQuote](out)
	for _, q := range quotes {
		if q.MarkIv == nil || q.Delta == nil || q.Gamma == nil || q.Vega == nil || q.Theta == nil || q.Rho == nil {
			t.Fatalf("%s has not all greeks: %v", q.Meta.Symbol, q)
		}
		f, k, v := q.UnderlyingPrice.Float(), q.Strike.Float(), *q.MarkIv
		years := float64(q.Expiry-q.Meta.EventTime) / float64(365*24*time.Hour)
		root := math.Sqrt(years)
		d1 := (math.Log(f/k) + v*v*years/2) / (v * root)
		density := math.Exp(-d1*d1/2) / math.Sqrt(2*math.Pi)
		cumulative := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
		sign := 1.0
		if q.Right == schemas.OptionRight_OPTION_RIGHT_PUT {
			sign = -1
		}
		price := sign * (f*cumulative(sign*d1) - k*cumulative(sign*(d1-v*root)))
		for _, g := range []struct {
			name      string
			got, want float64
		}{
			{"price in coins", q.MarkPrice.Float(), price / f},
			{"delta", *q.Delta, sign * cumulative(sign*d1)},
			{"gamma", *q.Gamma, density / (f * v * root)},
			{"vega", *q.Vega, f * density * root / 100},
			// Within its last day an option cannot lose more than it is worth.
			{"theta", *q.Theta, -min(f*density*v/(2*root)/365, price)},
			{"rho", *q.Rho, sign * k * years * cumulative(sign*(d1-v*root)) / 100},
		} {
			// The venue prints five decimals, and works with more of the volatility than it prints.
			if d := math.Abs(g.got - g.want); d > 1e-5+0.01*math.Abs(g.want) {
				t.Errorf("%s: %s is %v, by the formula %v", q.Meta.Symbol, g.name, g.got, g.want)
			}
		}
	}
	if len(quotes) != 89 {
		t.Errorf("%d quotes, want 89", len(quotes))
	}
}

func TestLaws(t *testing.T) { venuetest.Laws(t, file) }
