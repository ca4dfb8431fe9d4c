// Package depth sums the levels of an order book so that no single one decides what the sum says.
package depth

const (
	// mostOf is how many times a level may be had in the capped depth: each is a twentieth of it at most.
	mostOf = 20
	// meanTimes is how many mean levels a level may count for, in a band of few: one of ten levels or fewer counts as it is.
	meanTimes = 10
)

// Capped returns the depth of n levels of which none counts for more than a twentieth of what is returned, or for ten times the mean
// of what counts where that is more (below 200 levels): winsorised quantities, whose limit follows from their own sum. sum and
// largest are those of the quantities, at gives each, zero or more; the result is in their unit. It is proportional to the
// quantities, and does not depend on their order but for rounding.
func Capped(n int, sum, largest float64, at func(i int) float64) float64 {
	times, of := 1.0, float64(mostOf)
	if n < mostOf*meanTimes {
		times, of = meanTimes, float64(n)
	}
	if float64(of*largest) <= float64(times*sum) {
		return sum
	}
	// With some levels at the limit and rest in the others, limit = times/of x (rest + some x limit). Each round sees a lower limit.
	for some, rest := 0, sum; ; {
		free := of - float64(times*float64(some))
		if free <= 0 {
			return sum
		}
		limit := float64(times*rest) / free
		over, below := 0, 0.0
		for i := range n {
			if q := at(i); q > limit {
				over++
			} else {
				below += q
			}
		}
		if over <= some {
			return rest + float64(float64(some)*limit)
		}
		some, rest = over, below
	}
}
