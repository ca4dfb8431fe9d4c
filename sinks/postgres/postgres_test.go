package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sinks"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// childVariable makes this test binary a sink that dies in mid-transaction: "brokers dsn batches".
const childVariable = "TAPEWATCH_POSTGRES_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		if err := dyingChild(spec); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func config(dsn string) Config {
	c := Defaults()
	c.URL = secret.New(dsn)
	c.Sink.RetryMin, c.Sink.RetryMax = processor.Duration(10*time.Millisecond), processor.Duration(100*time.Millisecond)
	c.Sink.BreakerTimeout = processor.Duration(500 * time.Millisecond)
	c.Sink.WriteTimeout = processor.Duration(5 * time.Second)
	c.Sink.SessionTimeout = processor.Duration(time.Second)
	return c
}

func newSink(t testing.TB, dsn string, c cluster.Config, change func(*Config)) *Sink {
	t.Helper()
	cfg := config(dsn)
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, Deps{Cluster: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func count(t testing.TB, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&n); err != nil && !strings.Contains(err.Error(), "does not exist") {
		t.Log(err)
		return -1
	}
	return n
}

// checkRows is oracle O8: the table and the topic hold the same ids, both ways, once each.
func checkRows(t *testing.T, pool *pgxpool.Pool, want int) {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT id FROM events")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, id := range ids {
		got[id]++
	}
	missing, twice := 0, 0
	for i := range want {
		id := sinktest.Event(i).Id
		switch got[id] {
		case 0:
			missing++
		case 1:
		default:
			twice++
		}
		delete(got, id)
	}
	if missing > 0 || twice > 0 || len(got) > 0 {
		t.Fatalf("O8: of %d events %d are missing, %d there more than once, and %d rows are not events of the topic", want, missing, twice, len(got))
	}
}

func TestRowsHoldEveryField(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	e := sinktest.Event(5)
	inf := func() float64 { var zero float64; return 1 / zero }()
	e.Evidence.Measures = append(e.Evidence.Measures, &schemas.Measure{Name: "ratio", Value: inf})
	if err := cl.ProduceSync(t.Context(), sinktest.Record(t, e)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	defer sinktest.Run(t, newSink(t, dsn, c, nil).Run)()
	pool := connect(t, dsn)
	sinktest.Eventually(t, 10*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 1 }, "the row is not there")
	var got schemas.Event
	var evidence, measures string
	var at time.Time
	var position schemas.Position
	var logTopic string
	err := pool.QueryRow(t.Context(), `SELECT id, event_time, event_time_ns, detector, detector_version, type, severity, status, dedup_key, key, venue, symbol, assets,
		description, evidence::text, measures::text, source, source_topic, source_partition, source_offset, config_hash, log_topic FROM events`).Scan(
		&got.Id, &at, &got.EventTime, &got.Detector, &got.DetectorVersion, &got.Type, &got.Severity, &got.Status, &got.DedupKey, &got.Key, &got.Venue, &got.Symbol,
		&got.Assets, &got.Description, &evidence, &measures, &got.Source, &position.Topic, &position.Partition, &position.Offset, &got.ConfigHash, &logTopic)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"id": {got.Id, e.Id}, "time": {at.UTC(), eventTime(e).Truncate(time.Microsecond)}, "ns": {got.EventTime, e.EventTime}, "detector": {got.Detector, e.Detector},
		"version": {got.DetectorVersion, e.DetectorVersion}, "type": {got.Type, e.Type}, "severity": {got.Severity, e.Severity}, "status": {got.Status, e.Status},
		"dedup": {got.DedupKey, e.DedupKey}, "key": {got.Key, e.Key}, "venue": {got.Venue, e.Venue}, "symbol": {got.Symbol, e.Symbol},
		"assets": {fmt.Sprint(got.Assets), fmt.Sprint(e.Assets)}, "description": {got.Description, e.Description}, "source": {got.Source, e.Source},
		"topic": {position.Topic, e.Position.Topic}, "partition": {position.Partition, e.Position.Partition}, "offset": {position.Offset, e.Position.Offset},
		"config": {got.ConfigHash, e.ConfigHash}, "log": {logTopic, "events"},
		"measures": {measures, `{"ratio": "Infinity", "change_pct": 0.625, "current_price": 100.625}`},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
	if !strings.Contains(evidence, `"sampleSize": "5"`) {
		t.Errorf("evidence is %s", evidence)
	}
}

