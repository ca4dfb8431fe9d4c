package tape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/tapewatch/tapewatch/schemas"
)

// jsonWriter writes lines.
type jsonWriter struct {
	file io.WriteCloser
	out  *bufio.Writer
	next map[place]int64
	dec  schemas.Decoder
	enc  schemas.Encoder
	back []byte
}

// NewJSONWriter writes the JSON form to w, and closes it at the end.
func NewJSONWriter(w io.WriteCloser) Writer {
	return &jsonWriter{file: w, out: bufio.NewWriterSize(w, 256<<10), next: map[place]int64{}}
}

// Write appends a line.
func (w *jsonWriter) Write(topic string, partition int32, r *Record) error {
	at := place{topic, partition}
	l := line{Topic: topic, Partition: partition, Type: r.Type}
	if r.Offset != w.next[at] {
		l.Offset = &r.Offset
	}
	w.next[at] = r.Offset + 1
	if key := string(r.Key); r.Key != nil && utf8.ValidString(key) {
		l.Key = &key
	} else {
		l.KeyBytes = r.Key
	}
	if l.Value = w.readable(r); l.Value == nil {
		l.ContentType = r.ContentType
		if r.Value != nil {
			l.Bytes = &r.Value
		}
	}
	// Escaping of <, > and & would only make the line harder to read.
	enc := json.NewEncoder(w.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return fmt.Errorf("writing record %d of %s/%d: %w", r.Offset, topic, partition, err)
	}
	return nil
}

// readable returns the value as JSON; nil where that would not give the same record again: what cannot be decoded, and what
// has unknown fields or another encoding than ours.
func (w *jsonWriter) readable(r *Record) json.RawMessage {
	if r.ContentType == schemas.ContentJSON {
		if trimmed := bytes.TrimSpace(r.Value); !json.Valid(trimmed) || len(trimmed) == 0 || string(trimmed) == "null" {
			return nil
		}
		return r.Value
	}
	if r.Value == nil || r.ContentType != "" && r.ContentType != schemas.ContentProtobuf {
		return nil
	}
	m, err := w.dec.Decode(r.Type, r.ContentType, r.Value)
	if err != nil {
		return nil
	}
	text, err := schemas.MarshalJSON(m)
	if err != nil {
		return nil
	}
	again, err := w.dec.Decode(r.Type, schemas.ContentJSON, text)
	if err != nil {
		return nil
	}
	if w.back, err = w.enc.AppendValue(w.back[:0], schemas.Topic{}, again); err != nil || !bytes.Equal(w.back, r.Value) {
		return nil
	}
	return text
}

// Close writes what is left.
func (w *jsonWriter) Close() error {
	err := w.out.Flush()
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("ending a tape: %w", err)
	}
	return nil
}

// Abort does as Close: lines have no end to leave out.
func (w *jsonWriter) Abort() error { return w.Close() }
