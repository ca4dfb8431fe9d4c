package topics

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Action is what a step does.
type Action string

// The actions.
const (
	Create Action = "create"
	Alter  Action = "alter"
	Keep   Action = "keep"
	Refuse Action = "refuse"
)

// A Change is one setting that a step sets. Have is empty for a new topic.
type Change struct{ Key, Have, Want string }

// A Step is what the plan does with one topic.
type Step struct {
	// Topic is the name on the cluster.
	Topic      string
	Action     Action
	Partitions int32
	Changes    []Change
	// Reason says why a step is refused.
	Reason string
}

// A Plan makes the cluster's topics what they must be.
type Plan struct {
	Steps []Step

	cluster     cluster.Config
	replication int16
	log         *slog.Logger
}

// MakePlan compares the cluster with the topics. It changes nothing.
func MakePlan(ctx context.Context, c cluster.Config, cfg Config, log *slog.Logger, all []schemas.Topic) (*Plan, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(c.Options(log)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	names := make([]string, 0, len(all))
	for _, t := range all {
		names = append(names, c.Topic(t.Name))
	}
	have, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	var existing []string
	for _, n := range names {
		if have.Has(n) {
			existing = append(existing, n)
		}
	}
	var configs kadm.ResourceConfigs
	if len(existing) > 0 {
		if configs, err = admin.DescribeTopicConfigs(ctx, existing...); err != nil {
			return nil, fmt.Errorf("asking for the settings of topics: %w", err)
		}
	}
	p := &Plan{cluster: c, replication: cfg.Replication, log: log}
	if p.replication == 0 {
		p.replication = -1
	}
	for _, t := range all {
		step, err := compare(c, cfg, t, have, configs)
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

// compare makes the step of one topic.
func compare(c cluster.Config, cfg Config, t schemas.Topic, have kadm.TopicDetails, configs kadm.ResourceConfigs) (Step, error) {
	s := Step{Topic: c.Topic(t.Name), Action: Create, Partitions: partitions(c, cfg, t, have)}
	current := map[string]string{}
	if have.Has(s.Topic) {
		s.Action = Keep
		if n := int32(len(have[s.Topic].Partitions)); n != s.Partitions {
			s.Action, s.Reason = Refuse, explain(c, t, n, s.Partitions)
			return s, nil
		}
		rc, err := configs.On(s.Topic, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return s, fmt.Errorf("asking for the settings of %s: %w", s.Topic, err)
		}
		for _, kv := range rc.Configs {
			current[kv.Key] = kv.MaybeValue()
		}
	}
	for _, want := range cfg.settings(t) {
		if current[want.key] != want.value {
			s.Changes = append(s.Changes, Change{Key: want.key, Have: current[want.key], Want: want.value})
		}
	}
	if s.Action == Keep && len(s.Changes) > 0 {
		s.Action = Alter
	}
	return s, nil
}

// partitions returns the count that a topic must have: a topic of state follows its input as it is on the cluster.
func partitions(c cluster.Config, cfg Config, t schemas.Topic, have kadm.TopicDetails) int32 {
	if d := ownerOf(t); d != nil && have.Has(c.Topic(d.Input.Name)) {
		return int32(len(have[c.Topic(d.Input.Name)].Partitions))
	}
	if cfg.Partitions > 0 && t.Partitions > 1 {
		return cfg.Partitions
	}
	return t.Partitions
}

func explain(c cluster.Config, t schemas.Topic, have, want int32) string {
	if d := ownerOf(t); d != nil {
		return fmt.Sprintf("it has %d partitions and its input %s has %d: the state of a partition lies under its number. Stop %s, delete %s and let it be rebuilt by replay",
			have, c.Topic(d.Input.Name), want, d.Name, c.Topic(t.Name))
	}
	return fmt.Sprintf("it has %d partitions, it must have %d: another count moves keys to other partitions and breaks the order of their records. "+
		"Set topics.partitions to %d to keep it, or create the topics anew under another kafka.prefix and ingest again", have, want, have)
}

// Refused returns the steps that must not be done.
func (p *Plan) Refused() []Step {
	var out []Step
	for _, s := range p.Steps {
		if s.Action == Refuse {
			out = append(out, s)
		}
	}
	return out
}

// Changes reports whether Apply has anything to do.
func (p *Plan) Changes() bool {
	for _, s := range p.Steps {
		if s.Action == Create || s.Action == Alter {
			return true
		}
	}
	return false
}

// String prints the plan as a difference: + for what is new, ~ for what changes, ! for what is refused.
func (p *Plan) String() string {
	var b strings.Builder
	count := map[Action]int{}
	for _, s := range p.Steps {
		count[s.Action]++
		switch s.Action {
		case Create:
			fmt.Fprintf(&b, "+ %s, %d partitions\n", s.Topic, s.Partitions)
		case Alter:
			fmt.Fprintf(&b, "~ %s\n", s.Topic)
		case Refuse:
			fmt.Fprintf(&b, "! %s: %s\n", s.Topic, s.Reason)
		case Keep:
		}
		for _, c := range s.Changes {
			if s.Action == Create {
				fmt.Fprintf(&b, "    %s = %s\n", c.Key, c.Want)
			} else {
				fmt.Fprintf(&b, "    %s: %s -> %s\n", c.Key, c.Have, c.Want)
			}
		}
	}
	fmt.Fprintf(&b, "%d to create, %d to alter, %d as they must be, %d refused\n", count[Create], count[Alter], count[Keep], count[Refuse])
	return b.String()
}
