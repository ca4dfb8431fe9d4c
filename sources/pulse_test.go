package sources

import (
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

func TestPulse(t *testing.T) {
	var p Pulse
	now := schemas.Time(1_700_000_000_000_000_000)
	p.Beat("a", now)
	for _, c := range []struct {
		source string
		at     schemas.Time
		want   bool
	}{{"a", now, false}, {"b", now, true}, {"b", now.Add(time.Second), true}, {"b", now.Add(time.Second + 1), false}} {
		if got := p.Others(c.source, c.at); got != c.want {
			t.Errorf("others than %s at %v: %v, want %v", c.source, c.at.Sub(now), got, c.want)
		}
	}
}
