// Package logging makes the process's logger: coloured lines on a terminal, JSON elsewhere.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// Config says what is logged and how.
type Config struct {
	Level  string `koanf:"level" doc:"Lowest level that is logged: debug, info, warn or error."`
	Format string `koanf:"format" doc:"Form of log lines: auto (text on a terminal, JSON elsewhere), text or json."`
}

// Defaults logs from info up, in the form that suits the output.
func Defaults() Config { return Config{Level: "info", Format: "auto"} }

// Validate checks the settings.
func (c Config) Validate() error {
	if _, err := c.level(); err != nil {
		return err
	}
	switch c.Format {
	case "auto", "text", "json":
		return nil
	}
	return fmt.Errorf("log.format is %q: it must be auto, text or json", c.Format)
}

func (c Config) level() (slog.Level, error) {
	switch strings.ToLower(c.Level) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log.level is %q: it must be debug, info, warn or error", c.Level)
}

// Terminal reports whether w is a terminal.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// Colour reports whether w is to get colours: a terminal, and neither NO_COLOR set nor TERM=dumb. getenv is os.Getenv.
func Colour(w io.Writer, getenv func(string) string) bool {
	return Terminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// New makes a logger that writes to w.
func New(c Config, w io.Writer, getenv func(string) string) (*slog.Logger, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	level, err := c.level()
	if err != nil {
		return nil, err
	}
	if c.Format == "json" || c.Format == "auto" && !Terminal(w) {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: legible})), nil
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !Colour(w, getenv)})), nil
}

// legible writes durations as 1.5s, where slog's JSON has bare nanoseconds.
func legible(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
