package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A database that is replaced under a running sink is prepared anew, whichever statement finds it so.
func TestReplacedDatabaseIsPreparedAnew(t *testing.T) {
	p := sinks.Partition{Topic: "events", Number: 0}
	start := map[sinks.Partition]int64{p: 0}
	one := func(i int, at time.Time) sinks.Batch {
		e := sinktest.Event(i)
		e.EventTime = at.UnixNano()
		return sinks.Batch{
			Entries: []sinks.Entry{{Event: e, At: p, Offset: int64(i)}},
			From:    map[sinks.Partition]int64{p: int64(i)}, Next: map[sinks.Partition]int64{p: int64(i + 1)},
		}
	}
	for name, c := range map[string]struct {
		later, older time.Duration // of the clock, of the event
		find         func(w *writer, b sinks.Batch) error
	}{
		"storing":           {},
		"upkeep":            {later: upkeepEvery},
		"a month not there": {older: 60 * 24 * time.Hour},
		"positions":         {find: func(w *writer, _ sinks.Batch) error { _, err := w.Positions(t.Context(), start); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := testservices.Postgres(t)
			w := newSink(t, dsn, cluster.Defaults(), func(c *Config) { c.Retention = processor.Duration(90 * 24 * time.Hour) }).writer
			defer w.pool.Close()
			now := sinktest.Start.UTC()
			w.now = func() time.Time { return now }
			if _, err := w.Positions(t.Context(), start); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(t.Context(), one(0, now)); err != nil {
				t.Fatal(err)
			}
			pool := connect(t, dsn)
			if _, err := pool.Exec(t.Context(), "DROP TABLE events, sink_positions, goose_db_version"); err != nil {
				t.Fatal(err)
			}
			next := one(1, now.Add(-c.older))
			now = now.Add(c.later)
			find := c.find
			if find == nil {
				find = func(w *writer, b sinks.Batch) error { _, err := w.Write(t.Context(), b); return err }
			}
			var data *sinks.DataError
			if err := find(w, next); err == nil || errors.As(err, &data) || !strings.Contains(err.Error(), "42P01") {
				t.Fatalf("without its tables it gave %v, want 42P01, which is not the data's fault", err)
			}
			if _, err := w.Write(t.Context(), next); !errors.Is(err, sinks.ErrMoved) {
				t.Fatalf("the try after that gave %v, want ErrMoved: the tables are made anew, without the position", err)
			}
			at, err := w.Positions(t.Context(), start)
			if err != nil || at[p] != 0 {
				t.Fatalf("it stands at %d, error %v; want 0", at[p], err)
			}
			for i, b := range []sinks.Batch{one(0, now), next} {
				if _, err := w.Write(t.Context(), b); err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
			}
			if got := count(t, pool, "SELECT count(*) FROM events"); got != 2 {
				t.Errorf("%d rows, want 2", got)
			}
		})
	}
}
