package loopback

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/sources/book"
	"github.com/tapewatch/tapewatch/sources/kraken"
	"github.com/tapewatch/tapewatch/sources/venue"
	"github.com/tapewatch/tapewatch/sources/venue/venuetest"
)

// The recording of v1 in the words of v2 gives the same: every record is counted alike, 4,279 checksums over JSON numbers are
// right (the ten snapshots have one in v2), and the books are equal to the last level.
func TestModernGivesWhatV1Gives(t *testing.T) {
	spec, err := kraken.Config{Config: venue.Defaults(nil, []string{venue.Trades, venue.Quotes, venue.Book, venue.State}), Depth: 1000}.Spec()
	if err != nil {
		t.Fatal(err)
	}
	frames := venuetest.Read(t, "cryptofeed-v3/KRAKEN.jsonl.zst")
	old, oldOut := venuetest.Fed(t, spec, frames)
	now, nowOut := venuetest.Fed(t, spec, modern(spec, frames))
	want := venuetest.Measure(old, oldOut)
	want.Checked += 10
	if diff := cmp.Diff(want, venuetest.Measure(now, nowOut)); diff != "" || want.Checked != 4279 {
		t.Errorf("counts, %d checked (-want +got):\n%s", want.Checked, diff)
	}
	for _, f := range old.Figures() {
		a, _, _ := old.Book(f.Symbol)
		b, _, _ := now.Book(f.Symbol)
		if diff := cmp.Diff(levels(a), levels(b)); diff != "" {
			t.Errorf("%s (-v1 +v2):\n%s", f.Symbol, diff)
		}
	}
	// A recording of v2 stays as it is.
	again := modern(spec, modern(spec, frames))
	for i, f := range modern(spec, frames) {
		if !bytes.Equal(again[i].Data, f.Data) {
			t.Fatalf("frame %d of v2 is changed from\n%s\nto\n%s", i, f.Data, again[i].Data)
		}
	}
}

// levels lists a book, best first.
func levels(b *book.Book) (out []book.Level) {
	bids, asks := b.Depth()
	for i := range bids {
		out = append(out, b.Bid(i))
	}
	for i := range asks {
		out = append(out, b.Ask(i))
	}
	return out
}
