package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
)

// columns of the staging table, in the order of row.
var columns = []string{
	"id", "event_time", "event_time_ns", "detector", "detector_version", "type", "severity", "status", "dedup_key", "key", "venue", "symbol",
	"assets", "description", "evidence", "measures", "source", "source_topic", "source_partition", "source_offset", "config_hash",
	"log_topic", "log_partition", "log_offset", "published_at",
}

// maxIndexed bounds a text that is part of an index, whose rows PostgreSQL bounds at a third of a page.
const maxIndexed = 512

func eventTime(e *schemas.Event) time.Time { return schemas.Time(e.GetEventTime()).UTC() }

// row is one event in the order of columns.
func row(e sinks.Entry) ([]any, error) {
	ev := e.Event
	var evidence any
	if ev.Evidence != nil {
		text, err := protojson.Marshal(ev.Evidence)
		if err != nil {
			return nil, &sinks.DataError{Err: fmt.Errorf("encoding the evidence of %s: %w", ev.Id, err)}
		}
		evidence = text
	}
	measures, err := measuresOf(ev)
	if err != nil {
		return nil, &sinks.DataError{Err: fmt.Errorf("encoding the measures of %s: %w", ev.Id, err)}
	}
	assets := ev.Assets
	if assets == nil {
		assets = []string{}
	}
	return []any{
		ev.Id, eventTime(ev), ev.EventTime, ev.Detector, int64(ev.DetectorVersion), ev.Type, ev.Severity, ev.Status, ev.DedupKey, ev.Key, ev.Venue, ev.Symbol,
		assets, ev.Description, evidence, measures, ev.Source, ev.GetPosition().GetTopic(), ev.GetPosition().GetPartition(), ev.GetPosition().GetOffset(), ev.ConfigHash,
		e.At.Topic, e.At.Number, e.Offset, e.Published.UTC(),
	}, nil
}

// measuresOf writes the measures as {"name": value}; JSON has no NaN or infinity, so those become text as in protojson.
func measuresOf(e *schemas.Event) ([]byte, error) {
	out := make(map[string]any, len(e.GetEvidence().GetMeasures()))
	for _, m := range e.GetEvidence().GetMeasures() {
		v := m.GetValue()
		switch {
		case math.IsNaN(v):
			out[m.GetName()] = "NaN"
		case math.IsInf(v, 1):
			out[m.GetName()] = "Infinity"
		case math.IsInf(v, -1):
			out[m.GetName()] = "-Infinity"
		default:
			out[m.GetName()] = v
		}
	}
	return json.Marshal(out)
}

// Check refuses what PostgreSQL cannot store: zero bytes in texts, and keys too long for an index.
func (w *writer) Check(e *schemas.Event) error {
	for _, f := range [...]struct{ name, value string }{{"id", e.Id}, {"symbol", e.Symbol}} {
		if len(f.value) > maxIndexed {
			return fmt.Errorf("event.%s has %d bytes: PostgreSQL takes at most %d in an index", f.name, len(f.value), maxIndexed)
		}
	}
	texts := []string{
		e.Id, e.Detector, e.Type, e.Severity, e.Status, e.DedupKey, e.Key, e.Venue, e.Symbol, e.Description, e.Source, e.GetPosition().GetTopic(), e.ConfigHash,
		e.GetEvidence().GetThresholdOrigin(),
	}
	texts = append(append(append(texts, e.Assets...), e.GetEvidence().GetLegs()...), e.GetEvidence().GetNotes()...)
	for _, m := range e.GetEvidence().GetMeasures() {
		texts = append(texts, m.GetName(), m.GetUnit())
	}
	for _, s := range texts {
		if strings.IndexByte(s, 0) >= 0 {
			return errors.New("event has a text with a zero byte: PostgreSQL cannot store one")
		}
	}
	return nil
}
