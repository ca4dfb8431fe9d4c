package detectors

import (
	"testing"

	"github.com/tapewatch/tapewatch/internal/alarm"
)

// A part of a venue that does not answer weighs less than the whole of it: two bad answers of three, slow or none.
func TestProbeOfAPart(t *testing.T) {
	for _, c := range []struct {
		scope  string
		probes [3]uint8
		want   alarm.Severity
	}{
		{"all", [3]uint8{3, 0, 0}, alarm.None},
		{"all", [3]uint8{3, 0, 2}, alarm.High},
		{"all", [3]uint8{1, 1, 0}, alarm.Medium},
		{"futures", [3]uint8{3, 0, 0}, alarm.None},
		{"futures", [3]uint8{3, 3, 0}, alarm.Medium},
		{"futures", [3]uint8{1, 0, 1}, alarm.Low},
	} {
		r := report{reporter: "probe", scope: c.scope, state: stateDown, probes: c.probes}
		if got, leg := r.severity(0); got != c.want || (leg == "probe") != (c.want > alarm.None) {
			t.Errorf("%s %v: %v by %q, want %v", c.scope, c.probes, got, leg, c.want)
		}
	}
}
