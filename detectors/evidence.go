package detectors

import (
	"strconv"
	"strings"

	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/schemas"
)

// Origins of a threshold in evidence.
const originKnob = "knob"

// origin names where a calibrated threshold comes from, in the words of schemas.Evidence.
func origin(o calibration.Origin) string {
	switch o {
	case calibration.Cold:
		return originKnob
	case calibration.Shrunk:
		return "population"
	case calibration.Own:
		return "histogram"
	case calibration.Adaptive:
		return "adaptive"
	}
	return ""
}

// measures collects named figures.
type measures []*schemas.Measure

func (m *measures) add(name string, value float64, unit string) {
	*m = append(*m, &schemas.Measure{Name: name, Value: value, Unit: unit})
}

// assetsOf splits a canonical symbol: BTC-USDT-PERP concerns BTC and USDT.
func assetsOf(symbol string) []string {
	parts := strings.SplitN(symbol, "-", 3)
	return parts[:min(len(parts), 2)]
}

// number prints a figure for a sentence: that many significant digits, whole numbers in full, no exponent.
func number(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'g', digits, 64)
	if !strings.ContainsAny(s, "eE") {
		return s
	}
	if v >= 1 || v <= -1 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// longestDays is the longest return period that evidence states: a quarter of hourly maxima knows nothing beyond.
const longestDays = 3650

// rarity fills in the return period and the tail probability of a minute.
func rarity(ev *schemas.Evidence, days float64) {
	if days > 0 {
		days = min(days, longestDays)
		ev.ReturnPeriodDays, ev.P = new(days), new(min(1/(days*minutesOfDay), 1))
	}
}
