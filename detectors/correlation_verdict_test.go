package detectors

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Two of five leave the others and each other: half of the pairs of those that stay are broken too, but it is not they who left.
func TestWhoLeft(t *testing.T) {
	const days = 5
	b := newBench(t, correlationName, "venue:v", `{}`)
	r := rand.New(rand.NewPCG(5, 5))
	price := [5]float64{100, 100, 100, 100, 100}
	left := t0.Add(days * 24 * time.Hour)
	for minute := range days*24*60 + 140 {
		end := t0.Add(time.Duration(minute+1) * time.Minute)
		market := r.NormFloat64()
		for i := range price {
			load := 0.9
			if i < 2 && end > left {
				load = 0
			}
			price[i] *= 1 + float64(0.001*(float64(load*market)+float64(math.Sqrt(1-load*load)*r.NormFloat64())))
			b.record(&schemas.Bar{
				Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(end)},
				Start: int64(end.Add(-time.Minute)), End: int64(end), Volume: schemas.NewDecimal(1, 0), Close: decimalOf(price[i]), Basket: "venue:v",
			})
		}
		b.to(end)
	}
	named := map[string]bool{}
	for _, e := range b.events {
		if schemas.Time(e.EventTime) > left && slices.Contains(e.Evidence.Legs, legPairs) {
			named[e.Symbol] = true
		}
	}
	if want := map[string]bool{"S0-USD": true, "S1-USD": true}; !maps.Equal(named, want) {
		t.Errorf("half of the pairs are broken by %v: want %v", named, want)
	}
}
