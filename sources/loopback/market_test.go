package loopback

import (
	"cmp"
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/binance"
	"github.com/tapewatch/tapewatch/sources/bybit"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/coinbase"
	"github.com/tapewatch/tapewatch/sources/kraken"
	"github.com/tapewatch/tapewatch/sources/okx"
	"github.com/tapewatch/tapewatch/sources/sourcetest"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// market is one that the fault runs are about.
type market struct {
	name, file string
	symbols    []string
	channels   []string
	// make makes the connector's spec and settings; without symbols it is the spec that plays.
	make func(c venue.Config) venue.Settings
	// book and trade are the streams, in the venue's words, of the first symbol.
	book, trade string
	// loss is the cause by which the loss of a book message is known, numbered that trades have numbers without a hole.
	loss     string
	numbered bool
	// whole: a lost message may have been of any stream of the connection.
	whole bool
}

func markets() []market {
	base := []string{venue.Trades, venue.Quotes, venue.Book}
	return []market{
		{
			name: "binance_usdm", file: "cryptofeed-v3/BINANCE_FUTURES.jsonl.zst", channels: base,
			symbols: []string{"SUSHI-USDT-PERP", "AKRO-USDT-PERP", "KEEP-USDT-PERP", "CTK-USDT-PERP"},
			make: func(c venue.Config) venue.Settings {
				b := binance.FuturesDefaults()
				b.Config = c
				return b
			},
			book: "sushiusdt@depth", trade: "sushiusdt@aggTrade", loss: "sequence", numbered: true,
		},
		{
			name: "bybit_linear", file: "cryptofeed-v3/BYBIT.jsonl.zst", channels: []string{venue.Trades, venue.Book, venue.Marks},
			symbols: []string{"BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP", "DOGE-USDT-PERP"},
			make: func(c venue.Config) venue.Settings {
				b := bybit.LinearDefaults()
				b.Config = c
				return b
			},
			book: "orderbook.200.BTCUSDT", trade: "publicTrade.BTCUSDT", loss: "sequence",
		},
		{
			name: "okx", file: "cryptofeed-v3/OKX.jsonl.zst", channels: base,
			symbols: []string{"BTC-USDT", "UNI-USD-PERP", "BTC-USD-FUT-20220527"},
			make: func(c venue.Config) venue.Settings {
				return okx.Config{Config: c}
			},
			book: "books BTC-USDT", trade: "trades BTC-USDT", loss: "checksum",
		},
		{
			name: "kraken", file: "cryptofeed-v3/KRAKEN.jsonl.zst", channels: base,
			symbols: []string{"XMR-USD", "WAVES-EUR", "KSM-BTC", "GRT-ETH", "SC-EUR", "ETH-CHF", "OCEAN-BTC", "OMG-USD", "BTC-CHF", "ADA-BTC"},
			make: func(c venue.Config) venue.Settings {
				return kraken.Config{Config: c, Depth: 1000}
			},
			book: "book XMR/USD", trade: "trade XMR/USD", loss: "checksum", numbered: true,
		},
		{
			name: "coinbase", file: "cryptofeed-v3/COINBASE.jsonl.zst", channels: base,
			symbols: []string{"BTC-USD", "ETH-USD"},
			make: func(c venue.Config) venue.Settings {
				b := coinbase.Defaults()
				b.Config = c
				return b
			},
			book: "level2 BTC-USD", trade: "market_trades BTC-USD", loss: "sequence", numbered: true, whole: true,
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

// types are the records that the market's channels give, books aside.
func (m market) types() map[string]bool {
	out := map[string]bool{}
	for _, c := range m.channels {
		for _, t := range map[string][]string{
			venue.Trades: {"Trade"}, venue.Quotes: {"Quote"}, venue.Marks: {"Mark", "Funding", "OpenInterest"},
		}[c] {
			out[t] = true
		}
	}
	return out
}

// recording is the capture as the venue speaks today, the frames of other markets left out.
func (m market) recording(t testing.TB) []capture.Frame {
	t.Helper()
	s := m.spec()
	frames := venuetest.Read(t, m.file)
	if m.name == "kraken" {
		frames = modern(s, frames)
	}
	slices.SortStableFunc(frames, func(a, b capture.Frame) int { return cmp.Compare(a.At, b.At) })
	owner := venuetest.Machine(t, s, &sourcetest.Memory{})
	var out []capture.Frame
	for _, f := range frames {
		if owner.Owns(f) {
			out = append(out, f)
		}
	}
	return out
}

// result is what a run gave.
type result struct {
	server  *Server
	out     *sourcetest.Memory
	source  *venue.Source
	metrics *sources.Metrics
}

// pace is how much faster than recorded the runs go.
const pace = 15

// run has the connector read a loopback venue, until the market is at its end and done, asked again and again, is content.
// change is what is to be different about the connector.
func (o *oracle) run(t testing.TB, faults []Fault, speed float64, change func(*venue.Spec, *venue.Config), done func(result) bool) result {
	t.Helper()
	if speed == 0 {
		speed = pace
	}
	server, err := New(Options{Spec: o.market.spec(), Frames: o.frames, Faults: faults, Speed: speed, Seed: 1, Ping: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(server)
	defer front.Close()
	cfg := venue.Defaults(o.market.symbols, o.market.channels)
	cfg.StreamURL, cfg.RestURL = "ws"+strings.TrimPrefix(front.URL, "http"), front.URL
	cfg.BackoffMax, cfg.RequestsPerMinute, cfg.BookInterval = 50*time.Millisecond, 1200, 0
	spec, err := o.market.make(cfg).Spec()
	if err != nil {
		t.Fatal(err)
	}
	server.opt.Begin = len(spec.Gets)
	for _, c := range spec.Connections {
		server.opt.Begin += max(len(c.Send), 1)
	}
	if change != nil {
		change(spec, &cfg)
	}
	metrics := sources.NewMetrics(nil)
	r := result{server, &sourcetest.Memory{}, venue.NewSource(spec, cfg, nil, metrics), metrics}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- server.Run(ctx) }()
	go func() { ended <- r.source.Run(ctx, r.out) }()
	select {
	case <-server.Played():
	case <-ctx.Done():
		t.Errorf("the market is not at its end after 40 s: %v", r.source.Component())
	}
	const enough = 12 * time.Second
	for end, last := time.Now().Add(enough), -1; time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		n := 0
		for _, e := range r.out.Entries() {
			if e.Type != "Tick" && e.Type != "FeedHealth" {
				n++
			}
		}
		if n == last && done(r) {
			break
		}
		last = n
	}
	cancel()
	for range 2 {
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("run ends with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a part has not ended 10 s after it was stopped")
		}
	}
	return r
}
