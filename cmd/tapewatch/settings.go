package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/api"
	_ "github.com/tapewatch/tapewatch/detectors" // registers the watchdogs
	"github.com/tapewatch/tapewatch/internal/config"
	"github.com/tapewatch/tapewatch/internal/logging"
	"github.com/tapewatch/tapewatch/sinks/postgres"
	"github.com/tapewatch/tapewatch/sinks/redis"
	"github.com/tapewatch/tapewatch/sinks/websocket"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/chain"
	"github.com/tapewatch/tapewatch/sources/earnings"
	"github.com/tapewatch/tapewatch/sources/edgar"
	"github.com/tapewatch/tapewatch/sources/files"
	"github.com/tapewatch/tapewatch/sources/fred"
	"github.com/tapewatch/tapewatch/sources/news"
	"github.com/tapewatch/tapewatch/sources/poll"
	"github.com/tapewatch/tapewatch/sources/probe"
	"github.com/tapewatch/tapewatch/sources/simulator"
	"github.com/tapewatch/tapewatch/sources/status"
	_ "github.com/tapewatch/tapewatch/stages" // registers bars and baskets
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/embedded"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// settings is everything that can be set: the Config struct of each part.
type settings struct {
	Process                                      processConfig
	Log                                          logging.Config
	Kafka                                        cluster.Config
	Broker                                       embedded.Options
	Topics                                       topics.Config
	Records                                      recordsConfig
	Stream                                       stream.Config
	Watchdogs                                    watchdogsConfig
	Supervision                                  supervisionConfig
	Sources                                      sourcesConfig
	Producer                                     sources.Config
	Simulator                                    simulator.Config
	File                                         files.Config
	Venues                                       venuesConfig
	Poll                                         poll.Config
	EDGAR                                        edgar.Config
	FRED                                         fred.Config
	Earnings                                     earnings.Config
	Status                                       status.Config
	Bitcoin                                      chain.BitcoinConfig
	Ethereum                                     chain.EthereumConfig
	WhaleAlert                                   chain.WhaleAlertConfig
	News                                         news.Config
	Probe                                        probe.Config
	Sinks                                        sinksConfig
	PostgresSwitch, RedisSwitch, WebSocketSwitch switchConfig
	Postgres                                     postgres.Config
	Redis                                        redis.Config
	WebSocket                                    websocket.Config
	API                                          api.Config
	Admin                                        adminConfig

	processors map[string]*processorSettings
	// playlist are the files of ingest --from.
	playlist []string
	// pollOnce ends polling sources when what is due has been asked for.
	pollOnce bool
}

// processConfig is about the process as a whole.
type processConfig struct {
	Name          string        `koanf:"name" doc:"Name of this process in heartbeats and on the health pages; empty takes the host's name, what the process does, and the slot."`
	Slot          int           `koanf:"slot" doc:"Number of this process among its twins, part of transactional and instance ids; -1 takes the number at the end of the host's name, else 0."`
	DrainTimeout  time.Duration `koanf:"drain_timeout" doc:"How long a stop may take before the process exits at once."`
	Heartbeat     time.Duration `koanf:"heartbeat" doc:"Time between two heartbeats on the health topic."`
	MemoryLimitMB int           `koanf:"memory_limit_mb" doc:"Soft limit of the Go heap, MiB; 0 takes nine tenths of the container's limit, if there is one."`
	CPULimit      float64       `koanf:"cpu_limit" doc:"Processors to use, rounded up; 0 takes what the machine or container has."`
}

// Validate checks the settings.
func (c processConfig) Validate() error {
	switch {
	case c.Slot < -1:
		return fmt.Errorf("process.slot is %d: it must be -1 or more", c.Slot)
	case c.DrainTimeout <= 0:
		return fmt.Errorf("process.drain_timeout is %v: it must be greater than zero", c.DrainTimeout)
	case c.Heartbeat < time.Second:
		return fmt.Errorf("process.heartbeat is %v: it must be at least 1s", c.Heartbeat)
	case c.MemoryLimitMB < 0:
		return fmt.Errorf("process.memory_limit_mb is %d: it must not be negative", c.MemoryLimitMB)
	case c.CPULimit < 0:
		return fmt.Errorf("process.cpu_limit is %v: it must not be negative", c.CPULimit)
	}
	return nil
}

var ordinal = regexp.MustCompile(`-(\d{1,4})$`)

// slot is the configured slot, else the number at the end of the host's name, as a StatefulSet gives it, else 0.
func (c processConfig) slot() int {
	if c.Slot >= 0 {
		return c.Slot
	}
	return slotOf(hostname())
}

