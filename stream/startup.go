package stream

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// makeRoute looks the topics up and checks that they fit together.
func (g *Group) makeRoute(ctx context.Context, cl *kgo.Client) (*route, error) {
	b := g.bound
	r := &route{
		input: b.Input, output: b.Output, processor: b.Name, kind: b.Kind, encoder: g.options.Encoder,
		inputName: g.cluster.Topic(b.Input.Name), outputName: g.cluster.Topic(b.Output.Name),
		stateName: g.cluster.Topic(schemas.StateTopic(b.Name).Name), checkpointName: g.cluster.Topic(schemas.CheckpointTopic(b.Name, b.Input).Name),
		deadName: g.cluster.Topic(schemas.DeadLetters.Name),
	}
	md, err := kadm.NewClient(cl).Metadata(ctx, r.names()...)
	if err != nil {
		return nil, fmt.Errorf("looking up the topics of %s: %w", b.Name, err)
	}
	counts := map[string]int32{}
	for _, name := range r.names() {
		t := md.Topics[name]
		if t.Err != nil {
			return nil, fmt.Errorf("looking up topic %s (`tapewatch topics apply` creates it): %w", name, t.Err)
		}
		counts[name] = int32(len(t.Partitions))
	}
	r.inputID = md.Topics[r.inputName].ID
	r.inputs, r.outputs, r.dead = counts[r.inputName], counts[r.outputName], counts[r.deadName]
	if counts[r.stateName] != r.inputs {
		return nil, fmt.Errorf("%w: %s has %d partitions and %s has %d: they must be equal, as the state of a partition lies under its number; "+
			"recreate the state topic and rebuild by replay", ErrRefused, r.stateName, counts[r.stateName], r.inputName, r.inputs)
	}
	if counts[r.checkpointName] != r.inputs {
		return nil, fmt.Errorf("%w: %s has %d partitions and %s has %d: they must be equal, as the checkpoints of a partition lie under its number; "+
			"recreate it (a replay then begins at the log start)", ErrRefused, r.checkpointName, counts[r.checkpointName], r.inputName, r.inputs)
	}
	if b.Kind == processor.Stage && b.Input.Key == b.Output.Key && r.outputs != r.inputs {
		return nil, fmt.Errorf("%w: %s has %d partitions and %s has %d: a stage that keeps the key needs them equal",
			ErrRefused, r.outputName, r.outputs, r.inputName, r.inputs)
	}
	return r, nil
}

// names are the topics that the group reads or writes.
func (r *route) names() []string {
	return []string{r.inputName, r.outputName, r.stateName, r.checkpointName, r.deadName}
}

// checkTransactions finds brokers without the second half of KIP-890, where a delayed, retried request can end a later
// transaction.
func (g *Group) checkTransactions(ctx context.Context, cl *kgo.Client) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "tapewatch", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("asking for the brokers' features: %w", err)
	}
	version := int16(0)
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			version = f.MaxVersionLevel
		}
	}
	if version >= 2 {
		return nil
	}
	if !g.config.OldTransactions {
		return fmt.Errorf("%w: the brokers' transaction.version is %d and must be 2 (Kafka 4.0 or later, upgraded by kafka-features): "+
			"below it a delayed request can tear a transaction; stream.allow_old_transactions runs anyway", ErrRefused, version)
	}
	g.log.Warn("transaction.version is below 2: a delayed request can tear a transaction", "transaction_version", version)
	return nil
}

// quiet keeps franz-go from writing several lines for every transaction: it reports what is wrong, and nothing else.
type quiet struct{ log *slog.Logger }

func (quiet) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (q quiet) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if level <= kgo.LogLevelError {
		q.log.Error("kafka client", append([]any{"message", msg}, keyvals...)...)
		return
	}
	q.log.Debug("kafka client", append([]any{"message", msg}, keyvals...)...)
}
