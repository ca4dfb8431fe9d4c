package stages

import (
	"github.com/tapewatch/tapewatch/internal/exact"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// A price is a decimal as a value.
type price struct {
	m int64
	e int32
}

// A bucket collects the trades of one interval.
type bucket struct {
	start                  schemas.Time
	open, high, low, close price
	volume, buy, turnover  exact.Sum
	trades, rush           uint32
	sidesKnown, incomplete bool
	lastMs                 int64
	lastSide               schemas.Side
}

func (b *bucket) add(t *schemas.Trade, at schemas.Time) {
	p := price{t.Price.Mantissa, t.Price.Exponent}
	if b.trades == 0 {
		b.open, b.high, b.low, b.sidesKnown = p, p, p, true
	} else {
		if less(b.high, p) {
			b.high = p
		}
		if less(p, b.low) {
			b.low = p
		}
	}
	b.close = p
	b.volume.Add(t.Quantity.Mantissa, t.Quantity.Exponent)
	b.turnover.AddProduct(p.m, p.e, t.Quantity.Mantissa, t.Quantity.Exponent)
	switch t.TakerSide {
	case schemas.Side_SIDE_BUY:
		b.buy.Add(t.Quantity.Mantissa, t.Quantity.Exponent)
	case schemas.Side_SIDE_UNSPECIFIED:
		b.sidesKnown = false
	case schemas.Side_SIDE_SELL:
	}
	ms := int64(at) / 1e6
	if b.trades > 0 && ms == b.lastMs && t.TakerSide == b.lastSide && t.TakerSide != schemas.Side_SIDE_UNSPECIFIED {
		b.rush++
	}
	b.lastMs, b.lastSide = ms, t.TakerSide
	b.trades++
}

func less(a, b price) bool {
	if a.e == b.e {
		return a.m < b.m
	}
	return schemas.NewDecimal(a.m, a.e).Cmp(schemas.NewDecimal(b.m, b.e)) < 0
}

func (p price) decimal() *schemas.Decimal { return schemas.NewDecimal(p.m, p.e) }

func total(s *exact.Sum) *schemas.Decimal { return schemas.NewDecimal(s.Decimal()) }

// fill writes the bucket's figures into a bar.
func (b *bucket) fill(bar *schemas.Bar) {
	bar.Volume, bar.Turnover = total(&b.volume), total(&b.turnover)
	bar.Trades, bar.RushOrders, bar.Incomplete = b.trades, b.rush, b.incomplete
	if b.trades == 0 {
		return
	}
	bar.Open, bar.High, bar.Low, bar.Close = b.open.decimal(), b.high.decimal(), b.low.decimal(), b.close.decimal()
	if b.sidesKnown {
		bar.BuyVolume = total(&b.buy)
	}
}

func (b *bucket) appendTo(dst []byte) []byte {
	dst = pack.Int(dst, int64(b.start))
	for _, p := range []price{b.open, b.high, b.low, b.close} {
		dst = pack.Int(pack.Int(dst, p.m), int64(p.e))
	}
	dst = b.volume.Append(dst)
	dst = b.buy.Append(dst)
	dst = b.turnover.Append(dst)
	dst = pack.Uint(pack.Uint(dst, uint64(b.trades)), uint64(b.rush))
	dst = pack.Bool(pack.Bool(dst, b.sidesKnown), b.incomplete)
	return pack.Int(pack.Int(dst, b.lastMs), int64(b.lastSide))
}

func (b *bucket) restore(r *pack.Reader) {
	b.start = schemas.Time(r.Int())
	for _, p := range []*price{&b.open, &b.high, &b.low, &b.close} {
		p.m, p.e = r.Int(), int32(r.Int())
	}
	b.volume.Restore(r)
	b.buy.Restore(r)
	b.turnover.Restore(r)
	b.trades, b.rush = uint32(r.Uint()), uint32(r.Uint())
	b.sidesKnown, b.incomplete = r.Bool(), r.Bool()
	b.lastMs, b.lastSide = r.Int(), schemas.Side(r.Int())
}
