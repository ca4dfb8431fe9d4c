package capture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fastjson"

	"github.com/tapewatch/tapewatch/schemas"
)

// MaxLine bounds a line of a capture.
const MaxLine = 32 << 20

// A Reader gives the frames of a capture by the receipt clock. A line that cannot be read is skipped and counted: a
// recorder that was killed leaves a torn one.
type Reader struct {
	lines   *bufio.Scanner
	closers []func() error
	parser  fastjson.Parser
	line    int
	bad     int
	torn    error
	text    []byte

	// ordered says that the header promises frames in the order of time, as our own recordings have them.
	ordered bool
	// held are HTTP frames that stand ahead of their time in the file: converted recordings put them first.
	held []Frame
	// ready is the frame that was read while a held one had to go first.
	ready *Frame

	plain *plain
	// rest are the files of a folder that follow the one in hand.
	rest []string
}

// Open opens a capture file, or a folder of them as one recording: its *.jsonl.zst by name, as a Recorder leaves them.
func Open(path string) (*Reader, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening capture: %w", err)
	}
	if !info.IsDir() {
		return open(path)
	}
	entries, err := os.ReadDir(path) // by name
	if err != nil {
		return nil, fmt.Errorf("opening capture: %w", err)
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".jsonl.zst") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("opening capture: folder %s has no *.jsonl.zst", path)
	}
	source := sourceOf(files[0])
	for _, f := range files {
		if other := sourceOf(f); other != source {
			return nil, fmt.Errorf("opening capture: folder %s holds %s and %s: it must hold the files of one source", path, source, other)
		}
	}
	r, err := open(files[0])
	if err != nil {
		return nil, err
	}
	r.rest = files[1:]
	return r, nil
}

// sourceOf is whose recording a file SOURCE-TIME.jsonl.zst is; names of sources may have dashes.
func sourceOf(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".jsonl.zst")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		name = name[:i]
	}
	return name
}

func open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening capture: %w", err)
	}
	r, err := NewReader(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("opening capture %s: %w", path, err)
	}
	r.closers = append(r.closers, f.Close)
	return r, nil
}

// NewReader reads a capture from in; compression and shape are found by looking.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{}
	buffered := bufio.NewReaderSize(in, 1<<16)
	magic, _ := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, fmt.Errorf("reading zstd: %w", err)
		}
		r.closers = append(r.closers, func() error { z.Close(); return nil })
		buffered = bufio.NewReaderSize(z, 1<<16)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", err)
		}
		r.closers = append(r.closers, z.Close)
		buffered = bufio.NewReaderSize(z, 1<<16)
	}
	if first, _ := buffered.Peek(1); len(first) == 1 && first[0] >= '0' && first[0] <= '9' {
		r.plain = &plain{}
	}
	r.lines = bufio.NewScanner(buffered)
	r.lines.Buffer(make([]byte, 1<<16), MaxLine)
	return r, nil
}

// Next returns the next frame; io.EOF after the last.
func (r *Reader) Next() (Frame, error) {
	for r.ready == nil {
		f, err := r.read()
		if errors.Is(err, io.EOF) && len(r.rest) > 0 {
			if err := r.follow(); err != nil {
				return Frame{}, err
			}
			continue
		}
		if errors.Is(err, io.EOF) && len(r.held) > 0 {
			return r.release(), nil
		}
		if err != nil {
			return Frame{}, err
		}
		if f.Kind == HTTP && !r.ordered {
			f.Data = bytes.Clone(f.Data)
			i, _ := slices.BinarySearchFunc(r.held, f.At+1, func(h Frame, at schemas.Time) int { return int(min(max(h.At-at, -1), 1)) })
			r.held = slices.Insert(r.held, i, f)
			continue
		}
		r.ready = &f
	}
	if len(r.held) > 0 && r.held[0].At <= r.ready.At {
		return r.release(), nil
	}
	f := *r.ready
	r.ready = nil
	return f, nil
}

