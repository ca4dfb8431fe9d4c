package tape

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A skippable frame is its magic, the length of its content, and the content.
const skippable = 0x184D2A57

// What the skippable frames of a tape say: its first content byte.
const (
	markStart = 'S' // the magic text and the version
	markFrame = 'F' // packed and unpacked size of the data frame that follows
	markEnd   = 'E' // the count of all records
)

const (
	magic   = "tapewatch tape"
	version = 1
	// maxFrame bounds a data frame, so that a broken size asks for no absurd amount of memory.
	maxFrame = 64 << 20
)

func appendMark(dst []byte, content ...byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, skippable)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
	return append(dst, content...)
}

func startMark() []byte {
	return appendMark(nil, append([]byte{markStart}, magic+string(rune(version))...)...)
}

func frameMark(packed, unpacked int) []byte {
	content := binary.LittleEndian.AppendUint32([]byte{markFrame}, uint32(packed))
	return appendMark(nil, binary.LittleEndian.AppendUint32(content, uint32(unpacked))...)
}

func endMark(records uint64) []byte {
	return appendMark(nil, binary.LittleEndian.AppendUint64([]byte{markEnd}, records)...)
}

// scanner finds the data frames of a tape.
type scanner struct {
	in   io.Reader
	at   int64 // bytes read
	head [8]byte
	body [32]byte
}

// mark reads the next skippable frame and returns its content.
func (s *scanner) mark() ([]byte, error) {
	if err := s.full(s.head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(s.head[4:])
	if binary.LittleEndian.Uint32(s.head[:]) != skippable || n == 0 || n > uint32(len(s.body)) {
		return nil, fmt.Errorf("%w: no mark at byte %d", ErrCorrupt, s.at-8)
	}
	content := s.body[:n]
	return content, s.full(content)
}

// full fills b; the end of the file is a cut.
func (s *scanner) full(b []byte) error {
	n, err := io.ReadFull(s.in, b)
	s.at += int64(n)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends at byte %d without an end mark: its writer was stopped or the copy is not whole", ErrTruncated, s.at)
	case err != nil:
		return fmt.Errorf("reading a tape: %w", err)
	}
	return nil
}

// start checks magic and version.
func (s *scanner) start() error {
	content, err := s.mark()
	switch {
	case err != nil:
		return fmt.Errorf("this is not a tape of tapewatch: %w", err)
	case len(content) != len(magic)+2 || content[0] != markStart || !bytes.Equal(content[1:len(magic)+1], []byte(magic)):
		return fmt.Errorf("this is not a tape of tapewatch: %w: it does not start with the magic text", ErrCorrupt)
	case content[len(magic)+1] != version:
		return fmt.Errorf("the tape has version %d, this program reads version %d: dump it again or take the newer program", content[len(magic)+1], version)
	}
	return nil
}

// next returns the next packed frame in the memory of buf and its unpacked size; io.EOF at the end, with the count of records.
func (s *scanner) next(buf []byte) (packed []byte, unpacked int, total uint64, err error) {
	content, err := s.mark()
	if err != nil {
		return buf, 0, 0, err
	}
	switch {
	case content[0] == markFrame && len(content) == 9:
		size, unpacked := binary.LittleEndian.Uint32(content[1:]), binary.LittleEndian.Uint32(content[5:])
		if size > maxFrame || unpacked > maxFrame {
			return buf, 0, 0, fmt.Errorf("%w: a frame of %d bytes, unpacked %d, at byte %d: at most %d are allowed", ErrCorrupt, size, unpacked, s.at, maxFrame)
		}
		buf, err = s.grow(buf[:0], int(size))
		return buf, int(unpacked), 0, err
	case content[0] == markEnd && len(content) == 9:
		total = binary.LittleEndian.Uint64(content[1:])
		if n, err := io.ReadFull(s.in, s.head[:1]); n > 0 || !errors.Is(err, io.EOF) {
			return buf, 0, 0, fmt.Errorf("%w: something follows the end mark at byte %d", ErrCorrupt, s.at)
		}
		return buf, 0, total, io.EOF
	}
	return buf, 0, 0, fmt.Errorf("%w: an unknown mark %q at byte %d", ErrCorrupt, content[0], s.at)
}

// grow reads size bytes into buf, and takes the memory for them in steps: a size that the file does not have costs little.
func (s *scanner) grow(buf []byte, size int) ([]byte, error) {
	const step = 1 << 20
	for len(buf) < size {
		n := min(size-len(buf), max(step, cap(buf)-len(buf)))
		at := len(buf)
		if cap(buf)-at < n {
			buf = append(buf, make([]byte, n)...)
		}
		buf = buf[:at+n]
		if err := s.full(buf[at:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}
