package tape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tapewatch/tapewatch/schemas"
)

// MaxLineBytes bounds a line of the JSON form.
const MaxLineBytes = 2*schemas.MaxRecordBytes + 1<<20

// batchRecords bounds a batch of the JSON form.
const batchRecords = 1024

// A LineError says what is wrong with a line of the JSON form.
type LineError struct {
	// Line counts from 1.
	Line int
	// Text is the start of the line.
	Text string
	Err  error
}

// Error names the line.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v: %.80q", e.Line, e.Err, e.Text) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// line is the JSON form of a record.
type line struct {
	Topic       string          `json:"topic"`
	Partition   int32           `json:"partition,omitempty"`
	Offset      *int64          `json:"offset,omitempty"`
	Key         *string         `json:"key,omitempty"`
	KeyBytes    []byte          `json:"key_bytes,omitempty"`
	Type        string          `json:"type,omitempty"`
	Value       json.RawMessage `json:"value,omitempty"`
	Bytes       *[]byte         `json:"bytes,omitempty"`
	ContentType string          `json:"content_type,omitempty"`
}

// jsonReader reads lines. It makes new memory for every record: this form is for people, not for speed.
type jsonReader struct {
	in     *bufio.Reader
	file   io.Closer
	bad    func(*LineError) error
	number int
	next   map[place]int64 // the offset that a record without one has
	held   *Record         // the first record of the next batch
	at     place           // where held belongs
	long   []byte
	err    error
}

// NewJSONReader reads the JSON form from r, and closes it at the end when it is a Closer.
func NewJSONReader(r io.Reader, o Options) Reader {
	j := &jsonReader{in: bufio.NewReaderSize(r, 64<<10), bad: o.BadLine, next: map[place]int64{}}
	j.file, _ = r.(io.Closer)
	return j
}

// Next returns the next run of lines of one partition.
func (j *jsonReader) Next() (*Batch, error) {
	var b *Batch
	for {
		r, at := j.held, j.at
		j.held = nil
		if r == nil {
			r, at = j.record()
		}
		switch {
		case r == nil && b == nil:
			return nil, j.err
		case r == nil:
			return b, nil
		case b == nil:
			b = &Batch{Topic: at.topic, Partition: at.partition, Records: make([]Record, 0, 16)}
		case at != (place{b.Topic, b.Partition}) || len(b.Records) == batchRecords:
			j.held, j.at = r, at
			return b, nil
		}
		b.Records = append(b.Records, *r)
	}
}

// record returns the next good line; nil when the reading has ended with j.err.
func (j *jsonReader) record() (*Record, place) {
	for j.err == nil {
		text, err := j.line()
		if len(bytes.TrimSpace(text)) > 0 {
			r, at, bad := j.parse(text)
			if err != nil && !errors.Is(err, io.EOF) {
				bad = err
			}
			if bad == nil {
				j.note(err)
				return r, at
			}
			lineErr := &LineError{Line: j.number, Text: string(text[:min(len(text), 80)]), Err: bad}
			if j.bad == nil {
				j.err = lineErr
				return nil, place{}
			}
			if j.err = j.bad(lineErr); j.err != nil {
				return nil, place{}
			}
		}
		j.note(err)
	}
	return nil, place{}
}

// note keeps an error that ends the reading.
func (j *jsonReader) note(err error) {
	if err != nil && !errors.Is(err, errTooLong) {
		j.err = err
	}
}

var errTooLong = fmt.Errorf("it is longer than %d bytes", MaxLineBytes)

// line returns the next line, in memory that is used again. Of one that is too long it returns the start, and skips the rest.
func (j *jsonReader) line() ([]byte, error) {
	j.number++
	j.long = j.long[:0]
	var tooLong error
	for {
		part, err := j.in.ReadSlice('\n')
		if tooLong == nil {
			j.long = append(j.long, part...)
			if len(j.long) > MaxLineBytes {
				tooLong = errTooLong
				j.long = j.long[:80]
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, errors.Is(err, io.EOF) && tooLong != nil:
			return j.long, tooLong
		case errors.Is(err, io.EOF):
			return j.long, io.EOF
		default:
			return j.long, fmt.Errorf("reading line %d: %w", j.number, err)
		}
	}
}

// parse reads one line.
func (j *jsonReader) parse(text []byte) (*Record, place, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var l line
	if err := dec.Decode(&l); err != nil {
		return nil, place{}, fmt.Errorf("it is not a record in JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, place{}, errors.New("something follows the JSON object")
	}
	at := place{l.Topic, l.Partition}
	r := &Record{Type: l.Type, ContentType: l.ContentType, Key: l.KeyBytes, Offset: j.next[at]}
	if l.Key != nil {
		r.Key = []byte(*l.Key)
	}
	if l.Offset != nil {
		r.Offset = *l.Offset
	}
	if l.Bytes != nil {
		r.Value = *l.Bytes
	}
	if l.Value != nil {
		r.Value, r.ContentType = l.Value, schemas.ContentJSON
	}
	switch {
	case l.Topic == "":
		return nil, at, errors.New(`"topic" is absent: it must name the record's topic`)
	case l.Partition < 0 || r.Offset < 0:
		return nil, at, fmt.Errorf(`"partition" is %d and "offset" %d: they must be at least 0`, l.Partition, r.Offset)
	case l.Value != nil && l.Bytes != nil, l.Key != nil && l.KeyBytes != nil:
		return nil, at, errors.New(`only one of "value" and "bytes", and of "key" and "key_bytes", may be there`)
	case len(r.Key) > MaxKeyBytes:
		return nil, at, fmt.Errorf("the key has %d bytes: it must have at most %d", len(r.Key), MaxKeyBytes)
	}
	j.next[at] = r.Offset + 1
	return r, at, nil
}

// Close closes the file.
func (j *jsonReader) Close() error {
	j.err, j.held = io.ErrClosedPipe, nil
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
