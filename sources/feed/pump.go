package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// A Machine is the decode and state of one source: a function of its frames and of the receipt clock's steps.
type Machine interface {
	// Owns says whether a frame is for this machine; one that is not does not even move its clock.
	Owns(f capture.Frame) bool
	Frame(f capture.Frame) error
	// Advance says that the receipt clock has reached at, a multiple of Step.
	Advance(at schemas.Time) error
	// Finish is the end of a recording.
	Finish() error
}

// Step is how finely the receipt clock moves a machine between frames.
const Step = 100 * time.Millisecond

// maxSteps bounds the steps over a silence; a recording with a longer one jumps.
const maxSteps = 36_000

// A Pump drives a machine: it puts the clock's steps between the frames, at the same places live and in playback.
type Pump struct {
	machine Machine
	reached schemas.Time // last step made
}

// NewPump makes the pump of a machine.
func NewPump(m Machine) *Pump { return &Pump{machine: m} }

// Reached is the last step of the receipt clock. A live frame is not stamped before it, so that its capture plays back alike.
func (p *Pump) Reached() schemas.Time { return p.reached }

// Frame makes the steps up to the frame's receipt and hands it over.
func (p *Pump) Frame(f capture.Frame) error {
	if !p.machine.Owns(f) {
		return nil
	}
	if err := p.Advance(f.At); err != nil {
		return err
	}
	return p.machine.Frame(f)
}

// Advance makes the steps up to a receipt time.
func (p *Pump) Advance(to schemas.Time) error {
	last := to.Floor(Step)
	if p.reached == 0 || last > p.reached.Add(maxSteps*Step) {
		p.reached = last.Add(-Step)
	}
	for p.reached < last {
		p.reached = p.reached.Add(Step)
		if err := p.machine.Advance(p.reached); err != nil {
			return err
		}
	}
	return nil
}

// Play runs a capture through a machine: at full speed when speed is 0, else at that multiple of the recorded pace. It
// returns the number of frames.
func Play(ctx context.Context, r *capture.Reader, m Machine, speed float64) (frames int, err error) {
	pump := NewPump(m)
	pace := pacer{speed: speed}
	for ; ; frames++ {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return frames, err
		}
		if err := pace.wait(ctx, f.At); err != nil {
			return frames, err
		}
		if err := pump.Frame(f); err != nil {
			return frames, fmt.Errorf("playing frame %d: %w", frames, err)
		}
	}
	if err := m.Finish(); err != nil {
		return frames, fmt.Errorf("ending the playback: %w", err)
	}
	return frames, nil
}

// pacer waits until the recorded clock, scaled, has caught up with the wall clock.
type pacer struct {
	speed    float64
	recorded schemas.Time
	started  time.Time
	calls    int
}

func (p *pacer) wait(ctx context.Context, at schemas.Time) error {
	p.calls++
	if p.speed <= 0 {
		if p.calls%1024 == 0 {
			return ctx.Err()
		}
		return nil
	}
	if p.recorded == 0 {
		p.recorded, p.started = at, time.Now() //nolint:forbidigo // pacing is the one use of wall time here; it reaches no record
	}
	due := p.started.Add(time.Duration(float64(at.Sub(p.recorded)) / p.speed))
	timer := time.NewTimer(time.Until(due)) //nolint:forbidigo // as above
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
