package har

// A Past is what a forecast was made from: the levels at one moment. It is how a model looks further ahead than one bar: Follow
// moves the levels with every bar, and Learn pairs what came with the past that it should have been foreseen from. Both, together,
// are an alternative to Add.
type Past [params]float64

// Past returns the levels as they stand.
func (m *Model) Past() Past { return m.regressors() }

// ForecastFrom returns the expectation of the value that belongs to a past, by the weights learned up to now.
func (m *Model) ForecastFrom(p *Past) float64 {
	if m.normal[0] == 0 {
		return m.origin + dot((*[params]float64)(p), &prior)
	}
	return m.origin + dot((*[params]float64)(p), &m.beta)
}

// Follow moves the levels by a value, pulled to within reach of expected, without learning from it. NaN, and what cannot be a
// logarithm (beyond ±1e6), is ignored.
func (m *Model) Follow(s *Steps, x, expected, reach float64) {
	if !(x >= -largest && x <= largest) {
		return
	}
	if m.n == 0 {
		m.origin, expected = x, x
	}
	m.n++
	m.move(s, min(max(x, expected-reach), expected+reach))
}

// Learn takes the value that followed a past, clipped to clip around its forecast, and returns the residual. What is ignored by
// Follow is ignored.
func (m *Model) Learn(s *Steps, p *Past, x, clip float64) (residual float64) {
	if m.n == 0 || !(x >= -largest && x <= largest) {
		return 0
	}
	f := m.ForecastFrom(p)
	residual = x - f
	m.learn(s, (*[params]float64)(p), f+min(max(residual, -clip), clip)-m.origin)
	return residual
}
