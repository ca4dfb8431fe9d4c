package schemas

import "time"

// Time is event time: nanoseconds since the Unix epoch, UTC. It is a type of its own so that a wall-clock value cannot be
// passed for it by accident. Zero means "none yet".
type Time int64

// Add returns t + d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns t - u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Floor returns the latest multiple of step, counted from the epoch, that is not after t.
func (t Time) Floor(step time.Duration) Time {
	s := Time(step)
	r := t % s
	if r < 0 {
		r += s
	}
	return t - r
}

// UTC returns t as a calendar time.
func (t Time) UTC() time.Time { return time.Unix(0, int64(t)).UTC() }

// String prints t in RFC 3339 with the digits it needs.
func (t Time) String() string {
	if t == 0 {
		return "none"
	}
	return t.UTC().Format(time.RFC3339Nano)
}
