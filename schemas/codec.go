package schemas

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Content types of a record value.
const (
	ContentProtobuf = "application/protobuf"
	ContentJSON     = "application/json"
)

// ErrUndecodable is wrapped by every error of a Decoder: the record is poison.
var ErrUndecodable = errors.New("undecodable record")

// MaxRecordBytes bounds a record value that will be decoded.
const MaxRecordBytes = 4 << 20

// MaxOutputBytes bounds what a processor emits (OutputSize). With key, headers and framing it fits the 1 MiB that every
// topic takes.
const MaxOutputBytes = 1_000_000

// OutputSize is the size that bounds an output: that of Protobuf, or of JSON where it is larger and the topic may be written
// in it. It does not hang on how a cluster's values are encoded, so that every replay meets the same bound.
func OutputSize(t Topic, m Message) int {
	size := proto.Size(m)
	// Names and quotes make JSON at most some sixty times as large.
	if mayBeJSON(t) && size > MaxOutputBytes/64 {
		if text, err := MarshalJSON(m); err == nil {
			size = max(size, len(text))
		}
	}
	return size
}

// A Decoder turns record values into messages. It uses its messages again: what Decode returned is valid until the next call.
// Not for concurrent use; the zero value is ready.
type Decoder struct {
	// SchemaType names the type of a value in Confluent framing by schema id and message index; nil refuses framed values.
	SchemaType func(id uint32, index []int) (string, error)

	trade tradeScratch
	bar   barScratch
	other map[string]Message
}

// Decode decodes the value of a record of the named type, or of the type that its Confluent framing names. contentType is
// that of the header, "" for Protobuf.
func (d *Decoder) Decode(typeName, contentType string, value []byte) (Message, error) {
	if len(value) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: %s of %d bytes, must be at most %d", ErrUndecodable, typeName, len(value), MaxRecordBytes)
	}
	// No Protobuf message begins with a zero byte, so the framing's magic byte cannot be mistaken.
	if len(value) > 0 && value[0] == 0 {
		var err error
		if typeName, value, err = d.unframe(value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
		}
	}
	if contentType == ContentJSON {
		return decodeJSON(typeName, value)
	}
	switch typeName {
	case "Trade":
		if d.trade.decode(value) {
			return &d.trade.m, nil
		}
	case "Bar":
		if d.bar.decode(value) {
			return &d.bar.m, nil
		}
	}
	return d.generated(typeName, value)
}

// generated decodes by the generated code.
func (d *Decoder) generated(typeName string, value []byte) (Message, error) {
	m := d.other[typeName]
	if m == nil {
		var err error
		if m, err = NewMessage(typeName); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
		}
		if d.other == nil {
			d.other = map[string]Message{}
		}
		d.other[typeName] = m
	}
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("%w: %s of %d bytes: %w", ErrUndecodable, typeName, len(value), err)
	}
	return m, nil
}

func decodeJSON(typeName string, value []byte) (Message, error) {
	m, err := NewMessage(typeName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if err := protojson.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("%w: %s as JSON: %w", ErrUndecodable, typeName, err)
	}
	return m, nil
}

// unframe reads Confluent framing: magic 0, schema id (4 bytes, big endian), message index (zigzag count and entries; a
// single 0 stands for [0]).
func (d *Decoder) unframe(value []byte) (string, []byte, error) {
	if d.SchemaType == nil {
		return "", nil, errors.New("value is in registry framing and no schema registry is configured: set kafka.schema_registry")
	}
	if len(value) < 6 {
		return "", nil, fmt.Errorf("registry framing of %d bytes: must have at least 6", len(value))
	}
	id := binary.BigEndian.Uint32(value[1:5])
	rest := value[5:]
	read := func() (int, bool) {
		v, n := binary.Varint(rest)
		if n <= 0 || v < 0 || v > 1<<16 {
			return 0, false
		}
		rest = rest[n:]
		return int(v), true
	}
	count, ok := read()
	if !ok || count > 8 {
		return "", nil, errors.New("registry framing has a broken message index")
	}
	index := []int{0}
	if count > 0 {
		index = index[:0]
	}
	for range count {
		i, ok := read()
		if !ok {
			return "", nil, errors.New("registry framing has a broken message index")
		}
		index = append(index, i)
	}
	name, err := d.SchemaType(id, index)
	if err != nil {
		return "", nil, fmt.Errorf("resolving schema id %d: %w", id, err)
	}
	return name, rest, nil
}

