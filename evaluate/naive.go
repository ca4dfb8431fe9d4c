package evaluate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Names of the naive rules.
const (
	NaivePrice  = "naive_price"
	NaiveVolume = "naive_volume"
)

// coolDown of the naive rules: how long after an alarm none is raised.
const coolDown = 30 * time.Minute

// moveMinutes is the window of naive_price, and meanBars that of naive_volume.
const (
	moveMinutes = 15
	meanBars    = 20
)

// A score is the figure that a naive rule compares with its threshold, of one member. ok is false where there is none.
type score interface {
	minute(c candle) (v float64, ok bool)
	clone() score
}

// moveScore is the absolute move of the close over 15 minutes, in percent.
type moveScore struct {
	closes [moveMinutes]float64
	n      int
}

func (s *moveScore) minute(c candle) (float64, bool) {
	if c.close == 0 {
		return 0, false
	}
	i := s.n % moveMinutes
	past := s.closes[i]
	s.closes[i] = c.close
	s.n++
	if past == 0 {
		return 0, false
	}
	return 100 * math.Abs(c.close/past-1), true
}

func (s *moveScore) clone() score { c := *s; return &c }

// volumeScore is the volume of a bar over the mean of the 20 bars before it; bars without trades count as zero.
type volumeScore struct {
	bar    time.Duration
	volume float64
	bars   [meanBars]float64
	n      int
}

func (s *volumeScore) minute(c candle) (float64, bool) {
	if c.close == 0 {
		return 0, false
	}
	s.volume += c.volume
	end := c.start.Add(time.Minute)
	if end.Floor(s.bar) != end {
		return 0, false
	}
	sum := 0.0
	for _, v := range s.bars {
		sum += v
	}
	ratio, ok := 0.0, s.n >= meanBars && sum > 0
	if ok {
		ratio = s.volume / (sum / meanBars)
	}
	s.bars[s.n%meanBars] = s.volume
	s.n++
	s.volume = 0
	return ratio, ok
}

func (s *volumeScore) clone() score { c := *s; return &c }

// A ruleMachine raises an alarm whenever a score reaches a threshold and none was raised within the cool-down. It tells every score.
type ruleMachine struct {
	threshold float64
	symbols   []string
	scores    []score
	last      []schemas.Time
	notices   []notice
}

func newRuleMachine(threshold float64, symbols []string, fresh func() score) *ruleMachine {
	m := &ruleMachine{threshold: threshold, symbols: symbols, last: make([]schemas.Time, len(symbols))}
	for range symbols {
		m.scores = append(m.scores, fresh())
	}
	return m
}

func (m *ruleMachine) minute(r row) error {
	at := r.start.Add(time.Minute)
	for i := range r.candles {
		v, ok := m.scores[i].minute(r.candles[i])
		if !ok {
			continue
		}
		m.notices = append(m.notices, notice{symbol: m.symbols[i], at: at, score: v})
		if v < m.threshold || m.last[i] != 0 && at.Sub(m.last[i]) < coolDown {
			continue
		}
		m.last[i] = at
		n := notice{symbol: m.symbols[i], at: at, severity: schemas.SeverityRank(schemas.Critical), status: schemas.Open, episode: at.String()}
		m.notices = append(m.notices, n)
		n.status = schemas.Resolved
		m.notices = append(m.notices, n)
	}
	return nil
}

func (m *ruleMachine) take() []notice {
	out := m.notices
	m.notices = m.notices[:0]
	return out
}

// savedRule is a copy of a rule's state.
type savedRule struct {
	scores []score
	last   []schemas.Time
}

func (m *ruleMachine) save() (any, error) {
	s := savedRule{last: slices.Clone(m.last)}
	for _, c := range m.scores {
		s.scores = append(s.scores, c.clone())
	}
	return s, nil
}

func (m *ruleMachine) fork(saved any) (machine, error) {
	s, ok := saved.(savedRule)
	if !ok {
		return nil, fmt.Errorf("state of a rule is %T: it must be that of a rule", saved)
	}
	f := &ruleMachine{threshold: m.threshold, symbols: m.symbols, last: slices.Clone(s.last)}
	for _, c := range s.scores {
		f.scores = append(f.scores, c.clone())
	}
	return f, nil
}

// thresholdFor finds the least threshold at which a rule raises at most rate alarms a day in recorded scores, counted with the
// cool-down and over all members together. Each member's scores are one per bar of some length, ascending in time.
func thresholdFor(rate float64, series [][]scored, days float64) float64 {
	var values []float64
	for _, s := range series {
		for _, v := range s {
			values = append(values, v.v)
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)
	low, high := 0, len(values) // values[high] is quiet enough
	for low < high {
		mid := (low + high) / 2
		if float64(alarmsAt(series, values[mid])) <= rate*days {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == len(values) {
		return math.Inf(1)
	}
	return values[low]
}

// scored is one score of one member.
type scored struct {
	at schemas.Time
	v  float64
}
