package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// supervisionConfig is how sources and sinks that fail are started again. Processors are not: they heal themselves, and what
// they cannot heal ends the process.
type supervisionConfig struct {
	RetryAttempts int           `koanf:"retry_attempts" doc:"Restarts in a row of a venue or sink that fails, before the process gives up; -1 for ever."`
	RetryDelay    time.Duration `koanf:"retry_delay" doc:"Pause before the first restart; doubles, with jitter, up to retry_max_delay."`
	RetryMaxDelay time.Duration `koanf:"retry_max_delay" doc:"Longest pause before a restart."`
	WellAfter     time.Duration `koanf:"well_after" doc:"A source or sink that ran so long counts as well: its next failure is the first again."`
}

func supervisionDefaults() supervisionConfig {
	return supervisionConfig{RetryAttempts: 3, RetryDelay: 5 * time.Second, RetryMaxDelay: time.Minute, WellAfter: time.Minute}
}

// Validate checks the settings.
func (c supervisionConfig) Validate() error {
	switch {
	case c.RetryAttempts < -1:
		return fmt.Errorf("supervision.retry_attempts is %d: it must be -1 or more", c.RetryAttempts)
	case c.RetryDelay <= 0:
		return fmt.Errorf("supervision.retry_delay is %v: it must be greater than zero", c.RetryDelay)
	case c.RetryMaxDelay < c.RetryDelay:
		return fmt.Errorf("supervision.retry_max_delay is %v: it must be at least retry_delay (%v)", c.RetryMaxDelay, c.RetryDelay)
	case c.WellAfter <= 0:
		return fmt.Errorf("supervision.well_after is %v: it must be greater than zero", c.WellAfter)
	}
	return nil
}

// supervise runs a source or sink again when it fails. It returns nil when run ended without an error or ctx is done, and the
// last error after too many failures in a row.
func supervise(ctx context.Context, c supervisionConfig, log *slog.Logger, name string, run func(context.Context) error) error {
	pause := &backoff.ExponentialBackOff{InitialInterval: c.RetryDelay, MaxInterval: c.RetryMaxDelay, Multiplier: 2, RandomizationFactor: 0.5}
	failures := 0
	for {
		began := time.Now()
		err := run(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped: what a part says then is no failure
		}
		if err == nil {
			return nil
		}
		if time.Since(began) >= c.WellAfter {
			failures = 0
			pause.Reset()
		}
		failures++
		if c.RetryAttempts == 0 {
			return fmt.Errorf("running %s: %w", name, err)
		}
		if c.RetryAttempts > 0 && failures > c.RetryAttempts {
			return fmt.Errorf("running %s: giving up after %d restarts: %w", name, c.RetryAttempts, err)
		}
		wait := pause.NextBackOff()
		log.Error("a part failed and is started again", slog.String("part", name), slog.Any("error", err), slog.Int("attempt", failures), slog.Duration("pause", wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
