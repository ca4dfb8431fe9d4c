package stream

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

// The contract of processors has no dropping of keys, so no group writes a tombstone; one that an operator writes, with a
// marker behind it, takes the key out, and one without a marker does not.
func TestStateIsReadByMarkers(t *testing.T) {
	marker, err := proto.Marshal(&schemas.Marker{NextOffset: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := &loaded{states: map[string][]byte{}, staged: map[string][]byte{}}
	for _, step := range []struct {
		key   string
		value []byte
		keys  []string
	}{
		{"a", []byte("1"), nil},
		{"b", []byte("1"), nil},
		{markerKey, marker, []string{"a", "b"}},
		{"a", nil, []string{"a", "b"}},
		{"c", []byte("1"), []string{"a", "b"}},
		{markerKey, marker, []string{"b", "c"}},
		{"b", nil, []string{"b", "c"}},
	} {
		if err := l.take(&kgo.Record{Key: []byte(step.key), Value: step.value}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.keys, slices.Sorted(maps.Keys(l.states))); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", step.key, diff)
		}
	}
}
