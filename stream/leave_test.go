package stream_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

// A stop that comes while the group waits to make a new client gives the membership up like any other, and names its member.
func TestAStopBetweenTwoClientsLeaves(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 1000})
	r := w.start(stream.GroupOptions{Leave: true})
	w.caughtUp()
	var left atomic.Pointer[kmsg.LeaveGroupRequestMember]
	w.fake.ControlKey(int16(kmsg.LeaveGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if l, ok := req.(*kmsg.LeaveGroupRequest); ok && len(l.Members) == 1 {
			left.Store(&l.Members[0])
		}
		return nil, nil, false
	})
	w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.InvalidTxnState, Count: 1})
	w.load(chaos.Load{Records: 100, First: 1000})
	for r.group.Component().State != "unhealthy" {
		time.Sleep(time.Millisecond)
	}
	r.end()
	if m := left.Load(); m == nil || m.MemberID == "" || m.InstanceID == nil {
		t.Errorf("the group left with %+v, want its member and its instance", m)
	}
}

// hold leaves those requests of a kind unanswered that match, until they are released. asked says that there was one.
func (w *world) hold(key kmsg.Key, match func(kmsg.Request) bool) (asked func() bool, release func()) {
	var met atomic.Bool
	released := make(chan struct{})
	w.fake.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		if match(req) {
			met.Store(true)
			w.fake.SleepControl(func() { <-released })
		}
		return nil, nil, false
	})
	return met.Load, func() { close(released) }
}

// stopped stops the group, and says how long that took and what it gave.
func (r *running) stopped() (time.Duration, error) {
	began := time.Now()
	r.stop()
	err := <-r.done
	return time.Since(began), err
}

// A broker that does not end the transaction in hand holds a stop up no longer than its deadline; the group says so, and the next start
// goes on from the state before that transaction.
func TestAStopWaitsForTheBrokerNoLongerThanItsDeadline(t *testing.T) {
	w := newWorld(t)
	w.load(chaos.Load{Records: 1000})
	config := testConfig()
	config.StopDeadline = time.Second
	r := w.start(stream.GroupOptions{Config: config})
	w.caughtUp()
	asked, release := w.hold(kmsg.EndTxn, func(kmsg.Request) bool { return true })
	w.load(chaos.Load{Records: 100, First: 1000})
	within(t, 10*time.Second, "NOT RUN: an end of a transaction", asked)
	took, err := r.stopped()
	release()
	if took < config.StopDeadline || took > config.StopDeadline+5*time.Second {
		t.Errorf("the stop took %v at a deadline of %v", took, config.StopDeadline)
	}
	if err == nil || !strings.Contains(err.Error(), "stream.stop_deadline (1s) is over") {
		t.Errorf("the stop gave %v, want an error that names the deadline", err)
	}
	r = w.start(stream.GroupOptions{})
	w.caughtUp()
	r.end()
	w.clean(nil)
}

// A stop does not wait for a broker that keeps the input back which a panic has to be read again from.
func TestAStopEndsTheRebuildAfterAPanic(t *testing.T) {
	w := newWorld(t)
	l := chaos.Load{Records: 3000, Keys: 37, PerSecond: 1000}
	config := testConfig()
	config.StopDeadline = time.Second
	r := w.start(stream.GroupOptions{Config: config, Bound: bind(t, `{"every":10,"poison":`+price(l, 2500)+`}`)})
	within(t, 10*time.Second, "healthy", func() bool { return r.group.Component().State == "healthy" })
	asked, release := w.hold(kmsg.Fetch, func(req kmsg.Request) bool {
		q, ok := req.(*kmsg.FetchRequest)
		return ok && q.SessionEpoch == -1
	})
	w.load(l)
	within(t, 10*time.Second, "NOT RUN: a panic", asked)
	took, err := r.stopped()
	release()
	if took > config.StopDeadline+5*time.Second {
		t.Errorf("the stop took %v at a deadline of %v: %v", took, config.StopDeadline, err)
	}
}
