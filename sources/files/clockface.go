package files

import (
	"fmt"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// clockface reads the times of a file.
type clockface struct {
	exponent int32 // of nanoseconds in the unit, as a power of ten below 0
	times    int64
	layout   string
	zone     *time.Location
}

func newClockface(unit, zone string) (clockface, error) {
	switch unit {
	case "ns":
		return clockface{exponent: 0, times: 1}, nil
	case "us":
		return clockface{exponent: -3, times: 1}, nil
	case "ms":
		return clockface{exponent: -6, times: 1}, nil
	case "s":
		return clockface{exponent: -9, times: 1}, nil
	case "minute":
		return clockface{exponent: -9, times: 60}, nil
	}
	if _, err := time.Parse(unit, time.Unix(0, 0).UTC().Format(unit)); err != nil || !strings.Contains(unit, "06") {
		return clockface{}, fmt.Errorf("file.time_unit is %q: it must be ns, us, ms, s, minute or a Go layout", unit)
	}
	where, err := time.LoadLocation(zone)
	if err != nil {
		return clockface{}, fmt.Errorf("file.zone is %q: it must be a time zone such as UTC or America/New_York: %w", zone, err)
	}
	return clockface{layout: unit, zone: where}, nil
}

// read returns the time that text says, exactly.
func (c clockface) read(text []byte, d *schemas.Decimal) (schemas.Time, error) {
	if c.layout != "" {
		at, err := time.ParseInLocation(c.layout, string(text), c.zone)
		if err != nil {
			return 0, fmt.Errorf("time: %w", err)
		}
		return inRange(schemas.Time(at.UnixNano()), text)
	}
	if err := d.Parse(text); err != nil {
		return 0, fmt.Errorf("time: %w", err)
	}
	n, ok := d.Rescale(c.exponent)
	if !ok || n > int64(schemas.MaxTime)/c.times {
		return 0, fmt.Errorf("time %q is out of range or finer than a nanosecond", text)
	}
	return inRange(schemas.Time(n*c.times), text)
}

func inRange(at schemas.Time, text []byte) (schemas.Time, error) {
	if at < schemas.MinTime || at > schemas.MaxTime {
		return 0, fmt.Errorf("time %q is %v: it must lie between 1990 and 2100; check file.time_unit", text, at)
	}
	return at, nil
}
