package evaluate

import (
	"context"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A member is one series of a unit in the course of a run.
type member struct {
	symbol    string
	watch     *watch
	positions []position
	volume    dayMean
	// first, last and minutes say from when to when and how long there was data.
	first, last schemas.Time
	minutes     int
	alarms      []schemas.Time
	tallies     []tally // one a grade
	// peaks are the highest severities of the alarms, and running those alarms that are not over, by episode.
	peaks    []int
	running  map[string]int
	outcomes []outcome
	// episodes are the counted alarms' begin and end; an end of 0 is open.
	episodes []Range
	// said are the events of each alarm that count, and scores those of a rule.
	said   [][]notice
	scores []scored
}

// A run takes one machine over one range once. The untouched stream runs through it; at every position the machine is saved, and
// forks of it take the perturbed stretch. The laws make that exact: a task restored from a snapshot goes on byte for byte, so
// what a fork says is what a whole run with that one injection would have said.
type run struct {
	machine machine
	stream  *stream
	members []*member
	grades  []grade
	horizon int // minutes that a fork may need
}

func (e *evaluation) newRun(unit []Series, m machine, r Range, coolDown time.Duration, least int) (*run, error) {
	s, err := openStream(unit, e.columns, r)
	if err != nil {
		return nil, err
	}
	out := &run{machine: m, stream: s}
	align := time.Minute
	for _, g := range e.subject.grades(e.options) {
		out.horizon = max(out.horizon, int(g.window()/time.Minute))
		if g.kind == kindBurst {
			align = g.length
			if e.options.Align > 0 {
				align = e.options.Align
			}
		}
	}
	span := Range{From: s.next, To: r.To}
	if span.To == 0 {
		span.To = span.From.Add(openRange)
	}
	for _, one := range unit {
		out.members = append(out.members, &member{
			symbol: one.Symbol, watch: newWatch(least, coolDown), positions: positions(e.options.Seed, one.Symbol, span, align), running: map[string]int{},
		})
	}
	return out, nil
}

// prepare asks for injections.
func (r *run) prepare(grades []grade) {
	r.grades = grades
	for _, m := range r.members {
		m.tallies = make([]tally, len(grades))
	}
}

// openRange bounds the positions in a range without an end.
const openRange = 20 * 365 * 24 * time.Hour

// all runs to the end of the range.
func (r *run) all(ctx context.Context) error {
	defer r.stream.close()
	for i := 0; ; i++ {
		if i%1440 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		rows, err := r.stream.look(r.horizon + 1)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		if len(r.grades) > 0 {
			if err := r.inject(rows); err != nil {
				return err
			}
		}
		if err := r.step(rows[0]); err != nil {
			return err
		}
		r.stream.take()
	}
}

// step takes one minute of the untouched stream.
func (r *run) step(now row) error {
	for j, m := range r.members {
		c := &now.candles[j]
		m.volume.add(c.volume)
		if c.close == 0 {
			continue
		}
		if m.first == 0 {
			m.first = now.start
		}
		m.last = now.start
		m.minutes++
	}
	if err := r.machine.minute(now); err != nil {
		return err
	}
	for _, n := range r.machine.take() {
		for _, m := range r.members {
			if m.symbol == n.symbol {
				m.hear(n)
			}
		}
	}
	return nil
}

// hear takes what the machine said of the member.
func (m *member) hear(n notice) {
	if !counted(n) {
		m.scores = append(m.scores, scored{n.at, n.score})
		return
	}
	if m.watch.see(n) {
		m.running[n.episode] = len(m.alarms)
		m.alarms = append(m.alarms, n.at)
		m.peaks = append(m.peaks, n.severity)
		m.episodes = append(m.episodes, Range{From: n.at})
		m.said = append(m.said, nil)
	}
	i, on := m.running[n.episode]
	if !on {
		return
	}
	m.peaks[i] = max(m.peaks[i], n.severity)
	if m.watch.keeps(n) {
		m.said[i] = append(m.said[i], n)
	}
	if n.status == schemas.Resolved {
		m.episodes[i].To = n.at
		delete(m.running, n.episode)
	}
}

// inject tries every grade on the members whose position is the first of the rows.
func (r *run) inject(rows []row) error {
	var saved any
	for j, m := range r.members {
		for len(m.positions) > 0 && m.positions[0].at < rows[0].start {
			m.positions = m.positions[1:]
		}
		if len(m.positions) == 0 || m.positions[0].at != rows[0].start || m.volume.n < len(m.volume.ring) || rows[0].candles[j].close == 0 {
			continue
		}
		if saved == nil {
			var err error
			if saved, err = r.machine.save(); err != nil {
				return err
			}
		}
		if err := r.injectInto(j, saved, rows); err != nil {
			return err
		}
	}
	return nil
}

// injectInto tries every grade on one member. Where an episode or its cool-down is on, or the untouched stream itself brings an
// alarm, the position is busy: nothing can be said there. A rule is tried there as well, since at other thresholds it is not busy.
func (r *run) injectInto(j int, saved any, rows []row) error {
	m := r.members[j]
	p := m.positions[0]
	mean := m.volume.mean()
	_, rule := r.machine.(*ruleMachine)
	busy := m.watch.busy(p.at)
	var plain []notice
	if !busy {
		var err error
		if plain, err = r.fork(j, saved, rows, func(c candle, _ int) candle { return c }); err != nil {
			return err
		}
	}
	own := slices.IndexFunc(plain, counted)
	for i, g := range r.grades {
		t := &m.tallies[i]
		taken := busy || own >= 0 && plain[own].at.Sub(p.at) <= g.window()
		if taken {
			t.busy++
		}
		if taken && !rule {
			continue
		}
		stretch := rows[:min(int(g.window()/time.Minute), len(rows))]
		said, err := r.fork(j, saved, stretch, func(c candle, k int) candle { return g.perturb(c, k, p.sign, mean) })
		if err != nil {
			return err
		}
		one := try{position: p, mean: mean, said: said}
		if rule {
			t.all = append(t.all, one)
		}
		if !taken {
			t.take(one, counted)
		}
	}
	return nil
}

// fork runs rows through a copy of the machine, with one member's candles changed, and returns the events of that member that count and
// the scores of a rule. No episode is on when it begins, so that the first event is an alarm.
func (r *run) fork(j int, saved any, rows []row, change func(c candle, i int) candle) ([]notice, error) {
	f, err := r.machine.fork(saved)
	if err != nil {
		return nil, err
	}
	m := r.members[j]
	var said []notice
	for i, one := range rows {
		changed := row{start: one.start, candles: append([]candle(nil), one.candles...)}
		changed.candles[j] = change(one.candles[j], i)
		if err := f.minute(changed); err != nil {
			return nil, err
		}
		for _, n := range f.take() {
			if n.symbol == m.symbol && m.watch.keeps(n) {
				said = append(said, n)
			}
		}
	}
	return said, nil
}

// days is how many days of data the member had.
func (m *member) days() float64 { return float64(m.minutes) / (24 * 60) }

// days is how many days of data the members had together.
func (r *run) days() float64 {
	n := 0
	for _, m := range r.members {
		n += m.minutes
	}
	return float64(n) / (24 * 60)
}

func (r *run) alarms() int {
	n := 0
	for _, m := range r.members {
		n += len(m.alarms)
	}
	return n
}
