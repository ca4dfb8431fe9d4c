package capture

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/tapewatch/tapewatch/schemas"
)

// A Writer records frames. Not for concurrent use.
type Writer struct {
	file    *os.File
	sum     hash.Hash
	zstd    *zstd.Encoder
	out     *bufio.Writer
	line    []byte
	written int64
}

// Create makes a capture file; it must not exist. source names the feed in the header. Close writes the file's SHA-256 beside
// it, as sha256sum -c reads it.
func Create(path, source string, at schemas.Time) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating capture: %w", err)
	}
	sum := sha256.New()
	z, err := zstd.NewWriter(io.MultiWriter(f, sum), zstd.WithEncoderConcurrency(1))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("creating capture %s: %w", path, err)
	}
	w := &Writer{file: f, sum: sum, zstd: z, out: bufio.NewWriterSize(z, 1<<16)}
	w.line = append(w.line[:0], `{"t":"header","format":2,"exchange":`...)
	w.line = appendString(w.line, []byte(source))
	w.line = append(w.line, `,"recorded":`...)
	w.line = appendSeconds(w.line, at)
	w.line = append(w.line, ",\"ordered\":true}\n"...)
	if _, err := w.out.Write(w.line); err != nil {
		return nil, fmt.Errorf("writing capture: %w", err)
	}
	return w, nil
}

// Write appends one frame.
func (w *Writer) Write(f Frame) error {
	w.line = appendFrame(w.line[:0], f)
	w.written += int64(len(w.line))
	if _, err := w.out.Write(w.line); err != nil {
		return fmt.Errorf("writing capture: %w", err)
	}
	return nil
}

// Written is how many bytes of frames were written, before compression.
func (w *Writer) Written() int64 { return w.written }

// Flush makes what was written readable even if the process is killed.
func (w *Writer) Flush() error {
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("flushing capture: %w", err)
	}
	if err := w.zstd.Flush(); err != nil {
		return fmt.Errorf("flushing capture: %w", err)
	}
	return nil
}

// Close flushes and closes the file.
func (w *Writer) Close() error {
	ferr := w.out.Flush()
	zerr := w.zstd.Close()
	cerr := w.file.Close()
	line := hex.EncodeToString(w.sum.Sum(nil)) + "  " + filepath.Base(w.file.Name()) + "\n"
	serr := os.WriteFile(w.file.Name()+".sha256", []byte(line), 0o644)
	for _, err := range []error{ferr, zerr, cerr, serr} {
		if err != nil {
			return fmt.Errorf("closing capture: %w", err)
		}
	}
	return nil
}

func appendFrame(dst []byte, f Frame) []byte {
	dst = append(dst, `{"t":"`...)
	dst = append(dst, f.Kind...)
	dst = append(dst, `","conn":`...)
	dst = appendString(dst, []byte(f.Conn))
	dst = append(dst, `,"ts":`...)
	dst = appendSeconds(dst, f.At)
	if f.URL != "" {
		name := `,"url":`
		if f.Kind == Connect {
			name = `,"addr":`
		}
		dst = appendString(append(dst, name...), []byte(f.URL))
	}
	if f.Data != nil {
		if utf8.Valid(f.Data) {
			dst = appendString(append(dst, `,"data":`...), f.Data)
		} else {
			dst = append(dst, `,"b64":"`...)
			dst = append(base64.StdEncoding.AppendEncode(dst, f.Data), '"')
		}
	}
	return append(dst, "}\n"...)
}

// appendSeconds prints nine decimals, so that the receipt reads back to the nanosecond.
func appendSeconds(dst []byte, at schemas.Time) []byte {
	const second = 1_000_000_000
	at = max(at, 0)
	dst = strconv.AppendInt(dst, int64(at/second), 10)
	dst = append(dst, '.')
	fraction := int64(at % second)
	for unit := int64(second / 10); unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit%10))
	}
	return dst
}

// appendString prints a JSON string.
func appendString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
