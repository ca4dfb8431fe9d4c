package topics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
)

// Make applies a plan for topics with so many partitions each: what `tapewatch topics apply` does, for programs that need a few.
func Make(ctx context.Context, c cluster.Config, partitions int32, all ...schemas.Topic) error {
	all = slices.Clone(all)
	for i := range all {
		all[i].Partitions = partitions
	}
	plan, err := MakePlan(ctx, c, Defaults(), nil, all)
	if err != nil {
		return err
	}
	return plan.Apply(ctx)
}

// Apply does the plan's steps. A plan with refused steps does nothing. Another process that creates the same topic in
// between does no harm, so all processes of a deployment may apply at their start.
func (p *Plan) Apply(ctx context.Context) error {
	if refused := p.Refused(); len(refused) > 0 {
		return fmt.Errorf("%w: %s: %s (%d topics in all)", ErrRefused, refused[0].Topic, refused[0].Reason, len(refused))
	}
	if !p.Changes() {
		return nil
	}
	client, err := kgo.NewClient(p.cluster.Options(p.log)...)
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, s := range p.Steps {
		switch s.Action {
		case Create:
			err = p.create(ctx, admin, s)
		case Alter:
			err = alter(ctx, admin, s)
		case Keep, Refuse:
		}
		if err != nil {
			return err
		}
	}
	return p.visible(ctx, admin)
}

const (
	// visibleWithin bounds how long brokers may take to tell each other of new topics.
	visibleWithin = 30 * time.Second
	visiblePause  = 50 * time.Millisecond
)

// visible waits until every topic has its partitions and their leaders: a broker answers to a creation before all of them
// know of it, and a client that starts meanwhile would find no topic.
func (p *Plan) visible(ctx context.Context, admin *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, visibleWithin)
	defer cancel()
	for {
		missing := ""
		have, err := admin.ListTopics(ctx)
		for _, s := range p.Steps {
			if !ready(have[s.Topic], s.Partitions) {
				missing = s.Topic
				break
			}
		}
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for topic %s to be seen by the brokers: %w", missing, ctx.Err()), err)
		case <-time.After(visiblePause):
		}
	}
}

func ready(t kadm.TopicDetail, partitions int32) bool {
	for _, d := range t.Partitions {
		if d.Err != nil || d.Leader < 0 {
			return false
		}
	}
	return t.Err == nil && int32(len(t.Partitions)) == partitions
}

func (p *Plan) create(ctx context.Context, admin *kadm.Client, s Step) error {
	configs := map[string]*string{}
	for _, c := range s.Changes {
		configs[c.Key] = &c.Want
	}
	r, err := admin.CreateTopic(ctx, s.Partitions, p.replication, configs, s.Topic)
	if err == nil {
		err = r.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w %s", s.Topic, err, r.ErrMessage)
	}
	return nil
}

func alter(ctx context.Context, admin *kadm.Client, s Step) error {
	var configs []kadm.AlterConfig
	for _, c := range s.Changes {
		configs = append(configs, kadm.AlterConfig{Op: kadm.SetConfig, Name: c.Key, Value: &c.Want})
	}
	rs, err := admin.AlterTopicConfigs(ctx, configs, s.Topic)
	if err != nil {
		return fmt.Errorf("altering topic %s: %w", s.Topic, err)
	}
	for _, r := range rs {
		if r.Err != nil {
			return fmt.Errorf("altering topic %s: %w %s", s.Topic, r.Err, r.ErrMessage)
		}
	}
	return nil
}
