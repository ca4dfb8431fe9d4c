package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestSuperviseGivesUpAfterFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		runs := 0
		err := supervise(t.Context(), supervisionDefaults(), slog.New(slog.DiscardHandler), "sink", func(context.Context) error {
			runs++
			if runs == 3 { // worked for long: the count begins again
				time.Sleep(time.Hour)
			}
			return broken
		})
		// Runs 1 and 2 fail, run 3 was well and its failure is the first of four.
		if !errors.Is(err, broken) || runs != 6 {
			t.Errorf("%d runs and %v, want 6 and the last error", runs, err)
		}
	})
}

func TestSuperviseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		if err := supervise(t.Context(), supervisionDefaults(), log, "source", func(context.Context) error { return nil }); err != nil {
			t.Errorf("a source that came to its end: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(2 * time.Second)
			cancel()
		}()
		began := time.Now()
		err := supervise(ctx, supervisionDefaults(), log, "source", func(context.Context) error { return errors.New("broken") })
		if err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("stopped during a pause: %v after %v, want nil after 2s", err, time.Since(began))
		}
	})
}