func TestDocumentedQueriesAnswer(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	sinktest.Produce(t, sinktest.Client(t, c), 0, 32)
	defer sinktest.Run(t, newSink(t, dsn, c, nil).Run)()
	pool := connect(t, dsn)
	sinktest.Eventually(t, 10*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 32 }, "rows are missing")
	for _, query := range testservices.ExampleLines(t, "docs/events.md", "sql") {
		rows, err := pool.Query(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for rows.Next() {
			found++
		}
		if err := rows.Err(); err != nil || found == 0 {
			t.Errorf("%s: %d rows, error %v; it must give some", query, found, err)
		}
	}
}

func TestDatabaseDownInMidStream(t *testing.T) {
	server := testservices.PostgresServer(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	s := newSink(t, server.URL, c, func(c *Config) { c.Sink.BatchSize = 50 })
	defer sinktest.Run(t, s.Run)()
	sinktest.Produce(t, cl, 0, 500)
	pool := connect(t, server.URL)
	sinktest.Eventually(t, 15*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") >= 100 }, "nothing is written")
	server.Stop()
	sinktest.Produce(t, cl, 500, 1500)
	open := func() bool { return strings.HasPrefix(s.Component().Reason, "breaker open") }
	sinktest.Eventually(t, 10*time.Second, open, "the breaker did not open: %v", s.Component())
	time.Sleep(time.Second) // at least one half-open probe fails
	server.Start()
	sinktest.Eventually(t, 20*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 1500 }, "rows are missing: %v", s.Component())
	checkRows(t, pool, 1500)
	if state := s.Component().State; state != "healthy" {
		t.Errorf("state is %s after recovery, want healthy", state)
	}
}

// dyingChild runs a sink that kills itself with the n-th batch copied and not committed.
func dyingChild(spec string) error {
	var broker, dsn string
	var batches int
	if _, err := fmt.Sscan(spec, &broker, &dsn, &batches); err != nil {
		return err
	}
	c := cluster.Defaults()
	c.Brokers = []string{broker}
	cfg := config(dsn)
	cfg.Sink.BatchSize = 100
	s, err := New(cfg, Deps{Cluster: c})
	if err != nil {
		return err
	}
	s.writer.beforeCommit = func() {
		if batches--; batches == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return s.Run(context.Background())
}

func TestKillBetweenCopyAndCommit(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	const n = 3000
	sinktest.Produce(t, sinktest.Client(t, c), 0, n)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pool := connect(t, dsn)
	kills := 0
	for i := 1; i <= 5; i++ {
		child := exec.Command(self)
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childVariable, c.Brokers[0], dsn, i))
		out, _ := child.CombinedOutput()
		status, _ := child.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Fatalf("O4: child %d did not die by SIGKILL: %s %s", i, child.ProcessState, out)
		}
		kills++
	}
	if got := count(t, pool, "SELECT count(*) FROM events"); got <= 0 || got >= n {
		t.Fatalf("O4: %d rows after %d kills: some but not all should be there", got, kills)
	}
	defer sinktest.Run(t, newSink(t, dsn, c, nil).Run)()
	sinktest.Eventually(t, 30*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") >= n }, "rows are missing")
	checkRows(t, pool, n)
}

