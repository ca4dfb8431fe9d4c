package tape

import (
	"bufio"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// binaryReader reads ahead: one goroutine takes packed frames from the file, workers unpack and decode them, and Next hands
// the batches out in the order of the file. Close ends the goroutines and waits for them.
type binaryReader struct {
	file  io.Closer
	zstd  *zstd.Decoder
	order chan *job     // frames in the order of the file
	jobs  chan *job     // the same frames, for the workers
	free  chan *job     // frames to use again
	stop  chan struct{} // closed by Close
	wait  sync.WaitGroup
	once  sync.Once
	err   error  // what ended the reading
	count uint64 // records handed out
}

// job is one frame on its way.
type job struct {
	packed   []byte
	unpacked int
	batch    Batch
	err      error
	total    uint64 // with io.EOF: the count of the end mark
	done     chan struct{}
}

// NewReader reads the binary form from r, and closes it at the end when it is a Closer.
func NewReader(r io.Reader, o Options) (Reader, error) {
	s := &scanner{in: bufio.NewReaderSize(r, 1<<20)}
	if err := s.start(); err != nil {
		return nil, err
	}
	workers := max(o.Workers, 1)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(workers), zstd.WithDecoderMaxMemory(maxFrame))
	if err != nil {
		return nil, fmt.Errorf("making a tape's decompressor: %w", err)
	}
	ahead := 2*workers + 2
	b := &binaryReader{
		zstd: dec, stop: make(chan struct{}),
		order: make(chan *job, ahead), jobs: make(chan *job, ahead), free: make(chan *job, 4096),
	}
	b.file, _ = r.(io.Closer)
	b.wait.Go(func() { b.scan(s) })
	for range workers {
		b.wait.Go(b.unpack)
	}
	return b, nil
}

// scan reads packed frames until the end or an error, which goes the same way as a frame.
func (b *binaryReader) scan(s *scanner) {
	defer close(b.order)
	defer close(b.jobs)
	for {
		j := b.take()
		j.packed, j.unpacked, j.total, j.err = s.next(j.packed)
		select {
		case b.order <- j:
		case <-b.stop:
			return
		}
		if j.err != nil {
			close(j.done)
			return
		}
		select {
		case b.jobs <- j:
		case <-b.stop:
			return
		}
	}
}

// take returns a frame to fill, a used one when there is one.
func (b *binaryReader) take() *job {
	select {
	case j := <-b.free:
		j.done = make(chan struct{})
		return j
	default:
		j := &job{done: make(chan struct{})}
		j.batch.release = func(*Batch) {
			select {
			case b.free <- j:
			default:
			}
		}
		return j
	}
}

func (b *binaryReader) unpack() {
	for j := range b.jobs {
		// A full frame is a little larger than frameBytes; what is far larger grows, as a size that is not true must cost little.
		if usual := frameBytes + frameBytes/8; cap(j.batch.data) < min(j.unpacked, usual) {
			j.batch.data = make([]byte, 0, usual)
		}
		var err error
		j.batch.data, err = b.zstd.DecodeAll(j.packed, j.batch.data[:0])
		switch {
		case err != nil:
			j.err = fmt.Errorf("%w: unpacking a frame: %w", ErrCorrupt, err)
		case len(j.batch.data) != j.unpacked:
			j.err = fmt.Errorf("%w: a frame holds %d bytes, its mark says %d", ErrCorrupt, len(j.batch.data), j.unpacked)
		default:
			j.err = j.batch.decode(j.batch.data)
		}
		close(j.done)
	}
}

// Next returns the next batch.
func (b *binaryReader) Next() (*Batch, error) {
	if b.err != nil {
		return nil, b.err
	}
	var j *job
	for j == nil || j.err == nil && len(j.batch.Records) == 0 {
		if j != nil {
			j.batch.Release()
		}
		next, ok := <-b.order
		if !ok {
			return nil, io.ErrClosedPipe
		}
		j = next
		<-j.done
	}
	switch {
	case j.err == nil:
		b.count += uint64(len(j.batch.Records))
		return &j.batch, nil
	case j.err == io.EOF && j.total != b.count: //nolint:errorlint // set by us, as it is
		b.err = fmt.Errorf("%w: it holds %d records, its end mark says %d", ErrCorrupt, b.count, j.total)
	case j.err == io.EOF: //nolint:errorlint // set by us, as it is
		b.err = io.EOF
	default:
		b.err = fmt.Errorf("reading a tape after %d records: %w", b.count, j.err)
	}
	return nil, b.err
}

// Close ends the reading.
func (b *binaryReader) Close() error {
	var err error
	b.once.Do(func() {
		close(b.stop)
		for range b.order {
			// Drained, so that the scanner meets the stop.
		}
		b.wait.Wait()
		b.zstd.Close()
		b.err = io.ErrClosedPipe
		if b.file != nil {
			err = b.file.Close()
		}
	})
	return err
}
