package evaluate

import (
	"math"
	"slices"
)

// episodesAt counts the episodes of the naive rule at a threshold; they end below half of it.
func (s *fundingSeries) episodesAt(threshold float64) (n int) {
	on := false
	for _, p := range s.payments {
		size := math.Abs(p.rate)
		if size >= threshold-exactly && !on {
			n++
		}
		on = size >= threshold-exactly || on && size >= threshold/2-exactly
	}
	return n
}

// equalFunding is the naive rule in hindsight: the threshold at which it has at most as many episodes as the detector.
func equalFunding(all []*fundingSeries, episodes int) EqualFunding {
	var sizes []float64
	for _, s := range all {
		for _, p := range s.payments {
			sizes = append(sizes, math.Abs(p.rate))
		}
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	at := func(threshold float64) (n int) {
		for _, s := range all {
			n += s.episodesAt(threshold)
		}
		return n
	}
	// From the top down: below, episodes grow together again and their number falls.
	out := EqualFunding{Threshold: math.Inf(1)}
	for _, size := range slices.Backward(sizes) {
		n := at(size)
		if n > episodes {
			break
		}
		out = EqualFunding{Threshold: size, Episodes: n}
	}
	return out
}

func naiveOf(s *fundingSeries) NaiveFunding {
	n := NaiveFunding{Series: s.name(), Payments: len(s.payments), ByYear: make([]int, years), Episodes: s.episodesAt(naiveFunding)}
	base, zero := 0, 0
	for i, p := range s.payments {
		size := math.Abs(p.rate)
		if math.Abs(p.rate-1e-4) < exactly {
			base++
		}
		if size >= naiveFunding-exactly {
			n.Beyond++
			n.ByYear[yearIndex(p.at)]++
			if p.rate < 0 {
				n.Negative++
			}
		}
		if i >= 90 && madOf(s.payments[i-90:i]) < exactly {
			zero++
		}
	}
	n.Base, n.ZeroMAD = float64(base)/float64(len(s.payments)), float64(zero)/float64(max(len(s.payments)-90, 1))
	return n
}
