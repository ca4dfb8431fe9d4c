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

// Prices far apart share a book, as long as the finest decimal leaves room for the largest.
func TestPricesFarApart(t *testing.T) {
	one := Number{1, 0}
	var b Book
	if err := b.Apply([]Level{{Number{5611900000, -5}, one}}, []Level{{Number{5621830000, -5}, one}, {Number{999999999700000, -5}, one}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(nil, []Level{{Number{9999999997, 0}, Number{}}, {Number{562183, -1}, Number{2, 0}}}); err != nil {
		t.Fatal(err)
	}
	if _, asks := b.Depth(); asks != 1 || b.Ask(0).Quantity != (Number{2, 0}) || b.Crossed() {
		t.Errorf("%d asks, best %v, want the one price set anew and the other gone", asks, b.Ask(0))
	}
	if err := b.Apply([]Level{{Number{1, -18}, one}}, nil); err == nil {
		t.Error("a price of 18 decimals is taken beside 56,000")
	}
	b.Clear()
	if err := b.Apply([]Level{{Number{1, -18}, one}}, []Level{{Number{3, -18}, one}}); err != nil || b.Bid(0).Price != (Number{1, -18}) {
		t.Errorf("fine prices alone: %v, %v", err, b)
	}
}

// Replace is Clear and Apply, whatever the order.
func TestReplace(t *testing.T) {
	level := rapid.Custom(func(t *rapid.T) Level {
		return Level{Number{rapid.Int64Range(1, 40).Draw(t, "price"), rapid.SampledFrom([]int32{-2, -1, 0}).Draw(t, "exponent")}, Number{rapid.Int64Range(0, 3).Draw(t, "quantity"), 0}}
	})
	rapid.Check(t, func(t *rapid.T) {
		bids, asks := rapid.SliceOfN(level, 0, 20).Draw(t, "bids"), rapid.SliceOfN(level, 0, 20).Draw(t, "asks")
		if rapid.Bool().Draw(t, "best first") {
			price := func(l Level) float64 { return l.Price.Decimal().Float() }
			slices.SortFunc(bids, func(a, b Level) int { return cmp.Compare(price(b), price(a)) })
			slices.SortFunc(asks, func(a, b Level) int { return cmp.Compare(price(a), price(b)) })
		}
		var want, got Book
		if err := want.Apply(bids, asks); err != nil {
			t.Fatal(err)
		}
		if err := got.Apply(asks, bids); err != nil { // what stood before
			t.Fatal(err)
		}
		if err := got.Replace(bids, asks); err != nil {
			t.Fatal(err)
		}
		levels := func(b *Book) (out []Level) {
			n, m := b.Depth()
			for i := range n {
				out = append(out, b.Bid(i))
			}
			for i := range m {
				out = append(out, b.Ask(i))
			}
			return out
		}
		if !slices.Equal(levels(&got), levels(&want)) {
			t.Fatalf("%v, want %v", levels(&got), levels(&want))
		}
	})
}

// 40,000 levels best first, as Coinbase sends them.
func BenchmarkReplace(b *testing.B) {
	bids := make([]Level, 40_000)
	for i := range bids {
		bids[i] = Level{Number{int64(10_000_000 - i), -2}, Number{1, 0}}
	}
	var book Book
	for b.Loop() {
		if err := book.Replace(bids, nil); err != nil {
			b.Fatal(err)
		}
	}
}
