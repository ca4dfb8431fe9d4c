package poll

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
)

// play runs a recording through the same decode and state, on the recorded clock.
func (s *Source) play(ctx context.Context, p sources.Publisher) error {
	r, err := capture.Open(s.opt.Play)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	s.report("healthy", "playing "+s.opt.Play)
	m := newMachine(s.poller, p, s.opt.Metrics, s.opt.Shared, s.opt.Log)
	frames := 0
	for ; ctx.Err() == nil; frames++ {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = m.Frame(f)
		}
		if err != nil {
			s.report("unhealthy", err.Error())
			return fmt.Errorf("playing %s, frame %d: %w", s.opt.Play, frames, err)
		}
	}
	if ctx.Err() != nil {
		return nil // stopping is no failure
	}
	if err := errors.Join(m.Finish(), r.Judge(frames)); err != nil {
		return fmt.Errorf("playing %s: %w", s.opt.Play, err)
	}
	bad, last := r.Bad()
	s.report("healthy", fmt.Sprintf("played %d frames", frames))
	if s.opt.Log != nil {
		s.opt.Log.Info("recording played", "file", s.opt.Play, "frames", frames, "unreadable_lines", bad, "last_unreadable", last)
	}
	return nil
}
