package replay

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// Dump writes the committed records of a topic range to a tape, partition by partition, and returns how many. The caller
// closes the tape.
func Dump(ctx context.Context, topic schemas.Topic, from TopicRange, w tape.Writer) (uint64, error) {
	parts, _, err := from.parts(ctx, topic)
	if err != nil {
		return 0, err
	}
	var n uint64
	for _, p := range parts {
		err := stream.ReadRange(ctx, from.Cluster, from.Cluster.Topic(topic.Name), p.partition, p.from, p.to, func(rec *kgo.Record) error {
			r := convert(topic, rec)
			n++
			return w.Write(topic.Name, p.partition, &r)
		})
		if err != nil {
			return n, fmt.Errorf("dumping partition %d of %s: %w", p.partition, topic.Name, err)
		}
	}
	return n, nil
}
