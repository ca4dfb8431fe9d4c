package detectors

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tapewatch/tapewatch/internal/depth"
	"github.com/tapewatch/tapewatch/schemas"
)

// bookOf is a ladder of a tenth of a percent around a price; each side's levels hold that much.
func bookOf(i int, seq uint64, at schemas.Time, price float64, levels int, bid, ask float64) *schemas.BookSnapshot {
	b := &schemas.BookSnapshot{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), Sequence: seq, EventTime: int64(at), ReceiveTime: int64(at)},
		Depth: 20, Updates: 1,
	}
	for k := range levels {
		d := price * 0.001 * (float64(k) + 0.5)
		b.Bids = append(b.Bids, &schemas.Level{Price: decimalOf(price - d), Quantity: decimalOf(bid)})
		b.Asks = append(b.Asks, &schemas.Level{Price: decimalOf(price + d), Quantity: decimalOf(ask)})
	}
	return b
}

// stated leaves a book its best levels and states the depth of all that it had, as a source does that knows them as far as reach basis
// points.
func stated(b *schemas.BookSnapshot, price float64, publish int, reach uint32) {
	for _, width := range []uint32{10, 20, 50, 100, 200} {
		sum := func(levels []*schemas.Level) (all, capped *schemas.Decimal) {
			n, total, largest := 0, 0.0, 0.0
			for ; n < len(levels) && math.Abs(levels[n].Price.Float()/price-1) <= float64(width)/1e4; n++ {
				q := levels[n].Quantity.Float()
				total, largest = total+q, max(largest, q)
			}
			if v := depth.Capped(n, total, largest, func(i int) float64 { return levels[i].Quantity.Float() }); v < total {
				capped = decimalOf(v)
			}
			return decimalOf(total), capped
		}
		d := &schemas.DepthBand{BasisPoints: width, BidComplete: width <= reach, AskComplete: width <= reach}
		d.BidQuantity, d.BidCapped = sum(b.Bids)
		d.AskQuantity, d.AskCapped = sum(b.Asks)
		b.Bands = append(b.Bands, d)
	}
	b.Bids, b.Asks, b.Depth = b.Bids[:publish], b.Asks[:publish], uint32(publish)
}

// books makes a seeded tape of the books of two instruments, of which one states its depth by band: their depth breathes, thins out on one side or both, for moments or
// minutes, walls of many times the depth stand for a moment, the price falls with it or does not; with gaps, silences, rebuilt books, truncated ones and late ones.
func books(r *rand.Rand, hours int) []schemas.Message {
	hours = hours * 9 / 25 // a step is a second, and laws run often
	var out []schemas.Message
	price, usual := [2]float64{100, 2000}, [2]float64{10, 3}
	var cut [2][2]float64
	var left [2]int
	seq := uint64(0)
	for at := t0; at < t0.Add(time.Duration(hours)*time.Hour); at = at.Add(10 * time.Second) {
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at)})
		for i := range price {
			price[i] *= 1 + 0.0002*r.NormFloat64()
			usual[i] *= 1 + 0.02*r.NormFloat64() + 0.002*(5-usual[i])/5
			usual[i] = min(max(usual[i], 1), 30)
			if left[i]--; left[i] <= 0 && r.IntN(400) == 0 {
				left[i] = 1 + r.IntN(20)
				cut[i] = [2]float64{r.Float64(), r.Float64()}
				cut[i][r.IntN(2)] = 1
				if r.IntN(8) == 0 {
					price[i] *= 0.97
				}
			}
			bid, ask := usual[i], usual[i]
			if left[i] > 0 {
				bid, ask = bid*cut[i][0], ask*cut[i][1]
			}
			seq++
			levels, when := 12, at.Add(time.Duration(1+r.IntN(9999))*time.Millisecond)
			switch r.IntN(500) {
			case 0:
				levels = 6
			case 1:
				when = at.Add(-time.Duration(r.IntN(100)) * time.Second)
			case 2:
				continue
			}
			b := bookOf(i, seq, when, price[i], levels, bid*(0.9+0.2*r.Float64()), ask*(0.9+0.2*r.Float64()))
			if r.IntN(200) == 0 {
				b.Asks[levels/2].Quantity = decimalOf(ask * 100)
			}
			if r.IntN(1000) == 0 {
				b.Meta.Flags = flagSnapshot
			}
			if reach := uint32(200); i == 1 {
				if r.IntN(40) == 0 {
					reach = []uint32{0, 20, 50}[r.IntN(3)]
				}
				stated(b, price[i], min(levels, 3), reach)
			} else if levels == 6 {
				b.Depth = 6
			}
			out = append(out, b)
			if r.IntN(1000) == 0 {
				g := &schemas.Meta{Source: "test", Venue: "v", Symbol: b.Meta.Symbol, EventTime: int64(when)}
				out = append(out, &schemas.Gap{Meta: g, Channel: "book", From: int64(at), Cause: "sequence"})
			}
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(time.Duration(hours) * time.Hour).Add(time.Hour))})
}