// TestNegativeControl shows that the oracle sees what the sink prevents: the same crash with offsets kept apart from rows.
func TestNegativeControl(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	const n = 500
	sinktest.Produce(t, sinktest.Client(t, c), 0, n)
	pool := connect(t, dsn)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE events (id text)"); err != nil {
		t.Fatal(err)
	}
	for _, crash := range []bool{true, false} {
		cl := sinktest.Client(t, c, kgo.ConsumerGroup("naive"), kgo.ConsumeTopics("events"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for seen := 0; seen < n; {
			fetches := cl.PollFetches(t.Context())
			fetches.EachRecord(func(r *kgo.Record) {
				seen++
				e := &schemas.Event{}
				m, err := (&schemas.Decoder{}).Decode("Event", "", r.Value)
				if err == nil {
					e = m.(*schemas.Event)
				}
				if _, err := pool.Exec(t.Context(), "INSERT INTO events VALUES ($1)", e.Id); err != nil {
					t.Fatal(err)
				}
			})
			if crash && seen > 0 {
				break // dies with rows committed and offsets not
			}
		}
		cl.Close()
	}
	if rows, ids := count(t, pool, "SELECT count(*) FROM events"), count(t, pool, "SELECT count(DISTINCT id) FROM events"); rows == ids {
		t.Fatalf("the naive sink left %d rows of %d ids: a crash must show as duplicates, else this test proves nothing", rows, ids)
	}
}

func TestPoisonGoesToDeadLettersAndTheRestFlows(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	sinktest.Produce(t, cl, 0, 50)
	zero := sinktest.Event(1000)
	zero.Description = "a\x00b"
	long := sinktest.Event(1001)
	long.Symbol = strings.Repeat("x", 5000)
	bad := []*kgo.Record{
		{Topic: "events", Key: []byte("k"), Value: []byte{0xff, 0xff}},
		{Topic: "events", Key: []byte("k"), Value: nil},
		sinktest.Record(t, zero), sinktest.Record(t, long),
	}
	if err := cl.ProduceSync(t.Context(), bad...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	sinktest.Produce(t, cl, 50, 100)
	s := newSink(t, dsn, c, nil)
	defer sinktest.Run(t, s.Run)()
	pool := connect(t, dsn)
	sinktest.Eventually(t, 10*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 100 }, "good rows are missing: %v", s.Component())
	checkRows(t, pool, 100)
	if got := sinktest.Ends(t, cl, "dlq"); got != int64(len(bad)) {
		t.Errorf("O9: %d dead letters, want %d", got, len(bad))
	}
}

func TestDataThatOnlyTheDatabaseRefuses(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	s := newSink(t, dsn, c, nil)
	pool := connect(t, dsn)
	if err := Migrate(t.Context(), s.writer.pool); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "ALTER TABLE events ADD CHECK (event_time_ns <> "+strconv.FormatInt(sinktest.Event(37).EventTime, 10)+")"); err != nil {
		t.Fatal(err)
	}
	sinktest.Produce(t, cl, 0, 200)
	defer sinktest.Run(t, s.Run)()
	sinktest.Eventually(t, 10*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 199 }, "rows are missing: %v", s.Component())
	if got := sinktest.Ends(t, cl, "dlq"); got != 1 {
		t.Errorf("O9: %d dead letters, want 1", got)
	}
	if got := s.Component(); got.State != "healthy" {
		t.Errorf("component is %v: refused data are not the database's fault", got)
	}
}

