// Package har forecasts the log of volume from its own past at four horizons: the heterogeneous autoregression of Corsi (2009),
// with weights learned by recursive least squares. Deterministic, of constant size, without allocation.
package har

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tapewatch/tapewatch/internal/fixed"
)

// Horizons is the number of exponentially weighted levels.
const Horizons = 4

const (
	params  = Horizons + 1
	pairs   = params * (params + 1) / 2
	largest = 1e6 // magnitude of a value
	ridge   = 1.0 // weight of the prior, in observations; it is never forgotten, so the normal matrix stays well conditioned
)

// Half-lives of the levels and of the regression, ns of event time.
const (
	minute     = int64(60e9)
	forgetting = 60 * 24 * 60 * minute
)

var halfLives = [Horizons]int64{15 * minute, 2 * 60 * minute, 24 * 60 * minute, 7 * 24 * 60 * minute}

// prior gives every level the weight 1/4: the regressors are nested differences, see regressors.
var prior = [params]float64{0, 0.25, 0.5, 0.75, 1}

// ErrState is what RestoreState says of bytes that are not a model.
var ErrState = errors.New("har state bytes are broken")

// Steps are the decay constants for one bar length; made once and shared by all keys.
type Steps struct {
	levels [Horizons]float64
	forget float64
}

// NewSteps computes the constants for bars of a length in ns: half-lives 15 min, 2 h, 1 d and 7 d, forgetting 60 d.
func NewSteps(bar int64) *Steps {
	s := &Steps{forget: fixed.Decay(bar, forgetting)}
	for i, h := range halfLives {
		s.levels[i] = fixed.Decay(bar, h)
	}
	return s
}

// A Model forecasts the next value of a de-seasonalised log series. The estimate is that of recursive least squares with
// forgetting; it is kept as decaying normal equations and solved by Cholesky, which cannot lose symmetry or wind up as the
// covariance recursion can. The zero value is empty. It is not safe for concurrent use.
type Model struct {
	origin float64 // first value: everything is relative to it
	n      int64
	weight [Horizons]float64
	level  [Horizons]float64
	normal [pairs]float64 // lower triangle, by rows
	moment [params]float64
	beta   [params]float64
}

// Forecast returns the expectation of the next value from past data only; ok is false before the first value.
func (m *Model) Forecast() (x float64, ok bool) {
	if m.n == 0 {
		return 0, false
	}
	phi := m.regressors()
	if m.n == 1 {
		return m.origin + dot(&phi, &prior), true
	}
	return m.origin + dot(&phi, &m.beta), true
}

// Add learns from the next value and returns its residual against the forecast, 0 for the first. What the regression learns is
// clipped to clip around the forecast (in log units, 1.5 say; 0 or less: not clipped); the levels follow the value itself, within
// twice that. NaN, and what cannot be a logarithm (beyond ±1e6), is ignored.
func (m *Model) Add(s *Steps, x, clip float64) (residual float64) {
	if !(x >= -largest && x <= largest) {
		return 0
	}
	if m.n == 0 {
		m.origin = x
	} else {
		f, _ := m.Forecast()
		residual = x - f
		learn, follow := residual, residual
		if clip > 0 {
			learn = min(max(residual, -clip), clip)
			follow = min(max(residual, -2*clip), 2*clip)
		}
		phi := m.regressors()
		m.learn(s, &phi, f+learn-m.origin)
		x = f + follow
	}
	m.n++
	m.move(s, x)
	return residual
}

// move lets the levels follow a value.
func (m *Model) move(s *Steps, x float64) {
	for i := range m.level {
		m.weight[i] = float64(m.weight[i]*s.levels[i]) + 1
		m.level[i] += (x - m.origin - m.level[i]) / m.weight[i]
	}
}

// Count returns how many values the model has seen.
func (m *Model) Count() int64 { return m.n }

// Level returns the exponentially weighted level at a horizon 0..3: 15 min, 2 h, 1 d, 7 d.
func (m *Model) Level(horizon int) float64 {
	if horizon < 0 || horizon >= Horizons {
		return 0
	}
	return m.origin + m.level[horizon]
}

// regressors are a constant, the differences of neighbouring levels, and the slowest level: the same span as the levels
// themselves, far better conditioned.
func (m *Model) regressors() [params]float64 {
	l := &m.level
	return [params]float64{1, l[0] - l[1], l[1] - l[2], l[2] - l[3], l[3]}
}

func (m *Model) learn(s *Steps, phi *[params]float64, y float64) {
	k := 0
	for i := range params {
		for j := 0; j <= i; j++ {
			m.normal[k] = float64(m.normal[k]*s.forget) + float64(phi[i]*phi[j])
			k++
		}
		m.moment[i] = float64(m.moment[i]*s.forget) + float64(phi[i]*y)
	}
	m.solve()
}

// solve puts beta = (normal + ridge)^-1 (moment + ridge prior) by Cholesky; the pivots are at least about ridge.
func (m *Model) solve() {
	var l [params][params]float64
	var z [params]float64
	k := 0
	for i := range params {
		b := m.moment[i] + float64(ridge*prior[i])
		for j := 0; j <= i; j++ {
			a := m.normal[k]
			k++
			for q := range j {
				a -= float64(l[i][q] * l[j][q])
			}
			if i == j {
				l[i][i] = math.Sqrt(max(a+ridge, ridge/2))
				continue
			}
			l[i][j] = a / l[j][j]
		}
		for q := range i {
			b -= float64(l[i][q] * z[q])
		}
		z[i] = b / l[i][i]
	}
	for i := params - 1; i >= 0; i-- {
		b := z[i]
		for q := i + 1; q < params; q++ {
			b -= float64(l[q][i] * m.beta[q])
		}
		m.beta[i] = b / l[i][i]
	}
}

func dot(a, b *[params]float64) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i] * b[i])
	}
	return s
}

// fields lists what a snapshot holds, in its order; beta follows from the rest.
func (m *Model) fields(each func(*float64)) {
	each(&m.origin)
	for i := range m.level {
		each(&m.weight[i])
		each(&m.level[i])
	}
	for i := range m.normal {
		each(&m.normal[i])
	}
	for i := range m.moment {
		each(&m.moment[i])
	}
}

// AppendState appends about 235 bytes.
func (m *Model) AppendState(dst []byte) []byte {
	dst = binary.AppendVarint(dst, m.n)
	m.fields(func(f *float64) { dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(*f)) })
	return dst
}

// RestoreState reads what AppendState wrote and returns the bytes after it. It never panics and leaves the model as it was when it
// fails.
func (m *Model) RestoreState(src []byte) (rest []byte, err error) {
	var v Model
	n, k := binary.Varint(src)
	if k <= 0 || n < 0 {
		return nil, ErrState
	}
	v.n, src = n, src[k:]
	v.fields(func(f *float64) {
		if len(src) < 8 {
			err = ErrState
			return
		}
		*f = math.Float64frombits(binary.LittleEndian.Uint64(src))
		if *f-*f != 0 {
			err = ErrState
		}
		src = src[8:]
	})
	if err != nil {
		return nil, err
	}
	if v.normal[0] != 0 {
		v.solve()
	}
	*m = v
	return src, nil
}
