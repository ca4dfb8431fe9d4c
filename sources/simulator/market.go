package simulator

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

const secondsPerDay = 86400

// Market makes the records of one second after another. It does no I/O and knows no clock. Not for concurrent use.
type Market struct {
	cfg    Config
	source string
	start  schemas.Time
	now    schemas.Time
	common *rand.Rand
	items  []*instrument
	trades []drawn
	// the message that is handed out, used again
	trade schemas.Trade
}

// drawn is one trade before it becomes a message.
type drawn struct {
	at         schemas.Time
	instrument *instrument
	price, qty int64
	buy        bool
}

// NewMarket begins at start, rounded down to a second.
func NewMarket(cfg Config, start schemas.Time) *Market {
	m := &Market{
		cfg: cfg, source: cfg.Venue + ".simulator", start: start.Floor(time.Second), now: start.Floor(time.Second),
		common: rand.New(rand.NewPCG(cfg.Seed, math.MaxUint64)),
	}
	total := 0.0
	for i := range cfg.Instruments {
		total += weight(i)
	}
	for i := range cfg.Instruments {
		m.items = append(m.items, newInstrument(cfg, i, cfg.Rate*weight(i)/total, m.start))
	}
	m.trade = schemas.Trade{Meta: &schemas.Meta{}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}}
	return m
}

// weight makes the activity of instruments fall off as the square root of their rank: a few are busy, all trade.
func weight(rank int) float64 { return 1 / math.Sqrt(float64(rank+1)) }

// Source names what the records and Ticks come from.
func (m *Market) Source() string { return m.source }

// Now is the market time up to which all records have been made.
func (m *Market) Now() schemas.Time { return m.now }

// Second makes the records of the next second in order of time: put gets every trade and book of (now, now+1s]. Messages are
// valid until put returns. Labels of anomalies that begin in the second go to label.
func (m *Market) Second(put func(schemas.Topic, schemas.Message) error, label func(Label)) error {
	factor := student(m.common) * m.cfg.VolatilityPerDay / math.Sqrt(secondsPerDay)
	m.trades = m.trades[:0]
	elapsed := m.now.Sub(m.start)
	for _, in := range m.items {
		if l, begins := in.anomaly(m.now, elapsed >= m.cfg.Calm); begins && label != nil {
			label(l)
		}
		m.trades = in.second(m.now, factor, m.trades)
	}
	slices.SortStableFunc(m.trades, func(a, b drawn) int { return cmp.Compare(a.at, b.at) })
	for i := range m.trades {
		if err := put(schemas.MarketTrades, m.message(&m.trades[i])); err != nil {
			return err
		}
	}
	m.now = m.now.Add(time.Second)
	return m.books(put)
}

func (m *Market) message(d *drawn) *schemas.Trade {
	in := d.instrument
	in.sequence++
	meta := m.trade.Meta
	meta.Source, meta.Venue, meta.Symbol = m.source, m.cfg.Venue, in.symbol
	meta.Sequence, meta.SequenceKind = in.sequence, schemas.SequenceKind_SEQUENCE_KIND_ARITHMETIC
	in.id = strconv.AppendUint(in.id[:0], in.sequence, 10)
	meta.Id = string(in.id)
	meta.EventTime, meta.ReceiveTime = int64(d.at), int64(d.at)
	meta.TimeSource = schemas.TimeSource_TIME_SOURCE_EXCHANGE
	m.trade.Price.Mantissa, m.trade.Price.Exponent = d.price, in.exponent
	m.trade.Quantity.Mantissa, m.trade.Quantity.Exponent = d.qty, quantityExponent
	m.trade.TakerSide = schemas.Side_SIDE_SELL
	if d.buy {
		m.trade.TakerSide = schemas.Side_SIDE_BUY
	}
	return &m.trade
}

// books makes the snapshots that are due at now; instruments take turns so that they do not all come in one second.
func (m *Market) books(put func(schemas.Topic, schemas.Message) error) error {
	if m.cfg.BookInterval <= 0 {
		return nil
	}
	every := max(int64(m.cfg.BookInterval/time.Second), 1)
	for i, in := range m.items {
		if (int64(m.now)/1e9+int64(i))%every != 0 {
			continue
		}
		if err := put(schemas.MarketBooks, in.book(m.source, m.cfg, m.now)); err != nil {
			return err
		}
	}
	return nil
}

// student draws from Student's t with 4 degrees of freedom, scaled to unit variance: fat tails as real returns have.
func student(r *rand.Rand) float64 {
	chi := 0.0
	for range 4 {
		n := r.NormFloat64()
		chi += n * n
	}
	return r.NormFloat64() / math.Sqrt(chi/4) / math.Sqrt2
}
