package evaluate

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// source is the feed that the records of an evaluation come from.
const source = "evaluate"

// A taskMachine runs a registered processor in the engine that the runtime uses, on encoded records.
type taskMachine struct {
	bound   *processor.Bound
	options Options
	symbols []string
	policy  processor.TimePolicy

	task   *processor.Task
	out    *collector
	offset int64
	states map[string][]byte

	enc   schemas.Encoder
	key   []byte
	value []byte
	trade schemas.Trade
	bar   schemas.Bar
	tick  schemas.Tick
}

func newTaskMachine(b *processor.Bound, o Options, symbols []string) *taskMachine {
	m := &taskMachine{
		bound: b, options: o, symbols: symbols, policy: processor.DefaultTimePolicy(), out: &collector{ignore: o.Ignore}, states: map[string][]byte{},
	}
	m.task = processor.NewTask(b, 0, 0, m.policy, m.out, nil)
	m.tick.Source = source
	m.trade = schemas.Trade{Meta: &schemas.Meta{Source: source, Venue: o.Venue}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}}
	m.bar = schemas.Bar{
		Meta: &schemas.Meta{Source: source, Venue: o.Venue}, Volume: &schemas.Decimal{}, Turnover: &schemas.Decimal{}, Basket: "venue:" + o.Venue,
	}
	return m
}

// A collector keeps the events of a task; a record that the task refuses is an error of the evaluation.
type collector struct {
	ignore  []string
	notices []notice
	// keep, when set, is given every event.
	keep func(e *schemas.Event)
	err  error
}

func (c *collector) Emit(m schemas.Message) {
	if e, ok := m.(*schemas.Event); ok {
		if c.keep != nil {
			c.keep(e)
		}
		severity, days := schemas.SeverityRank(e.Severity), e.GetEvidence().GetReturnPeriodDays()
		if len(c.ignore) > 0 && !slices.ContainsFunc(e.GetEvidence().GetLegs(), func(leg string) bool { return !slices.Contains(c.ignore, leg) }) {
			severity = 0
		}
		c.notices = append(c.notices, notice{symbol: e.Symbol, at: schemas.Time(e.EventTime), severity: severity, status: e.Status, episode: e.DedupKey, score: days})
	}
}

func (c *collector) Undo(n int) { c.notices = c.notices[:len(c.notices)-n] }

func (c *collector) Forward(*schemas.Tick) {}

func (c *collector) Reject(p processor.Poison) {
	c.err = fmt.Errorf("record %d was refused, %s: %s", p.Offset, p.Reason, p.Detail)
}

func (m *taskMachine) take() []notice {
	out := m.out.notices
	m.out.notices = m.out.notices[:0]
	return out
}

func (m *taskMachine) minute(r row) error {
	if m.bound.Input.Name == schemas.MarketBaskets.Name {
		m.bars(r)
	} else {
		m.trades(r)
	}
	return m.out.err
}

// trades turns a minute into trades at its 5th, 10th, 25th and 40th second: the open where it is known, the extremes in the
// order that the close suggests, the close; each takes its share of the volume. A Tick goes ahead of them, as the seconds before
// must be over when they come, and one ends the minute.
func (m *taskMachine) trades(r row) {
	for i, second := range [...]time.Duration{5, 10, 25, 40} {
		at, ticked := r.start.Add(second*time.Second), false
		for j := range r.candles {
			c := &r.candles[j]
			if !c.traded() || i == 0 && c.open == 0 {
				continue
			}
			if !ticked {
				m.putTick(at.Add(-time.Second))
				ticked = true
			}
			first, second := c.low, c.high
			if c.close < (c.high+c.low)/2 {
				first, second = c.high, c.low
			}
			share := c.volume / 3
			if c.open != 0 {
				share = c.volume / 4
			}
			m.putTrade(m.symbols[j], at, [...]float64{c.open, first, second, c.close}[i], share)
		}
	}
	m.putTick(r.start.Add(time.Minute))
}

