package simulator

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// run plays a market for a while and hands copies of its records on.
func run(t *testing.T, cfg Config, d time.Duration, see func(m *Market, msg schemas.Message)) []Label {
	t.Helper()
	var labels []Label
	m := NewMarket(cfg, monday, func(l Label) { labels = append(labels, l) })
	put := func(_ schemas.Topic, msg schemas.Message) error { see(m, msg); return nil }
	if err := m.History(put); err != nil {
		t.Fatal(err)
	}
	for range d / time.Second {
		if err := m.Second(put); err != nil {
			t.Fatal(err)
		}
	}
	return labels
}

// bounds parses the times of a label.
func (l Label) bounds(t *testing.T) (from, to schemas.Time) {
	t.Helper()
	a, err1 := time.Parse(time.RFC3339, l.Start)
	b, err2 := time.Parse(time.RFC3339, l.End)
	if err1 != nil || err2 != nil {
		t.Fatalf("label %+v has no times", l)
	}
	return schemas.Time(a.UnixNano()), schemas.Time(b.UnixNano())
}

func calm() Config {
	c := small()
	c.AnomaliesPerDay, c.RareAnomaliesPerDay = 0, 0
	return c
}

// Trades stand at the best prices, quotes are never crossed, and the book's best prices are those of a quote.
func TestTradesQuotesAndBooksAgree(t *testing.T) {
	quotes, wide := map[string]*schemas.Quote{}, 0
	var trades, off int
	run(t, calm(), 10*time.Minute, func(m *Market, msg schemas.Message) {
		switch r := msg.(type) {
		case *schemas.Quote:
			if r.BidPrice.Cmp(r.AskPrice) >= 0 {
				t.Fatalf("bid %s, ask %s", r.BidPrice.Text(), r.AskPrice.Text())
			}
			if r.AskPrice.Float()/r.BidPrice.Float() > 1.001 {
				wide++
			}
			if r.Meta.Venue == m.cfg.Venue {
				quotes[r.Meta.Symbol] = proto.CloneOf(r)
			}
		case *schemas.Trade:
			q := quotes[r.Meta.Symbol]
			if q == nil || q.Meta.EventTime < r.Meta.EventTime-1e8 {
				return
			}
			want := q.AskPrice.Float()
			if r.TakerSide == schemas.Side_SIDE_SELL {
				want = q.BidPrice.Float()
			}
			trades++
			if math.Abs(r.Price.Float()/want-1) > 0.0005 {
				off++
			}
		case *schemas.BookSnapshot:
			mid := (r.Bids[0].Price.Float() + r.Asks[0].Price.Float()) / 2
			for _, side := range [][]*schemas.Level{r.Bids, r.Asks} {
				if far := math.Abs(side[len(side)-1].Price.Float()/mid - 1); len(side) != 20 || far < 0.01 {
					t.Fatalf("%d levels to %.2f %% from the mid: want 20 beyond 1 %%", len(side), 100*far)
				}
			}
			const onePct = 3 // its band
			d := r.Bands[onePct]
			if bid, ask := depthOf(r, true), depthOf(r, false); math.Abs(d.BidQuantity.Float()/bid-1) > 1e-9 || math.Abs(d.AskQuantity.Float()/ask-1) > 1e-9 ||
				!d.BidComplete || !d.AskComplete || r.Bands[onePct+1].BidComplete {
				t.Fatalf("within 1 %% the book states %v, its levels have %v and %v", d, bid, ask)
			}
		}
	})
	if trades < 1000 || off > trades/100 || wide > 0 {
		t.Errorf("%d of %d trades off the quote, %d wide quotes", off, trades, wide)
	}
}

// depthOf is the quantity of a side within 1 % of the mid.
func depthOf(b *schemas.BookSnapshot, bids bool) float64 {
	mid, sum := (b.Bids[0].Price.Float()+b.Asks[0].Price.Float())/2, 0.0
	side := b.Asks
	if bids {
		side = b.Bids
	}
	for _, l := range side {
		if math.Abs(l.Price.Float()/mid-1) <= 0.01 {
			sum += l.Quantity.Float()
		}
	}
	return sum
}

