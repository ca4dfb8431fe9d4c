package loopback

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"github.com/tapewatch/tapewatch/sources/binance"
	"github.com/tapewatch/tapewatch/sources/bybit"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/coinbase"
	"github.com/tapewatch/tapewatch/sources/deribit"
	"github.com/tapewatch/tapewatch/sources/kraken"
	"github.com/tapewatch/tapewatch/sources/krakenfutures"
	"github.com/tapewatch/tapewatch/sources/okx"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// market is one that is run end to end: a connector against the loopback venue that plays a recording of it.
type market struct {
	name, file string
	channels   []string
	// make makes the connector's settings; without symbols they are those that play.
	make func(c venue.Config) venue.Settings
	// loss is the cause by which the loss of a book message is known; "" where nothing that the venue sends shows it.
	loss string
	// write makes a recording by hand where there is none.
	write func() []capture.Frame
	// trades are written into a recording that has too few.
	trades *weave
	// amend changes the requests to what the recording has.
	amend func(s *venue.Spec)
}

func markets() []market {
	base := []string{venue.Trades, venue.Quotes, venue.Book}
	return []market{
		{
			name: "binance", file: "cryptofeed-v3/BINANCE.jsonl.zst", channels: base, loss: "sequence", trades: binanceTrades,
			make: func(c venue.Config) venue.Settings {
				b := binance.Defaults()
				b.Config, b.Trades = c, "aggTrade"
				return b
			},
		},
		{
			name: "binance_usdm", file: "cryptofeed-v3/BINANCE_FUTURES.jsonl.zst", channels: base, loss: "sequence",
			make: func(c venue.Config) venue.Settings {
				b := binance.FuturesDefaults()
				b.Config = c
				return b
			},
		},
		{
			name: "bybit", file: "cryptofeed-v3/BYBIT.jsonl.zst", channels: []string{venue.Trades, venue.Book}, loss: "sequence",
			make: func(c venue.Config) venue.Settings {
				b := bybit.Defaults()
				b.Config = c
				return b
			},
		},
		{
			name: "bybit_linear", file: "cryptofeed-v3/BYBIT.jsonl.zst", channels: []string{venue.Trades, venue.Book, venue.Marks}, loss: "sequence",
			make: func(c venue.Config) venue.Settings {
				b := bybit.LinearDefaults()
				b.Config = c
				return b
			},
		},
		{
			name: "okx", file: "cryptofeed-v3/OKX.jsonl.zst", channels: base, loss: "checksum",
			make: func(c venue.Config) venue.Settings { return okx.Config{Config: c} },
		},
		{
			name: "kraken", file: "cryptofeed-v3/KRAKEN.jsonl.zst", channels: base, loss: "checksum", trades: krakenTrades,
			make: func(c venue.Config) venue.Settings { return kraken.Config{Config: c, Depth: 1000} },
		},
		{
			name: "kraken_futures", file: "cryptofeed-v3/KRAKEN_FUTURES.jsonl.zst", channels: base, loss: "sequence", trades: krakenFuturesTrades,
			make: func(c venue.Config) venue.Settings { return krakenfutures.Config{Config: c} },
			// The recording has the quotes by the feed of then.
			amend: func(s *venue.Spec) {
				for _, c := range s.Connections {
					for i, raw := range c.Send {
						c.Send[i] = bytes.Replace(raw, []byte(`"feed":"ticker"`), []byte(`"feed":"ticker_lite"`), 1)
					}
				}
			},
		},
		{
			name: "coinbase", file: "cryptofeed-v3/COINBASE.jsonl.zst", channels: base, loss: "sequence",
			make: func(c venue.Config) venue.Settings {
				b := coinbase.Defaults()
				b.Config = c
				return b
			},
		},
		{
			name: "coinbase_exchange", write: exchangeFrames, channels: base,
			make: func(c venue.Config) venue.Settings {
				b := coinbase.ExchangeDefaults()
				b.Config = c
				return b
			},
		},
		{
			name: "deribit", file: "cryptofeed-v3/DERIBIT.jsonl.zst", channels: []string{venue.Trades, venue.Book, venue.Options}, loss: "sequence", trades: deribitTrades,
			make: func(c venue.Config) venue.Settings { return deribit.Config{Config: c} },
		},
	}
}

// spec takes what the recording has.
func (m market) spec() *venue.Spec {
	s, err := m.make(venue.Defaults(nil, m.channels)).Spec()
	if err != nil {
		panic(err)
	}
	return s
}

// recording is the capture as the venue speaks today, the frames of other markets left out.
func (m market) recording(t testing.TB) []capture.Frame {
	t.Helper()
	if m.write != nil {
		return m.write()
	}
	s := m.spec()
	frames := venuetest.Read(t, m.file)
	if translate := dialects[s.SourceName()].translate; translate != nil {
		frames = translate(s, frames)
	}
	slices.SortStableFunc(frames, func(a, b capture.Frame) int { return cmp.Compare(a.At, b.At) })
	owner := venuetest.Machine(t, s, &sourcetest.Memory{})
	var out []capture.Frame
	for _, f := range frames {
		if owner.Owns(f) {
			out = append(out, f)
		}
	}
	if m.trades != nil {
		return m.trades.into(out)
	}
	return out
}