// An Encoder turns messages into record values and headers. Not for concurrent use; the zero value is ready.
type Encoder struct {
	// Frame returns the Confluent framing that precedes values of a type; nil for none.
	Frame func(typeName string) ([]byte, error)
	// JSON writes events and analyses as protojson.
	JSON bool
	// AllHeaders puts the headers also on the records that lean topics leave bare.
	AllHeaders bool
	// Origin is the ce_source prefix, default "tapewatch".
	Origin string
}

var deterministic = proto.MarshalOptions{Deterministic: true}

// AppendValue appends the encoded value of m for topic t to dst.
func (e *Encoder) AppendValue(dst []byte, t Topic, m Message) ([]byte, error) {
	if e.asJSON(t) {
		text, err := MarshalJSON(m)
		return append(dst, text...), err
	}
	if e.Frame != nil {
		prefix, err := e.Frame(TypeOf(m))
		if err != nil {
			return dst, fmt.Errorf("framing a %s: %w", TypeOf(m), err)
		}
		dst = append(dst, prefix...)
	}
	out, err := deterministic.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("encoding a %s: %w", TypeOf(m), err)
	}
	return out, nil
}

func (e *Encoder) asJSON(t Topic) bool {
	return e.JSON && mayBeJSON(t)
}

func mayBeJSON(t Topic) bool {
	return t.Name == Events.Name || t.Name == AnalysisResults.Name || t.Name == EventsScopes.Name
}

// MarshalJSON returns protojson in a stable form: the library's own output varies in white space on purpose.
func MarshalJSON(m Message) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s as JSON: %w", TypeOf(m), err)
	}
	var out bytes.Buffer
	out.Grow(len(text))
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("compacting JSON of a %s: %w", TypeOf(m), err)
	}
	return out.Bytes(), nil
}

// Header is one Kafka record header.
type Header struct {
	Key   string
	Value []byte
}

// Headers returns the CloudEvents headers (Kafka protocol binding, binary mode) of m on topic t: none for the first type of
// a lean topic. Only what the record itself says goes in, so a replay writes the same bytes.
func (e *Encoder) Headers(t Topic, m Message) []Header {
	name := TypeOf(m)
	if t.Lean && !e.AllHeaders && len(t.Types) > 0 && t.Types[0] == name {
		return nil
	}
	origin := e.Origin
	if origin == "" {
		origin = "tapewatch"
	}
	content := ContentProtobuf
	if e.asJSON(t) {
		content = ContentJSON
	}
	id, subject := identity(t, m)
	h := []Header{
		{"content-type", []byte(content)},
		{"ce_specversion", []byte("1.0")},
		{"ce_type", []byte("tapewatch.v1." + name)},
		{"ce_source", []byte(origin + "/" + t.Name)},
		{"ce_id", []byte(id)},
	}
	if at := TimeOf(m); at != 0 {
		h = append(h, Header{"ce_time", []byte(at.String())})
	}
	if subject != "" {
		h = append(h, Header{"ce_subject", []byte(subject)})
	}
	return h
}

// identity returns the CloudEvents id and subject of a message.
func identity(t Topic, m Message) (id, subject string) {
	switch m := m.(type) {
	case *Event:
		return m.GetId(), m.GetKey()
	case *Tick:
		return fmt.Sprintf("%s/%d/%d", m.GetSource(), m.GetTime(), m.GetPartition()), ""
	case *Heartbeat:
		return fmt.Sprintf("%s/%d", m.GetInstance(), m.GetTime()), m.GetInstance()
	}
	key := t.KeyOf(m)
	meta := MetaOf(m)
	if meta.GetId() != "" {
		return key + "/" + meta.GetId(), key
	}
	return fmt.Sprintf("%s/%s/%d/%d", key, TypeOf(m), meta.GetEventTime(), meta.GetSequence()), key
}

// TypeFromHeader returns the record type and content type that headers name; the topic's first type when they name none.
// each calls its argument for every header.
func (t Topic) TypeFromHeader(n int, header func(i int) (key string, value []byte)) (typeName, contentType string) {
	if len(t.Types) > 0 {
		typeName = t.Types[0]
	}
	for i := range n {
		switch k, v := header(i); k {
		case "ce_type":
			typeName = strings.TrimPrefix(string(v), "tapewatch.v1.")
		case "content-type":
			contentType = string(v)
		}
	}
	return typeName, contentType
}
