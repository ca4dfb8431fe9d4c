package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tapewatch/tapewatch/stream/deadletter"
	"github.com/tapewatch/tapewatch/stream/topics"
)

// comfortable is how much longer than the snapshot interval input should be kept: a group that was away for longer than
// the input is kept cannot rebuild its state.
const comfortable = time.Hour

// checkSettings holds the settings of a group's topics against what the group needs of them: input that outlives the
// snapshots, and room for what it writes. A client that may not ask goes on with a warning.
func (g *Group) checkSettings(ctx context.Context, cl *kgo.Client, r *route) error {
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, r.names()...)
	var errs []error
	for _, c := range configs {
		err = errors.Join(err, c.Err)
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		g.log.Warn("may not ask for the settings of the topics, so they are not checked: allow DescribeConfigs", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for the settings of the topics of %s: %w", g.bound.Name, err)
	}
	for _, c := range configs {
		have := map[string]string{}
		for _, kv := range c.Configs {
			have[kv.Key] = kv.MaybeValue()
		}
		if c.Name == r.inputName {
			errs = append(errs, g.checkRetention(c.Name, have))
		}
		if c.Name != r.inputName || r.inputName == r.outputName {
			errs = append(errs, checkRoom(c.Name, have, r.batchBytes(c.Name)))
		}
	}
	return errors.Join(errs...)
}

// checkRetention refuses input that may be deleted before the snapshot that covers it, and warns where the margin is thin.
func (g *Group) checkRetention(topic string, have map[string]string) error {
	if strings.Contains(have["cleanup.policy"], "compact") {
		return fmt.Errorf("%w: cleanup.policy of %s is %q: it must be delete, as state is rebuilt by reading every record again (`tapewatch topics apply` sets it)",
			ErrRefused, topic, have["cleanup.policy"])
	}
	every := g.config.SnapshotInterval
	if ms, err := strconv.ParseInt(have["retention.ms"], 10, 64); err == nil && ms >= 0 {
		kept := time.Duration(min(ms, int64(1<<62/time.Millisecond))) * time.Millisecond
		if kept <= every {
			return fmt.Errorf("%w: retention.ms of %s is %d (%v): it must exceed stream.snapshot_interval (%v) by the longest time that the group may be away, "+
				"else the input that rebuilds its state is gone; `tapewatch topics apply` sets it", ErrRefused, topic, ms, kept, every)
		}
		if kept < every+comfortable {
			g.log.Warn("input is kept for a short time: a group that is away for longer cannot rebuild its state and refuses to start",
				"topic", topic, "retention", kept, "snapshot_interval", every)
		}
	}
	if size, err := strconv.ParseInt(have["retention.bytes"], 10, 64); err == nil && size >= 0 {
		g.log.Warn("input is also deleted by size, however young: the size must hold all that comes between two snapshots and while the group is away",
			"topic", topic, "retention_bytes", size, "snapshot_interval", every)
	}
	return nil
}

// checkRoom refuses a topic whose broker would not take what the group may write: the transaction would abort for ever.
func checkRoom(topic string, have map[string]string, need int32) error {
	if size, err := strconv.ParseInt(have["max.message.bytes"], 10, 64); err == nil && size < int64(need) {
		return fmt.Errorf("%w: max.message.bytes of %s is %d: it must be at least %d (`tapewatch topics apply` sets it)", ErrRefused, topic, size, need)
	}
	return nil
}

// batchBytes is what a batch for a topic may hold before it is compressed: no more than the topic takes.
func (r *route) batchBytes(topic string) int32 {
	switch topic {
	case r.stateName, r.checkpointName, r.deadName:
		return deadletter.MaxRecordBytes
	}
	return topics.BatchBytes
}
