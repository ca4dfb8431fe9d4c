package replay

// merger brings what the input partitions of a stage that changes the key gave into one order: that of the times of the Ticks
// that follow, and of the partition numbers where these are equal. A partition's own order is kept.
type merger struct {
	queues map[int32]*queue
	// closed counts the queues that have a Tick.
	closed int
}

// queue holds one input partition's items that may not go on yet.
type queue struct {
	items []item
	gone  int   // how many went on before items
	ticks []int // where the Ticks are, counted from the first item ever
}

// add appends an item, and lets out what may go on: all up to a Tick, once every partition has one at its time or later.
func (m *merger) add(n *node, partition int32, it item) error {
	if m.queues == nil {
		m.queues = map[int32]*queue{}
		for p := range n.chain.partitions {
			m.queues[p] = &queue{}
		}
	}
	q := m.queues[partition]
	q.items = append(q.items, it)
	if it.tick == nil {
		return nil
	}
	q.ticks = append(q.ticks, q.gone+len(q.items)-1)
	if len(q.ticks) == 1 {
		m.closed++
	}
	for m.closed == len(m.queues) {
		if err := m.pop(n); err != nil {
			return err
		}
	}
	return nil
}

// pop lets out the items up to the earliest Tick.
func (m *merger) pop(n *node) error {
	from := int32(-1)
	for _, p := range sortedKeys(m.queues) {
		q := m.queues[p]
		if len(q.ticks) > 0 && (from < 0 || q.head() < m.queues[from].head()) {
			from = p
		}
	}
	q := m.queues[from]
	end := q.ticks[0] - q.gone + 1
	for i := range q.items[:end] {
		if err := n.scatter(&q.items[i]); err != nil {
			return err
		}
	}
	clear(q.items[:end])
	q.items, q.gone = q.items[end:], q.gone+end
	if q.ticks = q.ticks[1:]; len(q.ticks) == 0 {
		m.closed--
	}
	return nil
}

func (q *queue) head() int64 { return q.items[q.ticks[0]-q.gone].tick.Time }

// end lets out all the rest.
func (m *merger) end(n *node) error {
	for m.closed > 0 {
		if err := m.pop(n); err != nil {
			return err
		}
	}
	for _, p := range sortedKeys(m.queues) {
		for i := range m.queues[p].items {
			if err := n.scatter(&m.queues[p].items[i]); err != nil {
				return err
			}
		}
		m.queues[p].items = nil
	}
	return nil
}

// scatter sends an item to the partition of its key, a Tick to all.
func (n *node) scatter(it *item) error {
	if it.tick == nil {
		return n.deliver(partitionOf(it.rec.Key, n.chain.partitions), it.rec)
	}
	for p := range n.chain.partitions {
		if err := n.deliver(p, it.rec); err != nil {
			return err
		}
	}
	return nil
}
