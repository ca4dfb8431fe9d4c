package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tapewatch/tapewatch/sinks"
)

// writer is the sinks.Writer of PostgreSQL.
type writer struct {
	config Config
	pool   *pgxpool.Pool
	log    *slog.Logger
	now    func() time.Time

	// mu guards the preparation, which the first call of either method makes.
	mu       sync.Mutex
	prepared bool
	// months that have a partition, as far as this process knows.
	months sync.Map
	// upkept is when partitions were last made ahead and dropped; owned by Write.
	upkept time.Time

	// beforeCommit is where tests let the process die, with the rows copied and the transaction open.
	beforeCommit func()
}

// upkeepEvery is how often partitions are made ahead and dropped.
const upkeepEvery = time.Hour

// stage is made once per connection. Its rows go when the transaction ends.
const stage = `CREATE TEMP TABLE IF NOT EXISTS events_stage (LIKE events INCLUDING DEFAULTS) ON COMMIT DELETE ROWS`

func newPool(c Config) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(c.URL.Reveal())
	if err != nil {
		return nil, errors.New("reading postgres.url: it must be like postgres://user:password@host:5432/database")
	}
	pc.MaxConns = 4
	pc.ConnConfig.RuntimeParams["application_name"] = "tapewatch"
	pool, err := pgxpool.NewWithConfig(context.Background(), pc) //nolint:forbidigo // the pool outlives every call; Close ends it
	if err != nil {
		return nil, fmt.Errorf("making the connection pool: %w", err)
	}
	return pool, nil
}

// prepare migrates and makes the first partitions, once.
func (w *writer) prepare(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.prepared {
		return nil
	}
	if err := Migrate(ctx, w.pool); err != nil {
		return err
	}
	if err := w.ahead(ctx); err != nil {
		return err
	}
	w.prepared = true
	return nil
}

// Positions returns the stored positions; it stores the start of the log for partitions that have none.
func (w *writer) Positions(ctx context.Context, start map[sinks.Partition]int64) (map[sinks.Partition]int64, error) {
	if err := w.prepare(ctx); err != nil {
		return nil, w.forget(err)
	}
	out := make(map[sinks.Partition]int64, len(start))
	for p, from := range start {
		var next int64
		err := w.pool.QueryRow(ctx, `INSERT INTO sink_positions (topic, partition, next_offset) VALUES ($1, $2, $3)
			ON CONFLICT (topic, partition) DO UPDATE SET topic = excluded.topic RETURNING next_offset`, p.Topic, p.Number, from).Scan(&next)
		if err != nil {
			return nil, w.forget(fmt.Errorf("reading the position of %s/%d: %w", p.Topic, p.Number, err))
		}
		out[p] = next
	}
	return out, nil
}

// Write stores one batch in one transaction.
func (w *writer) Write(ctx context.Context, b sinks.Batch) (sinks.Result, error) {
	if err := w.upkeep(ctx); err != nil {
		return sinks.Result{}, w.forget(err)
	}
	kept := w.withinRetention(b.Entries)
	if err := w.ensure(ctx, kept); err != nil {
		return sinks.Result{}, w.forget(err)
	}
	var inserted int64
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) (err error) {
		if err := move(ctx, tx, b); err != nil {
			return err
		}
		if len(kept) > 0 {
			if inserted, err = insert(ctx, tx, kept); err != nil {
				return err
			}
		}
		if w.beforeCommit != nil {
			w.beforeCommit()
		}
		return nil
	})
	if err != nil {
		return sinks.Result{}, classify(w.forget(err))
	}
	return sinks.Result{Written: int(inserted), Duplicates: len(kept) - int(inserted), Expired: len(b.Entries) - len(kept)}, nil
}

// move moves the positions, from exactly where the consumer thinks they are. The row locks keep a second owner waiting until
// the transaction ends; it then finds the position moved.
func move(ctx context.Context, tx pgx.Tx, b sinks.Batch) error {
	var topics []string
	var partitions []int32
	var from, next []int64
	for p, to := range b.Next {
		topics, partitions, from, next = append(topics, p.Topic), append(partitions, p.Number), append(from, b.From[p]), append(next, to)
	}
	tag, err := tx.Exec(ctx, `UPDATE sink_positions s SET next_offset = m.next, updated_at = now()
		FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS m (topic, partition, was, next)
		WHERE s.topic = m.topic AND s.partition = m.partition AND s.next_offset = m.was`, topics, partitions, from, next)
	if err != nil {
		return fmt.Errorf("moving the positions: %w", err)
	}
	if int(tag.RowsAffected()) != len(topics) {
		return fmt.Errorf("%w: %d of %d partitions stand where this process left them", sinks.ErrMoved, tag.RowsAffected(), len(topics))
	}
	return nil
}

// insert copies the entries as rows and inserts them from the copy; it returns how many were new. Rows are made while the
// server takes in those before them.
func insert(ctx context.Context, tx pgx.Tx, entries []sinks.Entry) (int64, error) {
	if _, err := tx.Exec(ctx, stage); err != nil {
		return 0, fmt.Errorf("making the staging table: %w", err)
	}
	var refused error // of a row; what the server says then is only that the copy was broken off
	rows := pgx.CopyFromSlice(len(entries), func(i int) (values []any, err error) {
		values, refused = row(entries[i])
		return values, refused
	})
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"events_stage"}, columns, rows); err != nil {
		return 0, fmt.Errorf("copying %d rows: %w", len(entries), cmp.Or(refused, err))
	}
	names := strings.Join(columns, ", ")
	tag, err := tx.Exec(ctx, "INSERT INTO events ("+names+") SELECT "+names+" FROM events_stage ON CONFLICT DO NOTHING")
	if err != nil {
		return 0, fmt.Errorf("inserting %d rows: %w", len(entries), err)
	}
	return tag.RowsAffected(), nil
}

// withinRetention leaves out events so old that their partition would be dropped again.
func (w *writer) withinRetention(entries []sinks.Entry) []sinks.Entry {
	oldest := time.Time(w.oldest())
	if oldest.IsZero() {
		return entries
	}
	kept := make([]sinks.Entry, 0, len(entries))
	for _, e := range entries {
		if !eventTime(e.Event).Before(oldest) {
			kept = append(kept, e)
		}
	}
	return kept
}

func (w *writer) upkeep(ctx context.Context) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	now := w.now()
	if now.Sub(w.upkept) < upkeepEvery {
		return nil
	}
	if err := w.ahead(ctx); err != nil {
		return err
	}
	if err := w.drop(ctx); err != nil {
		return err
	}
	w.upkept = now
	return nil
}

// forget drops what an error shows to be true no more, so that the next call prepares anew. It returns the error.
func (w *writer) forget(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	switch {
	case noPartition(pe): // somebody dropped one that this process had seen
		w.months.Clear()
	case pe.Code == "42P01": // undefined_table: the database was replaced
		w.mu.Lock()
		w.prepared = false
		w.mu.Unlock()
		w.months.Clear()
	}
	return err
}

func noPartition(pe *pgconn.PgError) bool {
	return pe.Code == "23514" && strings.Contains(pe.Message, "no partition")
}

// classify tells refused data from a database in trouble. It is for errors of storing a batch only: DDL has codes of the same
// classes, as 23505 where two processes make one table, and no data to blame.
func classify(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || len(pe.Code) < 2 || noPartition(pe) {
		return err
	}
	switch pe.Code[:2] {
	case "22", "23", "54": // data exception, integrity, program limit
		return &sinks.DataError{Err: err}
	}
	return err
}
