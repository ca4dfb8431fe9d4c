// Package bench measures the whole path on a real Kafka: the runtime's speed against a bare poll loop over the same topic,
// and the latency from the intended send time to a read_committed reader. `make bench` runs it; the tests skip otherwise.
package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
)

const (
	// Source is the name of the market's one source.
	Source = "binance"
	// Begin is the event time of its first trade.
	Begin = schemas.Time(1_760_000_000_000_000_000)
)

// A Market is a seeded stream of trades in the form that the Binance connector writes.
type Market struct {
	random      *rand.Rand
	instruments []*instrument
	// PerSecond is how many trades one second of event time holds.
	perSecond int
	written   int
	trade     schemas.Trade
}

type instrument struct {
	symbol, native string
	price          float64
	id             uint64
}

// NewMarket makes a market of n instruments.
func NewMarket(n, perSecond int, seed uint64) *Market {
	m := &Market{random: rand.New(rand.NewPCG(seed, 1)), perSecond: perSecond} //nolint:gosec // a seeded market is the point
	for i := range n {
		m.instruments = append(m.instruments, &instrument{
			symbol: fmt.Sprintf("A%02d-USDT", i), native: fmt.Sprintf("A%02dUSDT", i), price: 10 + 37*float64(i), id: 4_000_000_000 + uint64(i)*1_000_000,
		})
	}
	m.trade = schemas.Trade{Meta: &schemas.Meta{}, Price: &schemas.Decimal{}, Quantity: &schemas.Decimal{}}
	return m
}

// Next returns the next trade, which the call after it overwrites, and its time.
func (m *Market) Next() (*schemas.Trade, schemas.Time) {
	in := m.instruments[m.random.IntN(len(m.instruments))]
	at := Begin + schemas.Time(int64(m.written)*int64(time.Second)/int64(m.perSecond))
	m.written++
	in.id++
	in.price *= 1 + 0.0002*m.random.NormFloat64()
	t := &m.trade
	meta := t.Meta
	meta.Source, meta.Venue, meta.Symbol, meta.VenueSymbol = Source, "binance", in.symbol, in.native
	meta.Id, meta.Sequence = strconv.FormatUint(in.id, 10), in.id
	meta.EventTime, meta.ReceiveTime = int64(at), int64(at)+3_141_592
	meta.TimeSource, meta.SequenceKind = schemas.TimeSource(1), schemas.SequenceKind(1)
	t.Price.Mantissa, t.Price.Exponent = int64(in.price*100)+1, -2
	t.Quantity.Mantissa, t.Quantity.Exponent = 1+int64(m.random.IntN(100_000)), -3
	t.TakerSide = schemas.Side(1 + m.random.IntN(2))
	return t, at
}

// Write publishes n trades and the ticks of the seconds that they cover.
func (m *Market) Write(p sources.Publisher, n int) error {
	next := Begin
	for range n {
		t, at := m.Next()
		if at >= next {
			if err := p.Tick(Source, next, schemas.MarketTrades); err != nil {
				return fmt.Errorf("writing a tick: %w", err)
			}
			next = next.Add(time.Second)
		}
		if err := p.Publish(schemas.MarketTrades, t); err != nil {
			return fmt.Errorf("writing a trade: %w", err)
		}
	}
	return nil
}

// CPU returns the processor time that this process has used, user and system.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
