package topics

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// A Row is one topic as it is on the cluster.
type Row struct {
	schemas.Topic
	// OnCluster is its name there; Exists says whether it is there.
	OnCluster string
	Exists    bool
	// Partitions and Replicas are those of the cluster.
	Partitions, Replicas int
	// Offsets counts the log positions in use, transaction markers included.
	Offsets int64
}

// List returns the topics with what the cluster says of them.
func List(ctx context.Context, c cluster.Config, log *slog.Logger, all []schemas.Topic) ([]Row, error) {
	client, err := kgo.NewClient(c.Options(log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	have, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	rows := make([]Row, 0, len(all))
	var names []string
	for _, t := range all {
		r := Row{Topic: t, OnCluster: c.Topic(t.Name)}
		if d, ok := have[r.OnCluster]; ok && d.Err == nil {
			r.Exists, r.Partitions, r.Replicas = true, len(d.Partitions), d.Partitions.NumReplicas()
			names = append(names, r.OnCluster)
		}
		rows = append(rows, r)
	}
	if len(names) == 0 {
		return rows, nil
	}
	starts, err := admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("listing end offsets: %w", err)
	}
	for i := range rows {
		for p := range rows[i].Partitions {
			start, _ := starts.Lookup(rows[i].OnCluster, int32(p))
			end, _ := ends.Lookup(rows[i].OnCluster, int32(p))
			rows[i].Offsets += end.Offset - start.Offset
		}
	}
	return rows, nil
}
