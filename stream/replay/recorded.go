package replay

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A past is what the processor's group recorded of one partition, as far as a replay from an offset needs it.
type past struct {
	// begin is the offset to read from, and at the state there; nil for none, as the group itself began there.
	begin int64
	at    *stream.Checkpoint
	// bound is the configuration in force at begin, turns are the changes after it.
	bound *processor.Bound
	turns []turn
	// inexact says why the outputs may differ from the live ones all the same.
	inexact []string
}

// last is the configuration in force at the end of the range.
func (h *past) last() *processor.Bound {
	if n := len(h.turns); n > 0 {
		return h.turns[n-1].bound
	}
	return h.bound
}

// A turn is a change of configuration: from the offset at on, the group ran under another one.
type turn struct {
	at    int64
	bound *processor.Bound
}

// recorded reads the past of a partition that is to be replayed from an offset; nil when the group recorded nothing that is of use.
// It begins at the newest checkpoint at or before that offset; else where the group itself began; else, in a log whose beginning is
// gone, at the first checkpoint that the log still reaches.
func (t TopicRange) recorded(ctx context.Context, b *processor.Bound, p part) (*past, error) {
	usable := func(m *schemas.Marker) bool {
		return m.NextOffset >= p.start && m.ProcessorVersion == b.Version && m.Layout == processor.Layout
	}
	at, markers, err := stream.ReadCheckpoints(ctx, t.Cluster, b.Name, b.Input, p.partition, func(held, m *schemas.Marker) bool {
		return usable(m) && (held == nil || m.NextOffset <= p.from)
	})
	if err != nil || len(markers) == 0 {
		return nil, err
	}
	// The first marker tells of the beginning unless retention has taken those before it.
	origin := markers[0]
	whole := origin.ConfigSince == origin.Began && origin.Began >= p.start && origin.ProcessorVersion == b.Version
	h := &past{at: at}
	in := origin
	switch {
	case at != nil && at.Marker.NextOffset <= p.from, at != nil && !whole:
		in, h.begin = at.Marker, at.Marker.NextOffset
	case whole:
		h.begin, h.at = origin.Began, nil
	default:
		return nil, nil //nolint:nilnil // nothing of use
	}
	if h.bound, err = bindRecorded(b, in); err != nil {
		return nil, fmt.Errorf("partition %d: %w", p.partition, err)
	}
	if !bytes.Equal(h.bound.ConfigJSON, in.Config) {
		h.inexact = append(h.inexact, fmt.Sprintf("partition %d: the configuration recorded at offset %d is not one of this build: settings that it lacks have their defaults", p.partition, in.NextOffset))
	}
	err = h.follow(b, p, in, markers)
	return h, err
}

// follow finds the changes of configuration between the marker in and the end of the range.
func (h *past) follow(b *processor.Bound, p part, in *schemas.Marker, markers []*schemas.Marker) error {
	for _, m := range markers {
		if m.NextOffset <= in.NextOffset || m.ConfigSince >= p.to || bytes.Equal(m.Config, in.Config) && m.ProcessorVersion == in.ProcessorVersion {
			continue
		}
		in = m
		if m.ProcessorVersion != b.Version {
			h.inexact = append(h.inexact, fmt.Sprintf("partition %d: from offset %d on version %d ran, and this is version %d", p.partition, m.ConfigSince, m.ProcessorVersion, b.Version))
			continue
		}
		bound, err := bindRecorded(b, m)
		if err != nil {
			return fmt.Errorf("partition %d: %w", p.partition, err)
		}
		h.turns = append(h.turns, turn{at: m.ConfigSince, bound: bound})
	}
	return nil
}

// bindRecorded binds the configuration that a marker names.
func bindRecorded(b *processor.Bound, m *schemas.Marker) (*processor.Bound, error) {
	if bytes.Equal(m.Config, b.ConfigJSON) {
		return b, nil
	}
	bound, err := b.BindJSON(m.Config)
	if err != nil {
		return nil, fmt.Errorf("the configuration recorded at offset %d is no longer valid: %w: replay it with the build that wrote it, or under a configuration of your own", m.NextOffset, err)
	}
	return bound, nil
}

// resume puts the lane's task where the past begins.
func (l *lane) resume(h *past) error {
	l.turns, l.warming = h.turns, true
	if h.at == nil {
		return nil
	}
	m := proto.CloneOf(h.at.Marker)
	m.Config = h.bound.ConfigJSON
	if _, err := l.task.Restore(m, h.at.States); err != nil {
		return fmt.Errorf("beginning at the checkpoint of offset %d: %w", h.begin, err)
	}
	return nil
}

// turn takes over the configurations that came into force at or before an offset.
func (l *lane) turn(offset int64) error {
	for len(l.turns) > 0 && l.turns[0].at <= offset {
		next := l.turns[0]
		l.turns = l.turns[1:]
		if err := l.task.Rebind(next.bound, next.at); err != nil {
			return fmt.Errorf("taking over the configuration of offset %d: %w", next.at, err)
		}
		l.ran = append(l.ran, next.bound)
	}
	return nil
}
