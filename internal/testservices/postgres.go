package testservices

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// sharedPostgres is the DSN of the cluster of the process.
var sharedPostgres = sync.OnceValues(func() (string, error) {
	_, dsn, err := startPostgres()
	return dsn, err
})

// databases counts the databases made, so that each has a name of its own.
var databases atomic.Int64

// Postgres returns the DSN of a fresh, empty database. All of the process are in one cluster, each in its own database,
// which is dropped when the test ends, with whatever connections are still open.
func Postgres(t testing.TB) string {
	t.Helper()
	admin, err := sharedPostgres()
	if err != nil {
		unavailable(t, "PG", err)
	}
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := execute(t.Context(), admin, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The context of the test is over when its cleanups run.
		if err := execute(context.WithoutCancel(t.Context()), admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	dsn, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("reading the DSN of the cluster: %v", err)
	}
	dsn.Path = "/" + name
	return dsn.String()
}

// PostgresServer starts a server for this test alone, which the test may stop and start again. Its data survive that.
func PostgresServer(t testing.TB) *Server {
	t.Helper()
	return newServer(t, "PG", "postgres.sh", startPostgres)
}

func startPostgres() (dir, dsn string, err error) {
	return startOnFreePorts("postgres", []int{0}, func(dir string, port int) (string, error) {
		return script("postgres.sh", "start", dir, strconv.Itoa(port))
	})
}

func execute(ctx context.Context, dsn, statement string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connecting to the test cluster: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("running %q: %w", statement, err)
	}
	return nil
}