// follow goes on with the next file of a folder.
func (r *Reader) follow() error {
	next, err := open(r.rest[0])
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return fmt.Errorf("closing capture: %w", err)
	}
	r.lines, r.closers, r.plain, r.line, r.rest = next.lines, next.closers, next.plain, 0, r.rest[1:]
	return nil
}

func (r *Reader) release() Frame {
	f := r.held[0]
	r.held = r.held[1:]
	return f
}

// read returns the next frame in the file's order.
func (r *Reader) read() (Frame, error) {
	if r.plain != nil && r.plain.pending != nil {
		f := *r.plain.pending
		r.plain.pending = nil
		return f, nil
	}
	for r.lines.Scan() {
		r.line++
		if len(r.lines.Bytes()) == 0 {
			continue
		}
		var f Frame
		var err error
		if r.plain != nil {
			f, err = r.plain.frame(r.lines.Bytes())
		} else {
			f, err = r.frame(r.lines.Bytes())
		}
		if err != nil {
			r.bad++
			r.torn = fmt.Errorf("line %d: %w", r.line, err)
			continue
		}
		return f, nil
	}
	if err := r.lines.Err(); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			r.bad++
			r.torn = fmt.Errorf("after line %d: %w", r.line, err)
			return Frame{}, io.EOF
		}
		return Frame{}, fmt.Errorf("reading capture after line %d: %w", r.line, err)
	}
	return Frame{}, io.EOF
}

// frame reads one JSON line.
func (r *Reader) frame(line []byte) (Frame, error) {
	v, err := r.parser.ParseBytes(line)
	if err != nil {
		return Frame{}, fmt.Errorf("parsing: %w", err)
	}
	f := Frame{Kind: Kind(v.GetStringBytes("t")), Conn: string(v.GetStringBytes("conn"))}
	stamp, where := "ts", "url"
	switch f.Kind {
	case Receive, Send, HTTP, Peers, Close:
	case Connect:
		where = "addr"
	case Header:
		stamp, where = "recorded", "exchange"
		r.ordered = v.GetBool("ordered")
	default:
		return Frame{}, fmt.Errorf("kind %q is unknown", f.Kind)
	}
	f.URL = string(v.GetStringBytes(where))
	if at := v.Get(stamp); at != nil {
		r.text = at.MarshalTo(r.text[:0])
		if f.At, err = seconds(r.text); err != nil {
			return Frame{}, err
		}
	}
	f.Data = v.GetStringBytes("data")
	if coded := v.GetStringBytes("b64"); coded != nil {
		if f.Data, err = base64.StdEncoding.AppendDecode(nil, coded); err != nil {
			return Frame{}, fmt.Errorf("reading b64: %w", err)
		}
	}
	return f, nil
}

// seconds reads a decimal number of seconds exactly.
func seconds(text []byte) (schemas.Time, error) {
	var d schemas.Decimal
	if err := d.Parse(text); err != nil {
		return 0, fmt.Errorf("reading ts: %w", err)
	}
	exponent := d.Exponent
	for ; exponent < -9; exponent++ {
		d.Mantissa /= 10
	}
	d.Exponent = exponent
	ns, ok := d.Rescale(-9)
	if !ok {
		return 0, fmt.Errorf("reading ts: %s is out of range", text)
	}
	return schemas.Time(ns), nil
}

// Bad returns how many lines could not be read, and what was wrong with the last of them.
func (r *Reader) Bad() (int, error) { return r.bad, r.torn }

// Judge is an error for a file in which no line was a frame, as it is no capture then.
func (r *Reader) Judge(frames int) error {
	if frames > 0 || r.bad == 0 {
		return nil
	}
	return fmt.Errorf("none of its %d lines is a frame: it must be a capture, as `tapewatch ingest --capture` records them: %w", r.bad, r.torn)
}

// Close closes the file.
func (r *Reader) Close() error {
	var first error
	for _, c := range r.closers {
		if err := c(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
