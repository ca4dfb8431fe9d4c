// Package cluster says how to reach Kafka: one Config from which every client of tapewatch is made.
package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"
)

// Config names the brokers and how to talk to them.
type Config struct {
	Brokers  []string `koanf:"brokers" doc:"Bootstrap brokers, host:port."`
	Prefix   string   `koanf:"prefix" doc:"Put before every topic, group and transactional id."`
	ClientID string   `koanf:"client_id" doc:"Client id that brokers see in logs and quotas."`
	TLS      bool     `koanf:"tls" doc:"Speak TLS to the brokers, with the system's roots."`
	Registry string   `koanf:"schema_registry" doc:"URL of a Confluent-compatible schema registry; empty writes bare Protobuf."`
}

// Defaults is a broker on this machine.
func Defaults() Config {
	return Config{Brokers: []string{"localhost:9092"}, ClientID: "tapewatch"}
}

// Validate checks the settings.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafka.brokers is empty: it must name at least one host:port")
	}
	if slices.Contains(c.Brokers, "") {
		return fmt.Errorf("kafka.brokers is %q: each entry must be host:port", c.Brokers)
	}
	return nil
}

// Topic returns the name of a catalogue topic on the cluster.
func (c Config) Topic(name string) string { return c.Prefix + name }

// Group returns the consumer group of a processor or sink.
func (c Config) Group(name string) string { return c.Prefix + "tapewatch." + name }

// Options returns what every client has in common; callers append their own.
func (c Config) Options(log *slog.Logger) []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.AlwaysRetryEOF(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}
	if c.TLS {
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if log != nil {
		opts = append(opts, kgo.WithLogger(calm{kslog.New(log)}))
	}
	return opts
}

// calm leaves out franz-go's info lines, several for every connection and assignment, unless debug lines are wanted.
type calm struct{ kgo.Logger }

func (c calm) Level() kgo.LogLevel {
	if l := c.Logger.Level(); l != kgo.LogLevelInfo {
		return l
	}
	return kgo.LogLevelWarn
}
