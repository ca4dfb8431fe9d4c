package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tapewatch/tapewatch/sinks"
)

// partitionLock is the key of the advisory lock under which partitions are made and dropped.
const partitionLock = 0x7461706577617463 // "tapewatc"

// month is the first instant of a month, UTC.
type month time.Time

func monthOf(t time.Time) month {
	t = t.UTC()
	return month(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC))
}

func (m month) next() month       { return month(time.Time(m).AddDate(0, 1, 0)) }
func (m month) start() string     { return time.Time(m).Format("2006-01-02") + " 00:00:00+00" }
func (m month) partition() string { return "events_" + time.Time(m).Format("2006_01") }

// ensure makes the partitions that the entries need and that this process has not seen yet.
func (w *writer) ensure(ctx context.Context, entries []sinks.Entry) error {
	missing := map[month]bool{}
	var last month
	for i := range entries {
		m := monthOf(eventTime(entries[i].Event))
		if m == last {
			continue
		}
		last = m
		if _, made := w.months.Load(m); !made {
			missing[m] = true
		}
	}
	return w.makeMonths(ctx, missing)
}

// ahead makes the partitions of this month and the next ones, so that the first event of a month does not wait for one.
func (w *writer) ahead(ctx context.Context) error {
	months := map[month]bool{}
	m := monthOf(w.now())
	for range w.config.MonthsAhead + 1 {
		if _, made := w.months.Load(m); !made {
			months[m] = true
		}
		m = m.next()
	}
	return w.makeMonths(ctx, months)
}

func (w *writer) makeMonths(ctx context.Context, months map[month]bool) error {
	if len(months) == 0 {
		return nil
	}
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(partitionLock)); err != nil {
			return err
		}
		for m := range months {
			// The names are made of digits only; DDL takes no parameters.
			_, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s PARTITION OF events FOR VALUES FROM ('%s') TO ('%s')",
				m.partition(), m.start(), m.next().start()))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("making %d monthly partitions: %w", len(months), err)
	}
	for m := range months {
		w.months.Store(m, true)
	}
	return nil
}

// oldest returns the first month that is kept; the zero month keeps all.
func (w *writer) oldest() month {
	if w.config.Retention == 0 {
		return month{}
	}
	return monthOf(w.now().Add(-w.config.Retention.D()))
}

// drop removes the partitions of months that ended before the retention began.
func (w *writer) drop(ctx context.Context) error {
	oldest := w.oldest()
	if oldest == (month{}) {
		return nil
	}
	rows, err := w.pool.Query(ctx, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass")
	if err != nil {
		return fmt.Errorf("listing the partitions: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("listing the partitions: %w", err)
	}
	for _, name := range names {
		at, err := time.Parse("2006_01", strings.TrimPrefix(name, "events_"))
		if err != nil || !at.Before(time.Time(oldest)) {
			continue // somebody else's, or still in its time
		}
		if _, err := w.pool.Exec(ctx, "DROP TABLE IF EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("dropping partition %s: %w", name, err)
		}
		w.months.Delete(month(at))
		w.log.Info("partition dropped", "partition", name)
	}
	return nil
}
