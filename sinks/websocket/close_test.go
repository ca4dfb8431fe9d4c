package websocket

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

func TestCloseCodes(t *testing.T) {
	for name, c := range map[string]struct {
		code   websocket.StatusCode
		change func(*Config)
		do     func(*stand, *peer)
	}{
		"binary":     {websocket.StatusUnsupportedData, nil, func(_ *stand, p *peer) { _ = p.ws.Write(t.Context(), websocket.MessageBinary, []byte{1}) }},
		"over limit": {websocket.StatusMessageTooBig, nil, func(_ *stand, p *peer) { p.say("%s", strings.Repeat("x", 17<<10)) }},
		"message flood": {websocket.StatusPolicyViolation, nil, func(_ *stand, p *peer) {
			for range 300 {
				if p.ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"unsubscribe"}`)) != nil {
					return
				}
			}
		}},
		"server stops": {websocket.StatusGoingAway, nil, func(s *stand, _ *peer) { go s.stop() }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, 0, c.change)
			p := s.dial(nil)
			c.do(s, p)
			for {
				_, err := p.read()
				if err == nil {
					continue
				}
				if got := websocket.CloseStatus(err); got != c.code {
					t.Fatalf("closed with %d (%v), want %d", got, err, c.code)
				}
				break
			}
			s.stop()
		})
	}
}

// Clients choose among two thousand close codes: that makes one series, not as many.
func TestCloseCodesOfClientsShareALabel(t *testing.T) {
	s := newStand(t, 0, nil)
	for _, code := range []websocket.StatusCode{websocket.StatusNormalClosure, 3000, 4000, 4999} {
		if err := s.dial(nil).ws.Close(code, ""); err != nil {
			t.Fatal(err)
		}
	}
	closed := func(code string) float64 { return testutil.ToFloat64(s.server.metrics.closed.WithLabelValues(code)) }
	sinktest.Eventually(t, 10*time.Second, func() bool { return closed("private") == 3 && closed("1000") == 1 }, "the codes are not counted")
	if n := testutil.CollectAndCount(s.server.metrics.closed); n != 2 {
		t.Errorf("%d series, want 2", n)
	}
	s.stop()
}
