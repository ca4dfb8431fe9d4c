package venue_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// broken is an hour of a venue that answers each request a little later, and whose book breaks some time behind each snapshot.
func broken(t *testing.T, breaks time.Duration) (asked []schemas.Time, gaps int) {
	t.Helper()
	p := newPlay()
	p.rules = venue.BookRules{Chain: venue.ChainStep}
	out := &sourcetest.Memory{}
	var clock, answer, end schemas.Time
	m := venuetest.Machine(t, p.spec(), out, venue.Hands{Recover: func(string, string) { asked, answer = append(asked, clock), clock.Add(200*time.Millisecond) }})
	last := uint64(100)
	feed := func(kind capture.Kind, events ...venue.Event) {
		p.do(0, kind, "a/1")
		f := p.frames[len(p.frames)-1]
		f.At = clock
		if kind == capture.Receive {
			f.Data = []byte(clock.String())
			p.events[clock.String()] = events
		}
		if err := m.Frame(f); err != nil {
			t.Fatal(err)
		}
	}
	of := func(kind venue.Kind, n uint64) venue.Event {
		e := bookOf(kind, "X", 10)
		e.Last, e.At = n, clock
		return e
	}
	clock = at(0)
	feed(capture.Connect)
	answer = at(100)
	for ; clock < at(0).Add(time.Hour); clock = clock.Add(100 * time.Millisecond) {
		if err := m.Advance(clock); err != nil {
			t.Fatal(err)
		}
		if answer != 0 && clock >= answer {
			answer, end = 0, clock.Add(breaks)
			last += 10
			feed(capture.Receive, of(venue.BookSnapshot, last))
		}
		if end != 0 && clock >= end {
			end = 0
			feed(capture.Receive, of(venue.BookUpdate, last+5)) // 4 are missing
		}
	}
	return asked, len(sourcetest.Of[*schemas.Gap](out))
}

// A book that breaks again and again is asked for ever more slowly, so that a venue's bound of requests holds: OKX takes 480 an hour
// on a connection, and each is two. One that breaks now and then is asked for at once.
func TestRequestsOfABrokenBookBackOff(t *testing.T) {
	asked, gaps := broken(t, 100*time.Millisecond)
	var waits []string
	for i := range asked[1:] {
		waits = append(waits, asked[i+1].Sub(asked[i]).Round(time.Second).String())
	}
	if n := len(asked); n < 15 || n > 30 || gaps > n+1 {
		t.Errorf("%d requests and %d gaps in an hour, want some 20: %s", n, gaps, strings.Join(waits, " "))
	}
	asked, _ = broken(t, 45*time.Second)
	for i := range asked[1:] {
		if wait := asked[i+1].Sub(asked[i]); wait > 46*time.Second {
			t.Errorf("request %d after %v, want one as soon as the book breaks", i+1, wait)
		}
	}
}
