package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/stream/embedded"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapewatch": main})
}

// TestScripts runs every script of testdata/script against an embedded broker of its own, whose address the program gets by
// the environment.
func TestScripts(t *testing.T) { runScripts(t, "script") }

// TestLongScripts runs those of testdata/long in the same way, which take hours of the market through the program.
func TestLongScripts(t *testing.T) {
	testservices.Study(t)
	runScripts(t, "long")
}

func runScripts(t *testing.T, dir string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", dir), Setup: withBroker, RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "",
		Deadline: time.Now().Add(10 * time.Minute), Cmds: map[string]func(*testscript.TestScript, bool, []string){"produce": produce, "registry": startRegistry, "website": website, "until": until, "members": members},
	})
}

func withBroker(env *testscript.Env) error {
	broker, err := embedded.Start(embedded.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		return fmt.Errorf("starting the broker of a script: %w", err)
	}
	env.Defer(func() {
		if err := broker.Close(); err != nil {
			env.T().Log("closing the broker:", err)
		}
	})
	env.Setenv("TAPEWATCH_KAFKA__BROKERS", broker.Addr())
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections come about and nobody answers
	if err != nil {
		return fmt.Errorf("opening the silent port of a script: %w", err)
	}
	env.Defer(func() { _ = silent.Close() })
	env.Setenv("SILENT", silent.Addr().String())
	for _, name := range []string{"PORT", "PORT2"} {
		port, err := freePort()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	return nil
}

// produce TOPIC KEY VALUE writes a raw record; its key is KEY, or what is in the file of @FILE.
func produce(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: produce TOPIC KEY VALUE")
	}
	key := args[1]
	if file, ok := strings.CutPrefix(key, "@"); ok {
		key = ts.ReadFile(file)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("TAPEWATCH_KAFKA__BROKERS")))
	ts.Check(err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ts.Check(cl.ProduceSync(ctx, &kgo.Record{Topic: args[0], Key: []byte(key), Value: []byte(args[2])}).FirstErr())
}

// members GROUP N wants a group to have so many members.
func members(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: members GROUP N")
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("TAPEWATCH_KAFKA__BROKERS")))
	ts.Check(err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	groups, err := kadm.NewClient(cl).DescribeGroups(ctx, args[0])
	ts.Check(err)
	if n := strconv.Itoa(len(groups[args[0]].Members)); n != args[1] {
		ts.Fatalf("group %s has %s members, want %s", args[0], n, args[1])
	}
}

// startRegistry runs a schema registry until the script ends.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: registry")
	}
	fake := srfake.New()
	ts.Defer(fake.Close)
	ts.Setenv("TAPEWATCH_KAFKA__SCHEMA_REGISTRY", fake.URL())
}

// freePort returns a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// until COMMAND... runs a command until it succeeds, for three minutes at most.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND...")
	}
	var err error
	for began := time.Now(); time.Since(began) < 3*time.Minute; time.Sleep(100 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("%v did not succeed in three minutes: %v", args, err)
}

// website serves a folder of the script over HTTP and puts its address into WWW: `website FOLDER`.
func website(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: website FOLDER")
	}
	s := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(s.Close)
	ts.Setenv("WWW", s.URL)
}