// Labels name what is in the tape: jumps of their size, bursts of their multiple, cuts of their share, silence while a venue is
// out, and as many records in FeedHealth as there were.
func TestLabelsAreTrue(t *testing.T) {
	testservices.Study(t)
	cfg := small()
	cfg.AnomaliesPerDay, cfg.RareAnomaliesPerDay, cfg.Rate = 200, 200, 200
	const length = 3 * time.Hour
	type second struct {
		symbol string
		at     schemas.Time
	}
	trades := map[second]float64{}
	last := map[second]float64{} // price at the end of a second
	depth := map[second][2]float64{}
	reported := map[second]uint32{}
	seen := map[second]bool{} // data of a venue in a second
	labels := run(t, cfg, length, func(m *Market, msg schemas.Message) {
		meta := schemas.MetaOf(msg)
		at := schemas.Time(meta.EventTime)
		if up := at.Floor(time.Second); up != at {
			at = up.Add(time.Second)
		}
		k := second{meta.Symbol, at}
		switch r := msg.(type) {
		case *schemas.Trade:
			trades[k]++
			last[k] = r.Price.Float()
			seen[second{meta.Venue, at}] = true
		case *schemas.Quote, *schemas.Mark:
			seen[second{meta.Venue, at}] = true
		case *schemas.BookSnapshot:
			depth[k] = [2]float64{depthOf(r, true), depthOf(r, false)}
		case *schemas.FeedHealth:
			if r.Channel == "trades" {
				reported[k] = r.Records
			}
		}
	})
	for k, n := range reported {
		if float64(n) != trades[k] {
			t.Fatalf("%s: %v trades at %v, and FeedHealth says %d", k.symbol, trades[k], k.at, n)
		}
	}
	price := func(symbol string, at schemas.Time) float64 {
		for back := range schemas.Time(60) {
			if p := last[second{symbol, at - back*1e9}]; p > 0 {
				return p
			}
		}
		return 0
	}
	checked := map[string]int{}
	for _, l := range labels {
		from, to := l.bounds(t)
		if to > monday.Add(length) {
			continue
		}
		// While the venue is out, or was shortly before, there is nothing to compare with.
		if l.Detector != "exchange_outage" && slices.ContainsFunc(labels, func(o Label) bool {
			a, b := o.bounds(t)
			return o.Detector == "exchange_outage" && o.Venue == cfg.Venue && a <= to.Add(time.Minute) && b >= from.Add(-15*time.Minute)
		}) {
			continue
		}
		switch l.Kind {
		case priceJump, priceRamp:
			a, b := price(l.Symbol, from), price(l.Symbol, to.Add(2*time.Second))
			if a == 0 || b == 0 {
				continue
			}
			checked[l.Kind]++
			if got := b/a - 1; math.Abs(got-l.Size) > 0.012 {
				t.Errorf("%s of %s at %s: the price moved %.4f, the label says %.4f", l.Kind, l.Symbol, l.Start, got, l.Size)
			}
		case volumeBurst:
			var in, before float64
			for s := range schemas.Time(900) {
				in += trades[second{l.Symbol, from + (s+1)*1e9}]
				before += trades[second{l.Symbol, from - s*1e9}]
			}
			if before == 0 || from < monday.Add(15*time.Minute) {
				continue
			}
			checked[l.Kind]++
			if got := in / before; got < l.Size/5 || got > l.Size*3 {
				t.Errorf("burst of %s at %s: %.1f times as many trades, the label says %.1f", l.Symbol, l.Start, got, l.Size)
			}
		case liquidityCut:
			a, b := depth[second{l.Symbol, from}], depth[second{l.Symbol, from.Add(time.Second)}]
			if a[0] == 0 {
				continue
			}
			checked[l.Kind]++
			for side, name := range [2]string{"bids", "asks"} {
				want := 1.0
				if l.Detail == "both sides" || l.Detail == name {
					want = 1 - l.Size
				}
				if got := b[side] / a[side]; got > want*1.35 || got < want*0.65 {
					t.Errorf("cut of %s's %s at %s: %.2f of the depth is left, want %.2f", l.Symbol, name, l.Start, got, want)
				}
			}
		case outageSilence, outageDisconnect, outageBeats, outageAnnounced:
			checked[l.Kind]++
			for s := from + 1e9; s <= to; s += 1e9 {
				if seen[second{l.Venue, s}] {
					t.Errorf("%s of %s from %s to %s: a record of %v", l.Kind, l.Venue, l.Start, l.End, s)
					break
				}
			}
			if after := to.Add(5 * time.Second); l.Venue == cfg.Venue && !seen[second{l.Venue, after}] {
				t.Errorf("%s of %s until %s: nothing at %v either", l.Kind, l.Venue, l.End, after)
			}
		}
	}
	t.Logf("checked: %v of %d labels", checked, len(labels))
	for _, k := range []string{priceJump, priceRamp, volumeBurst, liquidityCut, outageSilence, outageDisconnect, outageBeats, outageAnnounced} {
		if checked[k] == 0 {
			t.Errorf("no %s was checked", k)
		}
	}
}

