package poll

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Text is a JSON string, number or boolean as it was written; null and a missing field give "". Services change between 1.5
// and "1.5", and a number that passes through a float is not what was written.
type Text string

// UnmarshalJSON keeps the text.
func (t *Text) UnmarshalJSON(raw []byte) error {
	switch {
	case bytes.Equal(raw, []byte("null")):
		*t = ""
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		*t = Text(s)
	case raw[0] == '{' || raw[0] == '[':
		return fmt.Errorf("reading %.20q: it must be a string or a number", raw)
	default:
		*t = Text(raw)
	}
	return nil
}

// Decimal reads the text as a number; nil where the service writes that it has none ("", "None", "-", ".").
func (t Text) Decimal() (*schemas.Decimal, error) {
	switch t {
	case "", "None", "none", "null", "-", ".":
		return nil, nil
	}
	return schemas.ParseDecimal([]byte(t))
}

// Decode reads a JSON answer; what is not JSON has an unexpected shape.
func Decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", ErrShape, err)
	}
	return nil
}

// Missing is the error of an answer without a field that it must have.
func Missing(field string) error { return fmt.Errorf("%w: %s is missing", ErrShape, field) }

// Day reads a date YYYY-MM-DD in a zone.
func Day(text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return t, fmt.Errorf("reading the date %.20q: it must be YYYY-MM-DD", text)
	}
	return t, nil
}

// Time is a calendar time as event time.
func Time(t time.Time) schemas.Time { return schemas.Time(t.UnixNano()) }
