package venuetest

import (
	"context"
	"math/big"
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// depths holds the depth by band of published books against their levels, added up as rational numbers: equal where the levels go
// beyond the band, at least as much where they do not. As many levels are published as may be: twenty reach no band on most venues.
func depths(t *testing.T, rec Recording, frames []capture.Frame) {
	t.Helper()
	cfg := venue.Defaults(nil, nil)
	cfg.BookDepth = 1000
	held := &heldBooks{t: t, file: rec.File, asked: rec.Spec.Books.Asked}
	m, err := venue.NewMachine(rec.Spec, cfg, held, sources.NewMetrics(nil), nil, venue.Hands{})
	if err != nil {
		t.Fatal(err)
	}
	Run(t, m, frames)
	t.Logf("%s: %d books seen, %d depths held against their levels, %d of them capped", rec.File, held.seen, held.equal, held.walls)
	if held.seen > 0 && held.equal == 0 {
		t.Errorf("%s: in %d books no depth could be held against the levels", rec.File, held.seen)
	}
}

// heldBooks is a Publisher that looks at some of the books.
type heldBooks struct {
	t           *testing.T
	file        string
	asked       bool // levels may stand beyond what is known
	seen, equal int
	walls       int // capped depths less than the depth
}

var _ sources.Publisher = (*heldBooks)(nil)

// Publish looks at every tenth book, of the first ones at each.
func (h *heldBooks) Publish(_ schemas.Topic, m schemas.Message) error {
	const first, every, most = 10, 10, 1000
	b, ok := m.(*schemas.BookSnapshot)
	if !ok || len(b.Bids) == 0 || len(b.Asks) == 0 || h.seen >= most {
		return nil
	}
	if h.seen++; h.seen <= first || h.seen%every == 0 {
		h.hold(b)
	}
	return nil
}

func (h *heldBooks) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }

func (h *heldBooks) Flush(context.Context) error { return nil }

func (h *heldBooks) hold(b *schemas.BookSnapshot) {
	h.t.Helper()
	if len(b.Bands) == 0 {
		h.t.Fatalf("%s: a book of %s has no bands", h.file, b.Meta.Symbol)
	}
	mid := new(big.Rat).Quo(new(big.Rat).Add(rat(b.Bids[0].Price), rat(b.Asks[0].Price)), big.NewRat(2, 1))
	for _, d := range b.Bands {
		for _, side := range []struct {
			levels           []*schemas.Level
			quantity, capped *schemas.Decimal
			complete         bool
		}{{b.Bids, d.BidQuantity, d.BidCapped, d.BidComplete}, {b.Asks, d.AskQuantity, d.AskCapped, d.AskComplete}} {
			n, sum, beyond := within(side.levels, mid, d.BasisPoints)
			cmp := rat(side.quantity).Cmp(sum)
			if cmp < 0 || beyond && (cmp != 0 || !side.complete && !h.asked) {
				h.t.Fatalf("%s: %s within %d basis points of %s in %s is %s, complete %v: its levels have %s, and go beyond: %v", h.file, b.Meta.Symbol,
					d.BasisPoints, mid.FloatString(8), b.Meta.Id, side.quantity.Text(), side.complete, sum.FloatString(12), beyond)
			}
			if beyond {
				h.equal++
				h.capped(b, d.BasisPoints, side.levels[:n], side.quantity, side.capped)
			}
		}
	}
}

// capped holds the capped depth of a band against its definition: what its levels add up to when none counts for more than a
// twentieth of it, or for ten times the mean.
func (h *heldBooks) capped(b *schemas.BookSnapshot, basisPoints uint32, levels []*schemas.Level, quantity, capped *schemas.Decimal) {
	h.t.Helper()
	switch {
	case capped == nil:
		capped = quantity
	case capped.Cmp(quantity) >= 0:
		h.t.Fatalf("%s: %s within %d basis points is capped to %s: it must be less than %s", h.file, b.Meta.Symbol, basisPoints, capped.Text(), quantity.Text())
	default:
		h.walls++
	}
	got, sum := capped.Float(), 0.0
	limit := got * max(0.05, 10/float64(len(levels)))
	for _, l := range levels {
		sum += min(l.Quantity.Float(), limit)
	}
	digit := schemas.Decimal{Mantissa: 1, Exponent: capped.Exponent}
	if off := sum - got; off > 1e-9*got+digit.Float() || off < -1e-9*got-digit.Float() {
		h.t.Fatalf("%s: %s within %d basis points is capped to %s, but none of its levels above %v makes %v", h.file, b.Meta.Symbol, basisPoints, capped.Text(), limit, sum)
	}
}

// within adds the levels up that stand within basis points of the mid price; n is how many they are, and beyond says that there
// are some farther away.
func within(levels []*schemas.Level, mid *big.Rat, basisPoints uint32) (n int, sum *big.Rat, beyond bool) {
	sum = new(big.Rat)
	limit := new(big.Rat).Mul(mid, big.NewRat(int64(basisPoints), 10_000))
	for i, l := range levels {
		away := new(big.Rat).Sub(rat(l.Price), mid)
		if away.Abs(away).Cmp(limit) > 0 {
			return i, sum, true
		}
		sum.Add(sum, rat(l.Quantity))
	}
	return len(levels), sum, false
}

func rat(d *schemas.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.Text())
	if !ok {
		return new(big.Rat)
	}
	return r
}
