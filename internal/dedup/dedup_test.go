package dedup

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// Any record that comes again within 64 others is recognised, none is that came once, and a snapshot changes nothing.
func TestRecent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Recent
		numbered := rapid.Bool().Draw(t, "numbered")
		var past []*schemas.Meta
		for i := range rapid.IntRange(1, 300).Draw(t, "n") {
			m := &schemas.Meta{Id: fmt.Sprint("id", i)}
			if numbered {
				m.Sequence = uint64(1000 + i)
			}
			again := len(past) > 0 && rapid.Bool().Draw(t, "again")
			if again {
				back := rapid.IntRange(1, min(window, len(past))).Draw(t, "back")
				m = past[len(past)-back]
			} else {
				past = append(past, m)
			}
			before := r.Duplicates()
			if got := r.Seen(m); got != again || r.Duplicates()-before != count(again) {
				t.Fatalf("record %v: seen %v, want %v", m, got, again)
			}
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				in := pack.NewReader(r.Append(nil))
				r = Recent{}
				r.Restore(in)
				if in.Err() != nil || len(in.Rest()) != 0 {
					t.Fatalf("restoring: %v, %d bytes left", in.Err(), len(in.Rest()))
				}
			}
		}
	})
}

func count(again bool) uint64 {
	if again {
		return 1
	}
	return 0
}