func slotOf(host string) int {
	if m := ordinal.FindStringSubmatch(host); m != nil {
		n, err := strconv.Atoi(m[1])
		if err == nil {
			return n
		}
	}
	return 0
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// watchdogsConfig switches all detectors.
type watchdogsConfig struct {
	Enabled bool `koanf:"enabled" doc:"Whether any watchdog runs."`
}

// processorSettings is one processor's switch and configuration.
type processorSettings struct {
	Enabled bool `koanf:"enabled" doc:"Whether up runs this processor; detect and stage run what they are told to."`

	definition *processor.Definition
	config     processor.Config
	bound      *processor.Bound
}

// newSettings returns the defaults and the tree that a loader writes into.
func newSettings() (*settings, *config.Tree) {
	s := &settings{
		Process: processConfig{Slot: -1, DrainTimeout: 30 * time.Second, Heartbeat: 5 * time.Second},
		Log:     logging.Defaults(),
		Kafka:   cluster.Defaults(),
		Stream:  stream.Defaults(),
		Topics:  topics.Defaults(),
		Broker:  embedded.Defaults(),
		Records: recordsConfig{Encoding: "protobuf"},
		Sources: sourcesConfig{Use: []string{"simulator"}}, Producer: sources.Defaults(), Simulator: simulator.Defaults(), File: files.Defaults(),
		Venues: venuesDefaults(),
		Poll:   poll.Defaults(), EDGAR: edgar.Defaults(), FRED: fred.Defaults(), Earnings: earnings.Defaults(), Status: status.Defaults(),
		Bitcoin: chain.BitcoinDefaults(), Ethereum: chain.EthereumDefaults(), WhaleAlert: chain.WhaleAlertDefaults(),
		News:           news.Defaults(),
		Probe:          probe.Defaults(),
		Watchdogs:      watchdogsConfig{Enabled: true},
		Supervision:    supervisionDefaults(),
		Sinks:          sinksConfig{Enabled: true},
		PostgresSwitch: switchConfig{Enabled: true}, WebSocketSwitch: switchConfig{Enabled: true}, RedisSwitch: switchConfig{Enabled: true},
		Postgres: postgres.Defaults(), Redis: redis.Defaults(), WebSocket: websocket.Defaults(), API: api.Defaults(),
		Admin: adminConfig{Host: "127.0.0.1"},
	}
	t := &config.Tree{}
	t.Add("process", "The process as a whole.", &s.Process)
	t.Add("log", "Log lines, on standard error.", &s.Log)
	t.Add("kafka", "How to reach Kafka.", &s.Kafka)
	t.Add("broker", "The embedded broker of up.", &s.Broker)
	t.Add("topics", "How topics are made.", &s.Topics)
	t.Add("records", "How values are written.", &s.Records)
	t.Add("stream", "How processor groups run.", &s.Stream)
	t.Add("supervision", "Restarts of sources and sinks.", &s.Supervision)
	t.Add("sources", "Where records come from.", &s.Sources)
	t.Add("producer", "The producer of each source.", &s.Producer)
	t.Add("simulator", "The simulated market.", &s.Simulator)
	t.AddWhen("file", "A file as a source: a tape, or CSV.", &s.File, func() bool { return s.File.Path != "" })
	s.Venues.addTo(t)
	t.Add("poll", "How services are asked: filings, statistics, earnings, news, chains, status pages.", &s.Poll)
	t.Add("edgar", "Filings and their facts from SEC EDGAR.", &s.EDGAR)
	t.Add("fred", "Macroeconomic series with their vintages, from FRED.", &s.FRED)
	t.Add("earnings", "Earnings and what was expected, from Finnhub or Alpha Vantage.", &s.Earnings)
	t.Add("status", "What venues say of themselves: status pages, and the status calls of their APIs.", &s.Status)
	t.Add("bitcoin", "Large transfers on Bitcoin, from mempool.space or another Esplora service.", &s.Bitcoin)
	t.Add("ethereum", "Large transfers on Ethereum, or a chain like it, from a node by JSON-RPC.", &s.Ethereum)
	t.Add("whalealert", "Large transfers on many chains, from Whale Alert.", &s.WhaleAlert)
	t.Add("news", "Articles of RSS and Atom feeds, by the symbols they are about.", &s.News)
	t.Add("probe", "Whether venues answer, asked from outside: they are down, or we are.", &s.Probe)
	t.Add("sinks", "All sinks at once.", &s.Sinks)
	t.Add("sinks.postgres", "Events in PostgreSQL, each row exactly once.", &s.PostgresSwitch)
	t.AddWhen("sinks.postgres", "", &s.Postgres, func() bool { return !s.Postgres.URL.IsZero() })
	t.Add("sinks.redis", "The last events and the latest state in Redis.", &s.RedisSwitch)
	t.AddWhen("sinks.redis", "", &s.Redis, func() bool { return !s.Redis.URL.IsZero() })
	t.Add("sinks.websocket", "Events to WebSocket clients of the API.", &s.WebSocketSwitch)
	t.Add("sinks.websocket", "", &s.WebSocket)
	t.Add("api", "HTTP: health, metrics, events and the WebSocket.", &s.API)
	t.Add("admin", "The port of processes that have no API.", &s.Admin)
	t.Add("watchdogs", "All watchdogs at once.", &s.Watchdogs)
	s.processors = map[string]*processorSettings{}
	for _, d := range processor.All() {
		p := &processorSettings{Enabled: true, definition: d}
		conf, target := d.Target()
		p.config = conf
		t.Add("processors."+d.Name, d.Summary, p)
		t.Add("processors."+d.Name, "", target)
		s.processors[d.Name] = p
	}
	return s, t
}

// bind binds every processor to its configuration.
func (s *settings) bind() error {
	for _, p := range s.processors {
		bound, err := p.definition.Bind(p.config)
		if err != nil {
			return err
		}
		p.bound = bound
	}
	return nil
}

// processor finds a bound processor by name.
func (s *settings) processor(name string) (*processor.Bound, error) {
	d, err := processor.Lookup(name)
	if err != nil {
		return nil, &usageError{err}
	}
	return s.processors[d.Name].bound, nil
}

// timePolicy is the live runtime's.
func (s *settings) timePolicy() processor.TimePolicy {
	return processor.TimePolicy{Lateness: s.Stream.Lateness, Future: s.Stream.Future, Silence: s.Stream.Silence}
}
