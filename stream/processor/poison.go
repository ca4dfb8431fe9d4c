package processor

import (
	"fmt"

	"github.com/tapewatch/tapewatch/schemas"
)

// poisonAt names a call that was discarded: the record and the key.
type poisonAt struct {
	offset int64
	key    string
}

// base is the last snapshot, from which one key can be rebuilt.
type base struct {
	next   int64
	marker *schemas.Marker
	states map[string][]byte
}

// poisoned rejects the record whose call was discarded and puts the instance back to where it was before the record: a
// second task restores the last snapshot and runs the same input again for that key alone. A replay meets the same panic or
// the same bound and does the same, so the outcome does not depend on where it started.
func (t *Task) poisoned(in Input, inst *instance, d *discarded) {
	t.stats.Rejected++
	t.stats.Run++
	key := inst.key.text
	detail := d.detail
	t.skip[poisonAt{in.Offset, key}] = true
	again, err := t.rebuild(key, in.Offset)
	if err != nil {
		detail += fmt.Sprintf("; the state of the key starts anew, as rebuilding it failed: %v", err)
	}
	t.replace(inst, again)
	t.sink.Reject(Poison{Input: in, Reason: d.reason, Detail: detail, Instance: key, Stack: d.stack})
}

// rebuild returns the instance of a key as it was before the record at offset; nil when it did not exist.
func (t *Task) rebuild(key string, offset int64) (*instance, error) {
	shadow := NewTask(t.bound, t.partition, t.base.next, t.policy, Discard{}, t.history)
	shadow.dec.SchemaType = t.dec.SchemaType
	shadow.skip = t.skip
	if err := shadow.loadClocks(t.base.marker); err != nil {
		return nil, err
	}
	if state, ok := t.base.states[key]; ok {
		if err := shadow.restoreKey(key, state); err != nil {
			return nil, err
		}
	}
	if t.history == nil {
		return nil, fmt.Errorf("no history to read offsets %d to %d from", t.base.next, offset)
	}
	err := t.history(t.base.next, offset, func(in Input) {
		if string(in.Key) == key || in.Type == "Tick" {
			shadow.Process(in)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading offsets %d to %d again: %w", t.base.next, offset, err)
	}
	return shadow.instances[key], nil
}

// replace puts another instance (nil: none) in the place of one.
func (t *Task) replace(old, with *instance) {
	for _, c := range old.clocks {
		c.leave(old)
	}
	delete(t.instances, old.key.text)
	for i, d := range t.dirty {
		if d == old {
			t.dirty = append(t.dirty[:i], t.dirty[i+1:]...)
			break
		}
	}
	fresh := t.newInstance(old.key.text)
	fresh.stepped = old.stepped
	if with != nil {
		// The processor moves over; its emit belongs to this task.
		fresh.use(with.proc)
		fresh.stepped, fresh.ordinals = with.stepped, with.ordinals
	}
	for _, c := range old.clocks {
		t.link(fresh, t.clockOf(c.source))
	}
	t.instances[fresh.key.text] = fresh
	t.touch(fresh)
}

// Discard is a Sink that drops everything: outputs of a restore are committed already.
type Discard struct{}

// Emit drops m.
func (Discard) Emit(schemas.Message) {}

// Undo does nothing.
func (Discard) Undo(int) {}

// Forward drops the tick.
func (Discard) Forward(*schemas.Tick) {}

// Reject drops the record.
func (Discard) Reject(Poison) {}
