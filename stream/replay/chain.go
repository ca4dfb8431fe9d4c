package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// ChainOptions of Chain.
type ChainOptions struct {
	// Bounds are the processors, in any order. Each reads a topic of the file or what another one writes.
	Bounds []*processor.Bound
	// From is the file. It must be one that can be read twice when a stage changes the key and it has several partitions.
	From File
	// Policy must be the live runtime's.
	Policy processor.TimePolicy
	// SchemaTypes resolves registry framing; nil refuses it.
	SchemaTypes func(id uint32, index []int) (string, error)
	// Out takes the dead letters of all, and the messages of those whose output none of the others reads.
	Out func(Output) error
}

// Chain replays processors one behind the other over a file: from trades alone through bars and baskets to their readers.
// It does what the live runtime does between topics: the same partition and plain Ticks where a stage keeps the key; where it
// changes it, the partition of the key's hash and Ticks that name the input partition, to every partition. There the live
// order among input partitions is a race that readers are blind to; here it is that of the Ticks' times. Positions that
// events name on the topics in between are those of the chain. It runs on one goroutine and gives a summary of each processor.
func Chain(ctx context.Context, o ChainOptions) ([]Summary, error) {
	c, err := newChain(o)
	if err != nil {
		return nil, err
	}
	if c.partitions, err = c.count(ctx); err != nil {
		return nil, err
	}
	badLines := 0
	err = c.read(ctx, func(e *tape.LineError) error {
		badLines++
		return o.From.BadLine(e)
	}, c.take)
	if err == nil {
		err = c.end()
	}
	var out []Summary
	for _, n := range c.nodes {
		out = append(out, n.summary(badLines))
	}
	if err != nil {
		return out, fmt.Errorf("replaying %s: %w", o.From.Path, err)
	}
	return out, nil
}

// Stages returns the registered stages that lead from a topic to the input of a processor, in order; none when it is the
// input itself.
func Stages(d *processor.Definition, from string) ([]*processor.Definition, error) {
	var path []*processor.Definition
	for at := d.Input.Name; at != from; {
		i := slices.IndexFunc(processor.All(), func(s *processor.Definition) bool { return s.Kind == processor.Stage && s.Output.Name == at })
		if i < 0 || len(path) > len(processor.All()) {
			return nil, fmt.Errorf("%s reads %s, and no stages lead there from %s", d.Name, d.Input.Name, from)
		}
		s := processor.All()[i]
		path = append(path, s)
		at = s.Input.Name
	}
	slices.Reverse(path)
	return path, nil
}

// chain is one run of Chain.
type chain struct {
	ChainOptions
	nodes      []*node            // in topological order
	readers    map[string][]*node // by topic
	fed        map[string]bool    // topics that the file gives: read by a node, written by none
	partitions int32              // of the input
}

func newChain(o ChainOptions) (*chain, error) {
	if len(o.Bounds) == 0 || o.Out == nil {
		return nil, errors.New("replaying a chain: Bounds and Out must be given")
	}
	c := &chain{ChainOptions: o, readers: map[string][]*node{}, fed: map[string]bool{}}
	written := map[string]bool{}
	for _, b := range o.Bounds {
		written[b.Output.Name] = true
	}
	for _, b := range o.Bounds {
		if !written[b.Input.Name] {
			c.fed[b.Input.Name] = true
		}
	}
	// A node is placed when all that writes its input is placed.
	left := slices.Clone(o.Bounds)
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(b *processor.Bound) bool {
			return !slices.ContainsFunc(left, func(w *processor.Bound) bool { return w.Output.Name == b.Input.Name })
		})
		if i < 0 {
			return nil, fmt.Errorf("replaying a chain: %s reads, over others, what it writes", left[0].Name)
		}
		c.nodes = append(c.nodes, &node{Bound: left[i], chain: c, lanes: map[int32]*link{}})
		left = slices.Delete(left, i, i+1)
	}
	for _, n := range c.nodes {
		c.readers[n.Input.Name] = append(c.readers[n.Input.Name], n)
	}
	for _, n := range c.nodes {
		n.next = c.readers[n.Output.Name]
	}
	return c, nil
}

// count returns the input's partition count, which the Ticks of a stage that changes the key must name.
func (c *chain) count(ctx context.Context) (int32, error) {
	if c.From.Path == "-" || !slices.ContainsFunc(c.nodes, (*node).rekeys) {
		return 1, nil
	}
	most := int32(1)
	err := c.read(ctx, func(*tape.LineError) error { return nil }, func(b *tape.Batch) error {
		most = max(most, b.Partition+1)
		b.Release()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("counting the partitions of %s: %w", c.From.Path, err)
	}
	return most, nil
}

// read hands the batches of the topics that the chain reads to fn.
func (c *chain) read(ctx context.Context, bad func(*tape.LineError) error, fn func(*tape.Batch) error) error {
	o := tape.Options{}
	if c.From.BadLine != nil {
		o.BadLine = bad
	}
	in, err := tape.Open(c.From.Path, o)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	for ctx.Err() == nil {
		b, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !c.fed[b.Topic]:
			b.Release()
			continue
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take runs a batch of the file through its readers. Every reader but the last gets a copy: each keeps its input.
func (c *chain) take(b *tape.Batch) error {
	if b.Partition >= c.partitions && slices.ContainsFunc(c.nodes, (*node).rekeys) {
		return fmt.Errorf("partition %d: standard input, which cannot be read twice, must have one partition only", b.Partition)
	}
	readers := c.readers[b.Topic]
	for i := range b.Records {
		for _, n := range readers {
			if err := n.process(b.Partition, owned(&b.Records[i])); err != nil {
				return err
			}
		}
	}
	b.Release()
	return nil
}

// end lets out what waits between partitions, stage by stage.
func (c *chain) end() error {
	for _, n := range c.nodes {
		if err := n.merge.end(n); err != nil {
			return err
		}
	}
	return nil
}
