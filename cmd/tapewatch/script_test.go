package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tapewatch/tapewatch/stream/embedded"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapewatch": main})
}

// TestScripts runs every script of testdata/script against an embedded broker of its own, whose address the program gets by
// the environment.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: withBroker, RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "", Deadline: time.Now().Add(4 * time.Minute)})
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
	env.Setenv("BROKER", broker.Addr())
	return nil
}
