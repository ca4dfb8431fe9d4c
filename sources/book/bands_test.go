package book

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func rat(n Number) *big.Rat {
	r, ok := new(big.Rat).SetString(fmt.Sprintf("%de%d", n.Mantissa, n.Exponent))
	if !ok {
		panic("not a number")
	}
	return r
}

// The bands against rational numbers: the levels within the distance of the mid price, added up one by one.
func TestBandsEqualAPlainSum(t *testing.T) {
	level := rapid.Custom(func(t *rapid.T) Level {
		return Level{
			Price:    Number{rapid.Int64Range(1, 400).Draw(t, "price"), rapid.SampledFrom([]int32{-2, -1, 0}).Draw(t, "exponent")},
			Quantity: Number{rapid.Int64Range(0, 1000).Draw(t, "quantity"), rapid.SampledFrom([]int32{-8, -3, 0, 2}).Draw(t, "quantity exponent")},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var b Book
		shift := rapid.Int64Range(0, 400).Draw(t, "shift")
		asks := rapid.SliceOfN(level, 0, 60).Draw(t, "asks")
		for i := range asks { // above the bids mostly, so that few books are crossed
			asks[i].Price = Number{asks[i].Price.Mantissa + shift*100, -2}
		}
		if err := b.Apply(rapid.SliceOfN(level, 0, 60).Draw(t, "bids"), asks); err != nil {
			t.Fatal(err)
		}
		widths := rapid.SliceOfNDistinct(rapid.IntRange(1, MaxBasisPoints), 0, 6, rapid.ID[int]).Draw(t, "basis points")
		slices.Sort(widths)
		got := b.Bands(nil, widths, nil)
		nb, na := b.Depth()
		if nb == 0 || na == 0 || b.Crossed() {
			if len(got) > 0 {
				t.Fatalf("%d bands of a book without a mid price", len(got))
			}
			return
		}
		mid := new(big.Rat).Quo(new(big.Rat).Add(rat(b.Bid(0).Price), rat(b.Ask(0).Price)), big.NewRat(2, 1))
		for i, w := range widths {
			low, high := new(big.Rat).Mul(mid, big.NewRat(int64(10_000-w), 10_000)), new(big.Rat).Mul(mid, big.NewRat(int64(10_000+w), 10_000))
			bid, ask := new(big.Rat), new(big.Rat)
			for k := range nb {
				if l := b.Bid(k); rat(l.Price).Cmp(low) >= 0 {
					bid.Add(bid, rat(l.Quantity))
				}
			}
			for k := range na {
				if l := b.Ask(k); rat(l.Price).Cmp(high) <= 0 {
					ask.Add(ask, rat(l.Quantity))
				}
			}
			if rat(got[i].Bid.Quantity).Cmp(bid) != 0 || rat(got[i].Ask.Quantity).Cmp(ask) != 0 || !got[i].Bid.Complete || !got[i].Ask.Complete {
				t.Fatalf("within %d basis points of %s: %v, want %s and %s, complete", w, mid.FloatString(4), got[i], bid.FloatString(8), ask.FloatString(8))
			}
		}
	})
}

// even is a book of prices a hundredth apart around 100, with one unit each.
func even(t testing.TB, levels int) *Book {
	t.Helper()
	bids, asks := make([]Level, levels), make([]Level, levels)
	for i := range levels {
		bids[i] = Level{Number{int64(9999 - i), -2}, Number{1, 0}}
		asks[i] = Level{Number{int64(10001 + i), -2}, Number{1, 0}}
	}
	var b Book
	if err := b.Replace(bids, asks); err != nil {
		t.Fatal(err)
	}
	return &b
}

func ends(b *Book, basisPoints ...int) (out []string) {
	for _, d := range b.Bands(nil, basisPoints, nil) {
		out = append(out, fmt.Sprintf("%d %v, %d %v", d.Bid.Quantity.Mantissa, d.Bid.Complete, d.Ask.Quantity.Mantissa, d.Ask.Complete))
	}
	return out
}

// What is known ends where the source's knowledge does, not where levels happen to stand.
func TestBandsEnd(t *testing.T) {
	one, none := Number{1, 0}, Number{}
	at := func(hundredths int64, q Number) []Level { return []Level{{Number{hundredths, -2}, q}} }
	for _, c := range []struct {
		name string
		do   func(b *Book)
		want []string // within 0.1, 0.5 and 1 %
	}{
		{"a whole book", func(*Book) {}, []string{"10 true, 10 true", "50 true, 50 true", "60 true, 60 true"}},
		{"a snapshot cut at its sixty levels", func(b *Book) { b.Cut(60) }, []string{"10 true, 10 true", "50 true, 50 true", "60 false, 60 false"}},
		{"a snapshot of fewer levels than asked for", func(b *Book) { b.Cut(61) }, []string{"10 true, 10 true", "50 true, 50 true", "60 true, 60 true"}},
		{
			"levels beyond the cut are not all", func(b *Book) { b.Cut(60); must(t, b.Apply(at(9900, one), at(10100, one))) },
			[]string{"10 true, 10 true", "50 true, 50 true", "61 false, 61 false"},
		},
		{
			"the price runs to the cut", func(b *Book) {
				b.Cut(60)
				for p := int64(9999); p > 9969; p-- { // the mid price falls to 99.70
					must(t, b.Apply(at(p, none), at(p+1, one)))
				}
			}, []string{"9 true, 9 true", "30 false, 49 true", "30 false, 90 false"},
		},
		{
			"the cut level itself goes", func(b *Book) { b.Cut(60); must(t, b.Apply(at(9940, none), at(10060, none))) },
			[]string{"10 true, 10 true", "50 true, 50 true", "59 false, 59 false"},
		},
		{
			"finer prices", func(b *Book) { b.Cut(60); must(t, b.Apply([]Level{{Number{99_501_234, -6}, one}}, nil)) },
			[]string{"10 true, 10 true", "51 true, 50 true", "61 false, 60 false"},
		},
		{
			"a window of forty", func(b *Book) { b.Truncate(40) },
			[]string{"10 true, 10 true", "40 false, 40 false", "40 false, 40 false"},
		},
		{
			"a window that moves", func(b *Book) {
				b.Truncate(60)
				must(t, b.Apply(at(9940, none), at(10060, none)))
				b.Truncate(60)
			}, []string{"10 true, 10 true", "50 true, 50 true", "59 false, 59 false"},
		},
		{"a window that was never full", func(b *Book) { b.Truncate(61) }, []string{"10 true, 10 true", "50 true, 50 true", "60 true, 60 true"}},
		{
			"a new snapshot", func(b *Book) { b.Truncate(60); b.Cut(60); must(t, b.Replace(at(9999, one), at(10001, one))) },
			[]string{"1 true, 1 true", "1 true, 1 true", "1 true, 1 true"},
		},
		{"no bids", func(b *Book) { must(t, b.Replace(nil, at(10001, one))) }, nil},
		{"a quantity too large", func(b *Book) {
			must(t, b.Apply(nil, []Level{{Number{10011, -2}, Number{math.MaxInt64, 0}}}))
		}, []string{"10 true, 10 true", "50 true, 10 false", "60 true, 10 false"}},
	} {
		b := even(t, 60)
		c.do(b)
		if got := ends(b, 10, 50, 100); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What cannot be converted ends what is known.
func TestBandsConvert(t *testing.T) {
	b := even(t, 60)
	half := func(l Level) (Number, bool) { return Number{5 * l.Quantity.Mantissa, -1}, l.Price.Mantissa != 9980 }
	got := b.Bands(nil, []int{10, 50}, half)
	of := func(q int64, complete bool) Depth { return Depth{Number{q, -1}, Number{q, -1}, complete} }
	want := []Band{{of(50, true), of(50, true)}, {of(95, false), of(250, true)}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A wall counts for ten mean levels, or a twentieth of what counts; what is converted is capped as converted.
func TestBandsCapWalls(t *testing.T) {
	b := even(t, 60)
	must(t, b.Apply([]Level{{Number{9985, -2}, Number{5000_000, -3}}}, nil)) // 15 basis points away
	got := b.Bands(nil, []int{10, 50}, nil)
	if got[0].Bid.Capped != got[0].Bid.Quantity || got[1].Ask.Capped != got[1].Ask.Quantity {
		t.Errorf("%v: only the bids within 50 basis points have a wall", got)
	}
	// 49 and ten means of what counts: x = 49 + 10 x / 50.
	if want := (Depth{Number{5049_000, -3}, Number{61_250, -3}, true}); got[1].Bid != want {
		t.Errorf("%v, want %v", got[1].Bid, want)
	}
	got = b.Bands(nil, []int{50}, func(l Level) (Number, bool) {
		return Number{2 * l.Quantity.Mantissa, l.Quantity.Exponent}, true
	})
	if want := (Number{122_500, -3}); got[0].Bid.Capped != want {
		t.Errorf("converted %v, want %v", got[0].Bid.Capped, want)
	}
	if n := testing.AllocsPerRun(100, func() { got = b.Bands(got[:0], []int{50}, nil) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Five bands of books of the depth that venues have, as at every publication.
func BenchmarkBands(b *testing.B) {
	for _, levels := range []int{20, 200, 1000, 5000} {
		b.Run(fmt.Sprintf("levels=%d", levels), func(b *testing.B) {
			book := even(b, min(levels, 9000))
			dst := make([]Band, 0, 5)
			b.ReportAllocs()
			for b.Loop() {
				dst = book.Bands(dst[:0], []int{10, 20, 50, 100, MaxBasisPoints}, nil)
			}
		})
	}
}

// A book is short once its best price has gone half of the way to the cut, at whatever scale.
func TestShort(t *testing.T) {
	fall := func(b *Book, to int64) {
		for p := int64(9999); p > to; p-- {
			must(t, b.Apply([]Level{{Number{p, -2}, Number{}}}, nil))
		}
	}
	for _, c := range []struct {
		name string
		do   func(b *Book)
		want bool
	}{
		{"whole", func(b *Book) { fall(b, 9940) }, false},
		{"a window", func(b *Book) { b.Truncate(60); fall(b, 9940) }, false},
		{"cut", func(b *Book) { b.Cut(60) }, false},
		{"not half of the way", func(b *Book) { b.Cut(60); fall(b, 9969) }, false},
		{"half of the way", func(b *Book) { b.Cut(60); fall(b, 9968) }, true},
		{"finer prices", func(b *Book) {
			b.Cut(60)
			must(t, b.Apply([]Level{{Number{95_001_234, -6}, Number{1, 0}}}, nil))
			fall(b, 9969)
		}, false},
		{"finer prices, half of the way", func(b *Book) {
			b.Cut(60)
			must(t, b.Apply([]Level{{Number{95_001_234, -6}, Number{1, 0}}}, nil))
			fall(b, 9968)
		}, true},
		{"nothing left", func(b *Book) { b.Cut(60); fall(b, 9939) }, true},
		{"a new snapshot", func(b *Book) { b.Cut(60); must(t, b.Replace([]Level{{Number{9000, -2}, Number{1, 0}}}, nil)) }, false},
	} {
		b := even(t, 60)
		c.do(b)
		if got := b.Short(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
