package simulator

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
)

// Streams of randomness: each part of each instrument has one of its own, so that none depends on how much another draws.
const (
	streamMarket = iota + 1
	streamSector
	streamPrice
	streamFlow
	streamAnomaly
	streamBook
	streamPerpetual
	streamOption
	streamTransfer
	streamEquity
	streamMacro
	streamNews
	streamStatus
	streamRare
)

// random is one stream. What it draws is made of integers and correctly rounded single operations (internal/fixed), with
// every product converted before it is added, so that no machine fuses the two: a seed gives the same market everywhere.
type random struct{ pcg rand.PCG }

func newRandom(seed uint64, stream, index int) (r random) {
	r.pcg.Seed(seed, uint64(stream)<<32|uint64(index))
	return r
}

// uniform draws from [0, 1).
func (r *random) uniform() float64 { return float64(r.pcg.Uint64()>>11) / (1 << 53) }

// between draws from [a, b).
func (r *random) between(a, b float64) float64 { return a + float64((b-a)*r.uniform()) }

// below draws from 0..n-1.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.pcg.Uint64(), uint64(n))
	return int(hi)
}

// sign draws 1 or -1.
func (r *random) sign() float64 { return float64(1 - 2*r.below(2)) }

// normal draws nearly from the standard normal distribution: the sum of four uniforms, which ends at 3.46 deviations.
func (r *random) normal() float64 {
	u := r.pcg.Uint64()
	sum := int64(u&0xffff+u>>16&0xffff+u>>32&0xffff+u>>48) - 2*0xffff
	return float64(sum) * (math.Sqrt(3) / 0x10000)
}

// student draws from Student's t with 4 degrees of freedom, scaled to unit variance: fat tails as real returns have. Polar
// method of Bailey, Mathematics of Computation 62 (1994), which for 4 degrees needs nothing but square roots.
func (r *random) student() float64 {
	for {
		u, v := 2*r.uniform()-1, 2*r.uniform()-1
		w := float64(u*u) + float64(v*v)
		if w > 0 && w <= 1 {
			return u * math.Sqrt(2*(1/math.Sqrt(w)-1)/w)
		}
	}
}

// exponential draws from the exponential distribution of mean 1.
func (r *random) exponential() float64 { return -fixed.Ln(1 - r.uniform()) }

// size draws a trade's size of mean 1: Lomax with tail index 4, many small and a few large ones.
func (r *random) size() float64 {
	return 3 * (1/math.Sqrt(math.Sqrt(1-r.uniform())) - 1)
}

// poisson draws a count.
func (r *random) poisson(mean float64) int {
	switch {
	case mean <= 0:
		return 0
	case mean > 30:
		return max(0, int(mean+float64(math.Sqrt(mean)*r.normal())+0.5))
	}
	limit, k, p := fixed.Exp(-mean), 0, 1.0
	for {
		if p *= r.uniform(); p <= limit {
			return k
		}
		k++
	}
}

// wait draws the time until the next of events that come perDay times a day.
func (r *random) wait(perDay float64) time.Duration {
	if perDay <= 0 {
		return math.MaxInt64 / 4
	}
	return time.Duration(r.exponential() * float64(24*time.Hour) / perDay)
}
