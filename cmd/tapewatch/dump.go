package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/tape"
)

// rangeFlags choose a stretch of a topic.
type rangeFlags struct {
	from, to  string
	partition int32
}

func (r *rangeFlags) register(cmd *cobra.Command, help string) {
	cmd.Flags().StringVar(&r.from, "from", "beginning", "where to begin: "+help)
	cmd.Flags().StringVar(&r.to, "to", "end", "where to end, exclusive: "+help)
	cmd.Flags().Int32VarP(&r.partition, "partition", "p", -1, "only this partition; -1 all")
}

// spans resolves the flags.
func (r *rangeFlags) spans(ctx context.Context, a *app, topic schemas.Topic) (map[int32]span, error) {
	now := time.Now()
	from, err := parsePosition(r.from, now)
	if err != nil {
		return nil, err
	}
	to, err := parsePosition(r.to, now)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(a.settings.Kafka.Options(a.log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer cl.Close()
	return spans(ctx, cl, a.settings.Kafka.Topic(topic.Name), r.partition, from, to)
}

func newDump(a *app) *cobra.Command {
	var r rangeFlags
	var out string
	cmd := &cobra.Command{
		Use: "dump TOPIC", Short: "Write a stretch of a topic to a file that every command taking FILE reads", Args: someArgs(1, 1), ValidArgsFunction: completeTopics,
		Long:    "Writes the committed records of a topic, partition by partition. The name of the file chooses the form: .tape.zst is\nbinary and fast, .jsonl has one record in JSON a line, - is .jsonl on standard output.\nA file has its name when it is whole: until then, and where the dump fails, it is FILE.partial.",
		Example: "tapewatch dump market.trades --out trades.tape.zst --from @-1h",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.load(cmd); err != nil {
				return err
			}
			topic, err := catalogued(a, args[0])
			if err != nil {
				return err
			}
			return a.dump(cmd.Context(), topic, r, out)
		},
	}
	r.register(cmd, positionHelp)
	cmd.Flags().StringVar(&out, "out", "-", "file to write")
	return cmd
}

func (a *app) dump(ctx context.Context, topic schemas.Topic, r rangeFlags, out string) (err error) {
	all, err := r.spans(ctx, a, topic)
	if err != nil {
		return err
	}
	w, name, err := a.createTape(out)
	if err != nil {
		return err
	}
	p := startProgress(a, "dump "+topic.Name, -1)
	defer func() {
		p.done()
		if err == nil {
			err = w.Close()
			return
		}
		if name != "" {
			err = fmt.Errorf("%w; what was read until then is in %s", err, name)
		}
		err = errors.Join(err, w.Abort())
	}()
	full := a.settings.Kafka.Topic(topic.Name)
	for _, num := range slices.Sorted(maps.Keys(all)) {
		s := all[num]
		err := stream.ReadRange(ctx, a.settings.Kafka, full, num, s.from, s.to, func(rec *kgo.Record) error {
			typ, content := headerOf(topic, rec)
			p.count(1, 0)
			return w.Write(topic.Name, num, &tape.Record{Offset: rec.Offset, Key: rec.Key, Value: rec.Value, Type: typ, ContentType: content})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// createTape makes a tape by its name, and says where it is until it is closed; - is standard output, which is nowhere.
func (a *app) createTape(name string) (w tape.Writer, at string, err error) {
	if name == "-" {
		return tape.NewJSONWriter(noClose{a.stdout}), "", nil
	}
	f, err := tape.Create(name)
	if err != nil {
		return nil, "", err
	}
	at = f.Name()
	return f, at, nil
}