// Options obey what no model may break: bounds, parity of puts and calls, prices that fall and are convex in the strike; their
// greeks are those of finite differences.
func TestOptionsHaveNoArbitrage(t *testing.T) {
	cfg := calm()
	cfg.Kinds = []string{"options"}
	chains := map[string][]*schemas.OptionQuote{}
	run(t, cfg, time.Minute, func(_ *Market, msg schemas.Message) {
		o := proto.CloneOf(msg.(*schemas.OptionQuote))
		k := strings.Join([]string{o.Underlying, o.Right.String(), schemas.Time(o.Expiry).String(), schemas.TimeOf(o).String()}, " ")
		chains[k] = append(chains[k], o)
	})
	if len(chains) != 32 {
		t.Errorf("%d chains in a minute, want 2 underlyings x 4 expiries x 2 rights x 2 times", len(chains))
	}
	const tick = 1e-4
	for name, calls := range chains {
		if !strings.Contains(name, "CALL") {
			continue
		}
		puts := chains[strings.Replace(name, "CALL", "PUT", 1)]
		for k, c := range calls {
			p := puts[k]
			spot, strike := c.UnderlyingPrice.Float(), c.Strike.Float()
			years := float64(c.Expiry-c.Meta.EventTime) / float64(year)
			discounted := strike * math.Exp(-riskFree*years)
			if got, want := c.MarkPrice.Float()-p.MarkPrice.Float(), spot-discounted; math.Abs(got-want) > 2*tick {
				t.Errorf("%s, strike %v: call less put is %v, want %v", name, strike, got, want)
			}
			for _, o := range []*schemas.OptionQuote{c, p} {
				if o.BidPrice.Float() > o.MarkPrice.Float() || o.AskPrice.Float() < o.MarkPrice.Float() || *o.BidIv >= *o.AskIv {
					t.Errorf("%s: bid %v, mark %v, ask %v", o.Meta.Symbol, o.BidPrice.Float(), o.MarkPrice.Float(), o.AskPrice.Float())
				}
			}
			if v := c.MarkPrice.Float(); v < max(0, spot-discounted)-tick || v > spot {
				t.Errorf("%s, strike %v: the call costs %v with the underlying at %v", name, strike, v, spot)
			}
			if k > 0 && k < len(calls)-1 {
				a, b, d := calls[k-1], c, calls[k+1]
				left := (a.MarkPrice.Float() - b.MarkPrice.Float()) / (b.Strike.Float() - a.Strike.Float())
				right := (b.MarkPrice.Float() - d.MarkPrice.Float()) / (d.Strike.Float() - b.Strike.Float())
				if left < right-1e-3 || right < -1e-3 || left > 1+1e-3 {
					t.Errorf("%s around strike %v: slopes %v and %v, want them to fall from 1 to 0", name, strike, left, right)
				}
			}
		}
	}
	for _, call := range []bool{true, false} {
		price := func(change func(*blackScholes), vol float64) float64 {
			b := blackScholes{spot: 100, strike: 110, years: 0.25, call: call}
			change(&b)
			b.solve(vol)
			return b.value
		}
		same := func(*blackScholes) {}
		b := blackScholes{spot: 100, strike: 110, years: 0.25, call: call}
		b.solve(0.5)
		const h = 1e-4
		up, down := func(b *blackScholes) { b.spot += h }, func(b *blackScholes) { b.spot -= h }
		for name, v := range map[string][2]float64{
			"delta": {b.delta, (price(up, 0.5) - price(down, 0.5)) / (2 * h)},
			"gamma": {b.gamma, (price(func(b *blackScholes) { b.spot += 0.01 }, 0.5) - 2*price(same, 0.5) + price(func(b *blackScholes) { b.spot -= 0.01 }, 0.5)) / 1e-4},
			"vega":  {b.vega, (price(same, 0.5+h) - price(same, 0.5-h)) / (2 * h) / 100},
			"theta": {b.theta, (price(func(b *blackScholes) { b.years -= 1e-6 }, 0.5) - price(func(b *blackScholes) { b.years += 1e-6 }, 0.5)) / 2e-6 / 365},
		} {
			if math.Abs(v[0]-v[1]) > 1e-5 {
				t.Errorf("%s (call %v) is %v, finite differences give %v", name, call, v[0], v[1])
			}
		}
	}
	// Haug, The Complete Guide to Option Pricing Formulas, 2nd ed., section 1.1.1: S 60, X 65, T 0.25, sigma 0.30 with r 0.08 is 2.1334;
	// with the simulator's r of 0.03 the same formula gives 1.7851.
	b := blackScholes{spot: 60, strike: 65, years: 0.25, call: true}
	if b.solve(0.3); math.Abs(b.value-haug(60, 65, 0.25, riskFree, 0.3)) > 1e-9 || math.Abs(haug(60, 65, 0.25, 0.08, 0.3)-2.1334) > 1e-4 {
		t.Errorf("the call is worth %v", b.value)
	}
}

