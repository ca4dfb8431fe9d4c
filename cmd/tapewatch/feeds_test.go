package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// What a connector says to be proved on a recording is what that recording gives records of, no more and no less, and its month.
func TestRecordedChannels(t *testing.T) {
	files := map[string]string{
		"binance": "cryptofeed-v3/BINANCE.jsonl.zst", "binance_usdm": "hftbacktest/usdm/btcusdt_20240808.gz", "coinbase": "cryptofeed-v3/COINBASE.jsonl.zst",
		"kraken": "cryptofeed-v3/KRAKEN.jsonl.zst", "bybit": "cryptofeed-v3/BYBIT.jsonl.zst", "bybit_linear": "cryptofeed-v3/BYBIT.jsonl.zst",
		"okx": "cryptofeed-v3/OKX.jsonl.zst", "deribit": "cryptofeed-v3/DERIBIT.jsonl.zst", "kraken_futures": "cryptofeed-v3/KRAKEN_FUTURES.jsonl.zst",
	}
	v := venuesDefaults()
	for _, c := range v.connectors() {
		c.common.Symbols = nil // what the recording has
		spec, err := c.section.Spec()
		if err != nil {
			t.Fatal(err)
		}
		file := files[c.name]
		if file == "" {
			if spec.Recorded.When != "" || len(spec.Recorded.Channels) > 0 {
				t.Errorf("%s has no recording, and says %v", c.name, spec.Recorded)
			}
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			frames := venuetest.Read(t, file)
			m := venuetest.Machine(t, spec, &sourcetest.Memory{})
			for _, f := range frames {
				if !m.Owns(f) {
					continue
				}
				if err := m.Frame(f); err != nil {
					t.Fatal(err)
				}
			}
			records := map[string]uint64{}
			for _, in := range m.Figures() {
				for channel, n := range in.Records {
					records[channel] += n
				}
			}
			month := frames[len(frames)-1].At.String()[:7]
			for _, channel := range spec.Channels {
				if when := spec.Recorded.Of(channel); (when != "") != (records[channel] > 0) || when != "" && !strings.HasPrefix(when, month) {
					t.Errorf("%s is said to be recorded %q: the recording of %s has %d records of it", channel, when, month, records[channel])
				}
			}
			for _, channel := range spec.Recorded.Channels {
				if !slices.Contains(spec.Channels, channel) {
					t.Errorf("%s is no channel of the market", channel)
				}
			}
		})
	}
}

// How a stream is by its last health: one that is asked is not silent for having nothing new.
func TestHealthOf(t *testing.T) {
	minutes := func(n uint64) *uint64 { return new(n * uint64(time.Minute)) }
	for _, c := range []struct {
		health *schemas.FeedHealth
		symbol string
		age    time.Duration
		want   string
	}{
		{&schemas.FeedHealth{Connected: true, SilentNs: minutes(0)}, "BTC-USD", time.Second, "live"},
		{&schemas.FeedHealth{Connected: true, SilentNs: minutes(2)}, "BTC-USD", time.Second, "silent"},
		{&schemas.FeedHealth{Connected: true}, "BTC-USD", time.Second, "silent"},
		{&schemas.FeedHealth{Connected: true, SilentNs: minutes(50)}, "all", time.Minute, "live"},
		{&schemas.FeedHealth{SilentNs: minutes(0)}, "BTC-USD", time.Second, "down"},
		{&schemas.FeedHealth{SilentNs: minutes(0)}, "all", time.Second, "down"},
		{&schemas.FeedHealth{Connected: true, SilentNs: minutes(0)}, "BTC-USD", 2 * time.Minute, "stale"},
	} {
		c.health.Meta = &schemas.Meta{Symbol: c.symbol}
		if got := healthOf(c.health, c.age); got.State != c.want || (got.SilentSeconds == nil) != (c.health.SilentNs == nil) {
			t.Errorf("%s, %v old, %v: %s, want %s", c.symbol, c.age, c.health, got.State, c.want)
		}
	}
}
