package evaluate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Range is a stretch of event time, [From, To); zero ends are open.
type Range struct{ From, To schemas.Time }

// ParseRange reads FROM..TO; both are days (2018-01-01) or RFC 3339 times, UTC, and may be left out.
func ParseRange(text string) (Range, error) {
	from, to, ok := strings.Cut(text, "..")
	if !ok {
		return Range{}, fmt.Errorf("range %q has no \"..\": it must be FROM..TO, such as 2018-01-01..2019-01-01", text)
	}
	var r Range
	for _, end := range []struct {
		text string
		at   *schemas.Time
	}{{from, &r.From}, {to, &r.To}} {
		if end.text == "" {
			continue
		}
		t, err := time.Parse(time.DateOnly, end.text)
		if err != nil {
			if t, err = time.Parse(time.RFC3339, end.text); err != nil {
				return Range{}, fmt.Errorf("range %q: %q must be a day such as 2018-01-01, or a time as in RFC 3339", text, end.text)
			}
		}
		*end.at = schemas.Time(t.UnixNano())
	}
	if r.From != 0 && r.To != 0 && r.To <= r.From {
		return Range{}, fmt.Errorf("range %q is empty: it must end after it begins", text)
	}
	return r, nil
}

func (r Range) contains(at schemas.Time) bool { return at >= r.From && (r.To == 0 || at < r.To) }

// String prints the range as ParseRange reads it.
func (r Range) String() string {
	end := func(t schemas.Time) string {
		if t == 0 {
			return ""
		}
		return strings.TrimSuffix(t.String(), "T00:00:00Z")
	}
	return end(r.From) + ".." + end(r.To)
}

// A Rate is a wanted number of alarms per key and day; 0 stands for the settings as shipped.
type Rate float64

// ParseRates reads a list such as shipped,1/day,1/week.
func ParseRates(text string) ([]Rate, error) {
	periods := map[string]float64{"hour": 1.0 / 24, "day": 1, "week": 7, "month": 30, "quarter": 91}
	var out []Rate
	for one := range strings.SplitSeq(text, ",") {
		if one == "shipped" {
			out = append(out, 0)
			continue
		}
		count, period, _ := strings.Cut(one, "/")
		n, err := strconv.ParseFloat(count, 64)
		if days := periods[period]; err == nil && n > 0 && days > 0 && n/days < 24 {
			out = append(out, Rate(n/days))
			continue
		}
		return nil, fmt.Errorf("rate %q is not known: it must be shipped, or like 1/day, 1/week, 2/month and below 24 a day", one)
	}
	return out, nil
}

// String prints the rate as a person says it.
func (r Rate) String() string {
	switch {
	case r == 0:
		return "shipped"
	case r >= 0.5:
		return strconv.FormatFloat(float64(r), 'g', 4, 64) + "/day"
	}
	return strconv.FormatFloat(float64(r)*7, 'g', 4, 64) + "/week"
}
