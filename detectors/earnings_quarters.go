package detectors

import (
	"math"
	"slices"
	"strconv"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/exact"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// remembered is how many announcements before one make its baseline: two years of quarters.
const remembered = 8

// Population of scaled surprises, version 1: median and 1.4826 MAD over 2,307 announcements of the third quarter of 2022. A
// ticker's own figures are shrunk to it with the weight of populationWeight announcements.
const (
	populationMedian = 0.04
	populationScale  = 0.126
	populationWeight = 4
	// scaleEPS keeps a surprise on a consensus near zero finite: the scaled surprise is UE / sqrt(consensus² + 0.25²).
	scaleEPS = 0.25
	// madScale makes a median absolute deviation a standard deviation, for the normal distribution.
	madScale = 1.4826
)

// An announcement is what is remembered of the earnings of one fiscal period.
type announcement struct {
	period int32 // last day of the fiscal period, in days since the epoch
	at     schemas.Time
	source uint32 // hash of the feed that told it
	// actual, estimate and their exact difference, a share.
	actual, estimate, surprise float64
	// others counts records of other feeds that say something else.
	others uint32
	// opened is the time that the event's dedup key hashes, 0 without one; running says that it is open.
	opened   schemas.Time
	severity alarm.Severity
	running  bool
}

// difference is a - b without rounding, as 0.29 - 0.27 must be 0.02.
func difference(a, b *schemas.Decimal) float64 {
	var s exact.Sum
	s.Add(a.GetMantissa(), a.GetExponent())
	s.Add(-b.GetMantissa(), b.GetExponent())
	return s.Float()
}

// percent is the surprise in percent of the consensus, which counts as floor when it is nearer to zero.
func (a *announcement) percent(floor float64) float64 {
	return float64(100*a.surprise) / max(math.Abs(a.estimate), floor)
}

// scaled is the surprise that compares over quarters and tickers.
func (a *announcement) scaled() float64 { return a.surprise / a.scale() }

func (a *announcement) scale() float64 {
	return math.Sqrt(float64(a.estimate*a.estimate) + float64(scaleEPS*scaleEPS))
}

// quarters are the last announcements of one ticker on one basis, by period.
type quarters struct {
	n    int
	list [remembered + 1]announcement
}

// evicts returns the announcement that find would forget for one of a period, nil for none.
func (q *quarters) evicts(period int32) *announcement {
	if q.n < len(q.list) || period < q.list[0].period || slices.ContainsFunc(q.list[:], func(a announcement) bool { return a.period == period }) {
		return nil
	}
	return &q.list[0]
}

// find returns the announcement of a period, a fresh one when there was none; nil when it is older than all that is remembered.
func (q *quarters) find(period int32) (a *announcement, fresh bool) {
	i, found := slices.BinarySearchFunc(q.list[:q.n], period, func(a announcement, p int32) int { return int(a.period) - int(p) })
	switch {
	case found:
		return &q.list[i], false
	case q.n < len(q.list):
		copy(q.list[i+1:q.n+1], q.list[i:q.n])
		q.n++
	case i == 0:
		return nil, false
	default: // the oldest goes
		i--
		copy(q.list[:i], q.list[1:i+1])
	}
	q.list[i] = announcement{}
	return &q.list[i], true
}

// A surpriseScore is a scaled surprise against the ticker's own last ones, shrunk to the population.
type surpriseScore struct {
	z, mean, scale float64
	n              int
}

// score judges an announcement by those before it.
func (q *quarters) score(a *announcement) surpriseScore {
	var values [remembered]float64
	n := 0
	for k := range q.list[:q.n] {
		if b := &q.list[k]; b.period < a.period {
			values[n] = b.scaled()
			n++
		}
	}
	s := surpriseScore{n: n, mean: populationMedian, scale: populationScale}
	if n > 0 {
		own, spread := medianAndMAD(values[:n])
		w := float64(n) / float64(n+populationWeight)
		s.mean = float64(w*own) + float64((1-w)*populationMedian)
		spread *= madScale
		s.scale = math.Sqrt(float64(w*float64(spread*spread)) + float64((1-w)*float64(populationScale*populationScale)))
	}
	s.z = (a.scaled() - s.mean) / s.scale
	return s
}

// medianAndMAD returns the median and the median absolute deviation; it reorders the values.
func medianAndMAD(v []float64) (middle, mad float64) {
	middle = middleOf(v)
	for i := range v {
		v[i] = math.Abs(v[i] - middle)
	}
	return middle, middleOf(v)
}

// middleOf sorts the values and returns their median.
func middleOf(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// tailShare is the share of announcements whose standardised surprise is at least z on either side, population version 1: measured
// where the population was, the logarithm linear in between.
func tailShare(z float64) float64 {
	points := [...]struct{ z, share float64 }{{0, 1}, {1, 0.379}, {2, 0.208}, {3, 0.132}, {5, 0.0659}, {10, 0.0208}, {20, 0.0078}, {50, 0.00043}}
	z = min(math.Abs(z), points[len(points)-1].z)
	i := 1
	for points[i].z < z {
		i++
	}
	low, high := points[i-1], points[i]
	f := (z - low.z) / (high.z - low.z)
	return low.share * fixed.Exp(float64(f*fixed.Ln(high.share/low.share)))
}

// dayNumber counts days since the epoch of a valid YYYY-MM-DD (days from civil, Howard Hinnant).
func dayNumber(date string) int32 {
	if len(date) != len("2006-01-02") {
		return 0
	}
	year, _ := strconv.Atoi(date[:4])
	month, _ := strconv.Atoi(date[5:7])
	day, _ := strconv.Atoi(date[8:])
	if month <= 2 {
		year--
		month += 12
	}
	days := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1
	return int32(days - 719468)
}

// sourceHash is FNV-1a.
func sourceHash(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}

func (q *quarters) appendTo(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(q.n))
	for k := range q.list[:q.n] {
		a := &q.list[k]
		dst = pack.Int(dst, int64(a.period))
		dst = pack.Int(pack.Int(dst, int64(a.at)), int64(a.opened))
		dst = pack.Uint(pack.Uint(dst, uint64(a.source)), uint64(a.others))
		dst = pack.Float(pack.Float(pack.Float(dst, a.actual), a.estimate), a.surprise)
		dst = pack.Bool(append(dst, byte(a.severity)), a.running)
	}
	return dst
}

func (q *quarters) restore(r *pack.Reader) {
	q.n = r.Count(len(q.list))
	for k := range q.list[:q.n] {
		a := &q.list[k]
		a.period = int32(r.Int())
		a.at, a.opened = schemas.Time(r.Int()), schemas.Time(r.Int())
		a.source, a.others = uint32(r.Uint()), uint32(r.Uint())
		a.actual, a.estimate, a.surprise = r.Float(), r.Float(), r.Float()
		a.severity, a.running = min(alarm.Severity(r.Byte()), alarm.Critical), r.Bool()
	}
}
