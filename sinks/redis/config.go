// Package redis keeps the recent past and the present of events in Redis: a capped stream of the last events, a hash with
// the latest state per detector and key, and a channel on which each event is published once.
//
// One Lua script stores a batch together with the positions of its partitions, all or nothing, so that a crash, a retry of
// a write whose answer was lost, or a second owner cannot put an event in twice. The script is called by its hash and sent
// again when Redis does not know it (EVALSHA): unlike a function library, it needs no version management while two releases
// of tapewatch run side by side, and it survives SCRIPT FLUSH. Ids are remembered too, for duplicates that the topic itself
// holds when a detector runs at least once: the last remember_ids of them, which is far more than such a detector can repeat.
//
// When Redis has lost its data (FLUSHALL, a restart without persistence) the positions are gone with them: the sink notices
// at the next write, goes back to the start of the topic and builds everything again, without publishing what was published.
package redis

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/sinks"
)

// Config says where Redis is and how much it keeps.
type Config struct {
	URL         secret.Secret `koanf:"url" doc:"Address, redis://user:password@host:port/database or rediss:// for TLS."`
	Prefix      string        `koanf:"prefix" doc:"Put before every key and channel; its part in braces decides the cluster slot."`
	StreamCap   int           `koanf:"stream_cap" doc:"Events that the stream keeps, about."`
	RememberIDs int           `koanf:"remember_ids" doc:"Event ids remembered to drop duplicates that the topic itself holds."`
	Sink        sinks.Config  `koanf:"sink" doc:"Batches, retries and breaker."`
}

// Defaults keep 1,000 events; a batch is small, because Redis does nothing else while it runs.
func Defaults() Config {
	c := Config{Prefix: "{tapewatch}:", StreamCap: 1000, RememberIDs: 100_000, Sink: sinks.Defaults()}
	c.Sink.BatchSize = 200
	return c
}

// Validate checks the settings. The address is never part of the message.
func (c Config) Validate() error {
	if c.URL.IsZero() {
		return errors.New("redis.url is empty: it must be like redis://user:password@host:6379/0")
	}
	if _, err := redis.ParseURL(c.URL.Reveal()); err != nil {
		return errors.New("redis.url cannot be read: it must be like redis://user:password@host:6379/0")
	}
	if c.StreamCap < 1 {
		return fmt.Errorf("redis.stream_cap is %d: it must be at least 1", c.StreamCap)
	}
	if c.RememberIDs < 1000 {
		return fmt.Errorf("redis.remember_ids is %d: it must be at least 1000", c.RememberIDs)
	}
	if c.Sink.BatchSize > 1000 {
		return fmt.Errorf("redis.sink.batch_size is %d: it must be at most 1000, the script has up to 10 arguments an event", c.Sink.BatchSize)
	}
	return c.Sink.Validate()
}

// The keys, without the prefix.
const (
	keyStream    = "events"
	keyPositions = "positions"
	keyIDs       = "ids"
	keyLatest    = "latest:"
	// Channel is where events are published, after the prefix.
	Channel = "events"
	// fieldQuiet, before a partition's name in the positions hash, is the offset below which nothing is published.
	fieldQuiet = "quiet:"
)
