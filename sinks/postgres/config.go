// Package postgres writes events into PostgreSQL, each row exactly once.
//
// A batch is one transaction: the sink's positions move from where they were (or the transaction is given up), the rows are
// copied into a temporary table and inserted from there, duplicates by id falling out. A crash at any point leaves either
// all of it or nothing, and the next start goes on from the positions in the database. Two processes that believe to own
// the same partition cannot both write: the second finds the position moved.
package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Config says where the database is and what it keeps.
type Config struct {
	URL         secret.Secret      `koanf:"url" doc:"Connection string, postgres://user:password@host:port/database."`
	Retention   processor.Duration `koanf:"retention" doc:"Months that ended longer ago than this are dropped, and older events not written; 0 keeps everything."`
	MonthsAhead int                `koanf:"months_ahead" doc:"Monthly partitions made ahead of the current month."`
	Sink        sinks.Config       `koanf:"sink" doc:"Batches, retries and breaker."`
}

// Defaults keeps everything, two months ahead.
func Defaults() Config { return Config{MonthsAhead: 2, Sink: sinks.Defaults()} }

// Validate checks the settings. The connection string is never part of the message.
func (c Config) Validate() error {
	if c.URL.IsZero() {
		return errors.New("postgres.url is empty: it must be like postgres://user:password@host:5432/database")
	}
	if _, err := pgxpool.ParseConfig(c.URL.Reveal()); err != nil {
		return errors.New("postgres.url cannot be read: it must be like postgres://user:password@host:5432/database")
	}
	if c.Retention != 0 && c.Retention.D() < 24*time.Hour {
		return fmt.Errorf("postgres.retention is %s: it must be 0 or at least 24h", c.Retention.D())
	}
	if c.MonthsAhead < 0 || c.MonthsAhead > 24 {
		return fmt.Errorf("postgres.months_ahead is %d: it must lie in 0..24", c.MonthsAhead)
	}
	return c.Sink.Validate()
}
