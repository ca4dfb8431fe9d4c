package har

import (
	"bytes"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func walk(m *Model, s *Steps, rnd *rand.Rand, n int) (own, naive float64) {
	slow, last := 0.0, m.Level(0)
	for range n {
		slow = 0.995*slow + 0.1*rnd.NormFloat64()
		x := 10 + slow + 0.5*rnd.NormFloat64()
		e := m.Add(s, x, 3)
		own += e * e
		naive += (x - last) * (x - last)
		last = x
	}
	return own / float64(n), naive / float64(n)
}

func TestForecastBeatsTheLastValue(t *testing.T) {
	var m Model
	s := NewSteps(15 * minute)
	rnd := rand.New(rand.NewPCG(1, 1))
	walk(&m, s, rnd, 2000)
	own, naive := walk(&m, s, rnd, 5000)
	t.Logf("mean squared error %.3f, of the last value %.3f, of the noise 0.26", own, naive)
	if own > 0.40 || own > 0.8*naive {
		t.Errorf("mean squared error %v, want below 0.40 and the last value's %v", own, naive)
	}
}

// TestSolveAgainstRationals solves the same normal equations in 400-bit arithmetic.
func TestSolveAgainstRationals(t *testing.T) {
	var m Model
	walk(&m, NewSteps(minute), rand.New(rand.NewPCG(2, 2)), 3000)
	var a [params][params + 1]*big.Rat
	k := 0
	for i := range params {
		a[i][params] = new(big.Rat).SetFloat64(m.moment[i])
		a[i][params].Add(a[i][params], new(big.Rat).SetFloat64(ridge*prior[i]))
		for j := 0; j <= i; j++ {
			a[i][j] = new(big.Rat).SetFloat64(m.normal[k])
			a[j][i] = new(big.Rat).Set(a[i][j])
			k++
		}
		a[i][i].Add(a[i][i], big.NewRat(1, 1))
	}
	for i := range params {
		for r := range params {
			if r == i {
				continue
			}
			f := new(big.Rat).Quo(a[r][i], a[i][i])
			for c := range params + 1 {
				a[r][c].Sub(a[r][c], new(big.Rat).Mul(f, a[i][c]))
			}
		}
	}
	for i := range params {
		want, _ := new(big.Rat).Quo(a[i][params], a[i][i]).Float64()
		if math.Abs(m.beta[i]-want) > 1e-9 {
			t.Errorf("coefficient %d = %v, want %v", i, m.beta[i], want)
		}
	}
}

func TestConstantAndOddInput(t *testing.T) {
	var m Model
	s := NewSteps(minute)
	if _, ok := m.Forecast(); ok {
		t.Error("an empty model forecasts")
	}
	for range 100_000 {
		if e := m.Add(s, 5, 1); math.Abs(e) > 1e-9 {
			t.Fatalf("residual %v on a constant", e)
		}
	}
	before := m
	if m.Add(s, math.NaN(), 1) != 0 || m.Add(s, 1e300, 1) != 0 || m != before {
		t.Error("an impossible value changed the model")
	}
}

func TestRestoreContinuesAlike(t *testing.T) {
	s := NewSteps(minute)
	rapid.Check(t, func(t *rapid.T) {
		seed, n := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 200).Draw(t, "n")
		var m, again Model
		walk(&m, s, rand.New(rand.NewPCG(seed, 0)), n)
		if rest, err := again.RestoreState(m.AppendState(nil)); err != nil || len(rest) != 0 {
			t.Fatal(err, rest)
		}
		walk(&m, s, rand.New(rand.NewPCG(seed, 1)), 50)
		walk(&again, s, rand.New(rand.NewPCG(seed, 1)), 50)
		if !bytes.Equal(m.AppendState(nil), again.AppendState(nil)) {
			t.Fatal("the restored model goes on differently")
		}
	})
}

func TestNoAllocations(t *testing.T) {
	var m Model
	s, x := NewSteps(minute), 0.0
	if n := testing.AllocsPerRun(1000, func() {
		x++
		m.Add(s, math.Mod(x, 7), 1.5)
		m.Forecast()
	}); n != 0 {
		t.Errorf("%v allocations per update, want 0", n)
	}
}

func FuzzRestoreState(f *testing.F) {
	var m Model
	s := NewSteps(minute)
	f.Add(m.AppendState(nil))
	walk(&m, s, rand.New(rand.NewPCG(1, 1)), 20)
	f.Add(m.AppendState(nil))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var m Model
		if _, err := m.RestoreState(b); err == nil {
			m.Add(s, 1, 1)
			m.Forecast()
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var m Model
	s := NewSteps(minute)
	for i := 0; b.Loop(); i++ {
		m.Add(s, float64(i&15), 1.5)
	}
}
