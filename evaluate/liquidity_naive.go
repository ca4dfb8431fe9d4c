package evaluate

import (
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A second is the book at its end.
type second struct {
	at    schemas.Time
	book  *schemas.BookSnapshot
	depth [2]float64 // of the bids and of the asks
}

// depths are those within a band, second by second.
func (b *bookTape) depths(band float64) []second {
	var all []second
	var last second
	for _, e := range b.entries {
		switch e := e.(type) {
		case *schemas.BookSnapshot:
			last.book, last.depth = e, [2]float64{within(e, e.Bids, band), within(e, e.Asks, band)}
		case *schemas.Tick:
			if last.at = schemas.Time(e.Time); last.depth[0] > 0 {
				all = append(all, last)
			}
		}
	}
	return all
}

// within is what the levels of a side have within a band.
func within(s *schemas.BookSnapshot, levels []*schemas.Level, band float64) (sum float64) {
	mid := midOf(s)
	for _, l := range levels {
		if d := l.Price.Float()/mid - 1; d >= -band/100 && d <= band/100 {
			sum += l.Quantity.Float()
		}
	}
	return sum
}

// naive measures the plain rule, second by second.
func (b *bookTape) naive(band float64) LiquidityRow {
	out := LiquidityRow{Rule: "naive, half of the mean", Band: band, Hours: b.last().Sub(b.first()).Hours()}
	all := b.depths(band)
	mean := func(k, side int) float64 {
		from, sum := max(k-600, 0), 0.0
		for i := from; i < k; i++ {
			sum += all[i].depth[side]
		}
		return sum / float64(k-from)
	}
	quiet := schemas.Time(0)
	for k := 60; k < len(all); k++ {
		if (all[k].depth[0] < mean(k, 0)/2 || all[k].depth[1] < mean(k, 1)/2) && all[k].at >= quiet {
			out.Alarms++
			quiet = all[k].at.Add(10 * time.Minute)
		}
	}
	for _, c := range cuts {
		side := 1
		if c.bid {
			side = 0
		}
		var t cutTally
		for _, from := range b.starts() {
			k := slices.IndexFunc(all, func(s second) bool { return s.at > from })
			found := schemas.Time(0)
			for base := k; k >= 0 && k < len(all) && all[k].at <= from.Add(cutLength); k++ {
				if c.left(&all[k], band, from) < mean(base, side)/2 {
					found = all[k].at
					break
				}
			}
			t.add(from, found)
		}
		out.Cuts = append(out.Cuts, t.report(c))
	}
	return out
}

// left is the depth of a second that a cut leaves.
func (c cut) left(s *second, band float64, from schemas.Time) float64 {
	switch {
	case c.whole && c.bid:
		thin := c.apply(s.book, from)
		return within(thin, thin.Bids, band)
	case c.whole:
		thin := c.apply(s.book, from)
		return within(thin, thin.Asks, band)
	case c.bid:
		return c.keep * s.depth[0]
	}
	return c.keep * s.depth[1]
}
