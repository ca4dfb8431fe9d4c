package processor_test

import (
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// Events of records that come out of the order of their times have ids of their own, before a restart and behind it: sinks take an event
// that they have seen for told.
func TestIDsAreUnique(t *testing.T) {
	var messages []schemas.Message
	for i, s := range []float64{0, 5, 3, 5, 3, 4, 3, 6, 5, 6} {
		messages = append(messages, trade("A", s, int64(10*(i+1))))
	}
	in := inputs(t, messages...)
	for cut := range in {
		r := &recorder{ids: map[string]int{}}
		first := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), r, feed.History(in))
		for _, i := range in[:cut] {
			first.Process(i)
		}
		states := map[string][]byte{}
		marker, err := first.Snapshot(int64(cut), func(key string, state []byte) { states[key] = state })
		if err != nil {
			t.Fatal(err)
		}
		second := processor.NewTask(bound(t, ""), 0, 0, processor.DefaultTimePolicy(), r, feed.History(in))
		if _, err := second.Restore(marker, states); err != nil {
			t.Fatal(err)
		}
		for _, i := range in[cut:] {
			second.Process(i)
		}
		if len(r.ids) != len(in) {
			t.Errorf("restarted at %d: %d events have %d ids", cut, len(in), len(r.ids))
		}
	}
}

// recorder is a Sink that counts the ids.
type recorder struct {
	short
	ids map[string]int
}

func (r *recorder) Emit(m schemas.Message) { r.ids[m.(*schemas.Event).Id]++ }
