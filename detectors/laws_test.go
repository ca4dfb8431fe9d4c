package detectors

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor/laws"
)

const t0 = schemas.Time(1704067200e9) // 2024-01-01 00:00 UTC, a Monday

// tape makes a seeded tape of trades: three instruments that wander, jump, trend, crash and come back, over three days, with
// ticks, silences, gaps, bad prints, duplicates and late trades.
func tape(r *rand.Rand) []schemas.Message {
	var out []schemas.Message
	price := [3]float64{100, 2000, 0.5}
	drift := [3]float64{}
	seq := uint64(0)
	for at := t0; at < t0.Add(74*time.Hour); at = at.Add(10 * time.Second) {
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at)})
		if r.IntN(4000) == 0 {
			at = at.Add(time.Duration(r.IntN(180)) * time.Minute)
		}
		for i := range price {
			if r.IntN(3) > 0 {
				continue
			}
			switch r.IntN(2000) {
			case 0:
				price[i] *= 1 + 0.2*(r.Float64()-0.5)
			case 1:
				drift[i] = 0.002 * (r.Float64() - 0.5)
			case 2:
				drift[i] = 0
			}
			price[i] *= 1 + drift[i] + 0.0004*r.NormFloat64()
			seq++
			when, print := at.Add(time.Duration(r.IntN(10000))*time.Millisecond), price[i]
			switch r.IntN(300) {
			case 0:
				when = at.Add(-time.Duration(r.IntN(100)) * time.Second)
			case 1:
				print *= 1.5
			}
			out = append(out, print1(i, seq, when, print))
			switch r.IntN(3000) {
			case 0:
				out = append(out, out[len(out)-1])
			case 1:
				m := &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(at)}
				out = append(out, &schemas.Gap{Meta: m, Channel: "trades", From: int64(at.Add(-time.Second)), To: int64(at), Cause: "sequence"})
			}
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(80 * time.Hour))})
}

func print1(i int, seq uint64, at schemas.Time, price float64) *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), Id: fmt.Sprint(seq), Sequence: seq, EventTime: int64(at), ReceiveTime: int64(at)},
		Price: decimalOf(price), Quantity: schemas.NewDecimal(1, 0),
	}
}

func TestLaws(t *testing.T) {
	t.Run("price_anomaly", func(t *testing.T) { laws.Run(t, "price_anomaly", nil, tape) })
}
