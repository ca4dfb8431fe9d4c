package main

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tapewatch/tapewatch/internal/testservices"
)

// TestRealScripts runs the scripts that want Kafka, PostgreSQL and Redis themselves.
func TestRealScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it starts three servers, and -short is given")
	}
	brokers, database, cache := testservices.Kafka(t), testservices.Postgres(t), testservices.Redis(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real", RequireExplicitExec: true, Deadline: time.Now().Add(5 * time.Minute),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"until": until},
		Setup: func(env *testscript.Env) error {
			env.Setenv("TAPEWATCH_KAFKA__BROKERS", brokers)
			env.Setenv("TAPEWATCH_KAFKA__PREFIX", "cli.")
			env.Setenv("TAPEWATCH_SINKS__POSTGRES__URL", database)
			env.Setenv("TAPEWATCH_SINKS__REDIS__URL", cache)
			return nil
		},
	})
}
