package tape

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tapewatch/tapewatch/schemas"
)

// Field tags of a record: number and Protobuf wire type (2 length-delimited, 0 varint).
const (
	tagTopic       = 1<<3 | 2
	tagPartition   = 2 << 3
	tagOffset      = 3 << 3
	tagKey         = 4<<3 | 2
	tagType        = 5<<3 | 2
	tagContentType = 6<<3 | 2
	tagValue       = 7<<3 | 2
)

// sampleRecords is how many records of a frame tell how many it holds.
const sampleRecords = 64

// maxRecord bounds one encoded record.
const maxRecord = schemas.MaxRecordBytes + 1<<20

// appendRecord appends a record without its length. before is the record before it in the frame, nil for the first one.
func appendRecord(dst []byte, topic string, partition int32, before, r *Record) []byte {
	if before == nil {
		dst = appendField(dst, tagTopic, topic)
		dst = binary.AppendUvarint(append(dst, tagPartition), uint64(partition))
	}
	if before == nil || r.Offset != before.Offset+1 {
		dst = binary.AppendUvarint(append(dst, tagOffset), uint64(r.Offset))
	}
	if r.Key != nil {
		dst = appendField(dst, tagKey, r.Key)
	}
	if before == nil || r.Type != before.Type {
		dst = appendField(dst, tagType, r.Type)
	}
	if before == nil || r.ContentType != before.ContentType {
		dst = appendField(dst, tagContentType, r.ContentType)
	}
	if r.Value != nil {
		dst = appendField(dst, tagValue, r.Value)
	}
	return dst
}

func appendField[T string | []byte](dst []byte, tag byte, v T) []byte {
	return append(binary.AppendUvarint(append(dst, tag), uint64(len(v))), v...)
}

// cursor walks over encoded bytes.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad = true
		c.b = nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes returns the next length-delimited field, with no capacity beyond it.
func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		c.b = nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// decode fills the batch from an unpacked frame. The records alias the data.
func (b *Batch) decode(data []byte) error {
	b.Records = b.Records[:0]
	frame := cursor{b: data}
	var last Record
	for len(frame.b) > 0 {
		if len(b.Records) == sampleRecords {
			// The frame's other records are about as long as its first ones; shorter than 16 bytes they hardly are.
			about := len(frame.b) * sampleRecords / (len(data) - len(frame.b)) * 9 / 8
			b.Records = slices.Grow(b.Records, min(about, len(frame.b)/16))
		}
		rec := cursor{b: frame.bytes()}
		first := len(b.Records) == 0
		last.Key, last.Value = nil, nil
		last.Offset++
		named := b.decodeFields(&rec, &last, first)
		switch {
		case frame.bad || rec.bad:
			return fmt.Errorf("%w: record %d of its frame is broken", ErrCorrupt, len(b.Records))
		case first != named:
			return fmt.Errorf("%w: record %d of its frame: the first one, and only it, must have topic, partition and offset", ErrCorrupt, len(b.Records))
		case last.Offset < 0 || len(last.Key) > MaxKeyBytes:
			return fmt.Errorf("%w: record %d of its frame has offset %d and a key of %d bytes", ErrCorrupt, len(b.Records), last.Offset, len(last.Key))
		}
		b.Records = append(b.Records, last)
	}
	return nil
}

// decodeFields reads one record and reports whether it had topic, partition and offset. Unknown fields make it bad.
func (b *Batch) decodeFields(rec *cursor, r *Record, first bool) (named bool) {
	var topic, partition, offset bool
	for len(rec.b) > 0 && !rec.bad {
		tag := rec.b[0]
		rec.b = rec.b[1:]
		switch tag {
		case tagTopic:
			setText(&b.Topic, rec.bytes())
			topic = true
		case tagPartition:
			v := rec.uvarint()
			rec.bad = rec.bad || v > 1<<31-1
			b.Partition, partition = int32(v), true
		case tagOffset:
			v := rec.uvarint()
			rec.bad = rec.bad || v > 1<<63-1
			r.Offset, offset = int64(v), true
		case tagKey:
			r.Key = rec.bytes()
		case tagType:
			setText(&r.Type, rec.bytes())
		case tagContentType:
			setText(&r.ContentType, rec.bytes())
		case tagValue:
			r.Value = rec.bytes()
		default:
			rec.bad = true
		}
	}
	if first {
		return topic && partition && offset
	}
	return topic || partition
}

// known are the texts that nearly every record has: they are not allocated again.
var known = map[string]string{
	"": "", "Trade": "Trade", "Tick": "Tick", "Gap": "Gap", "Bar": "Bar", "Quote": "Quote", "BookSnapshot": "BookSnapshot",
	schemas.ContentProtobuf: schemas.ContentProtobuf, schemas.ContentJSON: schemas.ContentJSON,
}

// setText sets *s to b, and allocates only when that is a new and rare text.
func setText(s *string, b []byte) {
	if *s == string(b) {
		return
	}
	if k, ok := known[string(b)]; ok {
		*s = k
		return
	}
	*s = string(b)
}
