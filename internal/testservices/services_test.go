package testservices

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// childVariable makes this test binary start a server, print its address and die, in the place of its tests.
const childVariable = "TAPEWATCH_TESTSERVICES_CHILD"

// childExit is how the child says that it got as far as dying.
const childExit = 7

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "1" {
		_, dsn, err := startPostgres()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Print(dsn)
		os.Exit(childExit)
	}
	os.Exit(m.Run())
}

func TestPostgresGivesEveryCallAnEmptyDatabase(t *testing.T) {
	first, second := Postgres(t), Postgres(t)
	if first == second {
		t.Fatalf("two calls gave the same database %s", first)
	}
	for _, dsn := range []string{first, second} {
		if err := execute(t.Context(), dsn, "CREATE TABLE here (id int)"); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgresDropsTheDatabase(t *testing.T) {
	var dsn string
	t.Run("a test that leaves a connection open", func(t *testing.T) {
		dsn = Postgres(t)
		if _, err := pgx.Connect(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
	})
	if dsn == "" {
		t.Skip("SKIPPED with the subtest")
	}
	err := execute(t.Context(), dsn, "SELECT 1")
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("connecting to a dropped database: %v, want an error that it does not exist", err)
	}
}

func TestPostgresServerKeepsDataOverARestart(t *testing.T) {
	server := PostgresServer(t)
	if err := execute(t.Context(), server.URL, "CREATE TABLE kept (id int)"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := execute(t.Context(), server.URL, "SELECT 1"); err == nil {
		t.Fatal("the server answers after Stop")
	}
	server.Start()
	if err := execute(t.Context(), server.URL, "INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
}

func TestRedisServerKeepsDataOverARestart(t *testing.T) {
	server := RedisServer(t)
	options, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	server.Stop()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Fatal("the server answers after Stop")
	}
	server.Start()
	if got, err := client.Get(t.Context(), "key").Result(); err != nil || got != "value" {
		t.Fatalf("after the restart the key is %q (error %v), want %q", got, err, "value")
	}
	other, err := redis.ParseURL(Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	if other.Addr == options.Addr {
		t.Fatalf("two calls gave the same server %s", other.Addr)
	}
}

func TestADeadProcessLeavesNoServer(t *testing.T) {
	Postgres(t) // skips where there is none
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childVariable+"=1")
	output, err := child.Output()
	if code := child.ProcessState.ExitCode(); code != childExit {
		t.Fatalf("the child ended with %d (%v), want %d: %s", code, err, childExit, output)
	}
	dsn := string(output)
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatalf("the child printed %q: %v", output, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for execute(t.Context(), dsn, "SELECT 1") == nil {
		if time.Now().After(deadline) {
			t.Fatalf("10 s after its owner the server on port %d still answers", config.Port)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestUnavailable(t *testing.T) {
	absent := fmt.Errorf("starting x: %w", errAbsent)
	broken := fmt.Errorf("starting x: exit code 1")
	for _, test := range []struct {
		name, required string
		err            error
		want           string
	}{
		{"absent", "", absent, "skipped"},
		{"absent but required", "1", absent, "failed"},
		{"broken", "", broken, "failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TAPEWATCH_REQUIRE_X", test.required)
			spy := &spy{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				unavailable(spy, "X", test.err)
			}()
			<-done
			if spy.outcome != test.want {
				t.Fatalf("the test was %q, want %q", spy.outcome, test.want)
			}
		})
	}
}

func TestScriptTellsAbsentFromFailed(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: no bash")
	}
	// Only what the script itself needs is in PATH, so no redis-server.
	bin := t.TempDir()
	for _, name := range []string{"dirname", "env", "bash"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "bash" {
			path = bash
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	_, err = script("redis.sh", "start", t.TempDir(), "1")
	if err == nil || !strings.Contains(err.Error(), errAbsent.Error()) || !strings.Contains(err.Error(), "redis-server is not installed") {
		t.Fatalf("got %v, want an error that redis-server is not installed", err)
	}
}

func TestFreePortAvoidsTakenOnes(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	taken := listener.Addr().(*net.TCPAddr).Port
	if allFree(taken-100, []int{0, 100}) {
		t.Fatalf("port %d is taken and was called free", taken)
	}
	if _, err := freePort([]int{0, 1, 2, 100, 101, 102}); err != nil {
		t.Fatal(err)
	}
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TAPEWATCH_DATA", dir)
	if got := DataDir(t); got != dir {
		t.Errorf("DataDir() = %s, want %s", got, dir)
	}
	t.Setenv("TAPEWATCH_DATA", filepath.Join(dir, "none"))
	if _, err := dataDir(); err == nil || !strings.Contains(err.Error(), "set TAPEWATCH_DATA") {
		t.Errorf("a folder that is not there gave the error %v, want one that names TAPEWATCH_DATA", err)
	}
}

// spy is a test that records how it was ended.
type spy struct {
	testing.TB
	outcome string
}

func (s *spy) Helper() {}

func (s *spy) Skipf(string, ...any) {
	s.outcome = "skipped"
	runtime.Goexit()
}

func (s *spy) Fatal(...any) {
	s.outcome = "failed"
	runtime.Goexit()
}
