package testservices

import "testing"

// Study marks a test that measures days or months of data on one goroutine. It is left out with -short, and under the race detector,
// which has nothing to find in it and makes it ten times as long: `make studies` runs every such package without, in `make ci` too.
func Study(t testing.TB) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("SKIPPED: -short, and this measures days or months of data")
	case raceEnabled:
		t.Skip("SKIPPED under the race detector: one goroutine measures days or months of data; `make studies` runs it")
	}
}
