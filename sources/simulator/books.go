package simulator

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/book"
)

const (
	// depthLots is the depth of a side within 1 % of the mid, in mean trades.
	depthLots = 200
	// reach is how far from the mid the last level lies, as a fraction: beyond the 1 % that depth is judged within.
	reach = 0.013
)

// books makes the snapshots of the first venue. Instruments take turns, so that they do not all come in one second.
type books struct {
	*Market
	every int64 // seconds
	tides []tide
	out   schemas.BookSnapshot
	pool  [2][]*schemas.Level
	bands []*schemas.DepthBand
}

// tide is how the depth of one instrument comes and goes.
type tide struct {
	random
	height float64
}

func newBooks(m *Market) *books {
	b := &books{Market: m, every: int64(m.cfg.BookInterval / time.Second)}
	for i := range m.items {
		b.tides = append(b.tides, tide{random: newRandom(m.cfg.Seed, streamBook, i)})
	}
	b.out = schemas.BookSnapshot{Meta: m.flowMeta(), Depth: uint32(m.cfg.BookLevels)}
	b.out.Meta.SequenceKind = schemas.SequenceKind_SEQUENCE_KIND_NONE
	for _, width := range book.DefaultBands() {
		b.out.Bands = append(b.out.Bands, &schemas.DepthBand{
			BasisPoints: uint32(width), BidQuantity: schemas.NewDecimal(0, quantityExponent), AskQuantity: schemas.NewDecimal(0, quantityExponent),
		})
	}
	b.bands = b.out.Bands
	for side := range b.pool {
		for range m.cfg.BookLevels {
			b.pool[side] = append(b.pool[side], &schemas.Level{
				Price: schemas.NewDecimal(0, priceExponent), Quantity: schemas.NewDecimal(0, quantityExponent),
			})
		}
	}
	return b
}

func (b *books) perSecond() float64 { return float64(len(b.items)) / float64(b.every) }

func (b *books) second(now schemas.Time, put Put) error {
	if b.down[0] {
		return nil
	}
	end := now.Add(time.Second)
	ids := newStampID(end)
	for i, in := range b.items {
		if (int64(end)/1e9+int64(i))%b.every != 0 || in.halted {
			continue
		}
		b.fill(in, &b.tides[i], end)
		b.out.Meta.Id = ids
		if err := put(schemas.MarketBooks, &b.out); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the levels: their distance from the best price grows with the square of their rank, and their quantity with the
// width of price that they stand for, the depth being even over the price.
func (b *books) fill(in *instrument, t *tide, at schemas.Time) {
	t.height += float64(0.02*t.normal()) - float64(0.02*t.height)
	bid, ask := in.around(in.to)
	levels := float64(b.cfg.BookLevels)
	for side, taken := range [2]schemas.Side{schemas.Side_SIDE_BUY, schemas.Side_SIDE_SELL} {
		total := float64(2 * depthLots * in.lot * (1 + max(-0.5, min(0.5, t.height))) * in.event.depth(taken, at))
		best, sign := bid, int64(-1)
		if taken == schemas.Side_SIDE_SELL {
			best, sign = ask, 1
		}
		out, last := b.pool[side][:0], best-sign*in.tick
		for i := range b.cfg.BookLevels {
			share := float64(i) / levels
			away := int64(in.to*reach*share*share) / in.tick * in.tick
			price := best + sign*away
			if (price-last)*sign <= 0 {
				price = last + sign*in.tick
			}
			if price <= 0 {
				break
			}
			last = price
			l := b.pool[side][i]
			l.Price.Mantissa = price
			l.Quantity.Mantissa = 1 + int64(total*((share+1/levels)/levels)*t.between(0.7, 1.3))
			out = append(out, l)
		}
		if side == 0 {
			b.out.Bids = out
		} else {
			b.out.Asks = out
		}
	}
	b.count()
	m := b.out.Meta
	m.Symbol, m.EventTime, m.ReceiveTime = in.symbol, int64(at), int64(at)
	b.out.Updates = 1 + in.count
}

// count states the depth by band. A book is known as far as its last level.
func (b *books) count() {
	if b.out.Bands = b.bands; len(b.out.Bids) == 0 || len(b.out.Asks) == 0 {
		b.out.Bands = nil
		return
	}
	twice := b.out.Bids[0].Price.Mantissa + b.out.Asks[0].Price.Mantissa // the mid
	bids, asks := walk{levels: b.out.Bids, twice: twice}, walk{levels: b.out.Asks, twice: twice}
	for _, d := range b.out.Bands {
		away := twice * int64(d.BasisPoints) / 10_000
		d.BidQuantity.Mantissa, d.BidComplete = bids.to(away)
		d.AskQuantity.Mantissa, d.AskComplete = asks.to(away)
	}
}

// A walk sums a side from the best price outwards; distances are from the mid, and twice what they are.
type walk struct {
	levels     []*schemas.Level
	twice, sum int64
}

// to goes on as far as away; beyond says that the side goes on there.
func (w *walk) to(away int64) (sum int64, beyond bool) {
	for len(w.levels) > 0 {
		if d := 2*w.levels[0].Price.Mantissa - w.twice; max(d, -d) > away {
			return w.sum, true
		}
		w.sum += w.levels[0].Quantity.Mantissa
		w.levels = w.levels[1:]
	}
	return w.sum, false
}
