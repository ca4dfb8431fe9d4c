package capture

import (
	"os"
	"path/filepath"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Rotation bounds one file of a recording by time and by bytes before compression.
type Rotation struct {
	Every time.Duration
	Bytes int64
}

// maxBytes of one file.
const maxBytes = 4 << 30

// DefaultRotation makes a file an hour, or sooner when much comes.
func DefaultRotation() Rotation { return Rotation{Every: time.Hour, Bytes: maxBytes} }

// A Recorder writes one source's frames into files of a folder, SOURCE-TIME.jsonl.zst, each with its SHA-256 beside it. The
// folder plays back as one recording. A nil Recorder takes frames and keeps none. Not for concurrent use.
type Recorder struct {
	dir, source string
	rotation    Rotation
	flush       time.Duration // how long a frame may stay in memory
	out         *Writer
	opened      schemas.Time
	flushed     schemas.Time
}

// Record makes a recorder, nil for an empty folder name. The folder is made when it is missing. Frames are flushed when they
// are older than flush; 0 flushes each.
func Record(dir, source string, rotation Rotation, flush time.Duration) (*Recorder, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // a nil Recorder records nothing
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &Recorder{dir: dir, source: source, rotation: rotation, flush: flush}, nil
}

// Write appends a frame; the first one, and one that finds the file full or old, begins a new file.
func (r *Recorder) Write(f Frame) error {
	if r == nil {
		return nil
	}
	if r.out == nil || f.At.Sub(r.opened) >= r.rotation.Every || r.out.Written() >= r.rotation.Bytes {
		if err := r.rotate(f.At); err != nil {
			return err
		}
	}
	if err := r.out.Write(f); err != nil {
		return err
	}
	if f.At.Sub(r.flushed) < r.flush {
		return nil
	}
	r.flushed = f.At
	return r.out.Flush()
}

// rotate begins a new file, named for its first frame, so that names sort by time.
func (r *Recorder) rotate(at schemas.Time) error {
	if err := r.Close(); err != nil {
		return err
	}
	const stamp = "20060102T150405.000000000"
	out, err := Create(filepath.Join(r.dir, r.source+"-"+at.UTC().Format(stamp)+".jsonl.zst"), r.source, at)
	if err != nil {
		return err
	}
	r.out, r.opened, r.flushed = out, at, at
	return nil
}

// Close ends the file in hand.
func (r *Recorder) Close() error {
	if r == nil || r.out == nil {
		return nil
	}
	out := r.out
	r.out = nil
	return out.Close()
}
