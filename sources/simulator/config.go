// Package simulator is a seeded market: trades and books of any number of instruments, with the stylised facts of real ones
// (fat tails, volatility clustering, a daily rhythm, a common factor) and labelled anomalies. The same configuration gives
// the same records, whatever the speed.
package simulator

import (
	"fmt"
	"time"
)

// Config describes the market.
type Config struct {
	Seed             uint64        `koanf:"seed" doc:"Seed of everything random."`
	Venue            string        `koanf:"venue" doc:"Venue of the instruments."`
	Instruments      int           `koanf:"instruments" doc:"Number of instruments, 1 to 100000."`
	Rate             float64       `koanf:"rate" doc:"Trades a second of market time, over all instruments."`
	Start            string        `koanf:"start" doc:"Market time of the first second, RFC 3339; now stands for the time at which the process starts."`
	Duration         time.Duration `koanf:"duration" doc:"Market time to simulate; 0 goes on for ever."`
	Speed            float64       `koanf:"speed" doc:"Market seconds a second; 1 is real time, 0 is as fast as possible."`
	AnomaliesPerDay  float64       `koanf:"anomalies_per_day" doc:"Anomalies a day and instrument: jumps, ramps, flash crashes, volume bursts."`
	Calm             time.Duration `koanf:"calm" doc:"Market time at the start without anomalies, in which detectors learn."`
	BookInterval     time.Duration `koanf:"book_interval" doc:"Time between book snapshots of an instrument; 0 makes no books."`
	BookLevels       int           `koanf:"book_levels" doc:"Levels a side of a book snapshot."`
	Labels           string        `koanf:"labels" doc:"File that gets one JSON line for each anomaly; empty writes none."`
	VolatilityPerDay float64       `koanf:"volatility_per_day" doc:"Standard deviation of an instrument's daily log return."`
}

// Defaults is a small market in real time.
func Defaults() Config {
	return Config{
		Seed: 1, Venue: "sim", Instruments: 64, Rate: 500, Start: "now", Speed: 1, AnomaliesPerDay: 24, Calm: 0,
		BookInterval: 5 * time.Second, BookLevels: 20, VolatilityPerDay: 0.03,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.Venue == "":
		return fmt.Errorf("simulator.venue is empty: it must be a name in lower case")
	case c.Instruments < 1 || c.Instruments > 100_000:
		return fmt.Errorf("simulator.instruments is %d: it must lie between 1 and 100000", c.Instruments)
	case c.Rate <= 0 || c.Rate > 10e6:
		return fmt.Errorf("simulator.rate is %v: it must lie above 0 and at most 10000000", c.Rate)
	case c.Speed < 0:
		return fmt.Errorf("simulator.speed is %v: it must be 0 or more", c.Speed)
	case c.AnomaliesPerDay < 0 || c.AnomaliesPerDay > 1440:
		return fmt.Errorf("simulator.anomalies_per_day is %v: it must lie between 0 and 1440", c.AnomaliesPerDay)
	case c.Duration < 0 || c.Calm < 0 || c.BookInterval < 0:
		return fmt.Errorf("simulator.duration, calm and book_interval are %v, %v, %v: they must be 0 or more", c.Duration, c.Calm, c.BookInterval)
	case c.BookInterval > 0 && (c.BookLevels < 1 || c.BookLevels > 1000):
		return fmt.Errorf("simulator.book_levels is %d: it must lie between 1 and 1000", c.BookLevels)
	case c.VolatilityPerDay <= 0 || c.VolatilityPerDay > 1:
		return fmt.Errorf("simulator.volatility_per_day is %v: it must lie above 0 and at most 1", c.VolatilityPerDay)
	}
	if c.Start != "now" {
		if _, err := time.Parse(time.RFC3339, c.Start); err != nil {
			return fmt.Errorf("simulator.start is %q: it must be now or a time like 2024-01-01T00:00:00Z", c.Start)
		}
	}
	return nil
}
