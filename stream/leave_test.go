package stream_test

import (
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
