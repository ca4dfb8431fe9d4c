package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tidyTimeout bounds the questions that tidy asks the broker.
const tidyTimeout = 30 * time.Second

// tidy compacts and applies retention while the gate keeps every client out. It leaves a log with an open transaction (one
// that a kill left behind) as it is: it would lose what the transaction, once aborted, had superseded.
func tidy(cluster *kfake.Cluster, door *gate, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyTimeout) //nolint:forbidigo // Start is bounded by itself
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(door.Addr().String()), kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
		return door.dial()
	}))
	if err != nil {
		return fmt.Errorf("connecting to the embedded broker: %w", err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("listing the topics of the embedded broker: %w", err)
	}
	if topic, open := openTransaction(cluster, topics.Names()); open {
		if log != nil {
			log.Warn("the embedded broker starts without compaction: a transaction is open", "topic", topic)
		}
		cluster.ApplyRetention()
		return nil
	}
	cluster.Compact()
	return nil
}

// openTransaction finds a topic that a transaction is open on.
func openTransaction(cluster *kfake.Cluster, topics []string) (string, bool) {
	for _, topic := range topics {
		for _, p := range cluster.PartitionInfos(topic) {
			if p.LastStableOffset < p.HighWatermark {
				return topic, true
			}
		}
	}
	return "", false
}
