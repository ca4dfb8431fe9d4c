package topics

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type noConfig struct{}

func (noConfig) Validate() error { return nil }

func init() {
	processor.Register(processor.Spec[noConfig]{
		Name: "idle", Kind: processor.Worker, Summary: "Does nothing.", Version: 1, Step: time.Second,
		Input: schemas.MarketBars, Output: schemas.AnalysisResults, New: func(noConfig, processor.Key) processor.Processor { return nil },
	})
}

func fake(t *testing.T) cluster.Config {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return cluster.Config{Brokers: k.ListenAddrs(), Prefix: "t."}
}

func admin(t *testing.T, c cluster.Config) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func plan(t *testing.T, c cluster.Config, cfg Config) *Plan {
	t.Helper()
	p, err := MakePlan(t.Context(), c, cfg, nil, All())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func apply(t *testing.T, c cluster.Config, cfg Config) {
	t.Helper()
	if err := plan(t, c, cfg).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func settingsOf(t *testing.T, c cluster.Config, topic string) map[string]string {
	t.Helper()
	rc, err := admin(t, c).DescribeTopicConfigs(t.Context(), c.Topic(topic))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range rc[0].Configs {
		out[kv.Key] = kv.MaybeValue()
	}
	return out
}

// check applies to a new cluster and looks at what came out.
func check(t *testing.T, c cluster.Config) {
	t.Helper()
	first := plan(t, c, Config{})
	if len(first.Steps) != len(schemas.Catalogue())+2*len(processor.All()) || !first.Changes() || !strings.Contains(first.String(), "+ t.market.trades, 8 partitions\n    cleanup.policy = delete\n") {
		t.Fatalf("the plan for a new cluster is\n%s", first)
	}
	if err := first.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]map[string]string{
		"market.trades": {"cleanup.policy": "delete", "retention.ms": "7776000000"},
		"state.idle":    {"cleanup.policy": "compact", "delete.retention.ms": "604800000", "max.message.bytes": "5242880"},
		// As long as the bars that idle reads.
		"checkpoints.idle": {"cleanup.policy": "delete", "retention.ms": "31536000000", "max.message.bytes": "5242880"},
		"dlq":              {"cleanup.policy": "delete", "max.message.bytes": "5242880"},
		"health":           {"cleanup.policy": "compact", "max.message.bytes": "1048588"},
	} {
		have := settingsOf(t, c, topic)
		for k, v := range want {
			if have[k] != v {
				t.Errorf("%s of %s is %q, must be %q", k, topic, have[k], v)
			}
		}
	}
	again := plan(t, c, Config{})
	if again.Changes() || len(again.Refused()) > 0 {
		t.Errorf("after applying, the plan must be empty:\n%s", again)
	}
	// A plan that another process has applied meanwhile does no harm.
	if err := first.Apply(t.Context()); err != nil {
		t.Errorf("applying twice: %v", err)
	}
}

func TestApplyMakesEverything(t *testing.T) { check(t, fake(t)) }

func TestApplyOnKafka(t *testing.T) {
	check(t, cluster.Config{Brokers: strings.Split(testservices.Kafka(t), ","), Prefix: "t."})
}

func TestApplySetsBackWhatDrifted(t *testing.T) {
	c := fake(t)
	apply(t, c, Config{})
	if _, err := admin(t, c).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: new("1000")}}, "t.events"); err != nil {
		t.Fatal(err)
	}
	p := plan(t, c, Config{})
	want := []Change{{Key: "retention.ms", Have: "1000", Want: "31536000000"}}
	for _, s := range p.Steps {
		if s.Topic == "t.events" {
			if d := cmp.Diff(want, s.Changes); d != "" || s.Action != Alter {
				t.Errorf("%s: %s", s.Action, d)
			}
		}
	}
	if !strings.Contains(p.String(), "~ t.events\n    retention.ms: 1000 -> 31536000000\n0 to create, 1 to alter") {
		t.Errorf("the plan is\n%s", p)
	}
	apply(t, c, Config{})
	if got := settingsOf(t, c, "events")["retention.ms"]; got != "31536000000" {
		t.Errorf("retention.ms is %s", got)
	}
}

func TestPlanRefusesAnotherPartitionCount(t *testing.T) {
	c := fake(t)
	if _, err := admin(t, c).CreateTopic(t.Context(), 3, 1, nil, "t.market.trades"); err != nil {
		t.Fatal(err)
	}
	p := plan(t, c, Config{})
	err := p.Apply(t.Context())
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "t.market.trades: it has 3 partitions, it must have 8") {
		t.Errorf("error is %v", err)
	}
	if have, err := admin(t, c).ListTopics(t.Context()); err != nil || len(have) != 1 {
		t.Errorf("a refused plan left %d topics, %v: must leave the one", len(have), err)
	}
	apply(t, c, Config{Partitions: 3})
}

func TestStateFollowsItsInput(t *testing.T) {
	c := fake(t)
	apply(t, c, Config{Partitions: 2})
	have, err := admin(t, c).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int{"t.market.bars": 2, "t.state.idle": 2, "t.health": 1} {
		if got := len(have[topic].Partitions); got != want {
			t.Errorf("%s has %d partitions, must have %d", topic, got, want)
		}
	}
	if _, err := admin(t, c).DeleteTopics(t.Context(), "t.state.idle"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin(t, c).CreateTopic(t.Context(), 5, 1, nil, "t.state.idle"); err != nil {
		t.Fatal(err)
	}
	if err := plan(t, c, Config{Partitions: 2}).Apply(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "its input t.market.bars has 2") {
		t.Errorf("error is %v", err)
	}
}

func TestList(t *testing.T) {
	c := fake(t)
	rows, err := List(t.Context(), c, nil, All())
	if err != nil || len(rows) != len(All()) || rows[0].Exists {
		t.Fatalf("an empty cluster gave %v, %v", rows, err)
	}
	apply(t, c, Config{})
	client, err := kgo.NewClient(c.Options(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 5 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t.events", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	rows, err = List(t.Context(), c, nil, All())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		want := int64(0)
		if r.Name == schemas.Events.Name {
			want = 5
		}
		if !r.Exists || r.Replicas != 1 || r.Offsets != want {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []Config{{Replication: -1}, {MinInsync: -1}, {Replication: 2, MinInsync: 3}, {Partitions: -1}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for c, want := range map[Config]int{{}: 0, {Replication: 3}: 2, {Replication: 1}: 0, {Replication: 3, MinInsync: 1}: 1} {
		if got := c.minInsync(); got != want {
			t.Errorf("%+v gives %d in sync, must be %d", c, got, want)
		}
	}
}
