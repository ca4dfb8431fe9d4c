package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

const quantityExponent = -4

// instrument is one symbol's price process.
type instrument struct {
	symbol   string
	rng      *rand.Rand
	rate     float64 // trades a second, daily rhythm aside
	beta     float64 // share of the common factor
	sigma    float64 // per second, long run
	exponent int32
	logPrice float64
	variance float64 // of the second, GARCH(1,1)
	meanQty  float64 // mantissa
	sequence uint64
	id       []byte
	event    event
	next     schemas.Time // when the next anomaly begins
	perDay   float64
}

func newInstrument(cfg Config, rank int, rate float64, start schemas.Time) *instrument {
	r := rand.New(rand.NewPCG(cfg.Seed, uint64(rank)))
	in := &instrument{
		symbol: fmt.Sprintf("S%03d-USD", rank), rng: r, rate: rate, beta: 0.4 + 0.4*r.Float64(),
		sigma: cfg.VolatilityPerDay * math.Exp(0.3*r.NormFloat64()) / math.Sqrt(secondsPerDay), exponent: -4,
		logPrice: math.Log(10) + 6*r.Float64(), meanQty: 1e4 * math.Exp(r.NormFloat64()), perDay: cfg.AnomaliesPerDay,
	}
	in.variance = in.sigma * in.sigma
	in.next = start.Add(in.wait())
	return in
}

func (in *instrument) wait() time.Duration {
	if in.perDay <= 0 {
		return math.MaxInt64 / 4
	}
	return time.Duration(in.rng.ExpFloat64() * float64(24*time.Hour) / in.perDay)
}

// rhythm is the daily season of activity: twice as much in the afternoon (UTC) as in the early morning.
func rhythm(at schemas.Time) float64 {
	day := float64(int64(at)/1e9%secondsPerDay) / secondsPerDay
	return 1 + 0.35*math.Sin(2*math.Pi*(day-0.35))
}

// second moves the price over (now, now+1s] and appends the trades.
func (in *instrument) second(now schemas.Time, factor float64, out []drawn) []drawn {
	season := rhythm(now)
	// GARCH(1,1) with persistence 0.9999 a second: clusters of some hours.
	own := math.Sqrt(in.variance*(1-in.beta*in.beta)) * student(in.rng)
	ret := (in.beta*factor*math.Sqrt(in.variance)/in.sigma + own) * season
	in.variance = 0.0001*in.sigma*in.sigma + 0.9969*in.variance + 0.003*math.Min(own*own, 25*in.variance)
	shift, activity := in.event.at(now)
	from := in.logPrice + in.event.applied
	in.logPrice += ret
	to := in.logPrice + shift
	in.event.applied = shift

	n := poisson(in.rng, in.rate*season*activity)
	for i := range n {
		// Spread evenly with jitter; strictly after now, at most now+1s.
		width := int64(time.Second) / int64(n)
		at := now.Add(time.Duration(int64(i)*width + 1 + in.rng.Int64N(width)))
		p := from + (to-from)*float64(i+1)/float64(n)
		spread := 0.0001 * in.rng.NormFloat64()
		price := int64(math.Exp(p+spread) * 1e4)
		qty := int64(in.meanQty*in.rng.ExpFloat64()) + 1
		out = append(out, drawn{at: at, instrument: in, price: max(price, 1), qty: qty, buy: in.rng.Float64() < 0.5+200*math.Max(-0.002, math.Min(0.002, to-from))})
	}
	return out
}

func poisson(r *rand.Rand, mean float64) int {
	if mean > 30 {
		return max(0, int(mean+math.Sqrt(mean)*r.NormFloat64()+0.5))
	}
	limit, k, p := math.Exp(-mean), 0, 1.0
	for {
		p *= r.Float64()
		if p <= limit {
			return k
		}
		k++
	}
}

// book is a snapshot around the price, its depth falling off with the distance.
func (in *instrument) book(source string, cfg Config, now schemas.Time) *schemas.BookSnapshot {
	mid := math.Exp(in.logPrice+in.event.applied) * 1e4
	b := &schemas.BookSnapshot{
		Meta: &schemas.Meta{
			Source: source, Venue: cfg.Venue, Symbol: in.symbol, EventTime: int64(now), ReceiveTime: int64(now),
			Id: "b" + strconv.FormatInt(int64(now)/1e9, 10), TimeSource: schemas.TimeSource_TIME_SOURCE_EXCHANGE,
		},
		Depth: uint32(cfg.BookLevels), Updates: 1,
	}
	step := max(mid*0.0002, 1)
	for i := range cfg.BookLevels {
		d := (float64(i) + 0.5 + 0.4*in.rng.Float64()) * step
		if p := int64(mid - d); p > 0 {
			b.Bids = append(b.Bids, in.level(p))
		}
		b.Asks = append(b.Asks, in.level(int64(mid+d)+1))
	}
	return b
}

func (in *instrument) level(price int64) *schemas.Level {
	qty := int64(10*in.meanQty*in.rng.ExpFloat64()) + 1
	return &schemas.Level{Price: schemas.NewDecimal(price, in.exponent), Quantity: schemas.NewDecimal(qty, quantityExponent)}
}
