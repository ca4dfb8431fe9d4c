package replay

import "sync"

// collector puts the outputs of partitions that run beside each other in the order of the partitions. Those of the lowest
// unfinished partition leave at once, the others wait in memory.
type collector struct {
	out func(Output) error

	mu sync.Mutex // guards what follows, and calls of out
	// parts holds what waits, by partition.
	parts map[int32][]Output
	// order are the partitions in order, where they are known beforehand; done those that have finished.
	order []int32
	done  map[int32]bool
	// head is the lowest unfinished partition.
	head int32
	err  error
}

// expect names all partitions, in order. Without it partition 0 is the head until the end.
func (c *collector) expect(order []int32) {
	c.order, c.done = order, map[int32]bool{}
	if len(order) > 0 {
		c.head = order[0]
	}
}

// put takes the outputs of one partition, in its order.
func (c *collector) put(partition int32, outputs []Output) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if partition != c.head {
		c.parts[partition] = append(c.parts[partition], outputs...)
		return c.err
	}
	return c.send(outputs)
}

func (c *collector) send(outputs []Output) error {
	for i := range outputs {
		if c.err != nil {
			break
		}
		c.err = c.out(outputs[i])
	}
	return c.err
}

// finish says that a partition has ended.
func (c *collector) finish(partition int32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[partition] = true
	for len(c.order) > 0 && c.done[c.order[0]] {
		c.order = c.order[1:]
		if len(c.order) > 0 {
			c.head = c.order[0]
			waiting := c.parts[c.head]
			delete(c.parts, c.head)
			if err := c.send(waiting); err != nil {
				return err
			}
		}
	}
	return c.err
}

// end sends what still waits.
func (c *collector) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range sortedKeys(c.parts) {
		if err := c.send(c.parts[p]); err != nil {
			return err
		}
	}
	return c.err
}
