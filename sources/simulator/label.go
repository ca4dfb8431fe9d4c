package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tapewatch/tapewatch/schemas"
)

// Label says what was put into the market, so that detectors can be judged. A file of labels has one in JSON a line;
// `tapewatch evaluate --labels` reads it.
type Label struct {
	// Kind is one of the kinds in docs/simulator.md.
	Kind string `json:"kind"`
	// Detector should find it.
	Detector string `json:"detector"`
	// Key is the key of the detector's input topic, as venue:symbol, venue, base asset, chain:asset or symbol.
	Key    string `json:"key"`
	Venue  string `json:"venue,omitempty"`
	Symbol string `json:"symbol,omitempty"`
	// Start and End bound the anomaly, RFC 3339.
	Start string `json:"start"`
	End   string `json:"end"`
	// Size is in the unit of the kind.
	Size float64 `json:"size"`
	// Detail tells variants of a kind apart: a side, a number of venues, a flow.
	Detail string `json:"detail,omitempty"`
}

// span sets the bounds.
func (l Label) span(from, to schemas.Time) Label {
	l.Start, l.End = from.String(), to.String()
	return l
}

// ReadLabels reads a file of labels.
func ReadLabels(path string) (labels []Label, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading labels: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	dec := json.NewDecoder(file)
	for dec.More() {
		var l Label
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("reading label %d of %s: %w", len(labels)+1, path, err)
		}
		labels = append(labels, l)
	}
	return labels, nil
}

// labelFile writes labels as JSON lines; without a path it drops them.
type labelFile struct {
	file *os.File
	err  error
}

func openLabels(path string) (*labelFile, error) {
	if path == "" {
		return &labelFile{}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating the file of labels: %w", err)
	}
	return &labelFile{file: f}, nil
}

func (l *labelFile) write(label Label) {
	if l.file == nil || l.err != nil {
		return
	}
	line, err := json.Marshal(label)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	l.err = err
}

func (l *labelFile) close() error {
	if l.file == nil {
		return nil
	}
	if err := errors.Join(l.err, l.file.Close()); err != nil {
		return fmt.Errorf("writing labels: %w", err)
	}
	return nil
}
