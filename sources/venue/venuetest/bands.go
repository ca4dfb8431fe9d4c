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
			levels   []*schemas.Level
			quantity *schemas.Decimal
			complete bool
		}{{b.Bids, d.BidQuantity, d.BidComplete}, {b.Asks, d.AskQuantity, d.AskComplete}} {
			sum, beyond := within(side.levels, mid, d.BasisPoints)
			cmp := rat(side.quantity).Cmp(sum)
			if cmp < 0 || beyond && (cmp != 0 || !side.complete && !h.asked) {
				h.t.Fatalf("%s: %s within %d basis points of %s in %s is %s, complete %v: its levels have %s, and go beyond: %v", h.file, b.Meta.Symbol,
					d.BasisPoints, mid.FloatString(8), b.Meta.Id, side.quantity.Text(), side.complete, sum.FloatString(12), beyond)
			}
			if beyond {
				h.equal++
			}
		}
	}
}

// within adds the levels up that stand within basis points of the mid price; beyond says that there are some farther away.
func within(levels []*schemas.Level, mid *big.Rat, basisPoints uint32) (sum *big.Rat, beyond bool) {
	sum = new(big.Rat)
	limit := new(big.Rat).Mul(mid, big.NewRat(int64(basisPoints), 10_000))
	for _, l := range levels {
		away := new(big.Rat).Sub(rat(l.Price), mid)
		if away.Abs(away).Cmp(limit) > 0 {
			return sum, true
		}
		sum.Add(sum, rat(l.Quantity))
	}
	return sum, false
}

func rat(d *schemas.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.Text())
	if !ok {
		return new(big.Rat)
	}
	return r
}
