package feed

// windowSize is how many ids back a duplicate is known for certain; a power of two.
const windowSize = 1 << 14

// A Window de-duplicates by a native id that grows. It remembers the last windowSize ids one by one; what lies further back
// counts as seen.
type Window struct {
	highest uint64
	started bool
	seen    [windowSize / 64]uint64
}

// Add reports whether id is new, and how many ids were skipped right before it.
func (w *Window) Add(id uint64) (fresh bool, missing uint64) {
	slot, bit := id/64%uint64(len(w.seen)), uint64(1)<<(id%64)
	switch {
	case !w.started:
		w.started = true
	case id > w.highest:
		missing = id - w.highest - 1
		w.forget(id)
	case w.highest-id >= windowSize:
		return false, 0
	case w.seen[slot]&bit != 0:
		return false, 0
	default:
		w.seen[slot] |= bit
		return true, 0
	}
	w.highest = id
	w.seen[slot] |= bit
	return true, missing
}

// Reach moves the window to id, which did not come, and reports how many ids up to it are skipped. They are still new when
// they come later.
func (w *Window) Reach(id uint64) (missing uint64) {
	if !w.started || id <= w.highest {
		return 0
	}
	missing = id - w.highest
	w.forget(id)
	w.highest = id
	return missing
}

// forget clears the places of the ids between the highest so far and id.
func (w *Window) forget(id uint64) {
	if id-w.highest >= windowSize {
		clear(w.seen[:])
		return
	}
	for i := w.highest + 1; i <= id; i++ {
		w.seen[i/64%uint64(len(w.seen))] &^= 1 << (i % 64)
	}
}

// Highest returns the highest id added, 0 before the first.
func (w *Window) Highest() uint64 { return w.highest }
