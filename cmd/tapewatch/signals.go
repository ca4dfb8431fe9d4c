package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// withSignals ends the context at the first SIGINT or SIGTERM. A second one, or a drain that takes longer than
// process.drain_timeout, ends the process at once. stop ends the goroutine that waits for them.
func withSignals(parent context.Context, a *app) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	// A closed standard output is an error of the write that meets it, not the death of the process.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case sig := <-signals:
			fmt.Fprintf(a.stderr, "tapewatch: %v: stopping; once more to exit at once\n", sig)
			cancel()
		}
		limit := 30 * time.Second
		if a.settings != nil && a.settings.Process.DrainTimeout > 0 {
			limit = a.settings.Process.DrainTimeout
		}
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
		case sig := <-signals:
			fmt.Fprintf(a.stderr, "tapewatch: %v again: exiting at once\n", sig)
			os.Exit(exitInterrupted)
		case <-timer.C:
			fmt.Fprintf(a.stderr, "tapewatch: stopping took longer than %v: exiting at once\n", limit)
			os.Exit(exitFailure)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
	}
}
