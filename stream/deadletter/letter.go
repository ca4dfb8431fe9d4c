// Package deadletter keeps the records that could not be processed: the format of the dlq topic, and listing, showing and
// sending back what is on it.
//
// A dead letter has the key, the value and the headers of the record that was refused, byte for byte (of one too large for a
// letter only as much as fits), and headers of its own, named dlq_*, that say why it was refused, where it came from and who
// refused it. Nothing in it depends on the clock or the process, so a replay makes the same letters. A source's letter holds a
// frame that it could not read, as it came from the venue; instead of a record's coordinates it has the source, the connection
// and the receipt.
package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// The headers of a dead letter. Every other header is the original record's.
const (
	prefix          = "dlq_"
	headerReason    = prefix + "reason"
	headerDetail    = prefix + "detail"
	headerTopic     = prefix + "topic"
	headerPartition = prefix + "partition"
	headerOffset    = prefix + "offset"
	headerProcessor = prefix + "processor"
	headerInstance  = prefix + "instance"
	headerStack     = prefix + "stack"
	headerCut       = prefix + "cut"
	// headerRedrives is also on a record that was sent back, so that its next letter knows.
	headerRedrives = prefix + "redrives"
	// headerSource, headerConnection and headerReceived are on the letters of sources.
	headerSource     = prefix + "source"
	headerConnection = prefix + "connection"
	headerReceived   = prefix + "received"
)

// MaxDetailBytes and MaxStackBytes bound what a letter adds to the original record.
const (
	MaxDetailBytes = 4 << 10
	MaxStackBytes  = 16 << 10
)

// maxOriginalBytes bounds the key, headers and value of a letter, so that it fits BatchBytes with what a letter adds.
const maxOriginalBytes = BatchBytes - 64<<10

// ErrNotALetter is wrapped by the errors of Decode.
var ErrNotALetter = errors.New("not a dead letter")

// A Letter is one dead letter.
type Letter struct {
	// ID are its own coordinates on the dlq topic.
	ID ID
	// Reason is the short class of the fault, Detail the sentence.
	Reason, Detail string
	// Topic, Partition and Offset say where the original record lies; "", -1 and -1 when it is a source's frame.
	Topic     string
	Partition int32
	Offset    int64
	// Processor refused it.
	Processor string
	// Instance is the key whose processor panicked, Stack where; empty otherwise.
	Instance, Stack string
	// Source could not read the frame that it received on Connection at Received; empty for records.
	Source, Connection string
	Received           schemas.Time
	// Redrives counts how often the record was sent back already.
	Redrives int
	// Cut is 0 where the letter holds the whole record; else the record was larger than a letter may be, and Cut is the number
	// of bytes that its key, headers and value had.
	Cut int
	// Key, Value and Headers are the original record's.
	Key, Value []byte
	Headers    []kgo.RecordHeader
}

// Encode makes the dead letter of a record for the topic target. origin is the record as it was fetched; it gives the
// coordinates and the headers.
func Encode(target string, origin *kgo.Record, processorName string, p processor.Poison) *kgo.Record {
	l := Letter{
		Reason: p.Reason, Detail: clip(p.Detail, MaxDetailBytes),
		Topic: origin.Topic, Partition: origin.Partition, Offset: origin.Offset,
		Processor: processorName, Instance: p.Instance, Stack: clip(stableStack(p.Stack), MaxStackBytes),
		Redrives: redrivesOf(origin.Headers), Key: p.Key, Value: p.Value,
	}
	r := &kgo.Record{Topic: target, Key: bytes.Clone(l.Key), Value: l.Value}
	for _, h := range origin.Headers {
		if !strings.HasPrefix(h.Key, prefix) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
	}
	l.Cut = cut(r)
	r.Headers = append(r.Headers, l.ownHeaders()...)
	return r
}

// A Frame is what a source received and could not read.
type Frame struct {
	Source, Connection string
	// Received is the receipt, as recorded.
	Received       schemas.Time
	Reason, Detail string
	Data           []byte
}

// EncodeFrame makes the dead letter of a frame for the topic target.
func EncodeFrame(target string, f Frame) *kgo.Record {
	return &kgo.Record{
		Topic: target, Key: []byte(f.Source), Value: bytes.Clone(f.Data),
		Headers: []kgo.RecordHeader{
			{Key: headerReason, Value: []byte(f.Reason)},
			{Key: headerDetail, Value: []byte(clip(f.Detail, MaxDetailBytes))},
			{Key: headerSource, Value: []byte(f.Source)},
			{Key: headerConnection, Value: []byte(f.Connection)},
			{Key: headerReceived, Value: strconv.AppendInt(nil, int64(f.Received), 10)},
		},
	}
}