func (m *taskMachine) putTrade(symbol string, at schemas.Time, price, quantity float64) {
	t := &m.trade
	t.Meta.Symbol, t.Meta.EventTime = symbol, int64(at)
	t.Meta.Id = strconv.FormatInt(m.offset, 10)
	setDecimal(t.Price, price)
	setDecimal(t.Quantity, quantity)
	m.put("Trade", t)
}

// bars gives every member that has begun its bar of the minute, an empty one where nothing traded, as the bars stage does.
func (m *taskMachine) bars(r row) {
	end := r.start.Add(time.Minute)
	for j := range r.candles {
		c := &r.candles[j]
		if c.close == 0 {
			continue
		}
		b := &m.bar
		b.Meta.Symbol, b.Meta.EventTime, b.Start, b.End = m.symbols[j], int64(end), int64(r.start), int64(end)
		b.Meta.Id = "60s/" + strconv.FormatInt(int64(r.start)/1e9, 10)
		b.Open, b.High, b.Low, b.Close = nil, nil, nil, nil
		*b.Volume, *b.Turnover = schemas.Decimal{}, schemas.Decimal{}
		if c.traded() {
			b.High, b.Low, b.Close = &schemas.Decimal{}, &schemas.Decimal{}, &schemas.Decimal{}
			setDecimal(b.High, c.high)
			setDecimal(b.Low, c.low)
			setDecimal(b.Close, c.close)
			setDecimal(b.Volume, c.volume)
			setDecimal(b.Turnover, c.volume*c.close)
		}
		m.put("Bar", b)
	}
	m.putTick(end)
}

func (m *taskMachine) putTick(at schemas.Time) {
	m.tick.Time = int64(at)
	m.put("Tick", &m.tick)
}

func (m *taskMachine) put(typ string, msg schemas.Message) {
	var err error
	if m.value, err = m.enc.AppendValue(m.value[:0], m.bound.Input, msg); err != nil {
		m.out.err = err
		return
	}
	m.key = m.key[:0]
	if typ != "Tick" {
		m.key = append(m.key, m.bound.Input.KeyOf(msg)...)
	}
	m.task.Process(processor.Input{Key: m.key, Value: m.value, Type: typ, Offset: m.offset})
	m.offset++
}

// setDecimal rounds to six decimals where that fits, and to fewer where it does not; what is above zero stays so.
func setDecimal(d *schemas.Decimal, v float64) {
	exponent := int32(-6)
	for v*math.Pow10(int(-exponent)) >= 1<<53 {
		exponent++
	}
	mantissa := int64(math.Round(v * math.Pow10(int(-exponent))))
	if v > 0 {
		mantissa = max(mantissa, 1)
	}
	d.Mantissa, d.Exponent = mantissa, exponent
}

// A savedTask is a snapshot of a task, as the state topic would hold it.
type savedTask struct {
	offset int64
	marker *schemas.Marker
	states map[string][]byte
}

func (m *taskMachine) save() (any, error) {
	marker, err := m.task.Snapshot(m.offset, func(key string, state []byte) { m.states[key] = bytes.Clone(state) })
	if err != nil {
		return nil, err
	}
	return savedTask{offset: m.offset, marker: marker, states: maps.Clone(m.states)}, nil
}

func (m *taskMachine) fork(saved any) (machine, error) {
	s, ok := saved.(savedTask)
	if !ok {
		return nil, fmt.Errorf("state of a %s machine is %T: it must be that of a task", m.bound.Name, saved)
	}
	f := newTaskMachine(m.bound, m.options, m.symbols)
	f.task = processor.NewTask(m.bound, 0, s.offset, m.policy, f.out, nil)
	f.offset, f.states = s.offset, maps.Clone(s.states)
	if _, err := f.task.Restore(s.marker, s.states); err != nil {
		return nil, fmt.Errorf("going on from a snapshot: %w", err)
	}
	return f, nil
}
