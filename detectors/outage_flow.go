package detectors

import (
	"math"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

const (
	// flowBar is the bar in which a symbol trades or does not.
	flowBar = time.Minute
	// likeliest bounds the probability of a trade in a bar: no silence proves more than that it was to be expected.
	likeliest, unlikeliest = 0.98, 0.02
	// frozenFrom is the phi from which a symbol's model learns nothing: an outage is no new habit.
	frozenFrom = 6
	// flowDrift is the step of the level, in logits, by a bar's surprise; early ones move it faster.
	flowDrift = 0.02
	// usualDrift is the step of the usual share: four weeks of bars.
	usualDrift = 1.0 / (28 * 24 * 60)
	// flowLeast is how many bars make a model; an hour.
	flowLeast = 60
)

// A flow is the trading of one symbol: how likely a bar with at least one trade is, and how long it has been silent. The probability
// is the symbol's own over weeks, moved in logits by the venue's hour of the week, which all its symbols share, and by a slow level.
type flow struct {
	symbol string
	// trades says that the symbol has a stream of trades: then only that counts. Else every stream does.
	trades bool
	// usual is the share of bars with a trade over the last weeks, level how far it is off of late, in logits; both learn from bars.
	usual, level float64
	bars         uint64
	// phi is -log10 of the probability of the silence up to now; joint is the part of it in which all symbols were silent.
	phi, joint float64
	// last is when it last traded, reported when its feed last said anything of it.
	last, reported schemas.Time
	// heard has a bit for each of the last 64 reports' moments, the latest in bit 0.
	heard uint64
	// traded says that it did in the open bar, reports counts what its feed said of it.
	traded  bool
	reports uint32
}

func newFlow(symbol string) *flow {
	return &flow{symbol: strings.Clone(symbol), usual: 0.5}
}

// logit of a probability, within what is likely at all.
func logit(p float64) float64 {
	p = min(max(p, unlikeliest), likeliest)
	return fixed.Ln(p / (1 - p))
}

// likely is the probability of a trade in a bar of an hour that moves it by so much, in logits.
func (f *flow) likely(hour float64) float64 {
	p := 1 / (1 + fixed.Exp(-(logit(f.usual) + hour + f.level)))
	return min(max(p, unlikeliest), likeliest)
}

// learned says that the model has seen enough.
func (f *flow) learned() bool { return f.bars >= flowLeast }

// known says that a report of a moment was heard before, or is so old that nobody can tell: it comes twice. Those of the latest
// moment are several streams', unless they are late.
func (f *flow) known(at schemas.Time, every time.Duration, late bool) bool {
	k := f.reported.Sub(at) / every
	return (k > 0 || k == 0 && late) && (k >= 64 || f.heard>>k&1 != 0)
}

// report notes that the symbol's feed reports a moment.
func (f *flow) report(at schemas.Time, every time.Duration) {
	if at <= f.reported {
		return
	}
	f.heard = f.heard<<min(max(at.Sub(f.reported)/every, 1), 64) | 1
	f.reported = at
	f.reports++
}

// close ends a bar, which the hour of the week moves by so much in logits. blind says that what happened in it is not known. It
// returns whether the bar was one to learn from.
func (f *flow) close(hour float64, blind bool) bool {
	traded := f.traded
	f.traded, f.reports = false, 0
	p := f.likely(hour)
	switch {
	case traded:
		f.phi, f.joint = 0, 0
	case blind:
	default:
		f.phi -= float64(fixed.Log2(1-p) * log10Of2)
	}
	if blind || f.phi > frozenFrom {
		return false
	}
	hit := 0.0
	if traded {
		hit = 1
	}
	f.bars++
	f.level += float64(max(flowDrift, 1/float64(f.bars)) * (hit - p))
	f.level = min(max(f.level, -6), 6)
	f.usual += float64(max(usualDrift, 1/float64(f.bars)) * (hit - f.usual))
	return true
}

// log10Of2 turns binary logarithms into decimal ones.
const log10Of2 = 0.30102999566398120

func (f *flow) appendTo(dst []byte) []byte {
	dst = pack.String(dst, f.symbol)
	dst = pack.Bool(pack.Bool(dst, f.trades), f.traded)
	dst = pack.Float(pack.Float(pack.Float(pack.Float(dst, f.usual), f.level), f.phi), f.joint)
	dst = pack.Fixed(pack.Uint(pack.Uint(dst, f.bars), uint64(f.reports)), f.heard)
	return pack.Int(pack.Int(dst, int64(f.last)), int64(f.reported))
}

func (f *flow) restore(r *pack.Reader) {
	f.symbol = strings.Clone(r.String())
	f.trades, f.traded = r.Bool(), r.Bool()
	f.usual, f.level, f.phi, f.joint = r.Float(), r.Float(), r.Float(), r.Float()
	f.bars, f.reports, f.heard = r.Uint(), uint32(r.Uint()), r.Fixed()
	f.last, f.reported = schemas.Time(r.Int()), schemas.Time(r.Int())
}

// A pulse is the suspicion that a venue is gone, by the time since anything came from it: phi of Hayashibara et al. (2004), with
// intervals taken to be normal.
type pulse struct {
	last  schemas.Time
	ring  [pulseLength]float32 // intervals, seconds
	n     int
	next  int
	sum   float64
	sumSq float64
}

const (
	pulseLength = 200
	// pulseLeast is how many intervals make a model.
	pulseLeast = 50
	// leastDeviation is the floor of the deviation of intervals, seconds; and relDeviation as a share of their mean.
	leastDeviation, relDeviation = 0.1, 0.1
)

// beat notes that something came.
func (p *pulse) beat(at schemas.Time) {
	if p.last != 0 && at > p.last {
		// Eighths of a second are exact, so that taking an old one off the sums leaves no trace.
		s := max(math.RoundToEven(min(at.Sub(p.last).Seconds(), 3600)*8), 1) / 8
		if p.n == pulseLength {
			old := float64(p.ring[p.next])
			p.sum -= old
			p.sumSq -= float64(old * old)
		} else {
			p.n++
		}
		p.ring[p.next] = float32(s)
		p.next = (p.next + 1) % pulseLength
		p.sum += s
		p.sumSq += float64(s * s)
	}
	p.last = max(p.last, at)
}

// skip moves the last beat without an interval: what happened meanwhile is not known.
func (p *pulse) skip(at schemas.Time) { p.last = max(p.last, at) }

// outlasts says that the present pause is three times the longest of late: intervals are not normal, and where data comes now and
// then a long pause is nothing.
func (p *pulse) outlasts(now schemas.Time) bool {
	pause, longest := float32(now.Sub(p.last).Seconds()), float32(0)
	if pause < 1 {
		return false
	}
	for _, v := range p.ring[:p.n] {
		longest = max(longest, v)
	}
	return pause > 3*longest
}

// phi is -log10 of the probability that the present pause, of which pause is acceptable, is a usual one; 0 while unknown.
func (p *pulse) phi(now schemas.Time, pause time.Duration) float64 {
	if p.n < pulseLeast {
		return 0
	}
	n := float64(p.n)
	mean := p.sum / n
	sd := max(math.Sqrt(max(p.sumSq/n-float64(mean*mean), 0)), leastDeviation, float64(relDeviation*mean))
	return tail((now.Sub(p.last).Seconds() - pause.Seconds() - mean) / sd)
}

// tail is -log10 of the probability that a normal variate exceeds y; for y > 3 by the asymptotic series, within 0.01.
func tail(y float64) float64 {
	if y <= 0 {
		return 0
	}
	if y > 3 {
		y2 := float64(y * y)
		return (y2/2+fixed.Ln(y)+halfLn2Pi)/ln10 - fixed.Ln(1-1/y2+3/float64(y2*y2))/ln10
	}
	// Abramowitz and Stegun 26.2.17.
	t := 1 / (1 + float64(0.2316419*y))
	poly := 0.0
	for _, c := range [...]float64{1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.319381530} {
		poly = float64((poly + c) * t)
	}
	return (float64(y*y)/2 + halfLn2Pi - fixed.Ln(poly)) / ln10
}

const (
	halfLn2Pi = 0.91893853320467274
	ln10      = 2.3025850929940457
)

func (p *pulse) appendTo(dst []byte) []byte {
	dst = pack.Uint(pack.Int(dst, int64(p.last)), uint64(p.n))
	for k := range p.n {
		dst = pack.Uint(dst, uint64(8*p.ring[(p.next+pulseLength-p.n+k)%pulseLength]))
	}
	return dst
}

func (p *pulse) restore(r *pack.Reader) {
	*p = pulse{}
	last := schemas.Time(r.Int())
	at := schemas.Time(1)
	p.last = at
	for range r.Count(pulseLength) {
		at = at.Add(time.Duration(min(r.Uint(), 3600*8)) * (time.Second / 8))
		p.beat(at)
	}
	p.last = last
}
