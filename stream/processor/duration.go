package processor

import (
	"fmt"
	"strconv"
	"time"
)

// Duration is a time.Duration that reads and prints as text ("15m") in JSON and YAML.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalText prints the duration as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a Go duration; a bare number means seconds, as the environment names of DESIGN section 8 expect.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		seconds, nerr := strconv.ParseInt(string(text), 10, 32)
		if nerr != nil {
			return fmt.Errorf("duration %q must be like 30s or 15m, or a number of seconds", text)
		}
		v = time.Duration(seconds) * time.Second
	}
	*d = Duration(v)
	return nil
}
