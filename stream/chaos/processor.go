// Package chaos judges the runtime under faults: a load, a processor whose every output and state can be told apart, a
// single-threaded model, and a comparison both ways. It is test support; no command of tapewatch imports it.
package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Name is the processor that the chaos runs use.
const Name = "chaos_count"

// Config of the processor.
type Config struct {
	Every   uint64 `koanf:"every" json:"every" doc:"One event for every so many records of a key."`
	Poison  int64  `koanf:"poison" json:"poison" doc:"Price mantissa at which the processor panics; 0 never."`
	Huge    int64  `koanf:"huge" json:"huge" doc:"Price mantissa at which the processor emits more than a record may hold; 0 never."`
	Ballast int    `koanf:"ballast" json:"ballast" doc:"Bytes that every key adds to its state."`
}

// Validate checks the settings.
func (c Config) Validate() error {
	if c.Every == 0 {
		return errors.New("every is 0: it must be at least 1")
	}
	return nil
}

func init() {
	processor.Register(processor.Spec[Config]{
		Name: Name, Kind: processor.Watchdog, Summary: "Counts and sums the trades of a key, and says so at every tenth.",
		Version: 1, Input: schemas.MarketTrades, Output: schemas.Events, Step: time.Second, Defaults: Config{Every: 10},
		New: func(c Config, _ processor.Key) processor.Processor { return &counter{config: c} },
	})
}

// Brake makes every trade take so long, in nanoseconds, in all groups and replays of the process.
var Brake atomic.Int64

// counter keeps a running hash of the prices, so that a lost, doubled or reordered record shows in every later output.
type counter struct {
	config     Config
	count, sum uint64
	ticks      uint64
}

var _ processor.Processor = (*counter)(nil)

func (c *counter) OnRecord(rec schemas.Record, emit processor.Emit) {
	t, ok := rec.Message.(*schemas.Trade)
	if !ok {
		return
	}
	if d := time.Duration(Brake.Load()); d > 0 {
		time.Sleep(d)
	}
	c.count++
	c.sum = c.sum*31 + uint64(t.GetPrice().GetMantissa())
	if c.count%c.config.Every == 0 {
		emit(c.event(rec.Time))
	}
	if c.config.Huge != 0 && t.GetPrice().GetMantissa() == c.config.Huge {
		e := c.event(rec.Time)
		e.Description = strings.Repeat("x", schemas.MaxOutputBytes)
		emit(e)
	}
	if c.config.Poison != 0 && t.GetPrice().GetMantissa() == c.config.Poison {
		panic("a price that this processor cannot bear")
	}
}

func (c *counter) event(at schemas.Time) *schemas.Event {
	return &schemas.Event{
		Type: "price_anomaly", Severity: schemas.Low, Status: schemas.Open, DedupKey: "chaos", EventTime: int64(at),
		Description: fmt.Sprintf("%d trades, hash %x, %d ticks", c.count, c.sum, c.ticks),
		Evidence:    &schemas.Evidence{SampleSize: c.count},
	}
}

func (c *counter) OnTime(_ schemas.Time, _ processor.Emit) { c.ticks++ }

func (c *counter) AppendState(dst []byte) []byte {
	dst = append(dst, 1)
	dst = binary.LittleEndian.AppendUint64(dst, c.count)
	dst = binary.LittleEndian.AppendUint64(dst, c.sum)
	dst = binary.LittleEndian.AppendUint64(dst, c.ticks)
	return append(dst, make([]byte, c.config.Ballast)...)
}

func (c *counter) RestoreState(src []byte) error {
	if len(src) < 25 || src[0] != 1 {
		return fmt.Errorf("state of %d bytes: it must have 25, the first 1, and the ballast", len(src))
	}
	c.count, c.sum, c.ticks = binary.LittleEndian.Uint64(src[1:]), binary.LittleEndian.Uint64(src[9:]), binary.LittleEndian.Uint64(src[17:])
	return nil
}
