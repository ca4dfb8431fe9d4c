package replay

import (
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// A keeper keeps a task's input, to rebuild a key after a panic, up to keepRecords, and keepPerKey for each key. Then it
// takes a snapshot in memory and lets them go. Few records stay in the caches of a core; many keys make a snapshot dear.
type keeper struct {
	batches []*tape.Batch // since the last snapshot
	records int
}

const (
	keepRecords = 1 << 14
	keepPerKey  = 1 << 7
)

func (k *keeper) add(b *tape.Batch) {
	k.batches = append(k.batches, b)
	k.records += len(b.Records)
}

// record adds one record that owns its bytes.
func (k *keeper) record(r tape.Record) {
	last := len(k.batches) - 1
	if last < 0 || len(k.batches[last].Records) == cap(k.batches[last].Records) {
		k.batches = append(k.batches, &tape.Batch{Records: make([]tape.Record, 0, batchRecords)})
		last++
	}
	k.batches[last].Records = append(k.batches[last].Records, r)
	k.records++
}

// forget takes a snapshot when there is enough to forget, so that a rebuild starts here, and gives the memory back.
func (k *keeper) forget(task *processor.Task, next int64) error {
	if k.records < max(keepRecords, keepPerKey*task.Instances()) {
		return nil
	}
	_, err := task.Snapshot(next, func(string, []byte) {})
	for _, b := range k.batches {
		b.Release()
	}
	clear(k.batches)
	k.batches, k.records = k.batches[:0], 0
	return err
}

// history reads kept records again: it is the task's History.
func (k *keeper) history(from, to int64, fn func(processor.Input)) error {
	for _, b := range k.batches {
		for i := range b.Records {
			if rec := &b.Records[i]; rec.Offset >= from && rec.Offset < to {
				fn(input(rec))
			}
		}
	}
	return nil
}
