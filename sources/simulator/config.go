// Package simulator is a seeded market with the stylised facts of real ones (fat tails, volatility that clusters, a weekly
// rhythm, correlated instruments) and labelled anomalies for every watchdog. All records of an instrument come from one
// price: trades stand at the quotes, books around them, perpetuals, options and news follow them. The same configuration
// gives the same records, whatever the speed and the machine.
package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Config describes the market.
type Config struct {
	Seed                uint64        `koanf:"seed" doc:"Seed of everything random."`
	Venue               string        `koanf:"venue" doc:"Venue of the instruments; two more, with 2 and 3 behind the name, quote some of them and have perpetuals."`
	Kinds               []string      `koanf:"kinds" doc:"What is made: trades, quotes, books, derivatives, options, transfers, equities, macro, news, status."`
	Instruments         int           `koanf:"instruments" doc:"Number of instruments, 1 to 100000."`
	Rate                float64       `koanf:"rate" doc:"Records a second of market time, over all kinds and instruments, on average over a week. Trades and quotes fill what the kinds with a cadence of their own leave, and at least half."`
	Start               string        `koanf:"start" doc:"Market time of the first second, RFC 3339; now stands for the time at which the process starts."`
	Backfill            time.Duration `koanf:"backfill" doc:"Market time before a start of now that is made at once, so that there is something to see; none where the topics hold records already."`
	Duration            time.Duration `koanf:"duration" doc:"Market time to simulate; 0 goes on for ever."`
	Speed               float64       `koanf:"speed" doc:"Market seconds a second; 1 is real time, 0 is as fast as possible."`
	AnomaliesPerDay     float64       `koanf:"anomalies_per_day" doc:"Anomalies a day and instrument: jumps, ramps, flash crashes, volume bursts, cuts of liquidity."`
	RareAnomaliesPerDay float64       `koanf:"rare_anomalies_per_day" doc:"Anomalies a day over the whole market of each other sort: outages, funding spikes, correlation breaks, dislocated quotes, whales."`
	Calm                time.Duration `koanf:"calm" doc:"Market time at the start without anomalies, in which detectors learn."`
	BookInterval        time.Duration `koanf:"book_interval" doc:"Time between book snapshots of an instrument, whole seconds; 0 makes no books."`
	BookLevels          int           `koanf:"book_levels" doc:"Levels a side of a book snapshot."`
	Labels              string        `koanf:"labels" doc:"File that gets one JSON line for each anomaly (docs/simulator.md); empty writes none."`
	VolatilityPerDay    float64       `koanf:"volatility_per_day" doc:"Standard deviation of an instrument's daily log return."`
}

// kindTopics are the kinds and their topics.
var kindTopics = []struct {
	kind  string
	topic schemas.Topic
}{
	{"trades", schemas.MarketTrades},
	{"quotes", schemas.MarketQuotes},
	{"books", schemas.MarketBooks},
	{"derivatives", schemas.MarketDerivatives},
	{"options", schemas.MarketOptions},
	{"transfers", schemas.ChainTransfers},
	{"equities", schemas.ReferenceEquities},
	{"macro", schemas.MacroObservations},
	{"news", schemas.NewsArticles},
	{"status", schemas.VenuesStatus},
}

func kinds() []string {
	var out []string
	for _, k := range kindTopics {
		out = append(out, k.kind)
	}
	return out
}

// Defaults is a small market of everything in real time.
func Defaults() Config {
	return Config{
		Seed: 1, Venue: "sim", Kinds: kinds(), Instruments: 64, Rate: 1000, Start: "now", Speed: 1, AnomaliesPerDay: 24, RareAnomaliesPerDay: 24,
		BookInterval: time.Second, BookLevels: 20, VolatilityPerDay: 0.03,
	}
}

// topics are those of the configured kinds.
func (c *Config) topics() []schemas.Topic {
	var out []schemas.Topic
	for _, k := range kindTopics {
		if slices.Contains(c.Kinds, k.kind) && (k.kind != "books" || c.BookInterval > 0) {
			out = append(out, k.topic)
		}
	}
	return out
}

// has says whether a topic's records are made.
func (c *Config) has(topic schemas.Topic) bool {
	return slices.ContainsFunc(c.topics(), func(t schemas.Topic) bool { return t.Name == topic.Name })
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.Venue == "":
		return fmt.Errorf("simulator.venue is empty: it must be a name in lower case")
	case len(c.topics()) == 0:
		return fmt.Errorf("simulator.kinds is %q: it must name one at least", c.Kinds)
	case c.Instruments < 1 || c.Instruments > 100_000:
		return fmt.Errorf("simulator.instruments is %d: it must lie between 1 and 100000", c.Instruments)
	case c.Rate <= 0 || c.Rate > 10e6:
		return fmt.Errorf("simulator.rate is %v: it must lie above 0 and at most 10000000", c.Rate)
	case c.Speed < 0:
		return fmt.Errorf("simulator.speed is %v: it must be 0 or more", c.Speed)
	case c.AnomaliesPerDay < 0 || c.AnomaliesPerDay > 1440:
		return fmt.Errorf("simulator.anomalies_per_day is %v: it must lie between 0 and 1440", c.AnomaliesPerDay)
	case c.RareAnomaliesPerDay < 0 || c.RareAnomaliesPerDay > 1440:
		return fmt.Errorf("simulator.rare_anomalies_per_day is %v: it must lie between 0 and 1440", c.RareAnomaliesPerDay)
	case c.Duration < 0 || c.Calm < 0 || c.Backfill < 0:
		return fmt.Errorf("simulator.duration, calm and backfill are %v, %v, %v: they must be 0 or more", c.Duration, c.Calm, c.Backfill)
	case c.Backfill > 0 && c.Start != "now":
		return fmt.Errorf("simulator.backfill is %v with simulator.start %s: it goes with a start of now only; begin earlier instead", c.Backfill, c.Start)
	case c.BookInterval < 0 || c.BookInterval%time.Second != 0:
		return fmt.Errorf("simulator.book_interval is %v: it must be whole seconds, 0 or more", c.BookInterval)
	case c.BookInterval > 0 && (c.BookLevels < 1 || c.BookLevels > 1000):
		return fmt.Errorf("simulator.book_levels is %d: it must lie between 1 and 1000", c.BookLevels)
	case c.VolatilityPerDay <= 0 || c.VolatilityPerDay > 1:
		return fmt.Errorf("simulator.volatility_per_day is %v: it must lie above 0 and at most 1", c.VolatilityPerDay)
	}
	for _, k := range c.Kinds {
		if !slices.Contains(kinds(), k) {
			return fmt.Errorf("simulator.kinds has %q: each must be one of %s", k, strings.Join(kinds(), ", "))
		}
	}
	if c.Start != "now" {
		if _, err := time.Parse(time.RFC3339, c.Start); err != nil {
			return fmt.Errorf("simulator.start is %q: it must be now or a time like 2024-01-01T00:00:00Z", c.Start)
		}
	}
	return nil
}
