package feed

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
)

// Bounds of a filter that comes from outside.
const (
	maxValues      = 50
	maxValueLength = 64
)

// Filter chooses events: those that have, in each list that is not empty, one of its values.
type Filter struct {
	Types      []string `json:"types,omitempty"`
	Severities []string `json:"severities,omitempty"`
	Detectors  []string `json:"detectors,omitempty"`
	Symbols    []string `json:"symbols,omitempty"`
	Venues     []string `json:"venues,omitempty"`
}

// Matches reports whether the filter chooses the event.
func (f *Filter) Matches(e *schemas.Event) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return in(f.Types, e.GetType()) && in(f.Severities, e.GetSeverity()) && in(f.Detectors, e.GetDetector()) &&
		in(f.Symbols, e.GetSymbol()) && in(f.Venues, e.GetVenue())
}

// Validate bounds the lists and refuses what could never match.
func (f *Filter) Validate() error {
	for _, list := range [...]struct {
		name   string
		values []string
	}{{"types", f.Types}, {"severities", f.Severities}, {"detectors", f.Detectors}, {"symbols", f.Symbols}, {"venues", f.Venues}} {
		if len(list.values) > maxValues {
			return fmt.Errorf("filters.%s has %d values: it must have at most %d", list.name, len(list.values), maxValues)
		}
		for _, v := range list.values {
			switch {
			case v == "" || len(v) > maxValueLength:
				return fmt.Errorf("filters.%s has a value of %d bytes: it must have 1 to %d", list.name, len(v), maxValueLength)
			case v == "*":
				return errors.New("filters." + list.name + " has the value \"*\": there are no wildcards, leave the list out to get everything")
			case list.name == "severities" && schemas.SeverityRank(v) == 0:
				return fmt.Errorf("filters.severities has %q: it must be low, medium, high or critical", v)
			}
		}
	}
	return nil
}
