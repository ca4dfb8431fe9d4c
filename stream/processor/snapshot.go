package processor

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

// Layout is the version of Marker and KeyState.
const Layout = 1

// MaxStateBytes bounds the snapshot of one key, which is one record of the state topic.
const MaxStateBytes = schemas.MaxRecordBytes

var marshal = proto.MarshalOptions{Deterministic: true}

// Snapshot hands the state of every key touched since the last snapshot to put, in key order, and returns the marker that
// belongs to them: all input before next is in the state.
func (t *Task) Snapshot(next int64, put func(key string, state []byte)) (*schemas.Marker, error) {
	slices.SortFunc(t.dirty, byKey)
	for _, in := range t.dirty {
		state, err := marshal.Marshal(in.snapshot(next))
		if err != nil {
			return nil, fmt.Errorf("writing the state of %s: %w", in.key, err)
		}
		if len(state) > MaxStateBytes {
			return nil, fmt.Errorf("the state of key %q of %s has %d bytes: at most %d fit the state topic: configure it to keep less for one key "+
				"(fewer members in a basket: split it; shorter windows) and start again", in.key, t.bound.Name, len(state), MaxStateBytes)
		}
		in.dirty = false
		t.base.states[in.key.text] = state
		put(in.key.text, state)
	}
	t.dirty = t.dirty[:0]
	m := &schemas.Marker{
		NextOffset: next, Processor: t.bound.Name, ProcessorVersion: t.bound.Version, Config: t.bound.ConfigJSON, Layout: Layout,
		Sources: t.sourceTimes(), Records: t.stats.Records, Began: t.began, ConfigSince: t.since,
	}
	t.base.next, t.base.marker = next, m
	maps.DeleteFunc(t.skip, func(at poisonAt, _ bool) bool { return at.offset < next })
	return m, nil
}

// Checkpoint hands the state of every key to put, in key order, as it stood at the last snapshot; with that one's marker it is
// the whole state.
func (t *Task) Checkpoint(put func(key string, state []byte)) {
	for _, key := range slices.Sorted(maps.Keys(t.base.states)) {
		put(key, t.base.states[key])
	}
}

func (in *instance) snapshot(next int64) *schemas.KeyState {
	ks := &schemas.KeyState{
		NextOffset: next, Stepped: int64(in.stepped), State: in.proc.AppendState(nil), Ordinals: in.ordinals,
	}
	for _, c := range in.clocks {
		ks.Sources = append(ks.Sources, c.source)
	}
	return ks
}

func (t *Task) sourceTimes() []*schemas.SourceTime {
	var out []*schemas.SourceTime
	for _, c := range t.clocks {
		if len(c.parts) == 0 {
			out = append(out, &schemas.SourceTime{Source: c.source, Time: int64(c.time)})
		}
		for p, at := range c.parts {
			out = append(out, &schemas.SourceTime{Source: c.source, Partition: uint32(p), Partitions: uint32(len(c.parts)), Time: int64(at)})
		}
	}
	slices.SortFunc(out, func(a, b *schemas.SourceTime) int {
		if n := strings.Compare(a.Source, b.Source); n != 0 {
			return n
		}
		return int(a.Partition) - int(b.Partition)
	})
	return out
}

// ErrVersion is what a restore answers to state of another processor version or layout.
type ErrVersion struct {
	Processor string
	Have, Got string
}

// Error says how to go on.
func (e *ErrVersion) Error() string {
	return fmt.Sprintf("state of %s was written by %s, this is %s: stop the old version gracefully so that its last snapshot "+
		"stands at the committed offset, or rebuild by replay (delete state.%s and reset the group to the log start)",
		e.Processor, e.Got, e.Have, e.Processor)
}

