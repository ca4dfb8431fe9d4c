package websocket

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/sinks/internal/sinktest"
)

// TestDocumentedProtocol speaks the conversation of docs/events.md: the server answers each message with one of that type and with those
// fields.
func TestDocumentedProtocol(t *testing.T) {
	s := newStand(t, 0, nil)
	ws, _, err := websocket.Dial(t.Context(), s.url(), &websocket.DialOptions{Subprotocols: []string{Subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(1 << 20)
	since, answers := "", 0
	for _, line := range testservices.ExampleLines(t, "docs/events.md", "websocket") {
		if said, ok := strings.CutPrefix(line, "> "); ok {
			said = strings.ReplaceAll(said, "TOKEN", since)
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(said)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		documented, got := map[string]any{}, map[string]any{}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "< ")), &documented); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if documented["type"] == "events" && documented["replay"] == nil {
			sinktest.Produce(t, s.client, 0, 16)
		}
		for got["type"] != documented["type"] || got["replay"] != documented["replay"] {
			_, text, err := ws.Read(t.Context())
			if err != nil {
				t.Fatalf("waiting for %s: %v", line, err)
			}
			got = map[string]any{}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if kind := got["type"]; kind != documented["type"] && kind != "events" {
				t.Fatalf("the server says %s, the document %s", text, line)
			}
		}
		answers++
		if diff := cmp.Diff(slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("fields of %v (-document +server):\n%s", documented["type"], diff)
		}
		if code := documented["code"]; code != got["code"] {
			t.Errorf("the code is %v, in the document %v", got["code"], code)
		}
		if text, ok := got["since"].(string); ok && since == "" && got["type"] == "subscribed" {
			since = text
		}
	}
	if answers < 5 {
		t.Errorf("the document has %d messages of the server: the search is broken", answers)
	}
}
