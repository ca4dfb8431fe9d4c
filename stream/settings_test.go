package stream_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

func TestGroupRefusesSettingsThatLoseItsInput(t *testing.T) {
	for _, tc := range []struct {
		topic      schemas.Topic
		key, value string
		says       string
	}{
		{schemas.MarketTrades, "retention.ms", "200", "retention.ms of market.trades is 200 (200ms): it must exceed stream.snapshot_interval (200ms)"},
		{schemas.MarketTrades, "cleanup.policy", "compact", `cleanup.policy of market.trades is "compact": it must be delete`},
		{schemas.Events, "max.message.bytes", "1000000", "max.message.bytes of events is 1000000: it must be at least 1048588"},
		{schemas.StateTopic(chaos.Name), "max.message.bytes", "1048588", "max.message.bytes of state.chaos_count is 1048588: it must be at least 5242880"},
	} {
		t.Run(tc.topic.Name+" "+tc.key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.set(tc.topic, tc.key, tc.value)
			select {
			case err := <-w.start(stream.GroupOptions{}).done:
				if !errors.Is(err, stream.ErrRefused) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("the group says %v, want a refusal that says %q", err, tc.says)
				}
			case <-time.After(20 * time.Second):
				t.Error("the group runs")
			}
		})
	}
}

func TestGroupWarnsOfThinRetention(t *testing.T) {
	for key, value := range map[string]string{"retention.ms": "60000", "retention.bytes": "1000000"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			said := &lines{}
			w.log = slog.New(slog.NewTextHandler(said, nil))
			for _, wants := range []bool{false, true} {
				if wants {
					w.set(schemas.MarketTrades, key, value)
				}
				w.load(chaos.Load{Records: 100})
				r := w.start(stream.GroupOptions{})
				w.caughtUp()
				r.end()
				if got := strings.Contains(said.String(), "input is"); got != wants {
					t.Errorf("with %s changed (%v) the group warns: %v\n%s", key, wants, got, said)
				}
			}
		})
	}
}

// lines keeps a log.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
