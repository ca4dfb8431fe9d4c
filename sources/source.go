// Package sources is the way of records into Kafka: the contract between a source and the topics, and the idempotent
// producer behind it.
//
// A venue connector has three steps in packages of their own: transport (sockets), decode (raw frame to typed message, in
// the venue's package, pure) and state (books, de-duplication, time; package feed and the venue's machine). Capture files
// hold the frames between transport and decode, so playback runs the same decode and state without a socket.
package sources

import (
	"context"
	"errors"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/deadletter"
)

// A Source writes records until its input ends or ctx is done. Run is called once; when it returns, nothing of it runs any
// more and everything it accepted has been handed to the Publisher. It does not flush or close the Publisher.
type Source interface {
	// Name is the source's name in logs, health and configuration; the records' Meta.source is chosen by the source.
	Name() string
	Run(ctx context.Context, p Publisher) error
	// Component says how the source is, for the process's heartbeat. Safe for concurrent use, also while Run runs.
	Component() *schemas.Component
}

// A Publisher takes a source's records. Records of one key reach the log in the order of the calls; a Tick stands behind all
// that its caller published before, on every partition. m is encoded before the call returns and may be used again.
// Safe for concurrent use, but only the calls of one goroutine have an order.
//
// An error other than ErrShed is final: a record that was accepted earlier, or this one, is lost, and the source must stop.
type Publisher interface {
	Publish(topic schemas.Topic, m schemas.Message) error
	// Tick writes a watermark of the source to every partition of each topic.
	Tick(source string, at schemas.Time, topics ...schemas.Topic) error
	// Flush returns when everything published has been acknowledged, or with the error that prevents it.
	Flush(ctx context.Context) error
}

// A Burier takes frames that a source could not read. It waits for nothing and may drop: it returns whether it took the frame.
// Publishers that have somewhere to put them are Buriers.
type Burier interface {
	Bury(f deadletter.Frame) bool
}

// ErrShed says that a quote or a book was dropped because the producer is behind. The source goes on; a book is offered
// again with what came in between folded in.
var ErrShed = errors.New("shed: the producer is behind")
