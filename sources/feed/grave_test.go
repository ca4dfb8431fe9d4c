package feed

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// bin is a Publisher that keeps what is buried.
type bin struct {
	frames []deadletter.Frame
	full   bool
}

func (*bin) Publish(schemas.Topic, schemas.Message) error      { return nil }
func (*bin) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }
func (*bin) Flush(context.Context) error                       { return nil }
func (b *bin) Bury(f deadletter.Frame) bool {
	if !b.full {
		b.frames = append(b.frames, f)
	}
	return !b.full
}

func TestUnreadableFramesAreBuriedAFewAMinute(t *testing.T) {
	b := &bin{}
	m := sources.NewMetrics(nil)
	c := NewCore(Options{Source: "venue.spot", Venue: "venue", Publisher: b, Metrics: m})
	unburied := func() int { return count(t, m.Unburied.WithLabelValues("venue.spot")) }
	c.Clock.Advance(start)
	c.Undecodable("panic", "a/1", errors.New("index out of range"), []byte("frame"))
	want := []deadletter.Frame{{
		Source: "venue.spot", Connection: "a/1", Received: start, Reason: "panic", Detail: "index out of range", Data: []byte("frame"),
	}}
	if diff := cmp.Diff(want, b.frames); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A venue that changes its API: every frame, for three minutes.
	for n := range 1800 {
		c.Clock.Advance(start.Floor(time.Minute).Add(time.Minute + time.Duration(n)*100*time.Millisecond))
		c.Undecodable("undecodable", "a/1", errors.New("no field p"), []byte("frame"))
	}
	if n := len(b.frames); n != 1+3*gravesAMinute || unburied() != 1800-3*gravesAMinute {
		t.Errorf("%d frames are buried and %d counted, want %d and the rest", n, unburied(), 1+3*gravesAMinute)
	}
	if _, rejected := c.Counts(); rejected != 1801 {
		t.Errorf("%d frames are counted as rejected, want all 1801", rejected)
	}
	// What is too large for a record, and what the producer has no room for, is counted only.
	was := unburied()
	c.Clock.Advance(start.Add(time.Hour))
	c.Undecodable("undecodable", "a/1", errors.New("x"), make([]byte, maxGrave+1))
	b.full = true
	c.Undecodable("undecodable", "a/1", errors.New("x"), nil)
	if n := len(b.frames); n != 1+3*gravesAMinute || unburied() != was+2 {
		t.Errorf("a frame too large and one without room: %d buried, %d counted, want none and 2", n, unburied()-was)
	}
}

// count reads a counter.
func count(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}
