package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of a row.
const (
	maxRow    = 1 << 20
	maxColumn = 999
)

// rows splits a CSV into cells. Cells are valid until the next call.
type rows struct {
	in        *bufio.Reader
	separator byte
	line      int
	long      []byte
	cells     [][]byte
}

var errLong = fmt.Errorf("row is longer than %d bytes", maxRow)

// newRows reads from in, unpacking gzip.
func newRows(in io.Reader, separator byte) (*rows, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", err)
		}
		buffered = bufio.NewReaderSize(z, 1<<16)
	}
	if mark, _ := buffered.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(len(mark))
	}
	return &rows{in: buffered, separator: separator}, nil
}

// readError is a file that cannot be read on, as opposed to a row that cannot be read.
type readError struct{ err error }

func (e *readError) Error() string { return "reading the file: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// endOf tells the two ends of a file, its end and a cut, from a failure.
func endOf(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return &readError{err}
}

// next returns the cells of the next row that is not empty; io.EOF after the last. After any other error but a readError the
// next row can be read.
func (r *rows) next() ([][]byte, error) {
	for {
		text, err := r.text()
		if err != nil {
			return nil, err
		}
		text = bytes.TrimRight(text, "\r\n")
		if len(text) > 0 {
			return r.split(text)
		}
	}
}

// text returns the next line; a last one without an end counts.
func (r *rows) text() ([]byte, error) {
	r.line++
	part, err := r.in.ReadSlice('\n')
	if err == nil || (errors.Is(err, io.EOF) && len(part) > 0) {
		return part, nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return nil, endOf(err)
	}
	r.long = r.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(r.long) <= maxRow {
			r.long = append(r.long, part...)
		}
		part, err = r.in.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, endOf(err)
	}
	if len(r.long)+len(part) > maxRow {
		return nil, errLong
	}
	r.long = append(r.long, part...)
	return r.long, nil
}

func (r *rows) split(text []byte) ([][]byte, error) {
	r.cells = r.cells[:0]
	if bytes.IndexByte(text, '"') >= 0 {
		quoted := csv.NewReader(bytes.NewReader(text))
		quoted.Comma = rune(r.separator)
		cells, err := quoted.Read()
		if err != nil {
			return nil, fmt.Errorf("splitting: %w", err)
		}
		for _, c := range cells {
			r.cells = append(r.cells, []byte(c))
		}
		return r.cells, nil
	}
	for {
		i := bytes.IndexByte(text, r.separator)
		if i < 0 {
			r.cells = append(r.cells, text)
			return r.cells, nil
		}
		r.cells = append(r.cells, text[:i])
		text = text[i+1:]
	}
}

// columns finds the fields' columns by number or, in the header, by name. Absent fields get -1.
func columns(fields []string, want map[string]string, header [][]byte) ([]int, error) {
	out := make([]int, len(fields))
	for i, f := range fields {
		out[i] = -1
		name := want[f]
		if name == "" {
			continue
		}
		for j, cell := range header {
			if strings.TrimSpace(string(cell)) == name {
				out[i] = j
			}
		}
		if out[i] >= 0 {
			continue
		}
		n, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("file.columns.%s is %q: the file's first row has no such column", f, name)
		}
		out[i] = n
	}
	return out, nil
}
