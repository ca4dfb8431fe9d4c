package sinks

import (
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/stream/processor"
)

// Config is what every sink that reads as a group has in common.
type Config struct {
	BatchSize       int                `koanf:"batch_size" doc:"Most events written at once."`
	WriteTimeout    processor.Duration `koanf:"write_timeout" doc:"How long one write may take before it counts as failed."`
	BreakerFailures uint32             `koanf:"breaker_failures" doc:"Consecutive failures after which the breaker opens."`
	BreakerTimeout  processor.Duration `koanf:"breaker_timeout" doc:"How long the breaker stays open before one write is tried again."`
	RetryMin        processor.Duration `koanf:"retry_min" doc:"Pause after the first failed write; doubles up to retry_max."`
	RetryMax        processor.Duration `koanf:"retry_max" doc:"Longest pause between two tries of a write."`
	SessionTimeout  processor.Duration `koanf:"session_timeout" doc:"After this long without a heartbeat the group takes the partitions away."`
}

// Defaults are the settings that the documentation names.
func Defaults() Config {
	return Config{
		BatchSize: 10_000, WriteTimeout: processor.Duration(30 * time.Second),
		BreakerFailures: 5, BreakerTimeout: processor.Duration(time.Minute),
		RetryMin: processor.Duration(100 * time.Millisecond), RetryMax: processor.Duration(5 * time.Second),
		SessionTimeout: processor.Duration(6 * time.Second),
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.BatchSize < 1 || c.BatchSize > 100_000:
		return fmt.Errorf("batch_size is %d: it must lie in 1..100000", c.BatchSize)
	case c.WriteTimeout <= 0:
		return fmt.Errorf("write_timeout is %s: it must be greater than zero", c.WriteTimeout.D())
	case c.BreakerFailures < 1:
		return fmt.Errorf("breaker_failures is %d: it must be at least 1", c.BreakerFailures)
	case c.BreakerTimeout <= 0:
		return fmt.Errorf("breaker_timeout is %s: it must be greater than zero", c.BreakerTimeout.D())
	case c.RetryMin <= 0 || c.RetryMax < c.RetryMin:
		return fmt.Errorf("retry_min is %s and retry_max %s: they must be greater than zero and in this order", c.RetryMin.D(), c.RetryMax.D())
	case c.SessionTimeout.D() < time.Second:
		return fmt.Errorf("session_timeout is %s: it must be at least 1s", c.SessionTimeout.D())
	}
	return nil
}