// haug is the formula with the library's error function.
func haug(s, x, t, r, v float64) float64 {
	n := func(d float64) float64 { return math.Erfc(-d/math.Sqrt2) / 2 }
	d1 := (math.Log(s/x) + (r+v*v/2)*t) / (v * math.Sqrt(t))
	return s*n(d1) - x*math.Exp(-r*t)*n(d1-v*math.Sqrt(t))
}

// Funding settles on the grid of its interval, stays within the cap, and is the interest most of the time; a spike says its size.
func TestFunding(t *testing.T) {
	cfg := calm()
	cfg.Kinds, cfg.RareAnomaliesPerDay = []string{"derivatives"}, 24
	type rate struct {
		at   schemas.Time
		r8   float64
		key  string
		kind schemas.FundingKind
	}
	var rates []rate
	labels := run(t, cfg, 36*time.Hour, func(_ *Market, msg schemas.Message) {
		f, ok := msg.(*schemas.Funding)
		if !ok {
			return
		}
		step := int64(f.IntervalSeconds) * 1e9
		if f.NextTime%step != 0 || f.NextTime <= f.Meta.EventTime || f.Kind == schemas.FundingKind_FUNDING_KIND_SETTLED && f.Meta.EventTime%step != 0 {
			t.Fatalf("funding of %v with the next at %v is off the grid of %d s", f.Meta.EventTime, f.NextTime, f.IntervalSeconds)
		}
		if math.Abs(f.Rate.Float()) > f.Cap.Float() {
			t.Fatalf("rate %s is beyond the cap %s", f.Rate.Text(), f.Cap.Text())
		}
		rates = append(rates, rate{schemas.TimeOf(f), f.Rate.Float() * 8 * 3600 / float64(f.IntervalSeconds), f.Asset + f.Meta.Venue, f.Kind})
	})
	plain, settled := 0, 0
	for _, r := range rates {
		if math.Abs(r.r8-interest) < 1e-6 {
			plain++
		}
		if r.kind == schemas.FundingKind_FUNDING_KIND_SETTLED {
			settled++
		}
	}
	if want := 8 * (5 + 10 + 37); settled < want-30 || settled > want+30 {
		t.Errorf("%d settlements in 36 hours, want about %d", settled, want)
	}
	if plain < len(rates)/2 {
		t.Errorf("%d of %d rates are the interest, want most", plain, len(rates))
	}
	if len(labels) < 5 {
		t.Fatalf("%d spikes in 36 hours, want about 36", len(labels))
	}
	labels = slices.DeleteFunc(labels, func(l Label) bool { return l.Kind != "funding_spike" })
	for _, l := range labels[:5] { // later ones may take each other's place
		from, to := l.bounds(t)
		if !slices.ContainsFunc(rates, func(r rate) bool {
			return r.at > from && r.at <= to && strings.HasPrefix(r.key, l.Key) && math.Abs(r.r8-l.Size) < 1e-6
		}) {
			t.Errorf("no rate within label %+v has its size", l)
		}
	}
}

