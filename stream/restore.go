package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A restore rebuilds the task of one partition as it stood at the committed offset: the last snapshot, then the input
// from there through the same task with the outputs dropped, which are committed already. It is the one way: after an
// assignment, a crash, a restart and every transaction that did not commit.
type restore struct {
	group     *Group
	route     *route
	client    *kgo.Client     // without a group
	drain     context.Context //nolint:containedctx // the session's, for the task's history
	partition int32
	committed int64
	hadCommit bool
	fault     *fault

	// The outcome: the task, its position, the position of the last snapshot (-1: none that can stay), and the time of the last
	// checkpoint.
	task         *processor.Task
	next         int64
	snapped      int64
	checkpointed schemas.Time
}

// run returns when the task stands at the position from which the group fetches.
func (r *restore) run(ctx context.Context) error {
	state, err := r.load(ctx)
	if err != nil {
		return err
	}
	all, err := logBounds(ctx, kadm.NewClient(r.client), r.route.inputName)
	if err != nil {
		return err
	}
	log, ok := all[r.partition]
	if !ok {
		return fmt.Errorf("restoring %s/%d: the partition has no offsets", r.route.inputName, r.partition)
	}
	if !r.group.config.Transactions {
		r.resumeAtMarker(state.marker, log)
	}
	from, err := r.origin(state.marker, log)
	if err != nil {
		return err
	}
	if err := r.build(state, from); err != nil {
		return err
	}
	if err := r.replay(ctx, from); err != nil {
		return err
	}
	if r.fault.err != nil {
		return fmt.Errorf("replaying partition %d: %w", r.partition, r.fault.err)
	}
	r.next = r.committed
	return r.rebind(state.marker)
}

// load reads the snapshot.
func (r *restore) load(ctx context.Context) (*loaded, error) {
	rd := &rangeReader{client: r.client, stall: r.group.config.RestoreStallAfter}
	l, err := loadState(ctx, rd, r.route.stateName, r.partition)
	if errors.Is(err, errState) {
		return nil, fmt.Errorf("%w: %w: rebuild by replay: delete %s and reset the group to the log start", ErrRefused, err, r.route.stateName)
	}
	if err != nil {
		return nil, err
	}
	r.group.meter.m.restored.WithLabelValues(r.group.bound.Name, "state").Add(float64(l.records))
	if n := len(l.staged); n > 0 {
		r.group.log.Warn("state records that no marker follows were left out", "partition", r.partition, "records", n)
	}
	return l, nil
}

// resumeAtMarker is the at-least-once rule: what lies after the last snapshot is processed again, outputs and all.
func (r *restore) resumeAtMarker(m *schemas.Marker, log bounds) {
	switch {
	case m != nil:
		r.committed, r.hadCommit = m.NextOffset, true
	default:
		r.committed, r.hadCommit = log.start, false
	}
}

// origin returns the offset that the replay begins at, or says why nothing exact can be made of what is there.
func (r *restore) origin(m *schemas.Marker, log bounds) (int64, error) {
	what := fmt.Sprintf("%s/%d of group %s", r.route.inputName, r.partition, r.group.groupName())
	rebuild := fmt.Sprintf("to go on without what is lost, delete %s and reset the group's offsets to the log start", r.route.stateName)
	switch {
	case r.committed > log.end:
		return 0, fmt.Errorf("%w: %s: offset %d is committed but the log ends at %d: the topic was truncated or created anew; %s",
			ErrRefused, what, r.committed, log.end, rebuild)
	case r.hadCommit && r.committed < log.start:
		return 0, fmt.Errorf("%w: %s: offset %d is committed but the log begins at %d: records %d to %d are lost; %s",
			ErrRefused, what, r.committed, log.start, r.committed, log.start-1, rebuild)
	case m == nil && !r.hadCommit, m == nil && r.committed == log.start:
		return r.committed, nil
	case m == nil && log.start == 0:
		return 0, nil
	case m == nil:
		return 0, fmt.Errorf("%w: %s: offset %d is committed, there is no snapshot, and the log no longer begins at 0: the state cannot be rebuilt exactly; %s",
			ErrRefused, what, r.committed, rebuild)
	case !r.hadCommit:
		return 0, fmt.Errorf("%w: %s: there is a snapshot at offset %d but no committed offset: it has expired or was deleted; "+
			"set it to %d if nothing else was changed, or: %s", ErrRefused, what, m.NextOffset, m.NextOffset, rebuild)
	case m.NextOffset > r.committed:
		return 0, fmt.Errorf("%w: %s: the snapshot stands at offset %d, after the committed offset %d: the offsets were reset; "+
			"set them to %d, or: %s", ErrRefused, what, m.NextOffset, r.committed, m.NextOffset, rebuild)
	case m.NextOffset < r.committed && m.NextOffset < log.start:
		return 0, fmt.Errorf("%w: %s: the snapshot stands at offset %d and the log begins at %d: records %d to %d, which are needed to rebuild the state, are lost; %s",
			ErrRefused, what, m.NextOffset, log.start, m.NextOffset, log.start-1, rebuild)
	}
	return m.NextOffset, nil
}

