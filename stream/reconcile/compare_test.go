package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/schemas"
)

func event(id, key string, offset int64) *schemas.Event {
	return &schemas.Event{Id: id, Key: key, Severity: "low", Position: &schemas.Position{Offset: offset}, Evidence: &schemas.Evidence{Value: proto.Float64(1)}}
}

// Every kind of difference is told, once, and nothing else.
func TestCompare(t *testing.T) {
	all := func() []*schemas.Event {
		return []*schemas.Event{event("a", "x", 1), event("b", "x", 2), event("c", "y", 3)}
	}
	for name, c := range map[string]struct {
		spoil func([]*schemas.Event) []*schemas.Event
		want  []string
	}{
		"equal":   {func(e []*schemas.Event) []*schemas.Event { return e }, nil},
		"missing": {func(e []*schemas.Event) []*schemas.Event { return e[:2] }, []string{"missing c"}},
		"extra":   {func(e []*schemas.Event) []*schemas.Event { return append(e, event("d", "x", 4)) }, []string{"extra d"}},
		"twice":   {func(e []*schemas.Event) []*schemas.Event { return append(e, e[1]) }, []string{"twice b"}},
		"extra and twice": {
			func(e []*schemas.Event) []*schemas.Event { return append(e, event("d", "x", 4), event("d", "x", 4)) },
			[]string{"twice d", "extra d"},
		},
		"disordered": {func(e []*schemas.Event) []*schemas.Event { e[0], e[1] = e[1], e[0]; return e }, []string{"disordered a"}},
		"other keys": {func(e []*schemas.Event) []*schemas.Event { e[0], e[2] = e[2], e[0]; return append(e[:1], e[2], e[1]) }, nil},
		"different": {
			func(e []*schemas.Event) []*schemas.Event {
				e[2].Severity, e[2].Evidence.Value, e[2].Evidence.Z = "high", proto.Float64(2), proto.Float64(3)
				return e
			},
			[]string{"different c severity: high, replayed low; evidence.value: 2, replayed 1; evidence.z: 3, replayed none"},
		},
	} {
		var got []string
		Compare(all(), c.spoil(all()), func(d Difference) {
			got = append(got, strings.TrimSpace(fmt.Sprint(d.Kind, " ", d.Event.Id, " ", strings.Join(d.Fields, "; "))))
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
