package detectors

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

// returns makes a seeded tape of minute bars of two baskets whose members move with their market; now and then one leaves it for
// hours, stops trading, stays away, comes late, incomplete or twice.
func returns(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	price := [5]float64{100, 200, 50, 1000, 10}
	var apart, still [5]int
	for minute := range hours * 60 {
		end := t0.Add(time.Duration(minute+1) * time.Minute)
		market := r.NormFloat64()
		for i := range price {
			if r.IntN(3000) == 0 {
				apart[i] = 120 + r.IntN(400)
			}
			if r.IntN(6000) == 0 {
				still[i] = 30 + r.IntN(200)
			}
			move := 0.9*market + 0.44*r.NormFloat64()
			if apart[i]--; apart[i] > 0 {
				move = -0.9*market + 0.44*r.NormFloat64()
			}
			bar := &schemas.Bar{
				Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(end)},
				Start: int64(end.Add(-time.Minute)), End: int64(end), Volume: schemas.NewDecimal(0, 0), Basket: "venue:v", Incomplete: r.IntN(2000) == 0,
			}
			if still[i]--; still[i] <= 0 && r.IntN(10) > 0 {
				price[i] *= 1 + 0.0005*move
				bar.Volume, bar.Close, bar.Trades = schemas.NewDecimal(int64(1+r.IntN(9)), 0), decimalOf(price[i]), 1
			}
			if r.IntN(2000) == 0 {
				continue
			}
			out = append(out, bar)
			if i < 3 {
				other := proto.CloneOf(bar)
				other.Basket = "three"
				out = append(out, other)
			}
		}
		out = append(out, &schemas.Tick{Source: "test", Time: int64(end)})
		if r.IntN(1500) == 0 {
			out = append(out, out[len(out)-2])
		}
	}
	return out
}

// statuses makes a seeded tape of what two venues' feeds and reporters say, every ten seconds: symbols that trade more by day than
// by night, silences of one and of all, lost lines of our own, missing health, maintenance, probes.
func statuses(r *rand.Rand, hours int) []schemas.Message {
	hours /= 5 // a step is a second, and laws run often
	var out []schemas.Message
	var quiet, dead, deaf, mute, symbol, weak [2]int
	var total [2]uint32
	meta := func(v int, symbol string, at schemas.Time) *schemas.Meta {
		return &schemas.Meta{Source: fmt.Sprintf("s%d", v), Venue: fmt.Sprintf("v%d", v), Symbol: symbol, EventTime: int64(at), ReceiveTime: int64(at)}
	}
	for at := t0; at < t0.Add(time.Duration(hours)*time.Hour); {
		step := time.Second
		if at.Sub(t0)%(6*time.Hour) > 30*time.Minute {
			step = 10 * time.Second // within what counts as word
		}
		at = at.Add(step)
		for v := range 2 {
			for _, left := range []*int{&quiet[v], &dead[v], &deaf[v], &mute[v]} {
				if *left -= int(step / time.Second); *left <= 0 && r.IntN(3000) == 0 {
					*left = 5 + r.IntN(900)
				}
			}
			if quiet[v] <= 0 {
				symbol[v] = r.IntN(4)
			}
			if weak[v] -= int(step / time.Second); dead[v] > 0 {
				weak[v] = 200 // one symbol comes back before the others
			}
			if r.IntN(4000) == 0 {
				total[v] += 4
			}
			for i := range 4 {
				h := &schemas.FeedHealth{
					Meta: meta(v, fmt.Sprintf("S%d-USD", i), at), Channel: "trades", Connected: dead[v] <= 0, OthersAlive: deaf[v] <= 0 && v == 0 && r.IntN(20) > 0,
					Reconnects: 1 + total[v],
				}
				silent := dead[v] > 0 || deaf[v] > 0 || quiet[v] > 0 && symbol[v] == i || weak[v] > 0 && i > 0
				if !silent && r.IntN(2+i) == 0 {
					h.Records = 1
				}
				if mute[v] <= 0 && r.IntN(2000) > 0 {
					out = append(out, h)
				}
			}
			out = append(out, said(r, meta(v, "all", at))...)
			out = append(out, &schemas.Tick{Source: fmt.Sprintf("s%d", v), Time: int64(at)})
		}
	}
	return out
}

// said is what reporters say, seldom.
func said(r *rand.Rand, meta *schemas.Meta) []schemas.Message {
	at := schemas.Time(meta.EventTime)
	meta.Id = strconv.FormatInt(meta.EventTime, 10)
	s := &schemas.VenueStatus{Meta: meta, Scope: []string{"all", "S1-USD"}[r.IntN(2)], Reporter: "status_page"}
	switch r.IntN(6000) {
	case 0:
		s.State, s.Starts, s.Ends = "maintenance", int64(at.Add(time.Minute)), int64(at.Add(time.Duration(r.IntN(60))*time.Minute))
	case 1:
		s.State = []string{"online", "down", "degraded"}[r.IntN(3)]
	case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24:
		s.State, s.Reporter = "online", "probe"
		s.HttpStatus, s.ResponseNs = new([]uint32{200, 200, 503}[r.IntN(3)]), new(uint64(r.IntN(8)*int(time.Second)))
	case 13:
		return []schemas.Message{&schemas.Gap{Meta: meta, Channel: "all", From: int64(at), To: int64(at), Cause: "disconnect"}}
	default:
		return nil
	}
	return []schemas.Message{s}
}
