package stream

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

type partState int

const (
	// partAssigned: the committed offset is not known yet.
	partAssigned partState = iota
	// partRestoring: its goroutine rebuilds the task; fetching is paused.
	partRestoring
	// partReady: the task stands at next and takes records.
	partReady
)

// A part is one assigned input partition. A revoked partition that comes back is a new part.
type part struct {
	num   int32
	label string
	// gone is set by the callbacks of the group; Run looks before it touches the partition's offsets.
	gone atomic.Bool

	// Owned by Run, or by the one goroutine that Run lets work on the part.
	state     partState
	committed int64
	hadCommit bool
	cancel    context.CancelFunc
	task      *processor.Task
	next      int64
	batches   [][]*kgo.Record
	stable    int64
	out       outputs
	err       error
	fault     *fault

	// Of the open transaction.
	touched bool
	// snapshotted says that it holds a snapshot of the part.
	snapshotted bool
	bytes       int
	letters     map[string]int
	severities  [len(severityNames)]int

	reported  processor.Stats
	snapped   time.Time
	snappedAt int64 // next offset of the last marker; -1 without one
	sinceSnap int
	snapshots []*kgo.Record
	// whole says that the snapshot in hand is a checkpoint too; checkpointed is the event time of the last checkpoint; 0 before the first Tick.
	whole        bool
	checkpointed schemas.Time
}

func newPart(num int32) *part {
	return &part{num: num, label: strconv.Itoa(int(num)), snappedAt: -1, letters: map[string]int{}}
}

// run processes the batches in hand, in log order.
func (p *part) run(topic *schemas.Topic) {
	for _, batch := range p.batches {
		for _, rec := range batch {
			if rec.Offset < p.next {
				p.err = fmt.Errorf("partition %d gave offset %d again, %d was expected", p.num, rec.Offset, p.next)
				return
			}
			if rec.Attrs.IsControl() {
				p.next = rec.Offset + 1
				rec.Recycle()
				continue
			}
			p.bytes += len(rec.Key) + len(rec.Value)
			p.out.record = rec
			p.task.Process(input(topic, rec))
			p.next = rec.Offset + 1
			rec.Recycle() // nothing keeps it: a dead letter is a copy
		}
		p.sinceSnap += len(batch)
	}
	p.batches = p.batches[:0]
	p.out.record = nil
	switch {
	case p.out.err != nil:
		p.err = fmt.Errorf("%w: %w", ErrRefused, p.out.err)
	case p.fault != nil && p.fault.err != nil:
		p.err = p.fault.err
	}
}

// input is a fetched record as a task takes it.
func input(topic *schemas.Topic, rec *kgo.Record) processor.Input {
	in := processor.Input{Key: rec.Key, Value: rec.Value, Offset: rec.Offset}
	if len(rec.Headers) == 0 {
		in.Type = topic.Types[0]
		return in
	}
	in.Type, in.ContentType = topic.TypeFromHeader(len(rec.Headers), func(i int) (string, []byte) {
		return rec.Headers[i].Key, rec.Headers[i].Value
	})
	return in
}

// clearTransaction forgets what belongs to the transaction that ended.
func (p *part) clearTransaction() {
	p.touched, p.snapshotted, p.bytes = false, false, 0
	clear(p.letters)
	clear(p.severities[:])
}
