package chain

import (
	"cmp"
	"math/big"
	"strconv"

	"github.com/tapewatch/tapewatch/schemas"
)

// move is what changed hands, as the chain counts it.
type move struct {
	asset    string
	decimals int
	hash     string
	tx       uint32
	log      *uint32
	from, to string
	units    *big.Int
	gross    *big.Int // nil when it is not told
	// The holders where the source knows more than the label of one address.
	fromHolder, toHolder holder
}

// maker makes records of moves: it values, labels and leaves out what is small.
type maker struct {
	chain   string
	minUSD  *big.Rat
	floors  map[string]*big.Rat
	prices  map[string]price
	holders *labels
}

func newMaker(section, chain string, c Common) (*maker, error) {
	m := &maker{chain: chain, minUSD: new(big.Rat).SetFloat64(c.MinUSD)}
	var err error
	if m.holders, err = readLabels(section, c); err != nil {
		return nil, err
	}
	if m.floors, err = readAmounts(section, c.MinAmounts); err != nil {
		return nil, err
	}
	m.prices, err = readPrices(section, c.Prices)
	return m, err
}

// large makes records of those moves that are large, by themselves or with the others of their transaction between the same
// two parties. told are prices of the service.
func (m *maker) large(b header, moves []move, told map[string]quoted) []*schemas.Transfer {
	type parties struct {
		tx              uint32
		asset, from, to string
	}
	sums := map[parties]*big.Int{}
	of := func(v *move) parties {
		return parties{v.tx, v.asset, cmp.Or(v.fromHolder.entity, v.from), cmp.Or(v.toHolder.entity, v.to)}
	}
	for i := range moves {
		v := &moves[i]
		if v.fromHolder == (holder{}) {
			v.fromHolder = m.holders.of(v.from)
		}
		if v.toHolder == (holder{}) {
			v.toHolder = m.holders.of(v.to)
		}
		sum := sums[of(v)]
		if sum == nil {
			sum = new(big.Int)
			sums[of(v)] = sum
		}
		sum.Add(sum, v.units)
	}
	var out []*schemas.Transfer
	for i := range moves {
		v := &moves[i]
		p := m.price(v.asset, told)
		if m.keeps(v.asset, amountOf(sums[of(v)], v.decimals), p) {
			out = append(out, m.record(b, v, p))
		}
	}
	return out
}

// price is what the service tells, else what the settings say; its usd is nil without either.
func (m *maker) price(asset string, told map[string]quoted) price {
	if q, ok := told[asset]; ok {
		if d, err := schemas.ParseDecimal([]byte(q.USD)); err == nil && d.Sign() > 0 {
			return price{ratOf(d), schemas.Time(q.At)}
		}
	}
	return m.prices[asset]
}

func (m *maker) keeps(asset string, amount *big.Rat, p price) bool {
	if p.usd != nil {
		return new(big.Rat).Mul(amount, p.usd).Cmp(m.minUSD) >= 0
	}
	floor := m.floors[asset]
	return floor == nil || amount.Cmp(floor) >= 0
}

func (m *maker) record(b header, v *move, p price) *schemas.Transfer {
	t := &schemas.Transfer{
		Meta:  &schemas.Meta{Venue: m.chain, Symbol: v.asset, Id: v.hash + ":" + cmp.Or(logText(v.log), v.to) + "@" + b.mark()},
		Chain: m.chain, Asset: v.asset, TxHash: v.hash, LogIndex: v.log, Height: b.Height, TxIndex: v.tx, From: v.from, To: v.to,
		FromOwner: v.fromHolder.entity, ToOwner: v.toHolder.entity, FromKind: v.fromHolder.kind, ToKind: v.toHolder.kind,
		Labels: m.holders.pin, Amount: decimalOf(v.units, v.decimals),
	}
	if v.gross != nil {
		t.GrossAmount = decimalOf(v.gross, v.decimals)
	}
	if p.usd != nil {
		if usd := cents(new(big.Rat).Mul(amountOf(v.units, v.decimals), p.usd)); usd != nil {
			t.UsdValue, t.PriceTime = usd, int64(cmp.Or(p.at, b.time()))
		}
	}
	return t
}

func logText(log *uint32) string {
	if log == nil {
		return ""
	}
	return strconv.Itoa(int(*log))
}

var ten = big.NewInt(10)

func power(n int) *big.Int { return new(big.Int).Exp(ten, big.NewInt(int64(n)), nil) }

func amountOf(units *big.Int, decimals int) *big.Rat {
	return new(big.Rat).SetFrac(units, power(decimals))
}

func ratOf(d *schemas.Decimal) *big.Rat {
	r := new(big.Rat).SetInt64(d.Mantissa)
	p := new(big.Rat).SetInt(power(int(max(d.Exponent, -d.Exponent))))
	if d.Exponent < 0 {
		p.Inv(p)
	}
	return r.Mul(r, p)
}

// decimalOf is a number of units of which 10^decimals make one. A Decimal holds 18 digits: the last ones of a longer number
// are cut off.
func decimalOf(units *big.Int, decimals int) *schemas.Decimal {
	const least, most = -18, 18
	m, exp := new(big.Int).Set(units), -decimals
	var digit big.Int
	for m.Sign() != 0 && exp < most {
		q, r := new(big.Int).QuoRem(m, ten, &digit)
		if m.IsInt64() && exp >= least && (r.Sign() != 0 || exp >= 0) {
			break
		}
		m, exp = q, exp+1
	}
	switch {
	case m.Sign() == 0:
		return schemas.NewDecimal(0, 0)
	case !m.IsInt64():
		return nil // beyond 10^36: no amount of anything
	}
	return schemas.NewDecimal(m.Int64(), int32(exp))
}

// cents rounds USD to two places, half up; nil beyond what a Decimal holds.
func cents(usd *big.Rat) *schemas.Decimal {
	r := new(big.Rat).Mul(usd, big.NewRat(100, 1))
	r.Add(r, big.NewRat(1, 2))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return nil
	}
	return schemas.NewDecimal(n.Int64(), -2)
}
