package detectors

import (
	"slices"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

const (
	crowdShort = shortFlow
	crowdLong  = 6 * crowdShort
	// crowdLeast is how many transfers make a crowd; rareCrowd is the least number that a long time is taken to have, or a crowd at an
	// exchange that never has any would be infinitely rare.
	crowdLeast = 3
	rareCrowd  = 0.25
	// crowdBudget is how much rarer than the budget a crowd must be: exchanges have flows by two other scores.
	crowdBudget = 2
)

// A crowd is how many transfers of a size parties brought to an exchange that it had not met of late: exponentially weighted counts with
// half-lives of one and of six hours. Sums of a split drown in what the exchange moves by itself; counts of large transfers do not.
type crowd struct {
	short, long, usual float32 // usual is that of long, sampled each hour; coarse, as they are stored
}

// crowdScore is the highest surprise of an exchange's counts, with the count and the usual one.
func (e *exchange) crowdScore() (score, count, usual float64) {
	for i := range e.crowds {
		c := &e.crowds[i]
		for _, w := range [...][2]float64{{float64(c.short), float64(c.usual) / float64(crowdLong/crowdShort)}, {float64(c.long), float64(c.usual)}} {
			if s := chernoff(w[0], max(w[1], rareCrowd)); w[0] >= crowdLeast && s > score {
				score, count, usual = s, w[0], w[1]
			}
		}
	}
	return score, count, usual
}

// chernoff is Chernoff's bound on the probability of n where so many are usual of a Poisson variate, as -ln; 0 for no more than usual.
func chernoff(n, usual float64) float64 {
	if n <= usual {
		return 0
	}
	return float64(n*fixed.Ln(n/usual)) - n + usual
}

// join counts a transfer to an exchange by a party that it had not met of late, from the size on that a rarity alone may tell of, and from
// that which always makes an event: splits below the one hide from the other. One that is taken back stays: it mostly comes again, and then
// they have met.
func (x *exchanges) join(t *schemas.Transfer, at schemas.Time, effect float64) {
	e := x.of(party(t.ToOwner, "unnamed"), at)
	e.faded(at)
	for i, least := range [...]float64{alarm.EffectFloor, 1} {
		if effect >= least*reaches {
			e.crowds[i].short += float32(fixed.Decay(int64(e.at-at), crowdShort))
			e.crowds[i].long += float32(fixed.Decay(int64(e.at-at), crowdLong))
		}
	}
}

// knows says that the parties of a transfer have met of late.
func (x *pieces) knows(t *schemas.Transfer) bool {
	id := pieceID(t)
	return slices.ContainsFunc(x.list, func(p piece) bool { return p.id == id })
}

// fade lets d pass.
func (c *crowd) fade(d int64) {
	c.short = float32(float64(c.short) * fixed.Decay(d, crowdShort))
	c.long = float32(float64(c.long) * fixed.Decay(d, crowdLong))
}

func (c *crowd) AppendState(dst []byte) []byte {
	return pack.Float32(pack.Float32(pack.Float32(dst, c.short), c.long), c.usual)
}

func (c *crowd) RestoreState(src []byte) (rest []byte, err error) {
	r := pack.NewReader(src)
	c.short, c.long, c.usual = r.Float32(), r.Float32(), r.Float32()
	return r.Rest(), r.Err()
}
