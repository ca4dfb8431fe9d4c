package simulator

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// macro makes the series that macroeconomic analyses look for, under FRED's names: prices and unemployment once a month, revised
// once a month later, and yields and expected volatility at the end of every weekday.
type macro struct {
	*Market
	series []*series
}

type series struct {
	random
	id, unit    string
	daily       bool
	value, step float64
	drift       float64
	places      int32
}

const region = "US"

func newMacro(m *Market) *macro {
	out := &macro{Market: m}
	for i, s := range []series{
		{id: "CPIAUCSL", unit: "index", value: 300, step: 0.4, drift: 0.6, places: -3},
		{id: "UNRATE", unit: "percent", value: 4, step: 0.1, places: -1},
		{id: "FEDFUNDS", unit: "percent", value: 4.5, step: 0.08, places: -2},
		{id: "DGS10", unit: "percent", value: 4.2, step: 0.05, daily: true, places: -2},
		{id: "DGS2", unit: "percent", value: 4.4, step: 0.05, daily: true, places: -2},
		{id: "VIXCLS", unit: "index", value: 18, step: 0.9, daily: true, places: -2},
	} {
		s.random = newRandom(m.cfg.Seed, streamMacro, i)
		out.series = append(out.series, &s)
	}
	return out
}

func (m *macro) perSecond() float64 { return 0 } // some in a day

func (m *macro) history(from, to schemas.Time, put Put) error {
	for at := from; at < to; at = at.Add(day) {
		if err := m.between(at, min(at.Add(day), to), put); err != nil {
			return err
		}
	}
	return nil
}

func (m *macro) second(now schemas.Time, put Put) error {
	return m.between(now, now.Add(time.Second), put)
}

// between makes the records of (from, to], which does not pass midnight: at 13:30 UTC of the 12th the figures of the month
// before, with the revision of the one before that, and at 21:30 of weekdays the daily ones.
func (m *macro) between(from, to schemas.Time, put Put) error {
	midnight := from.Floor(day)
	within := func(d time.Duration) bool { at := midnight.Add(d); return from < at && at <= to }
	date := midnight.UTC()
	monthly, daily := 13*time.Hour+30*time.Minute, 21*time.Hour+30*time.Minute
	weekday := date.Weekday() != time.Saturday && date.Weekday() != time.Sunday
	for _, s := range m.series {
		switch {
		case !s.daily && date.Day() == 12 && within(monthly):
			first := time.Date(date.Year(), date.Month()-1, 1, 0, 0, 0, 0, time.UTC)
			at := midnight.Add(monthly)
			revised := s.value + float64(s.step/4*s.normal())
			if err := put(schemas.MacroObservations, m.observation(s, first.AddDate(0, -1, 0), at, revised)); err != nil {
				return err
			}
			s.move()
			if err := put(schemas.MacroObservations, m.observation(s, first, at, s.value)); err != nil {
				return err
			}
		case s.daily && weekday && within(daily):
			s.move()
			if err := put(schemas.MacroObservations, m.observation(s, date, midnight.Add(daily), s.value)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *series) move() {
	next := s.value + s.drift + float64(s.step*s.normal())
	s.value = max(next, 0.1) // rates and levels stay above zero
}

func (m *macro) observation(s *series, of time.Time, at schemas.Time, value float64) *schemas.MacroObservation {
	vintage := at.UTC().Format(time.DateOnly)
	date := of.Format(time.DateOnly)
	meta := m.stamp(0, s.id, at)
	meta.Venue, meta.Id = "fred", s.id+"/"+date+"/"+vintage
	return &schemas.MacroObservation{
		Meta: meta, Series: s.id, Region: region, Date: date, Value: decimal(value, s.places), Unit: s.unit, Vintage: vintage,
	}
}