func TestTwoOwnersCannotBothWrite(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	const n = 2000
	sinktest.Produce(t, sinktest.Client(t, c), 0, n)
	// Two sinks in different groups both believe to own every partition: the worst zombie there is.
	first := newSink(t, dsn, c, func(c *Config) { c.Sink.BatchSize = 100 })
	second := newSink(t, dsn, c, nil)
	other, err := sinks.New(sinks.Options{Name: "zombie", Cluster: c, Config: first.writer.config.Sink, Writer: second.writer})
	if err != nil {
		t.Fatal(err)
	}
	second.Consumer = other
	var once sync.Once
	stall := make(chan struct{})
	first.writer.beforeCommit = func() { once.Do(func() { close(stall); time.Sleep(300 * time.Millisecond) }) }
	defer sinktest.Run(t, first.Run)()
	<-stall
	defer sinktest.Run(t, second.Run)()
	pool := connect(t, dsn)
	sinktest.Eventually(t, 30*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") >= n }, "rows are missing: %v %v", first.Component(), second.Component())
	checkRows(t, pool, n)
}

func TestMonthsAreMadeAndDropped(t *testing.T) {
	dsn := testservices.Postgres(t)
	c := sinktest.Broker(t)
	cl := sinktest.Client(t, c)
	pool := connect(t, dsn)
	now := sinktest.Start.UTC()
	var records []*kgo.Record
	for i, age := range []time.Duration{0, 40 * 24 * time.Hour, 400 * 24 * time.Hour} {
		e := sinktest.Event(i)
		e.EventTime = int64(sinktest.Start.Add(-age))
		e.Id = schemas.EventID(e, uint32(i))
		records = append(records, sinktest.Record(t, e))
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, dsn, c, func(c *Config) { c.Retention = processor.Duration(90 * 24 * time.Hour) })
	s.writer.now = func() time.Time { return now }
	stop := sinktest.Run(t, s.Run)
	sinktest.Eventually(t, 10*time.Second, func() bool { return count(t, pool, "SELECT count(*) FROM events") == 2 }, "rows are missing: %v", s.Component())
	if got := count(t, pool, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"); got != 4 {
		t.Errorf("%d partitions, want 4: August (on demand), September, October, November (ahead)", got)
	}
	stop()
	later := newSink(t, dsn, c, func(c *Config) { c.Retention = processor.Duration(90 * 24 * time.Hour) })
	later.writer.now = func() time.Time { return now.AddDate(0, 3, 0) }
	defer sinktest.Run(t, later.Run)()
	sinktest.Produce(t, cl, 10, 11)
	sinktest.Eventually(t, 10*time.Second, func() bool {
		return count(t, pool, "SELECT count(*) FROM events") == 2 && count(t, pool, "SELECT count(*) FROM events WHERE event_time < '2026-09-01'") == 0
	}, "August is not dropped")
}

func TestMigrateTwiceAtOnce(t *testing.T) {
	pool := connect(t, testservices.Postgres(t))
	errs := make(chan error, 3)
	for range 3 {
		go func() { errs <- Migrate(t.Context(), pool) }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestConfigNamesFieldValueAndRule(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"postgres.url is empty":          func(c *Config) { c.URL = secret.Secret{} },
		"postgres.url cannot be read":    func(c *Config) { c.URL = secret.New("postgres://u:hunter2@h:port/x") },
		"postgres.retention is 1h0m0s":   func(c *Config) { c.Retention = processor.Duration(time.Hour) },
		"postgres.months_ahead is 99":    func(c *Config) { c.MonthsAhead = 99 },
		"batch_size is 0":                func(c *Config) { c.Sink.BatchSize = 0 },
		"retry_min is 1s and retry_max ": func(c *Config) { c.Sink.RetryMin, c.Sink.RetryMax = processor.Duration(time.Second), 1 },
	} {
		c := config("postgres://tapewatch@127.0.0.1:1/x")
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error with %q and without the password", err, want)
		}
	}
}

// BenchmarkWrite measures events/s into real tables, 10,000 a batch.
func BenchmarkWrite(b *testing.B) {
	dsn := testservices.Postgres(b)
	c := sinktest.Broker(b)
	cl := sinktest.Client(b, c)
	const n = 300_000
	for i := 0; i < n; i += 10_000 {
		sinktest.Produce(b, cl, i, i+10_000)
	}
	pool := connect(b, dsn)
	for b.Loop() {
		_, _ = pool.Exec(b.Context(), "DROP TABLE IF EXISTS events, sink_positions, goose_db_version")
		s := newSink(b, dsn, c, nil)
		begin := time.Now()
		stop := sinktest.Run(b, s.Run)
		sinktest.Eventually(b, time.Minute, func() bool { return s.Component().Measures[0].Value >= n }, "not all written")
		b.ReportMetric(n/time.Since(begin).Seconds(), "events/s")
		stop()
	}
}
