package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tapewatch/tapewatch/stream/embedded"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapewatch": main})
}

// TestScripts runs every script of testdata/script against an embedded broker of its own, whose address the program gets by
// the environment.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Setup: withBroker, RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "",
		Deadline: time.Now().Add(4 * time.Minute), Cmds: map[string]func(*testscript.TestScript, bool, []string){"produce": produce, "registry": startRegistry},
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
	return nil
}

// produce TOPIC KEY VALUE writes a raw record.
func produce(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: produce TOPIC KEY VALUE")
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("TAPEWATCH_KAFKA__BROKERS")))
	ts.Check(err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ts.Check(cl.ProduceSync(ctx, &kgo.Record{Topic: args[0], Key: []byte(args[1]), Value: []byte(args[2])}).FirstErr())
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
