package venue

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/sources/book"
)

// Config is what every connector can be told.
type Config struct {
	Name     string   `koanf:"name" doc:"Meta.source of the records and name of the connections; empty means venue.market."`
	Symbols  []string `koanf:"symbols" doc:"Instruments by canonical symbol, such as BTC-USDT or BTC-USDT-PERP. Empty, in playback only, means all that the recording has."`
	Channels []string `koanf:"channels" doc:"What to subscribe to: what the market has of trades, quotes, book, marks, open_interest, liquidations, options, status."`

	BookDepth    int           `koanf:"book_depth" doc:"Levels a side in a published book."`
	BookBands    []int         `koanf:"book_bands" doc:"Distances from the mid price, in basis points, within which a published book states the depth of all levels that the connector keeps, not only of those published: ascending, at most ten. 100 is 1 %."`
	BookInterval time.Duration `koanf:"book_interval" doc:"Least time between two publications of a book, besides the one ahead of a Tick."`

	StreamURL         string        `koanf:"stream_url" doc:"WebSocket address; empty means the venue's own."`
	RestURL           string        `koanf:"rest_url" doc:"REST address; empty means the venue's own."`
	StreamsPerConn    int           `koanf:"streams_per_connection" doc:"Streams on one connection, at most."`
	RequestsPerMinute int           `koanf:"requests_per_minute" doc:"REST requests in a minute, at most; venues ban who asks too often."`
	Silence           time.Duration `koanf:"silence" doc:"A connection without any message for so long is dialled again."`
	MaxAge            time.Duration `koanf:"max_age" doc:"A connection is renewed at this age, the next one standing before it ends."`
	BackoffMax        time.Duration `koanf:"backoff_max" doc:"Longest wait before a connection is dialled again."`
	TickDelay         time.Duration `koanf:"tick_delay" doc:"How far Ticks lag behind the venue's time: what its streams run behind each other."`

	Capture string `koanf:"capture" doc:"Folder to record raw frames in; empty records nothing."`
	// CaptureEvery bounds a file of the capture.
	CaptureEvery time.Duration `koanf:"capture_every" doc:"A capture goes on in a new file after so long; each file has its SHA-256 beside it."`
	Play         string        `koanf:"play" doc:"Capture to play in place of the venue: a file, or a folder of one source's files as one recording."`
	Speed        float64       `koanf:"speed" doc:"Pace of playback: 1 as recorded, 10 ten times that, 0 as fast as it goes."`
}

// Defaults of every connector; symbols and channels are the venue's.
func Defaults(symbols, channels []string) Config {
	return Config{
		Symbols: symbols, Channels: channels, BookDepth: 20, BookBands: book.DefaultBands(), BookInterval: 100 * time.Millisecond, StreamsPerConn: 200, RequestsPerMinute: 60,
		Silence: time.Minute, MaxAge: 23 * time.Hour, BackoffMax: time.Minute, TickDelay: 250 * time.Millisecond, CaptureEvery: time.Hour,
	}
}

// Common is the part that every connector has: promoted from here, it makes each one's configuration Settings.
func (c Config) Common() Config { return c }

// Validate checks the settings of a section; channels are those that the market has, and symbol checks one symbol.
func (c Config) Validate(section string, channels []string, symbol func(string) error) error {
	if len(c.Symbols) == 0 && c.Play == "" {
		return fmt.Errorf("%s.symbols is empty: it must name at least one symbol unless %s.play is set", section, section)
	}
	for _, s := range c.Symbols {
		if err := symbol(s); err != nil {
			return fmt.Errorf("%s.symbols: %w", section, err)
		}
	}
	for _, ch := range c.Channels {
		if !slices.Contains(channels, ch) {
			return fmt.Errorf("%s.channels has %q: each must be one of %v", section, ch, channels)
		}
	}
	return c.validateNumbers(section)
}

func (c Config) validateNumbers(section string) error {
	for _, f := range []struct {
		name             string
		value, low, high time.Duration
	}{
		{"book_interval", c.BookInterval, 0, time.Minute},
		{"silence", c.Silence, time.Second, time.Hour},
		{"max_age", c.MaxAge, time.Minute, 24 * time.Hour},
		{"backoff_max", c.BackoffMax, 0, time.Hour},
		{"tick_delay", c.TickDelay, 0, time.Minute},
		{"capture_every", c.CaptureEvery, time.Second, 24 * time.Hour},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("%s.%s is %v: it must lie between %v and %v", section, f.name, f.value, f.low, f.high)
		}
	}
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"book_depth", c.BookDepth, 1, 1000},
		{"streams_per_connection", c.StreamsPerConn, 1, 1024},
		{"requests_per_minute", c.RequestsPerMinute, 1, 1200},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("%s.%s is %d: it must lie between %d and %d", section, f.name, f.value, f.low, f.high)
		}
	}
	const mostBands = 10
	if len(c.BookBands) > mostBands {
		return fmt.Errorf("%s.book_bands has %d: it must have at most %d", section, len(c.BookBands), mostBands)
	}
	for i, d := range c.BookBands {
		if d < 1 || d > book.MaxBasisPoints || (i > 0 && d <= c.BookBands[i-1]) {
			return fmt.Errorf("%s.book_bands are %v: they must be ascending and lie between 1 and %d basis points", section, c.BookBands, book.MaxBasisPoints)
		}
	}
	if c.Speed < 0 {
		return fmt.Errorf("%s.speed is %v: it must not be negative", section, c.Speed)
	}
	return nil
}
