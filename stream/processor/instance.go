package processor

import (
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// An instance is one key's Processor with what the engine keeps beside it.
type instance struct {
	key  Key
	proc Processor
	emit Emit
	// dedup is proc where it leaves out duplicates, of which so many are counted.
	dedup      Deduplicator
	duplicates uint64
	// clocks of the sources that the key was seen on, sorted by source.
	clocks []*clock
	// stepped is the last step that OnTime was called at.
	stepped schemas.Time
	// ordinals count the events of one type at one event time, and those out of order, so that ids stay unique.
	ordinals []*schemas.Ordinal
	// dirty says that the state changed since the last snapshot.
	dirty bool
}

func (t *Task) newInstance(key string) *instance {
	in := &instance{key: NewKey(t.bound.Input.Key, strings.Clone(key))}
	in.use(t.bound.make(in.key))
	in.emit = func(m schemas.Message) {
		// An event that has an id is another processor's, passed on as it is.
		if e, ok := m.(*schemas.Event); ok && e.Id == "" {
			t.stamp(in, e)
		}
		t.fit(m)
		t.emitted++
		t.stats.Emitted++
		t.sink.Emit(m)
	}
	return in
}

// use puts a processor in place.
func (in *instance) use(p Processor) {
	in.proc, in.duplicates = p, 0
	if in.dedup, _ = p.(Deduplicator); in.dedup != nil {
		in.duplicates = in.dedup.Duplicates()
	}
}

// stamp fills what the engine knows of an event.
func (t *Task) stamp(in *instance, e *schemas.Event) {
	e.Detector, e.DetectorVersion, e.ConfigHash = t.bound.Name, t.bound.Version, t.bound.ConfigHash
	e.Key = in.key.text
	if e.Venue == "" {
		e.Venue = in.key.Venue
	}
	if e.Symbol == "" {
		e.Symbol = in.key.Symbol
	}
	if e.Source == "" && len(in.clocks) > 0 {
		e.Source = in.clocks[0].source
	}
	e.Position = &schemas.Position{Topic: t.bound.Input.Name, Partition: t.partition, Offset: t.offset}
	e.Id = schemas.EventID(e, in.ordinal(e.Type, e.EventTime))
}

// disordered is where the ordinals of events begin that are earlier than the latest one of their type. They are counted together: what
// there was at their times is not known any more.
const disordered = 1 << 31

// ordinal returns 0 for the first event of a type at an event time, then 1, 2, ...
func (in *instance) ordinal(typ string, at int64) uint32 {
	i := slices.IndexFunc(in.ordinals, func(o *schemas.Ordinal) bool { return o.Type == typ })
	if i < 0 {
		in.ordinals = append(in.ordinals, &schemas.Ordinal{Type: typ})
		slices.SortFunc(in.ordinals, func(a, b *schemas.Ordinal) int { return strings.Compare(a.Type, b.Type) })
		i = slices.IndexFunc(in.ordinals, func(o *schemas.Ordinal) bool { return o.Type == typ })
	}
	o := in.ordinals[i]
	switch {
	case at < o.Time:
		o.Earlier++
		return disordered + o.Earlier - 1
	case at > o.Time:
		o.Time, o.Count = at, 0
	}
	o.Count++
	return o.Count - 1
}

// clockOf returns the clock of a source that the instance was seen on, nil when it was not, or is no instance yet.
func (in *instance) clockOf(source string) *clock {
	if in == nil {
		return nil
	}
	for _, c := range in.clocks {
		if c.source == source {
			return c
		}
	}
	return nil
}

func (t *Task) link(in *instance, c *clock) {
	in.clocks = append(in.clocks, c)
	slices.SortFunc(in.clocks, func(a, b *clock) int { return strings.Compare(a.source, b.source) })
	c.join(in)
}

func (t *Task) touch(in *instance) {
	if !in.dirty {
		in.dirty = true
		t.dirty = append(t.dirty, in)
	}
}
