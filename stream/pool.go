package stream

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool gives fetched records their memory again once their partition has processed them: without it two thirds of
// what a poll allocates, and the garbage collector scans, are kgo.Record structs. The bytes that they point to are not
// pooled: decoded messages alias them.
type recordPool struct {
	sizes [poolSizes]sync.Pool
}

// Slices are kept by size, as powers of two from 2^poolLeast: a batch of ten records must not take the memory of ten
// thousand out of the pool.
const (
	poolLeast = 6
	poolSizes = 14
)

var _ kgo.PoolRecords = (*recordPool)(nil)

// GetRecords returns a slice with capacity for n records.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	i := 0
	for i < poolSizes-1 && n > 1<<(poolLeast+i) {
		i++
	}
	if s, ok := p.sizes[i].Get().(*[]kgo.Record); ok && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]kgo.Record, 0, max(n, 1<<(poolLeast+i)))
}

// PutRecords takes a slice back.
func (p *recordPool) PutRecords(s []kgo.Record) {
	i := poolSizes - 1
	for i > 0 && cap(s) < 1<<(poolLeast+i) {
		i--
	}
	s = s[:0]
	p.sizes[i].Put(&s)
}
