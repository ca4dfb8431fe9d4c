// Package streamtest runs groups in tests of what stands on top of the runtime.
package streamtest

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// CatchUp runs a processor's group until it has committed all of its input, and lets it leave.
func CatchUp(ctx context.Context, c cluster.Config, b *processor.Bound) error {
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		return fmt.Errorf("connecting to watch the group of %s: %w", b.Name, err)
	}
	defer client.Close()
	group, err := stream.NewGroup(stream.GroupOptions{Bound: b, Cluster: c, Config: stream.Defaults(), Leave: true})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- group.Run(running) }()
	admin := kadm.NewClient(client)
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("the group of %s ended before it had caught up: %w", b.Name, err)
		case <-ctx.Done():
			return fmt.Errorf("the group of %s has not caught up: %w", b.Name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
		done, err := caughtUp(ctx, admin, c, b)
		if err != nil {
			return err
		}
		if done {
			stop()
			return <-ended
		}
	}
}

// caughtUp reports whether the group has committed every partition of its input. The last offset may be the mark of the transaction
// that wrote it.
func caughtUp(ctx context.Context, admin *kadm.Client, c cluster.Config, b *processor.Bound) (bool, error) {
	ends, err := admin.ListCommittedOffsets(ctx, c.Topic(b.Input.Name))
	if err != nil {
		return false, fmt.Errorf("listing the ends of the input of %s: %w", b.Name, err)
	}
	committed, err := admin.FetchOffsets(ctx, c.Group(b.Name))
	if err != nil {
		return false, nil //nolint:nilerr // the group does not exist yet
	}
	done := true
	ends.Each(func(o kadm.ListedOffset) {
		have, ok := committed.Lookup(o.Topic, o.Partition)
		done = done && (o.Offset == 0 || ok && have.At >= o.Offset-1)
	})
	return done, nil
}