// build makes the task at the marker, under the configuration that the marker names.
func (r *restore) build(l *loaded, from int64) error {
	g := r.group
	b := g.bound
	m := l.marker
	if m != nil {
		if m.NextOffset == r.committed && m.Layout == processor.Layout {
			// Nothing is replayed, so another configuration or version may take the state over as it is.
			m, _ = proto.Clone(m).(*schemas.Marker)
			m.Config, m.ProcessorVersion = b.ConfigJSON, b.Version
		}
		if !bytes.Equal(m.Config, b.ConfigJSON) && m.ProcessorVersion == b.Version {
			var err error
			if b, err = b.BindJSON(m.Config); err != nil {
				return fmt.Errorf("%w: partition %d: the configuration of the last snapshot is no longer valid: %w: start once with the old version and stop it gracefully",
					ErrRefused, r.partition, err)
			}
		}
	}
	r.task = processor.NewTask(b, r.partition, from, g.config.policy(), processor.Discard{}, r.history())
	if g.options.SchemaTypes != nil {
		r.task.SchemaTypes(g.options.SchemaTypes)
	}
	r.snapped = -1
	if m == nil {
		return nil
	}
	r.snapped, r.checkpointed = m.NextOffset, schemas.Time(m.Checkpointed)
	ignored, err := r.task.Restore(m, l.states)
	if err != nil {
		return fmt.Errorf("%w: partition %d: %w", ErrRefused, r.partition, err)
	}
	if ignored > 0 {
		g.log.Error("key states newer than their marker were left out", "partition", r.partition, "keys", ignored)
	}
	return nil
}

// replay runs the input from the marker to the committed offset.
func (r *restore) replay(ctx context.Context, from int64) error {
	g := r.group
	left := g.meter.m.restoreLeft.WithLabelValues(g.bound.Name, strconv.Itoa(int(r.partition)))
	defer left.Set(0)
	n := 0
	topic := r.route.input
	rd := &rangeReader{client: r.client, stall: g.config.RestoreStallAfter}
	err := rd.read(ctx, r.route.inputName, r.partition, from, r.committed, func(rec *kgo.Record) error {
		r.task.Process(input(&topic, rec))
		if n++; n%10_000 == 0 {
			left.Set(float64(r.committed - rec.Offset))
		}
		return nil
	})
	g.meter.m.restored.WithLabelValues(g.bound.Name, "input").Add(float64(n))
	if err != nil {
		return fmt.Errorf("replaying partition %d from offset %d to %d: %w", r.partition, from, r.committed, err)
	}
	return nil
}

// rebind switches to the configuration of today, at the committed offset.
func (r *restore) rebind(m *schemas.Marker) error {
	b := r.group.bound
	if m == nil || bytes.Equal(m.Config, b.ConfigJSON) && m.ProcessorVersion == b.Version {
		return nil
	}
	if err := r.task.Rebind(b, r.committed); err != nil {
		return fmt.Errorf("%w: partition %d: %w", ErrRefused, r.partition, err)
	}
	r.snapped = -1 // the next transaction writes the state as it is now
	r.group.log.Info("configuration or version changed; the state was kept", "partition", r.partition, "offset", r.committed,
		"was", string(m.Config), "is", string(b.ConfigJSON), "was_version", m.ProcessorVersion)
	return nil
}

// fault is where a task's history notes that it could not read: what the task then did is not to be committed.
type fault struct{ err error }

// history reads the partition's input again for a task that met a panic. A stop of the group cuts it short only at StopDeadline: the
// fault then keeps what became of the panic from being committed.
func (r *restore) history() processor.History {
	ctx, c, topic, name, partition, failed := r.drain, r.group.cluster, r.route.input, r.route.inputName, r.partition, r.fault
	return func(from, to int64, fn func(processor.Input)) error {
		err := ReadRange(ctx, c, name, partition, from, to, func(rec *kgo.Record) error {
			fn(input(&topic, rec))
			return nil
		})
		if err != nil {
			failed.err = err
		}
		return err
	}
}
