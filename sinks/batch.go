package sinks

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
)

// Partition names one partition of a topic, by the topic's name on the cluster.
type Partition struct {
	Topic  string
	Number int32
}

// Entry is one event and where it lay.
type Entry struct {
	Event     *schemas.Event
	At        Partition
	Offset    int64
	Published time.Time

	record *kgo.Record // as it was fetched, for a dead letter
}

// Batch is what one write takes: events in log order per partition, and the positions that move with them.
type Batch struct {
	Entries []Entry
	// From is the position that the sink must be at, Next the one that it is at afterwards, for every partition touched.
	From, Next map[Partition]int64
}

// Result counts what a write did.
type Result struct {
	Written, Duplicates, Expired int
}

// A Writer is the system behind a sink. It is called from one goroutine at a time, save that Positions may be called while
// a Write runs.
type Writer interface {
	// Positions returns where to go on for every partition given. For one that the system knows nothing of it takes note of
	// the given start of the log and returns that.
	Positions(ctx context.Context, start map[Partition]int64) (map[Partition]int64, error)
	// Check returns why the system cannot take an event at all: it is poison for this sink.
	Check(e *schemas.Event) error
	// Write stores a batch and its positions, both or neither. It returns ErrMoved when the system is not at b.From, and a
	// DataError when it is the data that it refuses. The batch must not be kept.
	Write(ctx context.Context, b Batch) (Result, error)
}

// ErrMoved says that the system behind a sink stands elsewhere than the consumer thinks: another process has written, or the
// system lost data. The consumer asks for the positions again.
var ErrMoved = errors.New("the sink's position has moved")

// DataError says that the system refuses the data themselves; trying again cannot help.
type DataError struct{ Err error }

// Error returns the system's own words.
func (e *DataError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DataError) Unwrap() error { return e.Err }

// halves cuts a batch in two that follow each other.
func (b Batch) halves() (first, second Batch) {
	n := len(b.Entries) / 2
	between := maps.Clone(b.Next)
	for i := len(b.Entries) - 1; i >= n; i-- {
		between[b.Entries[i].At] = b.Entries[i].Offset
	}
	return Batch{Entries: b.Entries[:n], From: b.From, Next: between}, Batch{Entries: b.Entries[n:], From: between, Next: b.Next}
}
