package stream_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tapewatch/tapewatch/stream"
	"github.com/tapewatch/tapewatch/stream/chaos"
)

// A client that gets no transactional id is closed, although it is in the group by then and waits to place its partitions.
func TestAClientWithoutATransactionalIDEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		refusal *kerr.Error
	}{
		{"the id is refused", kerr.TransactionalIDAuthorizationFailed},
		{"a stop comes while it is not given yet", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.load(chaos.Load{Records: 1000})
			var joined, refuse atomic.Bool
			w.fake.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
				w.fake.KeepControl()
				joined.Store(true)
				return nil, nil, false
			})
			w.fake.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
				w.fake.KeepControl()
				resp, _ := req.ResponseKind().(*kmsg.InitProducerIDResponse)
				resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
				if refuse.Load() {
					resp.ErrorCode = tc.refusal.Code
				}
				return resp, nil, true
			})
			r := w.start(stream.GroupOptions{})
			within(t, 10*time.Second, "the group is joined", joined.Load)
			time.Sleep(200 * time.Millisecond)
			if tc.refusal == nil {
				r.stop()
			} else {
				refuse.Store(true)
			}
			select {
			case err := <-r.done:
				if tc.refusal == nil && err != nil || tc.refusal != nil && !errors.Is(err, stream.ErrRefused) {
					t.Errorf("the group ended with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the group neither works nor ends")
			}
		})
	}
}
