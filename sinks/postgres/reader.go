package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks/feed"
)

// Reader answers queries for events from the database.
type Reader struct{ pool *pgxpool.Pool }

// NewReader makes a Reader; it connects at the first query.
func NewReader(c Config) (*Reader, error) {
	pool, err := newPool(c)
	if err != nil {
		return nil, err
	}
	return &Reader{pool}, nil
}

// Close ends the connections.
func (r *Reader) Close() { r.pool.Close() }

// Recent returns the newest events that a query chooses, newest event time first.
func (r *Reader) Recent(ctx context.Context, q feed.Query) ([]*schemas.Event, error) {
	var where []string
	var args []any
	in := func(column string, values []string) {
		if len(values) > 0 {
			args = append(args, values)
			where = append(where, fmt.Sprintf("%s = ANY($%d)", column, len(args)))
		}
	}
	in("type", q.Filter.Types)
	in("severity", q.Filter.Severities)
	in("detector", q.Filter.Detectors)
	in("symbol", q.Filter.Symbols)
	in("venue", q.Filter.Venues)
	if q.BeforeID != "" {
		// event_time alone lets the planner leave out partitions; the exact comparison is by nanoseconds.
		args = append(args, q.BeforeTime.UTC(), int64(q.BeforeTime), q.BeforeID)
		n := len(args)
		where = append(where, fmt.Sprintf("event_time <= $%d AND (event_time_ns, id) < ($%d, $%d)", n-2, n-1, n))
	}
	condition := ""
	if len(where) > 0 {
		condition = " WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, q.Limit)
	rows, err := r.pool.Query(ctx, `SELECT id, event_time_ns, detector, detector_version, type, severity, status, dedup_key, key, venue, symbol, assets,
		description, evidence, source, source_topic, source_partition, source_offset, config_hash FROM events`+condition+
		fmt.Sprintf(" ORDER BY event_time DESC, event_time_ns DESC, id DESC LIMIT $%d", len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("querying events: %w", err)
	}
	events, err := pgx.CollectRows(rows, scanEvent)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return events, nil
}

func scanEvent(row pgx.CollectableRow) (*schemas.Event, error) {
	e := &schemas.Event{Position: &schemas.Position{}}
	var evidence json.RawMessage
	err := row.Scan(&e.Id, &e.EventTime, &e.Detector, &e.DetectorVersion, &e.Type, &e.Severity, &e.Status, &e.DedupKey, &e.Key, &e.Venue, &e.Symbol, &e.Assets,
		&e.Description, &evidence, &e.Source, &e.Position.Topic, &e.Position.Partition, &e.Position.Offset, &e.ConfigHash)
	if err != nil {
		return nil, err
	}
	if len(evidence) > 0 {
		e.Evidence = &schemas.Evidence{}
		if err := protojson.Unmarshal(evidence, e.Evidence); err != nil {
			return nil, fmt.Errorf("reading the evidence of %s: %w", e.Id, err)
		}
	}
	return e, nil
}
