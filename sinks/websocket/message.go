package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/tapewatch/tapewatch/sinks/feed"
)

const maxIDLength = 64

// command is one message of a client; refused says why it could not be read.
type command struct {
	Type    string      `json:"type"`
	ID      string      `json:"id"`
	Filters feed.Filter `json:"filters"`
	Since   string      `json:"since"`

	refused error
}

// parseCommand reads a message strictly: a name that is not known is more likely a mistake than a wish to be ignored.
func parseCommand(text []byte) (command, error) {
	var c command
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return command{}, fmt.Errorf("reading the message: %w", err)
	}
	if d.More() {
		return command{}, errors.New("reading the message: it must be one JSON object")
	}
	if len(c.ID) > maxIDLength {
		return command{}, fmt.Errorf("id has %d bytes: it must have at most %d", len(c.ID), maxIDLength)
	}
	return c, nil
}

// hello is the first message of a connection.
func (c *conn) hello(here feed.Mark) map[string]any {
	cfg := c.server.config
	return map[string]any{
		"type": "hello", "protocol": Subprotocol, "schema": "tapewatch.v1.Event", "schema_version": 1, "time": c.timestamp(), "since": here.Since,
		"heartbeat_seconds": cfg.Heartbeat.Seconds(), "max_subscriptions": cfg.MaxSubscriptions, "queue": cfg.Queue,
	}
}

// handle answers one message.
func (c *conn) handle(ctx context.Context, cmd command) error {
	if cmd.refused != nil {
		return c.refuse(ctx, "", "bad_message", cmd.refused)
	}
	switch cmd.Type {
	case "subscribe":
		return c.subscribe(ctx, cmd)
	case "unsubscribe":
		if c.subscriptions[cmd.ID] == nil {
			return c.refuse(ctx, cmd.ID, "unknown_subscription", fmt.Errorf("there is no subscription %q", cmd.ID))
		}
		delete(c.subscriptions, cmd.ID)
		return c.send(ctx, map[string]any{"type": "unsubscribed", "id": cmd.ID})
	case "ping":
		return c.send(ctx, map[string]any{"type": "pong", "id": cmd.ID, "time": c.timestamp()})
	}
	return c.refuse(ctx, cmd.ID, "unknown_type", fmt.Errorf("type is %q: it must be subscribe, unsubscribe or ping", cmd.Type))
}

func (c *conn) refuse(ctx context.Context, id, code string, err error) error {
	return c.send(ctx, map[string]any{"type": "error", "id": id, "code": code, "message": err.Error()})
}

// subscribe starts a subscription, or changes the one that has the id, and first sends what since asks for.
func (c *conn) subscribe(ctx context.Context, cmd command) error {
	if err := cmd.Filters.Validate(); err != nil {
		return c.refuse(ctx, cmd.ID, "bad_filter", err)
	}
	if c.subscriptions[cmd.ID] == nil && len(c.subscriptions) >= c.server.config.MaxSubscriptions {
		return c.refuse(ctx, cmd.ID, "too_many_subscriptions", fmt.Errorf("there are %d subscriptions: unsubscribe one first", len(c.subscriptions)))
	}
	if !c.server.feed.Ready() {
		return c.refuse(ctx, cmd.ID, "starting", errors.New("the server is still reading the end of the topic: try again in a moment"))
	}
	// Everything before this place is the resume's, everything after it the live stream's.
	here := c.server.feed.Here()
	for len(c.subscriptions) > 0 && c.index < here.Index {
		if err := c.deliver(ctx); err != nil {
			return err
		}
		here = c.server.feed.Here()
	}
	c.index = here.Index
	if cmd.Since == "" {
		c.subscriptions[cmd.ID] = &cmd.Filters
		return c.send(ctx, map[string]any{"type": "subscribed", "id": cmd.ID, "since": here.Since})
	}
	stretch, err := c.server.feed.Since(cmd.Since, here)
	if err == nil && stretch.Records() > c.server.config.MaxReplay {
		err = fmt.Errorf("%w: it reaches back over %d records, and at most %d are sent again; read /api/v1/events instead",
			feed.ErrToken, stretch.Records(), c.server.config.MaxReplay)
	}
	if err != nil {
		c.server.metrics.replays.WithLabelValues("refused").Inc()
		return c.refuse(ctx, cmd.ID, "bad_since", err)
	}
	c.subscriptions[cmd.ID] = &cmd.Filters
	if err := c.send(ctx, map[string]any{"type": "subscribed", "id": cmd.ID, "since": cmd.Since}); err != nil {
		return err
	}
	return c.replay(ctx, cmd, stretch)
}

// replay sends the events of a stretch that one subscription wants.
func (c *conn) replay(ctx context.Context, cmd command, stretch feed.Range) error {
	origin := "memory"
	if !c.server.feed.InMemory(stretch) {
		origin = "topic"
		select {
		case c.server.replays <- struct{}{}:
			defer func() { <-c.server.replays }()
		case <-c.server.closing:
			return errStopping
		case <-c.expired:
			return errExpired
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.server.metrics.replays.WithLabelValues(origin).Inc()
	b := newBuilder(c.seq+1, &cmd.ID)
	var last func() string
	err := c.server.feed.Replay(ctx, stretch, func(e *feed.Entry, since func() string) error {
		if !cmd.Filters.Matches(e.Event) {
			return nil
		}
		b.add(e)
		if b.count < maxEventsPerMessage && b.size() < maxBytesPerMessage {
			last = since
			return nil
		}
		if err := c.sendEvents(ctx, b, since()); err != nil {
			return err
		}
		if err := c.ended(); err != nil {
			return err
		}
		b = newBuilder(c.seq+1, &cmd.ID)
		return nil
	})
	if err != nil {
		if _, end := errors.AsType[*closed](err); end || ctx.Err() != nil {
			return err
		}
		delete(c.subscriptions, cmd.ID)
		return c.refuse(ctx, cmd.ID, "replay_failed", err)
	}
	if b.count > 0 {
		return c.sendEvents(ctx, b, last())
	}
	b.release()
	return nil
}

// builder makes one message of events around the JSON that all clients share.
type builder struct {
	text  []byte
	count int
}

// newBuilder begins a message; replay is the id of the subscription that resumes, nil for the live stream.
func newBuilder(seq uint64, replay *string) *builder {
	b, _ := builders.Get().(*builder)
	b.count = 0
	b.text = append(b.text[:0], `{"type":"events","seq":`...)
	b.text = strconv.AppendUint(b.text, seq, 10)
	if replay != nil {
		if id, err := json.Marshal(*replay); err == nil { // a string always is JSON
			b.text = append(append(b.text, `,"replay":true,"id":`...), id...)
		}
	}
	b.text = append(b.text, `,"events":[`...)
	return b
}

func (b *builder) size() int { return len(b.text) }

func (b *builder) add(e *feed.Entry) {
	if b.count > 0 {
		b.text = append(b.text, ',')
	}
	b.count++
	b.text = append(b.text, e.JSON...)
}

func (b *builder) finish(since string) []byte {
	b.text = append(append(append(b.text, `],"since":"`...), since...), `"}`...)
	return b.text
}

// release gives the memory back unless it grew out of proportion.
func (b *builder) release() {
	if cap(b.text) <= 2*maxBytesPerMessage {
		builders.Put(b)
	}
}
