package detectors

import (
	"bytes"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A bar from half a minute to half a minute is no minute of a basket, whether or not a snapshot is taken while it waits.
func TestBarsOfHalfMinutesDoNotCount(t *testing.T) {
	for _, name := range []string{unusualVolumeName, correlationName} {
		states := [2][]byte{}
		for i := range states {
			b := newBench(t, name, "venue:v", `{}`)
			for k := range 10 {
				end := t0.Add(time.Duration(k)*time.Minute + 90*time.Second)
				b.record(&schemas.Bar{
					Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S-USD", EventTime: int64(end)},
					Start: int64(end.Add(-time.Minute)), End: int64(end), Volume: schemas.NewDecimal(1, 0), Close: schemas.NewDecimal(int64(100+k), 0), Trades: 1, Basket: "venue:v",
				})
			}
			if i == 1 {
				if err := b.p.RestoreState(b.p.AppendState(nil)); err != nil {
					t.Fatal(err)
				}
			}
			b.to(t0.Add(10 * time.Minute))
			states[i] = b.p.AppendState(nil)
		}
		if !bytes.Equal(states[0], states[1]) {
			t.Errorf("%s: a snapshot changed what the bars did", name)
		}
	}
}
