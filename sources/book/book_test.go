package book

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The book against a map that is sorted when asked.
func TestBookEqualsASortedMap(t *testing.T) {
	level := rapid.Custom(func(t *rapid.T) Level {
		return Level{
			Price:    Number{rapid.Int64Range(1, 40).Draw(t, "price"), rapid.SampledFrom([]int32{-2, -1, 0}).Draw(t, "exponent")},
			Quantity: Number{rapid.Int64Range(0, 3).Draw(t, "quantity"), 0},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var b Book
		bids, asks := map[int64]Level{}, map[int64]Level{}
		for range rapid.IntRange(1, 30).Draw(t, "updates") {
			bid, ask := rapid.SliceOfN(level, 0, 8).Draw(t, "bids"), rapid.SliceOfN(level, 0, 8).Draw(t, "asks")
			if err := b.Apply(bid, ask); err != nil {
				t.Fatal(err)
			}
			put(bids, bid)
			put(asks, ask)
		}
		wantBids := slices.SortedFunc(maps.Keys(bids), func(a, b int64) int { return cmp.Compare(b, a) })
		wantAsks := slices.Sorted(maps.Keys(asks))
		nb, na := b.Depth()
		if nb != len(wantBids) || na != len(wantAsks) {
			t.Fatalf("%d bids and %d asks, want %d and %d", nb, na, len(wantBids), len(wantAsks))
		}
		for i, k := range wantBids {
			if b.Bid(i) != bids[k] {
				t.Fatalf("bid %d is %v, want %v", i, b.Bid(i), bids[k])
			}
		}
		for i, k := range wantAsks {
			if b.Ask(i) != asks[k] {
				t.Fatalf("ask %d is %v, want %v", i, b.Ask(i), asks[k])
			}
		}
		if want := len(wantBids) > 0 && len(wantAsks) > 0 && wantBids[0] >= wantAsks[0]; b.Crossed() != want {
			t.Fatalf("crossed %v, want %v", b.Crossed(), want)
		}
	})
}

// put applies levels to the model; prices are whole hundredths here.
func put(side map[int64]Level, levels []Level) {
	for _, l := range levels {
		key := l.Price.Mantissa * map[int32]int64{-2: 1, -1: 10, 0: 100}[l.Price.Exponent]
		if l.Quantity.Mantissa == 0 {
			delete(side, key)
		} else {
			side[key] = l
		}
	}
}

func TestPriceOutOfRange(t *testing.T) {
	for _, n := range []Number{{1, -11}, {1 << 62, 0}} {
		var b Book
		if err := b.Apply([]Level{{n, Number{1, 0}}}, nil); err == nil {
			t.Errorf("%v is taken", n)
		}
	}
}
