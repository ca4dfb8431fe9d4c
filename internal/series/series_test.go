package series

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// exactVar is the sample variance of xs in rational arithmetic.
func exactVar(xs []int64) float64 {
	n := int64(len(xs))
	sum, squares := new(big.Int), new(big.Int)
	for _, x := range xs {
		b := big.NewInt(x)
		sum.Add(sum, b)
		squares.Add(squares, new(big.Int).Mul(b, b))
	}
	squares.Mul(squares, big.NewInt(n)).Sub(squares, sum.Mul(sum, sum))
	v, _ := new(big.Rat).SetFrac(squares, big.NewInt(n*(n-1))).Float64()
	return v
}

func near(a, b, rel float64) bool {
	return a == b || math.Abs(a-b) <= rel*math.Max(math.Abs(a), math.Abs(b))
}

func TestRollingIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 70).Draw(t, "size")
		scale := rapid.SampledFrom([]int64{2, 1000, 1 << 40, MaxValue}).Draw(t, "scale")
		offset := rapid.Int64Range(-MaxValue, MaxValue).Draw(t, "offset")
		r, all := NewRolling(size), []int64(nil)
		for _, x := range rapid.SliceOfN(rapid.Int64Range(-scale, scale), 1, 150).Draw(t, "xs") {
			x = min(max(x+offset, -MaxValue), MaxValue)
			if !r.Add(x) {
				t.Fatalf("refused %d", x)
			}
			all = append(all, x)
			w := all[max(0, len(all)-size):]
			sum := new(big.Int)
			for _, v := range w {
				sum.Add(sum, big.NewInt(v))
			}
			mean, _ := new(big.Rat).SetFrac(sum, big.NewInt(int64(len(w)))).Float64()
			if math.Abs(r.Mean()-mean) > 3e-16*math.Abs(mean)+1e-300 && !near(r.Mean(), mean, 4e-16) {
				t.Fatalf("mean %v, want %v", r.Mean(), mean)
			}
			if len(w) > 1 && !near(r.Var(), exactVar(w), 5e-16) {
				t.Fatalf("variance of %v = %v, want %v", w, r.Var(), exactVar(w))
			}
		}
		again := NewRolling(size)
		if rest, err := again.RestoreState(r.AppendState(nil)); err != nil || len(rest) != 0 || again.Var() != r.Var() || again.Mean() != r.Mean() {
			t.Fatalf("restore: %v, variance %v, want %v", err, again.Var(), r.Var())
		}
	})
	if NewRolling(3).Add(MaxValue + 1) {
		t.Error("took a value beyond MaxValue")
	}
}

// TestRollingOracle: published hard series; the values are cut to 1e-4 (1e-0 where an outlier of 1e16 must fit), which bounds the
// difference that is allowed.
func TestRollingOracle(t *testing.T) {
	dir := os.Getenv("TAPEWATCH_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	b, err := os.ReadFile(filepath.Join(dir, "indicators", "rolling_var_stability.json"))
	if err != nil {
		if os.Getenv("TAPEWATCH_REQUIRE_DATA") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no oracle data, set TAPEWATCH_DATA: %v", err)
	}
	var oracle struct {
		Window int
		Cases  map[string]struct{ X, Var []float64 }
	}
	if err := json.Unmarshal(b, &oracle); err != nil {
		t.Fatal(err)
	}
	for name, c := range oracle.Cases {
		unit := 1e4
		for _, x := range c.X {
			for math.Abs(x)*unit > MaxValue {
				unit /= 10
			}
		}
		r, checked := NewRolling(oracle.Window), 0
		for i, x := range c.X {
			r.Add(int64(math.Round(x * unit)))
			k := i - oracle.Window + 1
			if k < 0 {
				continue
			}
			want := c.Var[k]
			// Cutting each value by at most half a unit moves the standard deviation by at most 1/sqrt(2) units or so.
			got := math.Sqrt(r.Var()) / unit
			if d := math.Abs(got - math.Sqrt(want)); d > 0.75/unit+1e-9*math.Sqrt(want) {
				t.Fatalf("%s: sd %d = %v, want %v", name, k, got, math.Sqrt(want))
			}
			checked++
		}
		t.Logf("%s: %d windows at a unit of 1/%g", name, checked, unit)
	}
}

func TestEWAgainstDirectSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(rapid.Float64Range(-1e3, 1e3), 1, 60).Draw(t, "xs")
		ds := rapid.SliceOfN(rapid.Float64Range(0, 1), len(xs), len(xs)).Draw(t, "decays")
		var e EW
		var l Level
		for i, x := range xs {
			e.Add(ds[i], x)
			l.Add(ds[i], x)
		}
		var w, m, v float64
		weight := func(i int) float64 {
			k := 1.0
			for _, d := range ds[i+1:] {
				k *= d
			}
			return k
		}
		for i, x := range xs {
			w += weight(i)
			m += weight(i) * x
		}
		m /= w
		for i, x := range xs {
			v += weight(i) * (x - m) * (x - m)
		}
		v /= w
		if math.Abs(e.Mean()-m) > 1e-9 || math.Abs(l.Mean()-m) > 1e-9 || !near(e.Weight(), w, 1e-12) || math.Abs(e.Var()-v) > 1e-6 {
			t.Fatalf("mean %v %v, variance %v; want %v, %v", e.Mean(), l.Mean(), e.Var(), m, v)
		}
		var again EW
		if rest, err := again.RestoreState(e.AppendState(nil)); err != nil || len(rest) != 0 || again != e {
			t.Fatalf("restore gives %+v, %v; want %+v", again, err, e)
		}
	})
}

