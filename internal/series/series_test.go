package series

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b, rel float64) bool {
	return a == b || math.Abs(a-b) <= rel*math.Max(math.Abs(a), math.Abs(b))
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

func TestNoAllocations(t *testing.T) {
	w := NewWindow(25)
	var e EW
	x := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		x += 17
		w.Add(float64(x % 31))
		e.AddClipped(0.99, float64(x%13), 3, 1e-9)
		_ = w.Median() + e.Var()
	}); n != 0 {
		t.Errorf("%v allocations per update, want 0", n)
	}
}

func FuzzRestoreState(f *testing.F) {
	w := NewWindow(4)
	for i := range 9 {
		w.Add(float64(i))
	}
	e := EW{weight: 1}
	f.Add(w.AppendState(nil))
	f.Add(e.AppendState(nil))
	f.Fuzz(func(_ *testing.T, src []byte) {
		if _, err := w.RestoreState(src); err == nil {
			w.Add(1)
			_ = w.Median()
		}
		var l Level
		_, _ = l.RestoreState(src)
		if _, err := e.RestoreState(src); err == nil {
			e.AddClipped(0.5, 1, 3, 0)
		}
	})
}

func BenchmarkEW(b *testing.B) {
	var e EW
	for i := 0; b.Loop(); i++ {
		e.AddClipped(0.999, float64(i&63), 3, 1e-6)
	}
}
