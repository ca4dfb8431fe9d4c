package sources

import (
	"fmt"
	"time"
)

// Config bounds the producer that sources share.
type Config struct {
	Linger             time.Duration `koanf:"linger" doc:"How long a batch waits for more records, milliseconds to tens of them."`
	MaxBufferedRecords int           `koanf:"max_buffered_records" doc:"Records in memory that Kafka has not acknowledged, at most."`
	MaxBufferedBytes   int           `koanf:"max_buffered_bytes" doc:"Bytes in memory that Kafka has not acknowledged, at most."`
	ShedPercent        int           `koanf:"shed_percent" doc:"Fill of the buffer, percent, from which live sources shed quotes and conflate books further."`
}

// Defaults holds about a quarter of a second of a fast file, or minutes of a live venue.
func Defaults() Config {
	return Config{Linger: 5 * time.Millisecond, MaxBufferedRecords: 100_000, MaxBufferedBytes: 64 << 20, ShedPercent: 80}
}

// Validate checks the settings.
func (c Config) Validate() error {
	switch {
	case c.Linger < 0 || c.Linger > time.Second:
		return fmt.Errorf("producer.linger is %v: it must lie between 0 and 1s", c.Linger)
	case c.MaxBufferedRecords < 1000:
		return fmt.Errorf("producer.max_buffered_records is %d: it must be at least 1000", c.MaxBufferedRecords)
	case c.MaxBufferedBytes < 1<<20:
		return fmt.Errorf("producer.max_buffered_bytes is %d: it must be at least 1048576", c.MaxBufferedBytes)
	case c.ShedPercent < 1 || c.ShedPercent > 100:
		return fmt.Errorf("producer.shed_percent is %d: it must lie between 1 and 100", c.ShedPercent)
	}
	return nil
}
