package reconcile

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapewatch/tapewatch/schemas"
)

// Kinds of differences.
const (
	// Missing events come out of the replay and do not stand on the topic.
	Missing = "missing"
	// Extra events stand on the topic and do not come out of the replay.
	Extra = "extra"
	// Different events have the same id and other contents.
	Different = "different"
	// Twice is an event that stands on the topic again.
	Twice = "twice"
	// Disordered events stand behind one of the same key whose input came later.
	Disordered = "disordered"
)

// A Difference is one event in which the topic and the replay differ.
type Difference struct {
	Kind string
	// Event is the topic's, of missing ones the replay's.
	Event *schemas.Event
	// Fields are those in which different events differ, each with both values.
	Fields []string
}

// Compare tells every difference between the events of a replay and those of the topic, each of which is in the order of its
// partition. Events of one key share a partition on either side.
func Compare(replayed, committed []*schemas.Event, tell func(Difference)) {
	seen := make(map[string]*schemas.Event, len(committed))
	last := map[string]int64{}
	for _, e := range committed {
		if seen[e.Id] != nil {
			tell(Difference{Kind: Twice, Event: e})
			continue
		}
		seen[e.Id] = e
		if at := e.Position.GetOffset(); at < last[e.Key] {
			tell(Difference{Kind: Disordered, Event: e})
		} else {
			last[e.Key] = at
		}
	}
	known := make(map[string]bool, len(replayed))
	for _, e := range replayed {
		known[e.Id] = true
		got := seen[e.Id]
		switch {
		case got == nil:
			tell(Difference{Kind: Missing, Event: e})
		case !proto.Equal(got, e):
			tell(Difference{Kind: Different, Event: got, Fields: fields("", got.ProtoReflect(), e.ProtoReflect(), nil)})
		}
	}
	for _, e := range committed {
		if !known[e.Id] {
			tell(Difference{Kind: Extra, Event: e})
			known[e.Id] = true
		}
	}
}

// fields appends the fields in which two messages differ: path, value on the topic, value of the replay.
func fields(path string, topic, replay protoreflect.Message, out []string) []string {
	list := topic.Descriptor().Fields()
	for i := range list.Len() {
		f := list.Get(i)
		a, b := topic.Get(f), replay.Get(f)
		if topic.Has(f) == replay.Has(f) && a.Equal(b) {
			continue
		}
		name := path + f.JSONName()
		if f.Message() != nil && !f.IsList() && !f.IsMap() && topic.Has(f) && replay.Has(f) {
			out = fields(name+".", a.Message(), b.Message(), out)
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s, replayed %s", name, show(topic.Has(f), a), show(replay.Has(f), b)))
	}
	return out
}

// longest value that is shown whole.
const longest = 120

func show(has bool, v protoreflect.Value) string {
	if !has {
		return "none"
	}
	text := fmt.Sprint(v)
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return text
}
