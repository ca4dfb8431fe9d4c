package detectors

import (
	"math"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/series"
)

// driftMinutes is how far back a drift may have begun.
const driftMinutes = 20

// drift is the statistic of a drift burst: how far the returns of some minutes went the same way, each over the volatility that was known
// before it.
type drift struct {
	// z are standardised returns in grains, the last one first, minutes how many there are.
	z       [driftMinutes]int16
	minutes int
	// size is the mean square of the last five minutes' returns.
	size series.Level
}

const (
	// mostDrift is the clip of the shortest window, in grains.
	mostDrift = 572
	sizeDecay = 0.81873075307798182 // e^(-1/5)
	// sizeShare is the part that the last minutes have in the variance that a jump is measured in: jumps come in swarms.
	sizeShare = 0.2
	// jumpHours and driftHours are how many hours beyond their thresholds make an alarm: more than one in all, as hours in a row and
	// legs that fire together make one. Drifts have half of what jumps have: of 1, a half and a third, chosen on 2018 for jumps and
	// ramps of 3 %.
	jumpHours, driftHours = 0.8, 0.4
	// driftReach is how far the adaptive correction moves the threshold, as a power of what it does to that of jumps: the score of a week is a
	// quarter above that of a day, not nearly twice as high. Of 0, 0.1, 0.25, 0.5 and 1 chosen on 2018.
	driftReach = 0.25
	// sizeKnown is the weight from which their size is known.
	sizeKnown = 4
)

// add takes the return of a minute and the volatility before it.
func (d *drift) add(r, sigma float64) {
	copy(d.z[1:], d.z[:])
	d.z[0] = int16(math.RoundToEven(min(max(float64(grain*r)/sigma, -mostDrift), mostDrift)))
	d.minutes = min(d.minutes+1, driftMinutes)
	d.size.Add(sizeDecay, float64(r*r))
}

// known says whether the statistic has seen enough minutes.
func (d *drift) known() bool { return d.minutes == driftMinutes }

// score is 0 until the statistic is known. A window clips each return, the more the longer it is, so that a drift is many returns that
// agree and never a few large ones: those are jumps. Its sum reaches 5 times its deviation at most, whatever its length; weights make
// the lengths about equally rare. Chosen on BTC and ETH in 2018.
func (d *drift) score() float64 {
	if !d.known() {
		return 0
	}
	best := 0.0
	for _, w := range [...]struct {
		minutes int
		clip    int     // 5/sqrt(minutes), in grains
		weight  float64 // 0.85, 1 and 1.15 over sqrt(minutes)
	}{{5, mostDrift, 0.38013155617496}, {10, 405, 0.31622776601684}, {driftMinutes, 286, 0.25714781741247}} {
		sum := 0
		for _, z := range d.z[:w.minutes] {
			sum += min(max(int(z), -w.clip), w.clip)
		}
		best = max(best, float64(math.Abs(float64(sum))*w.weight)/grain)
	}
	return best
}

// swarm is the volatility that a jump is measured in: sigma, and in part the size of the last minutes' returns.
func (d *drift) swarm(sigma float64) float64 {
	if d.size.Weight() < sizeKnown {
		return sigma
	}
	return math.Sqrt(float64((1-sizeShare)*float64(sigma*sigma)) + float64(sizeShare*d.size.Mean()))
}

func (d *drift) AppendState(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(d.minutes))
	for _, z := range d.z[:d.minutes] {
		dst = pack.Int(dst, int64(z))
	}
	return d.size.AppendState(dst)
}

func (d *drift) RestoreState(src []byte) (rest []byte, err error) {
	r := pack.NewReader(src)
	var v drift
	v.minutes = r.Count(driftMinutes)
	for i := range v.minutes {
		z := r.Int()
		if z < -math.MaxInt16 || z > math.MaxInt16 {
			return nil, series.ErrState
		}
		v.z[i] = int16(z)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if rest, err = v.size.RestoreState(r.Rest()); err != nil {
		return nil, err
	}
	*d = v
	return rest, nil
}
