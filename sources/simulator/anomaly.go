package simulator

import (
	"math"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Label says what was put into the market, so that detectors can be judged.
type Label struct {
	Kind   string `json:"kind"` // price_jump, price_ramp, flash_crash, volume_burst
	Venue  string `json:"venue"`
	Symbol string `json:"symbol"`
	// Start and End bound the anomaly, RFC 3339.
	Start string `json:"start"`
	End   string `json:"end"`
	// Size is the log price move, or the multiple of the usual activity.
	Size float64 `json:"size"`
}

// event is the anomaly in hand.
type event struct {
	kind       string
	start, end schemas.Time
	size       float64
	applied    float64 // the shift of the log price that the last second ended with
}

const fade = 6 * time.Hour

// anomaly begins one when it is due.
func (in *instrument) anomaly(now schemas.Time, allowed bool) (Label, bool) {
	if now < in.next || !allowed || now < in.event.end {
		return Label{}, false
	}
	r := in.rng
	// What is left of the last shift becomes part of the price for good.
	in.logPrice += in.event.applied
	e := event{start: now}
	sign := float64(1 - 2*r.IntN(2))
	switch r.IntN(4) {
	case 0:
		e.kind, e.size, e.end = "price_jump", sign*(0.02+0.08*r.Float64()), now.Add(time.Second)
	case 1:
		e.kind, e.size, e.end = "price_ramp", sign*(0.03+0.07*r.Float64()), now.Add(10*time.Minute)
	case 2:
		e.kind, e.size, e.end = "flash_crash", -(0.06 + 0.1*r.Float64()), now.Add(15*time.Minute)
	default:
		e.kind, e.size, e.end = "volume_burst", 3+12*r.Float64(), now.Add(15*time.Minute)
	}
	in.event = e
	in.next = e.end.Add(in.wait())
	return Label{Kind: e.kind, Symbol: in.symbol, Start: e.start.String(), End: e.end.String(), Size: e.size}, true
}

// at returns the shift of the log price at the end of the second that begins at now, and the multiple of activity.
func (e *event) at(now schemas.Time) (shift, activity float64) {
	if e.kind == "" {
		return e.applied, 1
	}
	done := float64(now.Add(time.Second)-e.start) / float64(e.end-e.start)
	activity = 1
	switch e.kind {
	case "price_jump":
		// Stands for six hours, then fades.
		activity = 1 + 4*math.Exp(-float64(now-e.start)/float64(5*time.Minute))
		shift = e.size
		if over := now.Sub(e.end) - fade; over > 0 {
			shift = e.size * math.Exp(-float64(over)/float64(time.Hour))
		}
	case "price_ramp":
		shift = e.size * math.Min(done, 1)
		if over := now.Sub(e.end) - fade; over > 0 {
			shift = e.size * math.Exp(-float64(over)/float64(time.Hour))
		}
	case "flash_crash":
		// Down within 3 minutes, back within 12.
		switch {
		case done >= 1:
			shift = 0
		case done < 0.2:
			shift, activity = e.size*done/0.2, 6
		default:
			shift, activity = e.size*(1-done)/0.8, 3
		}
	case "volume_burst":
		if done <= 1 {
			activity = e.size
		}
	}
	return shift, activity
}
