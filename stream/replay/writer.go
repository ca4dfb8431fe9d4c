package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A Writer writes outputs as JSON lines: messages to one file, dead letters to another.
type Writer struct {
	messages, letters *bufio.Writer
}

// NewWriter writes messages, one in protojson a line, and dead letters. Without letters these are dropped; the summary
// counts them.
func NewWriter(messages, letters io.Writer) *Writer {
	w := &Writer{messages: bufio.NewWriterSize(messages, 256<<10)}
	if letters != nil {
		w.letters = bufio.NewWriter(letters)
	}
	return w
}

// letter is the JSON form of a dead letter.
type letter struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
	Instance  string `json:"instance,omitempty"`
	Key       []byte `json:"key_bytes"`
	Type      string `json:"type"`
	Value     []byte `json:"bytes"`
}

// Write takes one output; it is an Out.
func (w *Writer) Write(o Output) error {
	if o.Poison != nil {
		return w.writeLetter(o, o.Poison)
	}
	text, err := schemas.MarshalJSON(o.Message)
	if err != nil {
		return err
	}
	if _, err := w.messages.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing an output: %w", err)
	}
	return nil
}

func (w *Writer) writeLetter(o Output, p *processor.Poison) error {
	if w.letters == nil {
		return nil
	}
	l := letter{o.Topic.Name, o.Partition, p.Offset, p.Reason, p.Detail, p.Instance, p.Key, p.Type, p.Value}
	if err := json.NewEncoder(w.letters).Encode(l); err != nil {
		return fmt.Errorf("writing a dead letter: %w", err)
	}
	return nil
}

// Flush writes what is left.
func (w *Writer) Flush() error {
	err := w.messages.Flush()
	if w.letters != nil && err == nil {
		err = w.letters.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing outputs: %w", err)
	}
	return nil
}
