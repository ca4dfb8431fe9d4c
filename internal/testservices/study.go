package testservices

import "testing"

// Study marks a test that takes much data through, be it months of a recording, days of a simulated log or a tour of the whole program. It is left out with
// -short, and under the race detector, which makes it ten times as long and finds nothing there that it does not find in the other tests: nearly all of it is
// one goroutine. `make studies`, a step of `make ci`, runs it without. That finds it by this call, which therefore stands in the test itself.
func Study(t testing.TB) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("SKIPPED: -short, and this takes much data through")
	case raceEnabled:
		t.Skip("SKIPPED under the race detector, which makes it ten times as long; `make studies` runs it")
	}
}