// cut copies the value, as far as it fits a letter: headers go that do not fit, then the end of the value. Topics bound what a
// batch has compressed, so a record of many times that size may come. It returns the size that the record had, 0 when
// nothing went.
func cut(r *kgo.Record) int {
	size := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += headerBytes(h)
	}
	if size <= maxOriginalBytes {
		r.Value = bytes.Clone(r.Value)
		return 0
	}
	r.Key = r.Key[:min(len(r.Key), maxOriginalBytes)]
	room := maxOriginalBytes - len(r.Key)
	r.Headers = slices.DeleteFunc(r.Headers, func(h kgo.RecordHeader) bool {
		n := headerBytes(h)
		if n > room {
			return true
		}
		room -= n
		return false
	})
	r.Value = bytes.Clone(r.Value[:min(len(r.Value), room)])
	return size
}

// headerBytes is what a header takes on the wire, at most.
func headerBytes(h kgo.RecordHeader) int { return len(h.Key) + len(h.Value) + 10 }

func (l *Letter) ownHeaders() []kgo.RecordHeader {
	headers := []kgo.RecordHeader{
		{Key: headerReason, Value: []byte(l.Reason)},
		{Key: headerDetail, Value: []byte(l.Detail)},
		{Key: headerTopic, Value: []byte(l.Topic)},
		{Key: headerPartition, Value: strconv.AppendInt(nil, int64(l.Partition), 10)},
		{Key: headerOffset, Value: strconv.AppendInt(nil, l.Offset, 10)},
		{Key: headerProcessor, Value: []byte(l.Processor)},
	}
	if l.Instance != "" {
		headers = append(headers, kgo.RecordHeader{Key: headerInstance, Value: []byte(l.Instance)})
	}
	if l.Stack != "" {
		headers = append(headers, kgo.RecordHeader{Key: headerStack, Value: []byte(l.Stack)})
	}
	if l.Cut > 0 {
		headers = append(headers, kgo.RecordHeader{Key: headerCut, Value: strconv.AppendInt(nil, int64(l.Cut), 10)})
	}
	if l.Redrives > 0 {
		headers = append(headers, kgo.RecordHeader{Key: headerRedrives, Value: strconv.AppendInt(nil, int64(l.Redrives), 10)})
	}
	return headers
}

// Decode reads a record of the dlq topic. The letter shares the record's bytes.
func Decode(r *kgo.Record) (*Letter, error) {
	l := &Letter{ID: ID{r.Partition, r.Offset}, Partition: -1, Offset: -1, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, prefix) {
			l.Headers = append(l.Headers, h)
			continue
		}
		if err := l.take(h.Key, string(h.Value)); err != nil {
			return nil, fmt.Errorf("%w: record %s: %w", ErrNotALetter, l.ID, err)
		}
	}
	if l.Reason == "" || l.Source == "" && (l.Topic == "" || l.Partition < 0 || l.Offset < 0) {
		return nil, fmt.Errorf("%w: record %s: it must have the headers %s and %s, %s and %s, or else %s",
			ErrNotALetter, l.ID, headerReason, headerTopic, headerPartition, headerOffset, headerSource)
	}
	return l, nil
}

// take reads one dlq_ header; names that it does not know belong to a later version and are left out.
func (l *Letter) take(name, value string) error {
	switch name {
	case headerReason:
		l.Reason = value
	case headerDetail:
		l.Detail = value
	case headerTopic:
		l.Topic = value
	case headerProcessor:
		l.Processor = value
	case headerSource:
		l.Source = value
	case headerConnection:
		l.Connection = value
	case headerReceived:
		n, err := number(name, value, 63)
		l.Received = schemas.Time(n)
		return err
	case headerInstance:
		l.Instance = value
	case headerStack:
		l.Stack = value
	case headerPartition:
		n, err := number(name, value, 31)
		l.Partition = int32(n)
		return err
	case headerOffset:
		n, err := number(name, value, 63)
		l.Offset = int64(n)
		return err
	case headerCut:
		n, err := number(name, value, 31)
		l.Cut = int(n)
		return err
	case headerRedrives:
		n, err := number(name, value, 31)
		l.Redrives = int(n)
		return err
	}
	return nil
}

func number(name, value string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("header %s is %q: it must be a whole number from 0 to 2^%d-1", name, clip(value, 32), bits)
	}
	return n, nil
}

// redrivesOf reads the count that a record sent back carries; a broken one counts as none.
func redrivesOf(headers []kgo.RecordHeader) int {
	for _, h := range headers {
		if h.Key == headerRedrives {
			n, _ := strconv.ParseUint(string(h.Value), 10, 31)
			return int(n)
		}
	}
	return 0
}

func clip(s string, most int) string {
	const mark = " ..."
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(mark)], "") + mark
}