func TestClippingResistsOutliers(t *testing.T) {
	var plain, clipped EW
	for i := range 1000 {
		x := float64(i%7) - 3
		if i%50 == 49 {
			x = 1e6
		}
		plain.Add(0.99, x)
		clipped.AddClipped(0.99, x, 3, 0.1)
	}
	if plain.Mean() < 1000 || math.Abs(clipped.Mean()) > 20 {
		t.Errorf("means: plain %v, clipped %v; want the clipped one near 0", plain.Mean(), clipped.Mean())
	}
	before := clipped
	clipped.Add(0.9, math.NaN())
	clipped.Add(0.9, math.Inf(1))
	if clipped != before {
		t.Error("NaN or infinity changed the moments")
	}
}

func TestWindowAgainstSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 12).Draw(t, "size")
		w, all := NewWindow(size), []float64(nil)
		for _, x := range rapid.SliceOfN(rapid.Float64Range(-3, 3), 1, 50).Draw(t, "xs") {
			x = math.Round(x)
			w.Add(x)
			all = append(all, x)
			last := slices.Clone(all[max(0, len(all)-size):])
			slices.Sort(last)
			n := len(last)
			median := (last[(n-1)/2] + last[n/2]) / 2
			if w.Min() != last[0] || w.Max() != last[n-1] || w.Median() != median || w.Last(0) != x || w.Len() != n {
				t.Fatalf("min %v max %v median %v of %v", w.Min(), w.Max(), w.Median(), last)
			}
		}
		again := NewWindow(size)
		rest, err := again.RestoreState(w.AppendState(nil))
		w.Add(1.5)
		again.Add(1.5)
		if err != nil || len(rest) != 0 || again.Median() != w.Median() || again.Last(w.Len()-1) != w.Last(w.Len()-1) {
			t.Fatalf("restored window goes on differently: %v", err)
		}
	})
}

func TestBars(t *testing.T) {
	b := NewBars(3)
	for i := range int64(5) {
		b.Add(Bar{Start: i * 60e9, Open: 1, High: 2, Low: 0.5, Close: float64(i), Volume: 7, Trades: i})
	}
	again := NewBars(3)
	if rest, err := again.RestoreState(b.AppendState(nil)); err != nil || len(rest) != 0 {
		t.Fatal(err, rest)
	}
	for i := range 4 {
		if again.Last(i) != b.Last(i) {
			t.Errorf("bar %d ago: %+v, want %+v", i, again.Last(i), b.Last(i))
		}
	}
	if b.Last(2).Close != 2 || b.Last(3) != (Bar{}) {
		t.Errorf("oldest bar %+v, past it %+v", b.Last(2), b.Last(3))
	}
	if b.Clear(); b.Len() != 0 {
		t.Error("Clear left bars")
	}
}

func TestNoAllocations(t *testing.T) {
	r, w, b := NewRolling(50), NewWindow(25), NewBars(15)
	var e EW
	x := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		x += 17
		r.Add(x % 100)
		w.Add(float64(x % 31))
		b.Add(Bar{Start: x})
		e.AddClipped(0.99, float64(x%13), 3, 1e-9)
		_ = r.Var() + w.Median() + e.Var()
	}); n != 0 {
		t.Errorf("%v allocations per update, want 0", n)
	}
}

func FuzzRestoreState(f *testing.F) {
	r, w, b := NewRolling(4), NewWindow(4), NewBars(4)
	for i := range int64(9) {
		r.Add(i)
		w.Add(float64(i))
		b.Add(Bar{Start: i})
	}
	e := EW{weight: 1}
	f.Add(r.AppendState(nil))
	f.Add(w.AppendState(nil))
	f.Add(b.AppendState(nil))
	f.Add(e.AppendState(nil))
	f.Fuzz(func(_ *testing.T, src []byte) {
		if _, err := r.RestoreState(src); err == nil {
			r.Add(5)
			_ = r.Var() + r.Mean()
		}
		if _, err := w.RestoreState(src); err == nil {
			w.Add(1)
			_ = w.Median()
		}
		if _, err := b.RestoreState(src); err == nil {
			b.Add(Bar{})
		}
		var l Level
		_, _ = l.RestoreState(src)
		if _, err := e.RestoreState(src); err == nil {
			e.AddClipped(0.5, 1, 3, 0)
		}
	})
}

func BenchmarkRolling(b *testing.B) {
	r := NewRolling(256)
	s := 0.0
	for i := int64(0); b.Loop(); i++ {
		r.Add(i & 1023)
		s += r.Var()
	}
	_ = s
}

func BenchmarkEW(b *testing.B) {
	var e EW
	for i := 0; b.Loop(); i++ {
		e.AddClipped(0.999, float64(i&63), 3, 1e-6)
	}
}
