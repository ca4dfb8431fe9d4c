// Package replay runs a processor over a bounded stretch of its input, a range of a topic or a tape, without a group and
// without transactions: the same processor.Task on the same records gives the same outputs, byte for byte, as the live
// runtime gave.
//
// Partitions run beside each other, each on one goroutine; outputs leave in the order of the partitions, and within one in
// the order of its log, however many run at a time.
package replay

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Options of Run.
type Options struct {
	// Bound is the processor with its configuration.
	Bound *processor.Bound
	// From is the input: a TopicRange or a File.
	From Source
	// Parallel is how many partitions run at a time; 0 means one per core.
	Parallel int
	// Policy must be the live runtime's.
	Policy processor.TimePolicy
	// SchemaTypes resolves registry framing; nil refuses it.
	SchemaTypes func(id uint32, index []int) (string, error)
	// Out takes the outputs, one at a time. An error ends the replay.
	Out func(Output) error
}

// An Output is one message or one dead letter.
type Output struct {
	// Topic and Key say where the message goes. Message is nil for a dead letter.
	Topic   schemas.Topic
	Key     string
	Message schemas.Message
	// Poison is the record that was refused; nil for a message. It lies on Topic, the processor's input.
	Poison *processor.Poison
	// Partition is that of the input.
	Partition int32
}

// PartitionSummary says what became of one partition.
type PartitionSummary struct {
	Partition int32
	// First is the offset of the first record that counts, Next the one after the last.
	First, Next int64
	processor.Stats
}

// A Summary says what a replay did.
type Summary struct {
	Processor  string
	Partitions []PartitionSummary
	// Total sums the partitions.
	Total processor.Stats
	// Inexact says why the outputs may differ from the live ones; empty for a replay from the start of the log, or from what the
	// group recorded.
	Inexact []string
	// Notes say what else a reader should know: a beginning that had to move, another configuration than the one asked for.
	Notes []string
	// Ran holds the hashes of the configurations that ran.
	Ran []string
	// BadLines counts lines of a file that were left out.
	BadLines int
}

// Exact reports whether the outputs are those of the live runtime.
func (s *Summary) Exact() bool { return len(s.Inexact) == 0 && s.BadLines == 0 }

// String is one line for a person.
func (s *Summary) String() string {
	text := fmt.Sprintf("%s: %d records of %d partitions, %d outputs, %d dead letters", s.Processor, s.Total.Records, len(s.Partitions), s.Total.Emitted, s.Total.Rejected)
	switch {
	case s.Exact():
		return text + ", exact"
	case s.BadLines > 0:
		return fmt.Sprintf("%s, inexact: %d bad lines were left out; %s", text, s.BadLines, strings.Join(s.Inexact, "; "))
	}
	return text + ", inexact: " + strings.Join(s.Inexact, "; ")
}

// Run replays. The summary is also valid with an error, as far as the replay got.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Bound == nil || o.From == nil || o.Out == nil {
		return Summary{}, errors.New("replaying: Bound, From and Out must be given")
	}
	if o.Parallel <= 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	r := &run{Options: o, lanes: map[int32]*lane{}, out: &collector{out: o.Out, parts: map[int32][]Output{}}}
	err := o.From.feed(ctx, r)
	if err == nil {
		err = r.out.end()
	}
	return r.summary(), err
}

func (r *run) summary() Summary {
	s := Summary{Processor: r.Bound.Name, Inexact: r.inexact, Notes: r.notes, BadLines: r.badLines}
	for _, l := range r.lanes {
		s.Partitions = append(s.Partitions, PartitionSummary{Partition: l.partition, First: l.first, Next: l.next, Stats: l.stats()})
		for _, b := range l.ran {
			if !slices.Contains(s.Ran, b.ConfigHash) {
				s.Ran = append(s.Ran, b.ConfigHash)
			}
		}
	}
	slices.Sort(s.Ran)
	slices.SortFunc(s.Partitions, func(a, b PartitionSummary) int { return int(a.Partition) - int(b.Partition) })
	s.sum()
	return s
}

// sum adds the partitions up.
func (s *Summary) sum() {
	for _, p := range s.Partitions {
		s.Total.Records += p.Records
		s.Total.Ticks += p.Ticks
		s.Total.Gaps += p.Gaps
		s.Total.Late += p.Late
		s.Total.Rejected += p.Rejected
		s.Total.Emitted += p.Emitted
		s.Total.Steps += p.Steps
	}
}
