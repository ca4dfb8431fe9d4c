// Package season removes what recurs by the clock: slots of the week from event time, and per slot a robust mean with four weeks'
// memory. Deterministic, of constant size, without allocation per value; nothing here knows a time zone, offsets are data.
package season

// Event time is in ns since the epoch, 1970-01-01 00:00 UTC, a Thursday.
const (
	minute = int64(60e9)
	hour   = 60 * minute
)

// HoursOfWeek is the number of slots, for markets that never close.
const HoursOfWeek = 168

// HourOfWeek returns the slot 0..167 of a time: 0 is Monday 00:00-01:00 UTC, 167 Sunday 23:00-24:00.
func HourOfWeek(at int64) int {
	h := floorDiv(at, hour) + 3*24 // the epoch was a Thursday
	return int(((h % HoursOfWeek) + HoursOfWeek) % HoursOfWeek)
}

// Hour returns the hour since the epoch, rounded down: two times in one hour give the same number.
func Hour(at int64) int64 { return floorDiv(at, hour) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
