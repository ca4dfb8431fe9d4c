package evaluate

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A row is one minute of every member of a unit.
type row struct {
	start   schemas.Time
	candles []candle
}

// A stream merges the candles of several series by the minute and lets its reader look ahead.
type stream struct {
	readers []*reader
	next    schemas.Time
	to      schemas.Time
	ahead   []row
}

// openStream opens series for [from, to); a zero from begins with the first candle.
func openStream(all []Series, c columns, r Range) (*stream, error) {
	s := &stream{next: r.From, to: r.To}
	for _, one := range all {
		in, err := openReader(one, c)
		if err != nil {
			s.close()
			return nil, err
		}
		s.readers = append(s.readers, in)
		if in.more && r.From == 0 && (s.next == 0 || in.ahead.start < s.next) {
			s.next = in.ahead.start
		}
	}
	return s, nil
}

func (s *stream) close() {
	for _, r := range s.readers {
		r.close()
	}
}

// exhausted says that no candle is left and none is held ahead.
func (s *stream) exhausted() bool {
	for _, r := range s.readers {
		if r.more {
			return false
		}
	}
	return true
}

// look returns the next n rows without taking them; fewer at the end.
func (s *stream) look(n int) ([]row, error) {
	for len(s.ahead) < n && (s.to == 0 || s.next < s.to) && !s.exhausted() {
		r := row{start: s.next, candles: make([]candle, len(s.readers))}
		for i, in := range s.readers {
			var err error
			if r.candles[i], err = in.minute(s.next); err != nil {
				return nil, err
			}
		}
		s.ahead = append(s.ahead, r)
		s.next = s.next.Add(time.Minute)
	}
	return s.ahead[:min(n, len(s.ahead))], nil
}

// take removes the first row.
func (s *stream) take() { s.ahead = s.ahead[1:] }
