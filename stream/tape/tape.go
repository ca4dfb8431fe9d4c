// Package tape keeps stretches of topics in files: a binary form for speed (.tape.zst) and JSON lines for people (.jsonl).
//
// The binary form is Zstandard. Each data frame holds records of one partition, length-delimited, as Protobuf messages
//
//	message Record {
//	  string topic = 1;         // only in a frame's first record
//	  int32 partition = 2;      // only in a frame's first record
//	  int64 offset = 3;         // absent: one more than that of the record before it in the frame
//	  bytes key = 4;            // absent: none
//	  string type = 5;          // absent: as the record before it in the frame
//	  string content_type = 6;  // absent: as the record before it in the frame
//	  bytes value = 7;          // absent: none
//	}
//
// so `zstd -d` gives a stream that any Protobuf library reads. Skippable frames, which every Zstandard reader passes over,
// carry the magic and version at the start, the size of each data frame before it, and the count of records at the end; a
// file without that end was cut. Frames are independent, so they are written and read by several cores.
//
// A line of the JSON form is {"topic":…,"key":…,"type":"Trade","value":{protojson}}. "partition" (absent: 0) and "offset"
// (absent: one more than the one before it of the partition) keep the coordinates of a dump; "bytes" and "key_bytes" hold in
// base64 what JSON cannot.
package tape

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The file name extensions by which Open and Create choose the form.
const (
	ExtensionBinary = ".tape.zst"
	ExtensionJSON   = ".jsonl"
)

// MaxKeyBytes bounds a record key, as Kafka's own tools do in effect.
const MaxKeyBytes = 1 << 16

var (
	// ErrTruncated is wrapped when a tape ends before its end mark: all records before it were delivered.
	ErrTruncated = errors.New("tape is cut off")
	// ErrCorrupt is wrapped when a tape holds something else than it must.
	ErrCorrupt = errors.New("tape is corrupt")
)

// A Record is one record of a partition. Its bytes belong to its batch.
type Record struct {
	Offset            int64
	Key, Value        []byte
	Type, ContentType string
}

// A Batch is a run of records of one partition, in order, at least one.
type Batch struct {
	Topic     string
	Partition int32
	Records   []Record

	data    []byte
	release func(*Batch)
}

// Release gives the batch's memory back; nothing of it may be used any more. Without it the memory is merely not used again.
func (b *Batch) Release() {
	if b.release != nil {
		b.release(b)
	}
}

// A Reader gives a tape's records, batch by batch: in order within a partition. It is not for concurrent use, but its batches
// may be used beside it until they are released.
type Reader interface {
	// Next returns the next batch, io.EOF after the last one.
	Next() (*Batch, error)
	Close() error
}

// A Writer writes a tape. It is not for concurrent use.
type Writer interface {
	// Write appends a record. The records of one partition must come in order.
	Write(topic string, partition int32, r *Record) error
	// Close ends the tape.
	Close() error
	// Abort ends it short of its end, after a failure elsewhere: what was written can be read, and shows that it is cut off where the form can say so.
	Abort() error
}

// Options of Open.
type Options struct {
	// BadLine decides about a line of the JSON form that cannot be read: nil goes on with the next line, an error ends the
	// reading with it. Without it every bad line ends the reading.
	BadLine func(*LineError) error
	// Workers decompress; 0 means one.
	Workers int
}

// Open opens a tape by the extension of its name; "-" reads the JSON form from standard input.
func Open(path string, o Options) (Reader, error) {
	if path == "-" {
		return NewJSONReader(os.Stdin, o), nil
	}
	binary, err := isBinary(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening a tape: %w", err)
	}
	if !binary {
		return NewJSONReader(f, o), nil
	}
	r, err := NewReader(f, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), f.Close())
	}
	return r, nil
}

// ExtensionPartial is what the name of a tape in the making has at its end.
const ExtensionPartial = ".partial"

// Create makes a tape by the extension of its name. It takes its name when it is closed: until then, and for good when it is aborted or its process dies, it
// is NAME.partial, so that a tape under its own name is whole. A name that is there and no plain file, such as a pipe, is written to as it is.
func Create(path string) (*File, error) {
	binary, err := isBinary(path)
	if err != nil {
		return nil, err
	}
	name, flags := path+ExtensionPartial, os.O_RDWR|os.O_CREATE|os.O_TRUNC
	if at, err := os.Stat(path); err == nil && !at.Mode().IsRegular() {
		name, flags = path, os.O_WRONLY // which waits for the reader of a pipe
	}
	f, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		return nil, fmt.Errorf("creating a tape: %w", err)
	}
	if !binary {
		return &File{NewJSONWriter(f), name, path}, nil
	}
	w, err := NewWriter(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating %s: %w", path, err), f.Close())
	}
	return &File{w, name, path}, nil
}

// A File is a tape in the making that gets its name at the end.
type File struct {
	Writer
	name, path string
}

// Name is where the tape is now.
func (f *File) Name() string { return f.name }

// Close ends the tape and gives it its name.
func (f *File) Close() error {
	if err := f.Writer.Close(); err != nil || f.name == f.path {
		return err
	}
	if err := os.Rename(f.name, f.path); err != nil {
		return fmt.Errorf("naming a tape: %w", err)
	}
	f.name = f.path
	return nil
}

func isBinary(path string) (bool, error) {
	name := strings.ToLower(filepath.Base(path))
	switch {
	case strings.HasSuffix(name, ExtensionBinary):
		return true, nil
	case strings.HasSuffix(name, ExtensionJSON), strings.HasSuffix(name, ".ndjson"):
		return false, nil
	}
	return false, fmt.Errorf("tape %q: the name must end in %s or %s", path, ExtensionBinary, ExtensionJSON)
}
