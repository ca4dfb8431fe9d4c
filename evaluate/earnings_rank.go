package evaluate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
)

// A Ranking is how well a score ranks announcements by whether a large move follows: the area under the ROC curve, and what those of the
// highest scores are worth.
type Ranking struct {
	Score string  `json:"score"`
	AUC   float64 `json:"auc"`
	// Firsts are the highest shares of firstShares, Curve a sweep over all cuts from leastPicked announcements on, at most mostCuts of them.
	Firsts []RankPoint `json:"firsts"`
	Curve  []RankPoint `json:"curve"`
}

// A RankPoint is the announcements with a known reaction whose score reaches a cut: those of equal score are picked together.
type RankPoint struct {
	Cut       float64  `json:"cut"`
	Picked    int      `json:"picked"`
	Recall    Interval `json:"recall"`
	Precision Interval `json:"precision"`
}

// bySeverity is the ranking by the severity of an announcement's event, 0 without one.
const bySeverity = "severity of the event"

// leastPicked is the number of announcements from which a curve by rank begins, and firstShares are those of the table.
const leastPicked = 20

var firstShares = []float64{0.05, 0.1, 0.25, 0.5}

func ranking(name string, all []*earning, score func(*earning) float64) Ranking {
	out := Ranking{Score: name, AUC: rank(all, score)}
	points := byRank(all, score)
	if len(points) == 0 {
		return out
	}
	most := float64(points[len(points)-1].Picked)
	for _, share := range firstShares {
		k := slices.IndexFunc(points, func(p RankPoint) bool { return float64(p.Picked) >= share*most })
		out.Firsts = append(out.Firsts, points[k])
	}
	out.Curve = evenly(slices.DeleteFunc(points, func(p RankPoint) bool { return p.Picked < leastPicked }), mostCuts)
	return out
}

// rank is the area under the ROC curve of |score| for large moves: the share of pairs in the right order, ties as half.
func rank(all []*earning, score func(*earning) float64) float64 {
	var large, small []float64
	for _, e := range all {
		if !e.known {
			continue
		}
		if v := math.Abs(score(e)); e.large() {
			large = append(large, v)
		} else {
			small = append(small, v)
		}
	}
	if len(large) == 0 || len(small) == 0 {
		return 0
	}
	right := 0.0
	for _, a := range large {
		for _, b := range small {
			switch {
			case a > b:
				right++
			case a == b:
				right += 0.5
			}
		}
	}
	return right / float64(len(large)*len(small))
}

// byRank sweeps a cut over |score|, from the highest down, for large moves.
func byRank(all []*earning, score func(*earning) float64) []RankPoint {
	known := slices.DeleteFunc(slices.Clone(all), func(e *earning) bool { return !e.known })
	slices.SortStableFunc(known, func(a, b *earning) int { return cmp.Compare(math.Abs(score(b)), math.Abs(score(a))) })
	hits, total := 0, 0
	for _, e := range known {
		if e.large() {
			total++
		}
	}
	var out []RankPoint
	for i, e := range known {
		if e.large() {
			hits++
		}
		cut := math.Abs(score(e))
		if i+1 < len(known) && math.Abs(score(known[i+1])) == cut {
			continue
		}
		out = append(out, RankPoint{cut, i + 1, Wilson(hits, total), Wilson(hits, i+1)})
	}
	return out
}

// rankTable has a row for each score.
func (r *EarningsReport) rankTable() *sheet.Table {
	head := []string{"Ranked by", "AUC"}
	for _, share := range firstShares {
		head = append(head, fmt.Sprintf("Large of first %.0f %%", 100*share), "N")
	}
	t := sheet.NewTable(head...)
	for _, k := range r.Rankings {
		cells := []any{k.Score, figure(k.AUC)}
		for _, p := range k.Firsts {
			cells = append(cells, figure(p.Precision.Value), p.Picked)
		}
		t.Row(cells...)
	}
	return t
}

// rankCurve sets precision against recall for the detector's severity and score, and for plain ones.
func (r *EarningsReport) rankCurve() sheet.Curve {
	c := sheet.Curve{Title: "Large moves: precision against recall by rank", X: "recall", Y: "precision", Share: true}
	names := []string{bySeverity, "own and population z", "percent", "surprise / price"}
	for _, k := range r.Rankings {
		i := slices.Index(names, k.Score)
		if i < 0 {
			continue
		}
		line := sheet.Line{Name: k.Score, Series: i, Swept: k.Score != bySeverity}
		for _, p := range k.Curve {
			name := ""
			switch {
			case line.Swept:
			case p.Cut > 0:
				name = severityNames[int(p.Cut)-1] + " and above"
			default:
				name = "all announcements"
			}
			line.Points = append(line.Points, sheet.Point{Name: name, X: p.Recall.Value, Y: p.Precision.Value, Low: p.Precision.Low, High: p.Precision.High})
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}
