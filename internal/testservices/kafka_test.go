package testservices

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An answer within this time is what a healthy cluster of two cores gives with much to spare.
const patience = 30 * time.Second

func TestKafkaCommitsATransaction(t *testing.T) {
	bootstrap := Kafka(t)
	if again := Kafka(t); again != bootstrap {
		t.Fatalf("a second call started another cluster: %s, then %s", bootstrap, again)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	topic := "testservices.transaction"
	client := connect(t, bootstrap, topic, kgo.TransactionalID("testservices"), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprintf("committed=%v", end)
		if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	records := fetches.Records()
	if len(records) != 1 || string(records[0].Value) != "committed=true" {
		t.Fatalf("read_committed gave %d records, first %q; want only the committed one", len(records), records[0].Value)
	}
}

func TestKafkaClusterLosesNothingWhenANodeIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers take half a minute")
	}
	cluster := KafkaCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	topic := "testservices.chaos"
	client := connect(t, cluster.Bootstrap, topic, kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()))
	produce := func(value string) {
		t.Helper()
		if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatalf("producing %q: %v", value, err)
		}
	}
	produce("before")
	cluster.Kill(2, syscall.SIGKILL)
	produce("while one node is down")
	awaitBrokers(ctx, t, client, 2)
	cluster.Restart(2)
	awaitBrokers(ctx, t, client, 3)
	produce("after")

	offsets, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil || offsets.Error() != nil {
		t.Fatal(errors.Join(err, offsets.Error()))
	}
	if end, _ := offsets.Lookup(topic, 0); end.Offset != 3 {
		t.Fatalf("the topic ends at offset %d, want 3", end.Offset)
	}
}

// connect makes a topic of one partition and a client for it.
func connect(t *testing.T, bootstrap, topic string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(strings.Split(bootstrap, ",")...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	const defaultReplicas = -1
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, defaultReplicas, nil, topic); err != nil {
		t.Fatal(err)
	}
	return client
}

func awaitBrokers(ctx context.Context, t *testing.T, client *kgo.Client, want int) {
	t.Helper()
	for {
		brokers, err := kadm.NewClient(client).ListBrokers(ctx)
		if err == nil && len(brokers) == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster lists %d brokers (error %v), want %d", len(brokers), err, want)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
