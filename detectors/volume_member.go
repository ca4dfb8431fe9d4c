package detectors

import (
	"math"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/har"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
)

const (
	hourMinutes = 60
	// forgotten is how long a member may be silent before it is dropped.
	forgotten = 28 * 24 * time.Hour
	// longDecay fades the mean of a figure by a minute: 28 days of mean life.
	longDecay = 0.9999751987202552
)

// The figures of a bar; roots are square roots of the volume.
const (
	figureVolume = iota
	figureTrades
	figureRush
	figureRoots
	figures
)

func (b *minuteBar) figure(f int) float64 {
	switch f {
	case figureTrades:
		return float64(b.trades)
	case figureRush:
		return float64(b.rush)
	case figureRoots:
		return math.Sqrt(float64(b.volume))
	}
	return float64(b.volume)
}

// member is one instrument of a basket.
type member struct {
	seat
	// legs are the basket's, or those of a budget of its own; not state.
	legs []volumeLeg
	// ring holds the last hour: the bar that ends at minute n since the epoch is at n mod 60. Missing minutes are not complete.
	ring [hourMinutes]minuteBar
	// means are the figures' long means a minute.
	means  [figures]series.Level
	gauges []gaugeState
	calib  []calibration.Leg // one a leg
	// unjudged counts minutes since a leg could be judged; spoiled is an hour since the epoch that stays out of the calibration.
	unjudged uint32
	spoiled  int64
	episode  alarm.Episode
}

// gaugeState is what a member keeps for one gauge.
type gaugeState struct {
	// model forecasts the logarithm, apart from the season, of the window that begins. Its levels follow every minute, its
	// weights learn at the end of every block, from past, the levels at the block's beginning.
	model  har.Model
	past   har.Past
	blocks uint64
	// forecasts of the last window of minutes: the one made at minute n since the epoch is at n mod the window. They are kept in
	// short, NaN before there is one.
	forecasts []float32
	now       surprise // of the minute in hand; not state
}

func newGaugeState(window int) gaugeState {
	s := gaugeState{forecasts: make([]float32, window)}
	for i := range s.forecasts {
		s.forecasts[i] = float32(math.NaN())
	}
	return s
}

func newMember(venue, symbol string, gauges []gauge, legs int) *member {
	m := &member{seat: newSeat(venue, symbol), calib: make([]calibration.Leg, legs)}
	for i := range gauges {
		m.gauges = append(m.gauges, newGaugeState(gauges[i].window))
	}
	return m
}

func slotOf(at schemas.Time) int { return int(int64(at) / int64(time.Minute) % hourMinutes) }

// take moves the bar that ends now into the ring; false says that it is missing. Minutes skipped since closed are missing too.
func (m *member) take(closed, now schemas.Time) bool {
	for at := max(closed, now.Add(-hourMinutes*time.Minute)).Add(time.Minute); at < now; at = at.Add(time.Minute) {
		m.ring[slotOf(at)] = minuteBar{end: at}
	}
	bar := &m.ring[slotOf(now)]
	var found bool
	*bar, found = m.pick(now)
	if bar.complete {
		for f := range m.means {
			m.means[f].Add(longDecay, bar.figure(f))
		}
	} else {
		m.spoiled = season.Hour(int64(now) - 1)
		for i := range m.calib {
			m.calib[i].Interrupt()
		}
	}
	return found
}

// sum adds a figure over the window that ends now; ok is false when a minute of it is not complete.
func (m *member) sum(now schemas.Time, minutes, figure int) (total float64, ok bool) {
	i := slotOf(now)
	for range minutes {
		b := &m.ring[i]
		if !b.complete {
			return 0, false
		}
		total += b.figure(figure)
		if i--; i < 0 {
			i = hourMinutes - 1
		}
	}
	return total, true
}

// price returns the last close within the window and the first one; 0 without trades.
func (m *member) price(now schemas.Time, minutes int) (last, first float64) {
	i := slotOf(now)
	for range minutes {
		if c := float64(m.ring[i].close); c != 0 {
			if last == 0 {
				last = c
			}
			first = c
		}
		if i--; i < 0 {
			i = hourMinutes - 1
		}
	}
	return last, first
}

// AppendState appends the member.
func (m *member) AppendState(dst []byte) []byte {
	dst = pack.String(pack.String(dst, m.venue), m.symbol)
	dst = pack.Int(dst, int64(m.seen)/int64(time.Minute))
	dst = pack.Uint(dst, uint64(m.unjudged))
	dst = pack.Int(dst, m.spoiled)
	dst = pack.Uint(dst, uint64(m.late))
	for i := range m.ring {
		dst = m.ring[i].appendTo(dst, m.seen)
	}
	dst = m.appendAhead(dst)
	for i := range m.gauges {
		st := &m.gauges[i]
		dst = pack.Uint(dst, st.blocks)
		for _, v := range st.past {
			dst = pack.Float(dst, v)
		}
		dst = pack.Uint(dst, uint64(len(st.forecasts)))
		last := int64(0) // neighbours differ in their last bits
		for _, v := range st.forecasts {
			bits := int64(math.Float32bits(v))
			dst = pack.Int(dst, bits-last)
			last = bits
		}
	}
	return appendAll(dst, m.parts()...)
}

// RestoreState reads what AppendState wrote.
func (m *member) RestoreState(src []byte) (rest []byte, err error) {
	r := pack.NewReader(src)
	m.venue, m.symbol = strings.Clone(r.String()), strings.Clone(r.String())
	m.seen = schemas.Time(r.Int() * int64(time.Minute))
	m.unjudged = uint32(r.Uint())
	m.spoiled = r.Int()
	m.late = uint32(r.Uint())
	for i := range m.ring {
		m.ring[i].restore(r, m.seen)
	}
	m.restoreAhead(r)
	for i := range m.gauges {
		st := &m.gauges[i]
		st.blocks = r.Uint()
		for k := range st.past {
			st.past[k] = r.Float()
		}
		st.forecasts = make([]float32, r.Count(hourMinutes))
		last := int64(0)
		for k := range st.forecasts {
			last += r.Int()
			st.forecasts[k] = math.Float32frombits(uint32(last))
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return restoreAll(r.Rest(), m.parts()...)
}

func (m *member) parts() []keeper {
	var out []keeper
	for f := range m.means {
		out = append(out, &m.means[f])
	}
	for i := range m.gauges {
		out = append(out, &m.gauges[i].model)
	}
	for i := range m.calib {
		out = append(out, &m.calib[i])
	}
	return append(out, &m.episode)
}
