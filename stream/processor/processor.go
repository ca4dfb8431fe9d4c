// Package processor holds the contract that detectors, stages and workers implement, and the engine that runs one input
// partition through it. The engine is pure: the live runtime, replays, evaluations and tests all drive the same Task, which
// is why live equals replay.
package processor

import (
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Processor holds the state of one key. It is called from one goroutine at a time and needs no locks. What it does depends
// on its configuration, its key and the calls made to it, and on nothing else: no clock, no randomness, no map order, no I/O.
type Processor interface {
	// OnRecord takes the next record of the key, in log order. It must not keep rec or anything that rec points to.
	OnRecord(rec schemas.Record, emit Emit)
	// OnTime says that event time has reached now, a multiple of the processor's Step; windows close here. After a jump of
	// more than MaxSteps steps only the last MaxSteps are called.
	OnTime(now schemas.Time, emit Emit)
	// AppendState appends a snapshot of the state to dst. The first byte is the layout version.
	AppendState(dst []byte) []byte
	// RestoreState replaces the state by a snapshot. It returns an error, and never panics, on bytes that it does not know.
	RestoreState(src []byte) error
}

// A Deduplicator is a Processor that leaves out records which came before. Duplicates counts them since the value was made; it
// is a figure for metrics and no state.
type Deduplicator interface {
	Processor
	Duplicates() uint64
}

// Emit publishes a message to the processor's output topic; the catalogue knows its key. The message may be used again by
// the caller afterwards. An *Event needs type, severity, status, dedup_key, event_time, description and evidence: the engine
// stamps id, detector, version, key, venue, symbol, source, position and config hash.
type Emit func(m schemas.Message)

// Key is what one instance stands for.
type Key struct {
	// Venue is the part before the colon in a "venue:symbol" or "chain:asset" key; empty otherwise.
	Venue string
	// Symbol is the rest: a symbol, basket, asset, region.
	Symbol string
	text   string
}

// NewKey reads a record key of the given kind.
func NewKey(kind schemas.KeyKind, text string) Key {
	k := Key{Symbol: text, text: text}
	switch kind {
	case schemas.KeyVenueSymbol, schemas.KeyChainAsset:
		if venue, symbol, ok := strings.Cut(text, ":"); ok {
			k.Venue, k.Symbol = venue, symbol
		}
	case schemas.KeyVenue:
		k.Venue, k.Symbol = text, ""
	case schemas.KeyScope:
		k.Symbol = ""
	default:
	}
	return k
}

// String returns the record key.
func (k Key) String() string { return k.text }
