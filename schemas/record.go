package schemas

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Message is one record's payload: a pointer to a generated message, such as *Trade or *Tick.
type Message = proto.Message

// Record is one decoded record as a processor sees it. Message and what it points to are valid only until the call returns:
// the decoder uses them again for the next record.
type Record struct {
	// Message is the payload.
	Message Message
	// Time is the event time.
	Time Time
	// Partition and Offset are the record's coordinates on its topic.
	Partition int32
	Offset    int64
	// Late says that the record's time had passed when it came (its source's last Tick less the allowed lateness).
	Late bool
}

// sourced is what every record that a source writes has.
type sourced interface{ GetMeta() *Meta }

// MetaOf returns the message's Meta, nil where its type has none (Tick, Event, Heartbeat, ...).
func MetaOf(m Message) *Meta {
	switch m := m.(type) {
	case *Trade: // most records, and a concrete type is cheaper to ask for than an interface
		return m.GetMeta()
	case sourced:
		return m.GetMeta()
	}
	return nil
}

// TimeOf returns the event time of a message: that of its Meta, or its own; 0 where it has none.
func TimeOf(m Message) Time {
	switch m := m.(type) {
	case *Tick:
		return Time(m.GetTime())
	case *Event:
		return Time(m.GetEventTime())
	case *Heartbeat:
		return Time(m.GetTime())
	}
	return Time(MetaOf(m).GetEventTime())
}

// SourceOf returns the source whose Ticks move the message's time, "" where it has none.
func SourceOf(m Message) string {
	switch m := m.(type) {
	case *Tick:
		return m.GetSource()
	case *Event:
		return m.GetSource()
	}
	return MetaOf(m).GetSource()
}

// TypeOf returns the short name of a message's type, such as "Trade": the `type` of JSON lines and the end of ce_type.
func TypeOf(m Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

// NewMessage returns an empty message of a type by its short name, such as "Trade".
func NewMessage(name string) (Message, error) {
	for _, f := range []protoreflect.FileDescriptor{
		File_tapewatch_v1_common_proto, File_tapewatch_v1_market_proto, File_tapewatch_v1_reference_proto, File_tapewatch_v1_output_proto,
	} {
		if d := f.Messages().ByName(protoreflect.Name(name)); d != nil {
			return newOf(d)
		}
	}
	return nil, fmt.Errorf("record type %q is unknown: it must be a message of tapewatch.v1, such as Trade", name)
}
