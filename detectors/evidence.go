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

// number prints a figure for a sentence: digits significant digits, no exponent.
func number(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'g', digits, 64)
	if strings.ContainsAny(s, "eE") {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return s
}
