package stages

import (
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func init() {
	processor.Register(processor.Spec[basketsConfig]{
		Name:    "baskets",
		Kind:    processor.Stage,
		Summary: "Bars keyed by the baskets that their instrument is a member of.",
		Version: 1,
		Input:   schemas.MarketBars,
		Output:  schemas.MarketBaskets,
		Step:    time.Minute,
		Defaults: basketsConfig{
			Interval: minute,
			Baskets:  []basketConfig{{Name: "venue:*", Members: []string{"*:*"}}},
		},
		New: func(c basketsConfig, key processor.Key) processor.Processor {
			return &baskets{interval: c.Interval.D(), of: c.of(key)}
		},
	})
}

// basketsConfig is the configuration of baskets.
type basketsConfig struct {
	Interval processor.Duration `koanf:"interval" json:"interval" doc:"Length of the bars that are passed on."`
	Baskets  []basketConfig     `koanf:"baskets" json:"baskets" doc:"The baskets."`
}

// basketConfig names one basket and its members.
type basketConfig struct {
	Name    string   `koanf:"name" json:"name" doc:"Name of the basket; venue:* makes one basket a venue, named venue:binance and so on."`
	Members []string `koanf:"members" json:"members" doc:"Keys venue:symbol, with * and ? as wildcards."`
}

// Validate checks the settings.
func (c basketsConfig) Validate() error {
	if c.Interval <= 0 {
		return fmt.Errorf("baskets.interval is %v: it must be greater than zero", c.Interval.D())
	}
	for i, b := range c.Baskets {
		if b.Name == "" {
			return fmt.Errorf("baskets.baskets[%d].name is empty: it must name the basket", i)
		}
		if len(b.Members) == 0 {
			return fmt.Errorf("baskets.baskets[%d].members is empty: %s must have members", i, b.Name)
		}
		for _, m := range b.Members {
			if _, err := path.Match(m, ""); err != nil {
				return fmt.Errorf("baskets.baskets[%d].members holds %q: it must be venue:symbol with * and ? as wildcards", i, m)
			}
		}
	}
	return nil
}

// of returns the baskets that a key is a member of, in the order of the configuration.
func (c basketsConfig) of(key processor.Key) []string {
	var out []string
	for _, b := range c.Baskets {
		for _, m := range b.Members {
			if ok, _ := path.Match(m, key.String()); !ok {
				continue
			}
			name := b.Name
			if name == "venue:*" {
				name = "venue:" + key.Venue
			}
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
			break
		}
	}
	return out
}

// baskets is the processor of one instrument. It passes bars on as they come: the order among members is whatever the input
// partitions raced into, so a reader must be blind to it, and close a bucket when time, which the forwarded Ticks move, is past.
type baskets struct {
	interval time.Duration
	of       []string
	// passed is the end of the last bar passed on: what does not follow it is a duplicate.
	passed     schemas.Time
	duplicates uint64 // no state
}

var _ processor.Deduplicator = (*baskets)(nil)

func (b *baskets) Duplicates() uint64 { return b.duplicates }

func (b *baskets) OnRecord(rec schemas.Record, emit processor.Emit) {
	bar, ok := rec.Message.(*schemas.Bar)
	if !ok || schemas.Time(bar.End).Sub(schemas.Time(bar.Start)) != b.interval {
		return
	}
	if schemas.Time(bar.End) <= b.passed {
		b.duplicates++
		return
	}
	b.passed = schemas.Time(bar.End)
	for _, name := range b.of {
		bar.Basket = name
		emit(bar)
	}
}

func (b *baskets) OnTime(schemas.Time, processor.Emit) {}

const basketsLayout = 1

func (b *baskets) AppendState(dst []byte) []byte {
	return pack.Int(append(dst, basketsLayout), int64(b.passed))
}

func (b *baskets) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != basketsLayout {
		return fmt.Errorf("state layout of baskets is %d: it must be %d", v, basketsLayout)
	}
	b.passed = schemas.Time(r.Int())
	return r.Err()
}
