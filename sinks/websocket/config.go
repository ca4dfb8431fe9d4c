// Package websocket sends events to WebSocket clients: /api/v1/events/ws.
//
// Every replica follows the events topic by a feed of its own. A client keeps an index into the feed's memory, not a queue:
// what it has not been sent yet costs nothing, and a client that falls behind by more than queue events is told so (lagged,
// with a token to resume from) and goes on at the front; the third time within a minute it is closed with 1013.
//
// Protocol, all messages JSON texts. From the server: hello, subscribed, unsubscribed, events, lagged, heartbeat, pong, error.
// From the client: subscribe {id, filters, since}, unsubscribe {id}, ping. Every event of a connection is counted: an events
// message carries seq, the number of its first event, so that first seq + number of events = next seq, or something was lost.
// since, on hello, subscribed, events, lagged and heartbeat, is an opaque token to resume from, on any replica: all events
// behind it are sent again, marked replay, before the subscription goes on live. Delivery over a resume is at least once;
// event ids tell duplicates.
//
// Goroutines: ServeHTTP's own reads; serve, one per connection, does everything else and owns the connection's state. Run
// ends them all.
package websocket

import (
	"fmt"
	"net/url"
	"time"

	"github.com/tapewatch/tapewatch/sinks/feed"
)

// Config bounds what clients may ask for.
type Config struct {
	Feed             feed.Config   `koanf:"feed" doc:"What is held in memory."`
	Origins          []string      `koanf:"origins" doc:"Origins, scheme://host[:port], whose pages may connect besides the server's own; compared exactly."`
	RequireOrigin    bool          `koanf:"require_origin" doc:"Refuse clients that send no Origin; browsers always send one."`
	MaxConnections   int           `koanf:"max_connections" doc:"Most connections at once."`
	MaxPerAddress    int           `koanf:"max_per_address" doc:"Most connections at once from one address."`
	MaxSubscriptions int           `koanf:"max_subscriptions" doc:"Most subscriptions of one connection."`
	MaxMessageBytes  int64         `koanf:"max_message_bytes" doc:"Longest message that a client may send, in bytes."`
	MessagesPerSec   float64       `koanf:"messages_per_second" doc:"Messages and pings that a client may send per second, with a burst of ten times as many."`
	Queue            int64         `koanf:"queue" doc:"Events that a client may be behind before it is told that it lags; at most feed.max_events."`
	MaxLags          int           `koanf:"max_lags" doc:"Times that a client may lag within a minute before it is closed."`
	MaxReplay        int64         `koanf:"max_replay" doc:"Most records that a resume may reach back."`
	Heartbeat        time.Duration `koanf:"heartbeat" doc:"Time between two heartbeats, and between two pings that must be answered."`
	WriteTimeout     time.Duration `koanf:"write_timeout" doc:"How long one message may take to go out before the connection is cut."`
	FlushInterval    time.Duration `koanf:"flush_interval" doc:"Least time between two messages of events; what comes in between shares one message."`
}

// Defaults are what the documentation names.
func Defaults() Config {
	return Config{
		Feed: feed.Defaults(), MaxConnections: 1000, MaxPerAddress: 1000, MaxSubscriptions: 32, MaxMessageBytes: 16 << 10, MessagesPerSec: 10,
		Queue: 500, MaxLags: 3, MaxReplay: 100_000, Heartbeat: 30 * time.Second, WriteTimeout: 10 * time.Second, FlushInterval: 20 * time.Millisecond,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	if err := c.Feed.Validate(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return fmt.Errorf("origins has %q: it must be like https://example.com or https://example.com:8443, without a path", o)
		}
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"max_connections", int64(c.MaxConnections)},
		{"max_per_address", int64(c.MaxPerAddress)},
		{"max_subscriptions", int64(c.MaxSubscriptions)},
		{"max_message_bytes", c.MaxMessageBytes},
		{"queue", c.Queue},
		{"max_lags", int64(c.MaxLags)},
		{"max_replay", c.MaxReplay},
		{"heartbeat", int64(c.Heartbeat)},
		{"write_timeout", int64(c.WriteTimeout)},
	} {
		if n.value < 1 {
			return fmt.Errorf("%s is %d: it must be greater than zero", n.name, n.value)
		}
	}
	switch {
	case c.Queue > int64(c.Feed.MaxEvents):
		return fmt.Errorf("queue is %d: it must be at most feed.max_events (%d)", c.Queue, c.Feed.MaxEvents)
	case c.MessagesPerSec <= 0:
		return fmt.Errorf("messages_per_second is %v: it must be greater than zero", c.MessagesPerSec)
	case c.FlushInterval < 0:
		return fmt.Errorf("flush_interval is %s: it must not be negative", c.FlushInterval)
	}
	return nil
}
