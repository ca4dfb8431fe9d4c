// Package series holds running statistics of one series: exponentially weighted moments and small
// windows. Both are deterministic on every machine, of constant size, and free of allocation after they are made. None is
// safe for concurrent use. RestoreState never panics and leaves the receiver as it was when it fails.
package series

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrState is what RestoreState says of bytes that are not a series' state.
var ErrState = errors.New("series state bytes are broken")

// An EW is an exponentially weighted mean and variance (West 1979, with decaying weights). The caller gives the decay of each step:
// fixed.Decay(dt, halfLife), computed once for regular steps. Weights start from nothing, so the first values are plain averages
// and need no warm-up correction. The zero value is empty.
type EW struct {
	weight, mean, sum float64 // sum of weights, mean, weighted sum of squared deviations
}

// Add fades the past by decay, 0..1, and adds x with weight 1. NaN and values beyond ±1e140 are ignored.
func (e *EW) Add(decay, x float64) {
	if !usable(x) {
		return
	}
	faded := float64(e.weight * decay)
	e.weight = faded + 1
	d := x - e.mean
	e.mean += d / e.weight
	e.sum = float64(e.sum*decay) + float64(float64(d*d)*(faded/e.weight))
}

// AddClipped adds x after pulling it to within k standard deviations, at least floor, of the mean (Huber's winsorising); it returns
// what was added. Below 8 values' weight nothing is clipped.
func (e *EW) AddClipped(decay, x, k, floor float64) float64 {
	const trusted = 8
	if e.weight >= trusted {
		reach := math.Max(float64(k*math.Sqrt(e.Var())), floor)
		x = min(max(x, e.mean-reach), e.mean+reach)
	}
	e.Add(decay, x)
	return x
}

// Mean returns the weighted mean, 0 when empty.
func (e *EW) Mean() float64 { return e.mean }

// Weight returns the sum of weights: the effective number of values, which tends to 1/(1-decay).
func (e *EW) Weight() float64 { return e.weight }

// Var returns the weighted population variance, 0 when empty.
func (e *EW) Var() float64 {
	if e.weight <= 0 {
		return 0
	}
	return e.sum / e.weight
}

// AppendState appends 24 bytes.
func (e *EW) AppendState(dst []byte) []byte { return appendFloats(dst, e.weight, e.mean, e.sum) }

// RestoreState reads what AppendState wrote and returns the bytes after it.
func (e *EW) RestoreState(src []byte) (rest []byte, err error) {
	var v EW
	rest, err = takeFloats(src, &v.weight, &v.mean, &v.sum)
	if err != nil || v.weight < 0 || v.sum < 0 {
		return nil, ErrState
	}
	*e = v
	return rest, nil
}

// A Level is the exponentially weighted mean of squares or values by half-life alone, for series that are known to start near zero
// mean: EW without its variance, 16 bytes of state. The zero value is empty.
type Level struct{ weight, mean float64 }

// Add fades the past by decay, 0..1, and adds x with weight 1. NaN and values beyond ±1e140 are ignored.
func (l *Level) Add(decay, x float64) {
	if !usable(x) {
		return
	}
	l.weight = float64(l.weight*decay) + 1
	l.mean += (x - l.mean) / l.weight
}

// Mean returns the weighted mean, 0 when empty.
func (l *Level) Mean() float64 { return l.mean }

// Weight returns the sum of weights.
func (l *Level) Weight() float64 { return l.weight }

// AppendState appends 16 bytes.
func (l *Level) AppendState(dst []byte) []byte { return appendFloats(dst, l.weight, l.mean) }

// RestoreState reads what AppendState wrote and returns the bytes after it.
func (l *Level) RestoreState(src []byte) (rest []byte, err error) {
	var v Level
	rest, err = takeFloats(src, &v.weight, &v.mean)
	if err != nil || v.weight < 0 {
		return nil, ErrState
	}
	*l = v
	return rest, nil
}

func finite(x float64) bool { return x-x == 0 }

// usable values have finite squares in any number.
func usable(x float64) bool { return x >= -1e140 && x <= 1e140 }

func appendFloats(dst []byte, vs ...float64) []byte {
	for _, v := range vs {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// takeFloats reads finite floats.
func takeFloats(src []byte, ps ...*float64) ([]byte, error) {
	for _, p := range ps {
		if len(src) < 8 {
			return nil, ErrState
		}
		*p = math.Float64frombits(binary.LittleEndian.Uint64(src))
		if !finite(*p) {
			return nil, ErrState
		}
		src = src[8:]
	}
	return src, nil
}
