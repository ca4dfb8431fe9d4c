package proofs

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// listener is a WebSocket client that collects event ids from the moment it is subscribed.
type listener struct {
	mu    sync.Mutex // guards what follows
	ids   []string
	since string
}

// listen connects as soon as the server answers, subscribes to everything and reads until the test ends. Where the server
// tells it that it lags, or cuts it off, it resumes at the last token.
func (s *system) listen(url string) *listener {
	s.t.Helper()
	l := &listener{}
	subscribed := make(chan struct{})
	go func() {
		first := true
		for s.t.Context().Err() == nil {
			l.session(s.t.Context(), url, func() {
				if first {
					first = false
					close(subscribed)
				}
			})
			time.Sleep(200 * time.Millisecond)
		}
	}()
	select {
	case <-subscribed:
	case <-time.After(90 * time.Second):
		s.t.Fatalf("no subscription at %s within 90 s", url)
	}
	return l
}

func (l *listener) session(ctx context.Context, url string, subscribed func()) {
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(64 << 20)
	l.mu.Lock()
	ask := map[string]any{"type": "subscribe", "id": "all"}
	if l.since != "" {
		ask["since"] = l.since
	}
	l.mu.Unlock()
	text, err := json.Marshal(ask)
	if err != nil || c.Write(ctx, websocket.MessageText, text) != nil {
		return
	}
	for {
		_, data, err := c.Read(ctx)
		if err != nil {
			return
		}
		var m struct {
			Type, Since string
			Events      []struct{ ID string }
		}
		if json.Unmarshal(data, &m) != nil {
			return
		}
		switch m.Type {
		case "error", "lagged":
			return // again, from the last token
		case "subscribed":
			subscribed()
		}
		l.mu.Lock()
		if m.Type == "events" || m.Type == "subscribed" {
			l.since = m.Since
		}
		for _, e := range m.Events {
			l.ids = append(l.ids, e.ID)
		}
		l.mu.Unlock()
	}
}

// all returns the ids so far, sorted.
func (l *listener) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := slices.Clone(l.ids)
	slices.Sort(ids)
	return ids
}
