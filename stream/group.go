package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/cluster"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// GroupOptions make a Group.
type GroupOptions struct {
	Bound   *processor.Bound
	Cluster cluster.Config
	Config  Config
	// Slot numbers the processes of one processor: transactional id and static membership come from it.
	Slot int
	// Leave gives the static membership up at the end, so that the others take the partitions at once.
	Leave bool
	// Encoder says how outputs are encoded (registry framing, JSON); the zero value writes bare Protobuf.
	Encoder schemas.Encoder
	// SchemaTypes resolves inputs in registry framing; nil refuses them.
	SchemaTypes func(id uint32, index []int) (string, error)
	Log         *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// A Group runs one processor's consumer group in this process.
type Group struct {
	options GroupOptions
	bound   *processor.Bound
	config  Config
	cluster cluster.Config
	log     *slog.Logger
	meter   *meter
	health  health
	crash   failpoint
}

// ErrFenced is wrapped by the error of a group whose slot another process runs.
var ErrFenced = errors.New("another process runs this slot")

// ErrRefused is wrapped by the errors that no restart heals: lost data, state that does not fit, topics that do not fit.
// They say how to go on.
var ErrRefused = errors.New("refusing to start")

// NewGroup checks the options.
func NewGroup(o GroupOptions) (*Group, error) {
	if err := errors.Join(o.Config.Validate(), o.Cluster.Validate()); err != nil {
		return nil, err
	}
	if o.Bound == nil {
		return nil, errors.New("making a group: the processor is missing")
	}
	if o.Slot < 0 {
		return nil, fmt.Errorf("making the group of %s: slot is %d: it must not be negative", o.Bound.Name, o.Slot)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	g := &Group{
		options: o, bound: o.Bound, config: o.Config, cluster: o.Cluster, meter: newMeter(o.Metrics, o.Bound, o.Slot), crash: readFailpoint(),
		log: o.Log.With("processor", o.Bound.Name, "slot", o.Slot),
	}
	g.health.set(starting, "not running yet")
	return g, nil
}

// Run processes until ctx ends, then commits and snapshots what it has within StopDeadline and returns nil. An error
// of a client ends that client: Run makes a new one and restores from the committed state, unless the error is one that
// no restart heals.
func (g *Group) Run(ctx context.Context) error {
	failures, member := 0, ""
	for {
		commits, joined, err := g.session(ctx)
		member = cmp.Or(joined, member)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil // stopped before there was anything to commit
		}
		if err == nil || ctx.Err() != nil {
			g.health.set(starting, "stopped")
			return g.leave(ctx, member, err)
		}
		g.health.set(unhealthy, err.Error())
		g.meter.health(unhealthy)
		if commits > 0 {
			failures = 0
		}
		failures++
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrRefused) || failures > g.config.Restarts {
			return fmt.Errorf("running %s: %w", g.bound.Name, err)
		}
		g.log.Warn("client failed; a new one restores from the committed state", "error", err, "attempt", failures)
		select {
		case <-ctx.Done():
			return g.leave(ctx, member, nil)
		case <-time.After(min(100*time.Millisecond<<min(failures, 6), 5*time.Second)):
		}
		if g.succeeded(ctx, member) {
			g.meter.m.fenced.WithLabelValues(g.bound.Name).Inc()
			return fmt.Errorf("running %s: %w", g.bound.Name, g.takenOver(err))
		}
	}
}

// session runs one client until it fails or ctx ends. member is its id in the group, "" before it joined.
func (g *Group) session(ctx context.Context) (commits int, member string, err error) {
	s, err := newSession(ctx, g)
	if err != nil {
		return 0, "", err
	}
	err = s.run(ctx)
	member, _ = s.client.GroupMetadata()
	s.close()
	return s.commits, member, err
}

// succeeded reports whether another process has joined the group in this slot since member did. A new client would take the
// transactional id back from it: the broker does not always call a fence by its name, an End after the successor began is
// also answered by INVALID_TXN_STATE. Where the group cannot be asked, the new client finds out.
func (g *Group) succeeded(ctx context.Context, member string) bool {
	if member == "" {
		return false
	}
	cl, err := kgo.NewClient(g.cluster.Options(nil)...)
	if err != nil {
		return false
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, g.config.SessionTimeout)
	defer cancel()
	groups, err := kadm.NewClient(cl).DescribeGroups(ctx, g.groupName())
	if err != nil {
		return false
	}
	for _, m := range groups[g.groupName()].Members {
		if m.InstanceID != nil && *m.InstanceID == g.instanceID() {
			return m.MemberID != member
		}
	}
	return false
}

// takenOver is the error of a process whose slot another one runs.
func (g *Group) takenOver(err error) error {
	return fmt.Errorf("%w: slot %d (%s) was taken over; give each process a slot of its own (--slot): %w", ErrFenced, g.options.Slot, g.instanceID(), err)
}

// leave gives the static membership up when that was asked for. It names the member, too: another process that has taken the slot
// over meanwhile keeps its own. It tries for the session's timeout: by then the group lets this process go by itself.
func (g *Group) leave(ctx context.Context, member string, err error) error {
	if !g.options.Leave || member == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.SessionTimeout)
	defer cancel()
	cl, cerr := kgo.NewClient(g.cluster.Options(nil)...)
	if cerr != nil {
		return errors.Join(err, fmt.Errorf("leaving group %s: %w", g.groupName(), cerr))
	}
	defer cl.Close()
	req, m := kmsg.NewPtrLeaveGroupRequest(), kmsg.NewLeaveGroupRequestMember()
	instance, reason := g.instanceID(), "stopped with leave"
	m.MemberID, m.InstanceID, m.Reason = member, &instance, &reason
	req.Group, req.Members = g.groupName(), append(req.Members, m)
	resp, lerr := req.RequestWith(ctx, cl)
	if lerr == nil {
		lerr = kerr.ErrorForCode(resp.ErrorCode)
		for _, m := range resp.Members {
			lerr = errors.Join(lerr, kerr.ErrorForCode(m.ErrorCode))
		}
	}
	if errors.Is(lerr, kerr.UnknownMemberID) || errors.Is(lerr, kerr.FencedInstanceID) {
		lerr = nil // the group has let this process go already: there is nothing to give up
	}
	if lerr != nil {
		return errors.Join(err, fmt.Errorf("leaving group %s as %s: %w", g.groupName(), g.instanceID(), lerr))
	}
	return err
}

func (g *Group) groupName() string { return g.cluster.Group(g.bound.Name) }

// instanceID is also the transactional id: both belong to the slot.
func (g *Group) instanceID() string {
	return fmt.Sprintf("%s%s-%d", g.cluster.Prefix, g.bound.Name, g.options.Slot)
}
