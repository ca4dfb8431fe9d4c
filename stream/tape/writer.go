package tape

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// frameBytes is the size at which a frame is full: it and its records stay in a core's cache while they are used.
const frameBytes = 256 << 10

// maxOpen bounds the partitions that wait with a frame that is not full.
const maxOpen = 256

// binaryWriter collects one frame per partition and writes it when it is full.
type binaryWriter struct {
	file    io.WriteCloser
	out     *bufio.Writer
	zstd    *zstd.Encoder
	open    map[place]*pending
	packed  []byte
	record  []byte
	records uint64
	failed  error
}

type place struct {
	topic     string
	partition int32
}

// pending is a frame in the making.
type pending struct {
	place
	data  []byte
	last  Record
	begun bool
}

// NewWriter writes the binary form to w, and closes it at the end.
func NewWriter(w io.WriteCloser) (Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, fmt.Errorf("making a tape's compressor: %w", err)
	}
	b := &binaryWriter{file: w, out: bufio.NewWriterSize(w, 1<<20), zstd: enc, open: map[place]*pending{}}
	if _, err := b.out.Write(startMark()); err != nil {
		return nil, fmt.Errorf("writing a tape: %w", err)
	}
	return b, nil
}

// Write appends a record.
func (w *binaryWriter) Write(topic string, partition int32, r *Record) error {
	if w.failed != nil {
		return w.failed
	}
	if partition < 0 || r.Offset < 0 || len(r.Key) > MaxKeyBytes || len(r.Key)+len(r.Value) > maxRecord-MaxKeyBytes {
		return fmt.Errorf("writing a record of %s/%d with offset %d, a key of %d and a value of %d bytes: these must be at least 0, at least 0, at most %d and %d",
			topic, partition, r.Offset, len(r.Key), len(r.Value), MaxKeyBytes, maxRecord-MaxKeyBytes)
	}
	p := w.open[place{topic, partition}]
	if p == nil {
		if len(w.open) >= maxOpen {
			w.flushAll()
			w.open = map[place]*pending{}
		}
		p = &pending{place: place{strings.Clone(topic), partition}}
		w.open[p.place] = p
	}
	var before *Record
	if p.begun {
		before = &p.last
	}
	w.record = appendRecord(w.record[:0], p.topic, p.partition, before, r)
	p.data = binary.AppendUvarint(p.data, uint64(len(w.record)))
	p.data = append(p.data, w.record...)
	p.begun, p.last.Offset = true, r.Offset
	if p.last.Type != r.Type {
		p.last.Type = strings.Clone(r.Type)
	}
	if p.last.ContentType != r.ContentType {
		p.last.ContentType = strings.Clone(r.ContentType)
	}
	w.records++
	if len(p.data) >= frameBytes {
		w.flush(p)
	}
	return w.failed
}

// flush writes a partition's frame.
func (w *binaryWriter) flush(p *pending) {
	if len(p.data) == 0 || w.failed != nil {
		return
	}
	w.packed = w.zstd.EncodeAll(p.data, w.packed[:0])
	for _, part := range [][]byte{frameMark(len(w.packed), len(p.data)), w.packed} {
		if _, err := w.out.Write(part); err != nil {
			w.failed = fmt.Errorf("writing a tape: %w", err)
			return
		}
	}
	p.data, p.begun = p.data[:0], false
}

// flushAll writes what is left, in the order of topics and partitions.
func (w *binaryWriter) flushAll() {
	all := make([]*pending, 0, len(w.open))
	for _, p := range w.open {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pending) int {
		if n := strings.Compare(a.topic, b.topic); n != 0 {
			return n
		}
		return int(a.partition) - int(b.partition)
	})
	for _, p := range all {
		w.flush(p)
	}
}

// Close writes what is left and the end mark.
func (w *binaryWriter) Close() error { return w.end(endMark(w.records)) }

// Abort writes what is left.
func (w *binaryWriter) Abort() error { return w.end(nil) }

func (w *binaryWriter) end(mark []byte) error {
	w.flushAll()
	err := w.failed
	if err == nil {
		if _, err = w.out.Write(mark); err == nil {
			err = w.out.Flush()
		}
	}
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("ending a tape: %w", err)
	}
	return nil
}
