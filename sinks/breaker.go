package sinks

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sony/gobreaker/v2"
)

// shutdownGrace is how long a write that is under way may go on after the process was asked to stop.
const shutdownGrace = 5 * time.Second

func (c *Consumer) newBreaker() *gobreaker.CircuitBreaker[Result] {
	gauge := c.options.Metrics.breaker.WithLabelValues(c.options.Name)
	gauge.Set(float64(gobreaker.StateClosed))
	return gobreaker.NewCircuitBreaker[Result](gobreaker.Settings{
		Name:        c.options.Name,
		Timeout:     c.config.BreakerTimeout.D(),
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.config.BreakerFailures },
		// Not the other side's fault: the process stops, the position was taken over, the record is bad.
		IsExcluded: func(err error) bool {
			var data *DataError
			return errors.Is(err, context.Canceled) || errors.Is(err, ErrMoved) || errors.As(err, &data)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			gauge.Set(float64(to))
			c.log.Warn("breaker changed", "sink", c.options.Name, "from", from.String(), "to", to.String())
		},
	})
}

// persist calls f behind the breaker until it succeeds, or fails for a reason that trying again cannot heal.
func (c *Consumer) persist(ctx context.Context, f func(context.Context) (Result, error)) (Result, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = c.config.RetryMin.D(), c.config.RetryMax.D(), 0.5
	for {
		result, err := c.breaker.Execute(func() (Result, error) { return c.timed(ctx, f) })
		c.noteError(err)
		var data *DataError
		if err == nil || errors.Is(err, ErrMoved) || errors.As(err, &data) {
			return result, err
		}
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		wait := pause.NextBackOff()
		if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
			// Asking an open breaker costs nothing, so ask often enough to be prompt when it half-opens.
			wait = min(max(c.config.BreakerTimeout.D()/20, 10*time.Millisecond), time.Second)
		} else {
			c.options.Metrics.failures.WithLabelValues(c.options.Name).Inc()
			c.log.Warn("write failed, trying again", "sink", c.options.Name, "error", err, "in", wait)
		}
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// timed gives f the time that one write may take. A stop of the process does not cut a write short at once: what is under
// way may end, so that the next start finds nothing to repeat.
func (c *Consumer) timed(ctx context.Context, f func(context.Context) (Result, error)) (Result, error) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.config.WriteTimeout.D())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-limited.Done():
		case <-time.After(shutdownGrace):
			cancel()
		}
	})()
	return f(limited)
}