// Restore loads a marker and the key states that belong to it. The marker's configuration must be the one that the task is
// bound to (Rebind changes it afterwards). Key states newer than the marker are left out and counted.
func (t *Task) Restore(m *schemas.Marker, states map[string][]byte) (ignored int, err error) {
	if m.Layout != Layout || m.ProcessorVersion != t.bound.Version {
		return 0, &ErrVersion{
			Processor: t.bound.Name,
			Have:      fmt.Sprintf("version %d layout %d", t.bound.Version, Layout),
			Got:       fmt.Sprintf("version %d layout %d", m.ProcessorVersion, m.Layout),
		}
	}
	if !bytes.Equal(m.Config, t.bound.ConfigJSON) {
		return 0, fmt.Errorf("restoring %s: the marker's configuration is %s, the task's is %s: bind the marker's first", t.bound.Name, m.Config, t.bound.ConfigJSON)
	}
	if err := t.loadClocks(m); err != nil {
		return 0, err
	}
	keys := make([]string, 0, len(states))
	for k := range states {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		var ks schemas.KeyState
		if err := proto.Unmarshal(states[k], &ks); err != nil {
			return ignored, fmt.Errorf("reading the state of %s: %w", k, err)
		}
		if ks.NextOffset > m.NextOffset {
			ignored++
			continue
		}
		if err := t.restoreKey(k, states[k]); err != nil {
			return ignored, err
		}
		t.base.states[k] = states[k]
	}
	t.base.next, t.base.marker = m.NextOffset, m
	t.stats.Records, t.began, t.since = m.Records, m.Began, m.ConfigSince
	return ignored, nil
}

func (t *Task) loadClocks(m *schemas.Marker) error {
	for _, s := range m.GetSources() {
		c := t.clockOf(s.Source)
		if s.Partitions == 0 {
			c.time, c.high = schemas.Time(s.Time), schemas.Time(s.Time)
			continue
		}
		if s.Partition >= s.Partitions || s.Partitions > 1<<16 {
			return fmt.Errorf("reading the marker of %s: source %s has partition %d of %d", t.bound.Name, s.Source, s.Partition, s.Partitions)
		}
		if len(c.parts) != int(s.Partitions) {
			c.parts = make([]schemas.Time, s.Partitions)
		}
		c.parts[s.Partition] = schemas.Time(s.Time)
	}
	for _, c := range t.clocks {
		if len(c.parts) > 0 {
			c.time, c.high = slices.Min(c.parts), slices.Max(c.parts)
		}
	}
	return nil
}

func (t *Task) restoreKey(key string, state []byte) error {
	var ks schemas.KeyState
	if err := proto.Unmarshal(state, &ks); err != nil {
		return fmt.Errorf("reading the state of %s: %w", key, err)
	}
	in := t.newInstance(key)
	if err := in.proc.RestoreState(ks.State); err != nil {
		return fmt.Errorf("restoring the state of %s: %w", key, err)
	}
	in.stepped, in.ordinals = schemas.Time(ks.Stepped), ks.Ordinals
	for _, s := range ks.Sources {
		t.link(in, t.clockOf(s))
	}
	t.instances[in.key.text] = in
	return nil
}

// Rebind goes on under another configuration from the offset at: every key keeps its state. The runtime does it at the committed
// offset, after a replay under the marker's configuration. A panic that follows rebuilds its key from here.
func (t *Task) Rebind(b *Bound, at int64) error {
	if b.Name != t.bound.Name || b.Version != t.bound.Version {
		return fmt.Errorf("rebinding %s version %d: %s version %d is another processor", t.bound.Name, t.bound.Version, b.Name, b.Version)
	}
	if _, err := t.Snapshot(at, func(string, []byte) {}); err != nil {
		return err
	}
	t.bound, t.since = b, at
	for _, in := range t.instances {
		state := in.proc.AppendState(nil)
		in.use(b.make(in.key))
		if err := in.proc.RestoreState(state); err != nil {
			return fmt.Errorf("restoring the state of %s under a new configuration: %w", in.key, err)
		}
		t.touch(in)
	}
	return nil
}

// StateBytes returns the snapshot of every key as it would be written now, for comparing tasks.
func (t *Task) StateBytes(next int64) (map[string][]byte, error) {
	out := make(map[string][]byte, len(t.instances))
	for k, in := range t.instances {
		state, err := marshal.Marshal(in.snapshot(next))
		if err != nil {
			return nil, fmt.Errorf("writing the state of %s: %w", k, err)
		}
		out[k] = state
	}
	return out, nil
}
