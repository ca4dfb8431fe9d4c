package fixed

import (
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func relative(got, want float64) float64 {
	if got == want {
		return 0
	}
	return math.Abs(got-want) / math.Max(math.Abs(want), math.SmallestNonzeroFloat64)
}

func TestErrorBounds(t *testing.T) {
	const bound = 6e-16
	rnd := rand.New(rand.NewPCG(1, 2))
	worst := map[string]float64{}
	see := func(name string, got, want float64) { worst[name] = max(worst[name], relative(got, want)) }
	for range 200_000 {
		x := math.Ldexp(rnd.Float64()+0.5, rnd.IntN(2000)-1000)
		see("Ln", Ln(x), math.Log(x))
		see("Log2", Log2(x), math.Log(x)*math.Log2E) // math.Log2 itself cancels near 1
		near := 1 + (rnd.Float64()-0.5)/8
		see("Ln near 1", Ln(near), math.Log(near))
		y := (rnd.Float64() - 0.5) * 1400
		see("Exp", Exp(y), math.Exp(y))
		see("Exp2", Exp2(y), math.Exp2(y))
	}
	for name, w := range worst {
		t.Logf("%s: worst relative difference %.2g", name, w)
		if w > bound {
			t.Errorf("%s: worst relative difference %g, want <= %g", name, w, bound)
		}
	}
}

// TestExpAgainstBig sums the Taylor series in 200 bits.
func TestExpAgainstBig(t *testing.T) {
	for _, x := range []float64{-40, -3.25, -0.34, -1e-9, 1e-9, 0.1, 0.5, 1, 10.75, 300} {
		sum, term := big.NewFloat(1).SetPrec(4000), big.NewFloat(1).SetPrec(4000)
		for k := int64(1); k < 1500; k++ {
			term.Mul(term, big.NewFloat(x)).Quo(term, new(big.Float).SetInt64(k))
			sum.Add(sum, term)
		}
		want, _ := sum.Float64()
		if r := relative(Exp(x), want); r > 4.5e-16 {
			t.Errorf("Exp(%v) = %v, want %v: relative difference %g", x, Exp(x), want, r)
		}
		if r := math.Abs(Ln(want) - x); r > 4.5e-16*math.Max(1, math.Abs(x)) {
			t.Errorf("Ln(%v) = %v, want %v", want, Ln(want), x)
		}
	}
}

func TestExactAndSpecial(t *testing.T) {
	for n := -1074; n <= 1023; n++ {
		p := math.Ldexp(1, n)
		if got := Log2(p); got != float64(n) {
			t.Fatalf("Log2(2^%d) = %v", n, got)
		}
		if got := Exp2(float64(n)); got != p {
			t.Fatalf("Exp2(%d) = %v", n, got)
		}
	}
	inf := math.Inf(1)
	for _, c := range []struct{ got, want float64 }{
		{Ln(0), -inf},
		{Ln(inf), inf},
		{Ln(1), 0},
		{Exp(0), 1},
		{Exp(-inf), 0},
		{Exp(inf), inf},
		{Exp(710), inf},
		{Exp(-800), 0},
		{Exp2(1024), inf},
		{Decay(0, 5), 1},
		{Decay(5, 5), 0.5},
		{Decay(10, 5), 0.25},
		{Decay(-1, 5), 1},
		{Decay(1, 0), 0},
		{Atanh(0), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if !math.IsNaN(Ln(-1)) || !math.IsNaN(Exp(math.NaN())) || !math.IsNaN(Exp2(math.NaN())) {
		t.Error("NaN was lost")
	}
	if r := relative(Atanh(0.5), 0.549306144334054845697622618461); r > 4e-16 {
		t.Errorf("Atanh(0.5) is off by %g", r)
	}
}

// TestSameBits pins the bits of many results: it fails on a machine, compiler or build mode that computes anything else.
func TestSameBits(t *testing.T) {
	h := fnv.New64a()
	rnd := rand.New(rand.NewPCG(5, 6))
	var b [8]byte
	for range 20_000 {
		x, y := math.Ldexp(rnd.Float64()+0.5, rnd.IntN(200)-100), (rnd.Float64()-0.5)*200
		for _, v := range []float64{Ln(x), Log2(x), Exp(y), Exp2(y)} {
			u := math.Float64bits(v)
			for i := range b {
				b[i] = byte(u >> (8 * i))
			}
			_, _ = h.Write(b[:])
		}
	}
	const want = uint64(0x619c7e6ba05901e5)
	if got := h.Sum64(); got != want {
		t.Errorf("digest of results = %#x, want %#x", got, want)
	}
}

func BenchmarkLn(b *testing.B) {
	x, s := 1.5, 0.0
	for b.Loop() {
		s += Ln(x)
		x += 1e-3
	}
	_ = s
}

func BenchmarkExp2(b *testing.B) {
	x, s := -0.5, 0.0
	for b.Loop() {
		s += Exp2(x)
		x -= 1e-9
	}
	_ = s
}
