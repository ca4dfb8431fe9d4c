package detectors

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

// What a key costs in a snapshot after three days. A venue's or a basket's grows with its members; pairs grow with their square.
func TestStateSizes(t *testing.T) {
	b := newBench(t, "liquidity_drop", "v:S1-USD", `{}`) // one that states its depth by band
	for _, m := range books(rand.New(rand.NewPCG(1, 1)), 72) {
		if tick, ok := m.(*schemas.Tick); ok {
			b.to(schemas.Time(tick.Time))
		} else if schemas.MetaOf(m).Symbol == "S1-USD" {
			b.record(m)
		}
	}
	size(t, "liquidity_drop, an instrument", len(b.p.AppendState(nil)), 4000)

	b = newBench(t, "exchange_outage", "v", `{"health_interval":"1m"}`)
	at := t0
	grow := func(symbols int) int {
		for range 8 * 24 * 60 { // every hour of the week is visited
			at = at.Add(time.Minute)
			for i := range symbols {
				m := &schemas.Meta{Source: "s", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(at)}
				b.record(&schemas.FeedHealth{Meta: m, Channel: "trades", Records: uint32(i % 2), Connected: true})
			}
			b.to(at)
		}
		return len(b.p.AppendState(nil))
	}
	base := grow(2)
	size(t, "exchange_outage, a venue without symbols", base-2*(grow(12)-base)/10, 1700)
	size(t, "exchange_outage, a symbol", (len(b.p.AppendState(nil))-base)/10, 80)

	c := newBench(t, "correlation_breakdown", "venue:v", `{}`)
	for _, m := range returns(rand.New(rand.NewPCG(1, 1)), 24*14) {
		switch m := m.(type) {
		case *schemas.Tick:
			c.to(schemas.Time(m.Time))
		case *schemas.Bar:
			if m.Basket == "venue:v" {
				c.record(m)
			}
		}
	}
	p, ok := c.p.(*correlation)
	if !ok || len(p.pairs) != 10 || len(p.members) != 5 {
		t.Fatalf("%d pairs of %d members, want 10 of 5", len(p.pairs), len(p.members))
	}
	size(t, "correlation_breakdown, a member", len(p.members[0].AppendState(nil)), 1500)
	size(t, "correlation_breakdown, a pair", len(p.pairs[0].AppendState(nil)), 1500)
}

// What a member of a basket costs in a snapshot of unusual_volume, when it is young and when its thirteen weeks are full.
func TestVolumeStateSize(t *testing.T) {
	testservices.Study(t)
	b := newBench(t, "unusual_volume", "venue:v", `{}`)
	r := rand.New(rand.NewPCG(1, 1))
	at := t0
	grow := func(days int) int {
		for range days * minutesOfDay {
			at = at.Add(time.Minute)
			for _, symbol := range []string{"A-USD", "B-USD"} {
				// A minute in five hundred has fifty times as much, so that the histograms have tails.
				volume := 1000 * r.ExpFloat64()
				if r.IntN(500) == 0 {
					volume *= 50
				}
				b.record(&schemas.Bar{
					Meta: &schemas.Meta{Source: "s", Venue: "v", Symbol: symbol, EventTime: int64(at)}, Start: int64(at.Add(-time.Minute)), End: int64(at),
					Volume: schemas.NewDecimal(int64(volume), -2), Close: schemas.NewDecimal(1000, -2), Trades: uint32(volume / 10), RushOrders: uint32(volume / 100), Basket: "venue:v",
				})
			}
			b.to(at)
		}
		p, ok := b.p.(*unusualVolume)
		if !ok || len(p.members) != 2 {
			t.Fatalf("%d members, want 2", len(p.members))
		}
		return len(p.members[0].AppendState(nil))
	}
	size(t, "unusual_volume, a member of five days", grow(5), 3500)
	size(t, "unusual_volume, a member of fourteen weeks", grow(93), 4000)
}

func size(t *testing.T, what string, got, most int) {
	t.Helper()
	t.Logf("%s: %d bytes", what, got)
	if got > most || got <= 0 {
		t.Errorf("the state of %s is %d bytes: want 1 to %d", what, got, most)
	}
}