// Slow kinds: whales have their size, surprises exceed the knob and all other earnings do not, vintages come after their dates,
// articles name their symbol.
func TestSlowKinds(t *testing.T) {
	cfg := calm()
	cfg.Kinds, cfg.RareAnomaliesPerDay = []string{"transfers", "equities", "macro", "news"}, 100
	large, earnings, pct := map[string]float64{}, 0, map[string]float64{}
	values := map[string]int{}
	labels := run(t, cfg, 4*time.Hour, func(_ *Market, msg schemas.Message) {
		switch r := msg.(type) {
		case *schemas.Transfer:
			if usd := r.UsdValue.Float(); usd > 500_000 {
				large[r.Asset] += usd
			}
		case *schemas.Earnings:
			earnings++
			if s := r.EpsActual.Float()/r.EpsEstimate.Float() - 1; math.Abs(s) >= 0.10 && math.Abs(r.EpsActual.Float()-r.EpsEstimate.Float()) >= 0.02 {
				pct[r.Meta.Symbol+" "+schemas.TimeOf(r).String()] = s
			}
		case *schemas.MacroObservation:
			values[r.Series+" "+r.Date]++
			if r.Vintage < r.Date {
				t.Fatalf("%s of %s was public on %s", r.Series, r.Date, r.Vintage)
			}
		case *schemas.Article:
			if !strings.Contains(r.Title, r.Meta.Symbol) {
				t.Fatalf("article %q is linked to %s", r.Title, r.Meta.Symbol)
			}
		}
	})
	want := map[string]float64{}
	surprises := 0
	for _, l := range labels {
		switch l.Detector {
		case "whale_movement":
			if _, end := l.bounds(t); end < monday.Add(4*time.Hour) {
				want[l.Symbol] += l.Size
			}
		case "earnings_anomaly":
			surprises++
			if got, ok := pct[l.Symbol+" "+l.Start]; !ok || math.Abs(got-l.Size) > 0.03 {
				t.Errorf("label %+v: the surprise is %v", l, got)
			}
		}
	}
	if surprises < 5 || len(pct) != surprises {
		t.Errorf("%d labelled surprises and %d beyond the knob: want the same, 5 at least", surprises, len(pct))
	}
	for asset, usd := range want {
		if large[asset] < 0.99*usd {
			t.Errorf("whales of %s moved %.0f, the labels say %.0f", asset, large[asset], usd)
		}
	}
	if len(want) == 0 || earnings < 8*companyCount {
		t.Errorf("%d assets with whales, %d earnings", len(want), earnings)
	}
	revised := 0
	for _, n := range values {
		if n > 1 {
			revised++
		}
	}
	if revised < 3*20 {
		t.Errorf("%d observations were revised, want those of two years of three series", revised)
	}
}
