// Package feed turns messages into the inputs of a Task and a Task's outputs into text: what the laws, the golden cases and
// the tests of processors have in common.
package feed

import (
	"fmt"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Inputs encodes messages for a topic, with offsets from 0. A Tick has no key.
func Inputs(topic schemas.Topic, messages []schemas.Message) ([]processor.Input, error) {
	var enc schemas.Encoder
	out := make([]processor.Input, 0, len(messages))
	for i, m := range messages {
		value, err := enc.AppendValue(nil, topic, m)
		if err != nil {
			return nil, fmt.Errorf("encoding message %d: %w", i, err)
		}
		in := processor.Input{Value: value, Type: schemas.TypeOf(m), Offset: int64(i)}
		if in.Type != "Tick" {
			in.Key = []byte(topic.KeyOf(m))
		}
		out = append(out, in)
	}
	return out, nil
}

// History serves a Task's History from inputs in memory.
func History(inputs []processor.Input) processor.History {
	return func(from, to int64, fn func(processor.Input)) error {
		for _, in := range inputs {
			if in.Offset >= from && in.Offset < to {
				fn(in)
			}
		}
		return nil
	}
}

// A Recorder is a Sink that keeps every output as text.
type Recorder struct {
	// Lines are the outputs: "TYPE json" for emissions, "tick json" for forwarded ticks, "poison reason offset instance".
	Lines []string
	// Bare leaves out where the input lay, which differs between layouts of the same input.
	Bare bool
}

// Emit records an output.
func (r *Recorder) Emit(m schemas.Message) {
	if e, ok := m.(*schemas.Event); ok && r.Bare {
		e.Position = nil
	}
	text, err := schemas.MarshalJSON(m)
	if err != nil {
		text = []byte(err.Error())
	}
	r.Lines = append(r.Lines, schemas.TypeOf(m)+" "+string(text))
}

// Undo drops the last n outputs.
func (r *Recorder) Undo(n int) { r.Lines = r.Lines[:len(r.Lines)-n] }

// Forward records a forwarded tick.
func (r *Recorder) Forward(t *schemas.Tick) {
	r.Lines = append(r.Lines, fmt.Sprintf("tick %s %d", t.Source, t.Time))
}

// Reject records a rejected record.
func (r *Recorder) Reject(p processor.Poison) {
	line := fmt.Sprintf("poison %s key=%s instance=%s", p.Reason, p.Key, p.Instance)
	if !r.Bare {
		line += fmt.Sprintf(" offset=%d", p.Offset)
	}
	r.Lines = append(r.Lines, line)
}
