// Package cluster says how to reach Kafka: one Config from which every client of tapewatch is made.
package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"

	"github.com/tapewatch/tapewatch/internal/secret"
)

// Config names the brokers and how to talk to them.
type Config struct {
	Brokers  []string `koanf:"brokers" doc:"Bootstrap brokers, host:port."`
	Prefix   string   `koanf:"prefix" doc:"Put before every topic, group and transactional id."`
	ClientID string   `koanf:"client_id" doc:"Client id that brokers see in logs and quotas."`

	TLS      bool          `koanf:"tls" doc:"Speak TLS to the brokers."`
	TLSCA    string        `koanf:"tls_ca" doc:"PEM file of the authorities that may vouch for brokers and registry; empty means the system's."`
	TLSCert  string        `koanf:"tls_cert" doc:"PEM file of this client's certificate, where brokers or registry want one."`
	TLSKey   string        `koanf:"tls_key" doc:"PEM file of the key to tls_cert."`
	SASL     string        `koanf:"sasl" doc:"How to log in: plain, scram-sha-256 or scram-sha-512; empty logs in nowhere."`
	User     string        `koanf:"user" doc:"User to log in as, with sasl."`
	Password secret.Secret `koanf:"password" doc:"Password of user."`

	Registry         string        `koanf:"schema_registry" doc:"URL of a Confluent-compatible schema registry; empty writes bare Protobuf."`
	RegistryUser     string        `koanf:"registry_user" doc:"User of the schema registry, where it wants one (basic authentication)."`
	RegistryPassword secret.Secret `koanf:"registry_password" doc:"Password of registry_user."`
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
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err == nil { // without a port it is Kafka's 9092
			if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" {
				return fmt.Errorf("kafka.brokers is %q: each entry must be host:port, such as kafka-0:9092", c.Brokers)
			}
		} else if b == "" || strings.ContainsAny(b, "/ :") {
			return fmt.Errorf("kafka.brokers is %q: each entry must be host:port, such as kafka-0:9092", c.Brokers)
		}
	}
	return c.validateSecurity()
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
	opts = append(opts, c.security()...)
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
