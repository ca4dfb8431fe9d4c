package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/tapewatch/tapewatch/stream/tape"
)

// A Source is an input of Run.
type Source interface {
	// feed hands every batch of the processor's input topic to the lane of its partition.
	feed(ctx context.Context, r *run) error
}

// File is a tape in either form. Records of other topics in it are passed over.
type File struct {
	// Path as tape.Open takes it.
	Path string
	// BadLine is told of lines of the JSON form that are left out; nil ends the replay at the first one.
	BadLine func(*tape.LineError) error
}

// queued is how many batches wait for a worker: enough to keep it busy while the reader serves the others.
const queued = 8

// feed reads the file once and hands each batch to one of the workers, by its partition.
func (f File) feed(ctx context.Context, r *run) error {
	o := tape.Options{Workers: min(r.Parallel, 4)}
	if f.BadLine != nil {
		o.BadLine = func(e *tape.LineError) error {
			r.badLines++
			return f.BadLine(e)
		}
	}
	in, err := tape.Open(f.Path, o)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	group, ctx := errgroup.WithContext(ctx)
	workers := make([]chan *tape.Batch, r.Parallel)
	for i := range workers {
		workers[i] = make(chan *tape.Batch, queued)
		group.Go(func() error { return r.work(ctx, workers[i]) })
	}
	err = f.dispatch(ctx, r, in, workers)
	for _, w := range workers {
		close(w)
	}
	// A worker's error is the cause where the dispatcher was only cancelled.
	if werr := group.Wait(); werr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("replaying %s: %w", f.Path, err)
	}
	return nil
}

// dispatch reads to the end of the file.
func (f File) dispatch(ctx context.Context, r *run, in tape.Reader, workers []chan *tape.Batch) error {
	turn := map[int32]int{} // partition to worker, in the order of their coming
	for {
		b, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b.Topic != r.Bound.Input.Name {
			b.Release()
			continue
		}
		w, known := turn[b.Partition]
		if !known {
			w = len(turn) % len(workers)
			turn[b.Partition] = w
			if first := b.Records[0].Offset; first > 0 {
				r.inexact = append(r.inexact, fmt.Sprintf("partition %d of the file starts at offset %d", b.Partition, first))
			}
		}
		select {
		case workers[w] <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// work processes batches until there are no more.
func (r *run) work(ctx context.Context, batches <-chan *tape.Batch) error {
	for b := range batches {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.lane(b.Partition, b.Records[0].Offset).process(b); err != nil {
			return err
		}
	}
	return nil
}
