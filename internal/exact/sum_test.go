package exact

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapewatch/tapewatch/internal/pack"
)

func rat(m int64, e int32) *big.Rat {
	r := new(big.Rat).SetInt64(m)
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil)
	if e < 0 {
		return r.Quo(r, new(big.Rat).SetInt(p))
	}
	return r.Mul(r, new(big.Rat).SetInt(p))
}

func (s *Sum) rat() *big.Rat {
	m := new(big.Int).Lsh(new(big.Int).SetUint64(s.hi), 64)
	m.Or(m, new(big.Int).SetUint64(s.lo))
	if s.neg {
		m.Neg(m)
	}
	r := new(big.Rat).SetInt(m)
	return r.Mul(r, rat(1, s.exp))
}

// Sums and sums of products of market-sized decimals equal exact arithmetic, also through a snapshot.
func TestSumIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sum
		want := new(big.Rat)
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			p, pe := rapid.Int64Range(-1e10, 1e10).Draw(t, "p"), rapid.Int32Range(-8, 0).Draw(t, "pe")
			q, qe := rapid.Int64Range(-1e10, 1e10).Draw(t, "q"), rapid.Int32Range(-8, 0).Draw(t, "qe")
			if rapid.Bool().Draw(t, "product") {
				s.AddProduct(p, pe, q, qe)
				want.Add(want, new(big.Rat).Mul(rat(p, pe), rat(q, qe)))
			} else {
				s.Add(p, pe)
				want.Add(want, rat(p, pe))
			}
			if rapid.Bool().Draw(t, "snapshot") {
				r := pack.NewReader(s.Append(nil))
				s = Sum{}
				s.Restore(r)
			}
		}
		if s.rat().Cmp(want) != 0 {
			t.Fatalf("sum is %v, exact arithmetic gives %v", s.rat(), want)
		}
		m, e := s.Decimal()
		diff := new(big.Rat).Sub(rat(m, e), want)
		if diff.Abs(diff).Cmp(rat(1, e)) >= 0 && diff.Sign() != 0 {
			t.Fatalf("Decimal gives %de%d for %v: off by a whole last digit", m, e, want)
		}
	})
}

// The most extreme decimals neither panic nor wrap: the sum keeps at least 17 leading digits.
func TestSumOfExtremes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sum
		want := new(big.Rat)
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			p, pe := rapid.Int64Range(1, 1<<63-1).Draw(t, "p"), rapid.Int32Range(-18, 18).Draw(t, "pe")
			q, qe := rapid.Int64Range(1, 1<<63-1).Draw(t, "q"), rapid.Int32Range(-18, 18).Draw(t, "qe")
			s.AddProduct(p, pe, q, qe)
			want.Add(want, new(big.Rat).Mul(rat(p, pe), rat(q, qe)))
		}
		diff := new(big.Rat).Sub(s.rat(), want)
		diff.Quo(diff.Abs(diff), want)
		if diff.Cmp(rat(1, -17)) > 0 {
			t.Fatalf("sum %v is off by a relative %v", s.rat(), diff)
		}
	})
}
