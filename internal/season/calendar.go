// Package season removes what recurs by the clock: slots of the week from event time, and per slot a robust mean with four weeks'
// memory. Deterministic, of constant size, without allocation per value; nothing here knows a time zone, offsets are data.
package season

// Event time is in ns since the epoch, 1970-01-01 00:00 UTC, a Thursday.
const (
	minute = int64(60e9)
	hour   = 60 * minute
	day    = 24 * hour
)

// Numbers of slots.
const (
	HoursOfWeek  = 168    // for markets that never close
	SessionSlots = 5 * 78 // five-minute slots of a 6.5-hour session, Monday to Friday
)

// HourOfWeek returns the slot 0..167 of a time: 0 is Monday 00:00-01:00 UTC, 167 Sunday 23:00-24:00.
func HourOfWeek(at int64) int {
	h := floorDiv(at, hour) + 3*24 // the epoch was a Thursday
	return int(((h % HoursOfWeek) + HoursOfWeek) % HoursOfWeek)
}

// Hour returns the hour since the epoch, rounded down: two times in one hour give the same number.
func Hour(at int64) int64 { return floorDiv(at, hour) }

// SessionSlot returns the five-minute slot 0..389 of a time in an exchange's regular session. The offset is the exchange's from UTC
// at that time, and open its opening after local midnight, both ns and both from the trading calendar, which knows summer time
// and holidays. ok is false outside 6.5 hours from the opening and at weekends.
func SessionSlot(at, offset, open int64) (slot int, ok bool) {
	local := at + offset
	d := floorDiv(local, day)
	weekday := ((d+3)%7 + 7) % 7 // 0 is Monday
	since := local - d*day - open
	if weekday > 4 || since < 0 || since >= 78*5*minute {
		return 0, false
	}
	return int(weekday*78 + since/(5*minute)), true
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
