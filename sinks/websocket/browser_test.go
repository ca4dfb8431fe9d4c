package websocket

import (
	"fmt"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

// browserPage subscribes, and reports what it was told, then the ids of fifty events.
const browserPage = `<!doctype html><title>events</title><script>
const report = x => fetch("/report", {method: "POST", body: JSON.stringify(x)})
const ws = new WebSocket(%q, ["tapewatch.v1", "bearer.%s"])
const ids = []
ws.onerror = () => report({type: "refused"})
ws.onopen = () => ws.send(JSON.stringify({type: "subscribe", id: "page"}))
ws.onmessage = m => {
  const message = JSON.parse(m.data)
  if (message.type == "subscribed") report({type: message.type, protocol: ws.protocol})
  if (message.type != "events") return
  ids.push(...message.events.map(e => e.id))
  if (ids.length >= 50) report({type: "events", ids})
}
</script>`

type browserReport struct {
	Type, Protocol string
	IDs            []string
}

// TestBrowser lets a page of another origin follow the events with a token, and not without being listed.
func TestBrowser(t *testing.T) {
	b := testservices.NewBrowser(t)
	var got browserReport
	strict := newStand(t, 0, nil, hash(testToken))
	b.Serve("/stranger", fmt.Sprintf(browserPage, strict.url(), testToken))
	b.Open("/stranger")
	if b.Report(&got); got.Type != "refused" {
		t.Fatalf("a page of an origin that is not listed was told %+v", got)
	}

	s := newStand(t, 0, func(c *Config) { c.Origins = []string{b.Origin} }, hash(testToken))
	b.Serve("/listed", fmt.Sprintf(browserPage, s.url(), testToken))
	b.Open("/listed")
	if b.Report(&got); got.Type != "subscribed" || got.Protocol != Subprotocol {
		t.Fatalf("the page was told %+v, want subscribed by %s", got, Subprotocol)
	}
	sinktest.Produce(t, s.client, 0, 50)
	b.Report(&got)
	wantIDs(t, got.IDs, 0, 50, nil)
}
