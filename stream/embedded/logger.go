package embedded

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kfake"
)

// logger hands the broker's messages to slog, one level lower than the broker means them: what is news to a broker's
// operator is detail here.
type logger struct{ log *slog.Logger }

// Logf formats only what will be printed.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	at := slog.LevelDebug - 4
	switch level { //nolint:exhaustive // the others stay at trace
	case kfake.LogLevelError:
		at = slog.LevelError
	case kfake.LogLevelWarn:
		at = slog.LevelInfo
	case kfake.LogLevelInfo:
		at = slog.LevelDebug
	}
	ctx := context.Background() //nolint:forbidigo // the broker logs on its own account
	if l.log.Enabled(ctx, at) {
		l.log.Log(ctx, at, "embedded broker", "message", fmt.Sprintf(format, args...))
	}
}
