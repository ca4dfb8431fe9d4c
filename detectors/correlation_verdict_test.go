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
	"github.com/tapewatch/tapewatch/stream/processor"
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

// An episode of correlations is quiet for at least quiet_for before it ends, whatever the interval of the checks is.
func TestCorrelationsAreQuietLongEnough(t *testing.T) {
	def, err := processor.Lookup(correlationName)
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]int{
		`{}`: 15, `{"quiet_for":"5m","check_interval":"4m"}`: 2, `{"quiet_for":"1m"}`: 1,
	} {
		bound, err := def.BindJSON([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		c, ok := bound.New(processor.NewKey(def.Input.Key, "venue:v")).(*correlation)
		if !ok {
			t.Fatalf("%s is made by %T", correlationName, c)
		}
		if c.rules.ExitBars != want {
			t.Errorf("%s: %d checks end an episode, want %d", config, c.rules.ExitBars, want)
		}
	}
}
