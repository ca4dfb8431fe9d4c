package detectors

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	arbitrageName    = "arbitrage"
	arbitrageVersion = 1
	arbitrageType    = "arbitrage_opportunity"
)

// An instance is a pair with its quotes at every venue. Second t is judged when time, which the Ticks of every venue move, has passed
// it, by the last quote of each venue until t, in the order of the venues: the order of arrival plays no part.
func init() {
	processor.Register(processor.Spec[arbitrageConfig]{
		Name:    arbitrageName,
		Kind:    processor.Watchdog,
		Summary: "A pair that can be bought at one venue and sold at another for more than both fees, or that one venue quotes far off the others.",
		Version: arbitrageVersion,
		Input:   schemas.MarketCrossquotes,
		Output:  schemas.Events,
		Step:    time.Second,
		Defaults: arbitrageConfig{
			MinNetBps: 5, FeeBps: 10, OffMarketPct: 1, MaxAge: processor.Duration(5 * time.Second), Persist: processor.Duration(3 * time.Second),
			QuietFor: processor.Duration(10 * time.Second), CoolDown: processor.Duration(time.Minute),
		},
		New: func(c arbitrageConfig, key processor.Key) processor.Processor {
			return &arbitrage{cfg: c, key: key, rules: c.rules()}
		},
	})
}

// arbitrageConfig is the configuration of arbitrage.
type arbitrageConfig struct {
	MinNetBps    float64            `koanf:"min_net_bps" json:"min_net_bps" doc:"Profit after the fees of both venues that raises an event, in basis points of what is paid."`
	FeeBps       float64            `koanf:"fee_bps" json:"fee_bps" doc:"Taker fee of a venue that fees does not name, in basis points."`
	Fees         []venueFee         `koanf:"fees" json:"fees" doc:"Taker fees of your accounts."`
	OffMarketPct float64            `koanf:"off_market_pct" json:"off_market_pct" doc:"Distance of a venue's mid from the median of two others or more that raises an event whatever the fees, in percent."`
	MaxAge       processor.Duration `koanf:"max_age" json:"max_age" doc:"A quote that is older does not count."`
	Persist      processor.Duration `koanf:"persist" json:"persist" doc:"How long it must hold, whole seconds."`
	QuietFor     processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"How long it must be over before the episode ends, whole seconds."`
	CoolDown     processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
}

// venueFee is the taker fee at one venue.
type venueFee struct {
	Venue string  `koanf:"venue" json:"venue" doc:"The venue."`
	Bps   float64 `koanf:"bps" json:"bps" doc:"Its taker fee in basis points; below 0 it is a rebate."`
}

// Validate checks the settings.
func (c arbitrageConfig) Validate() error {
	switch {
	case !(c.MinNetBps > 0 && c.MinNetBps <= 10_000):
		return fmt.Errorf("arbitrage.min_net_bps is %v: it must be greater than 0 and at most 10000", c.MinNetBps)
	case !(c.FeeBps >= 0 && c.FeeBps <= 1000):
		return fmt.Errorf("arbitrage.fee_bps is %v: it must be 0 to 1000", c.FeeBps)
	case !(c.OffMarketPct > 0 && c.OffMarketPct <= 100):
		return fmt.Errorf("arbitrage.off_market_pct is %v: it must be greater than 0 and at most 100", c.OffMarketPct)
	case c.MaxAge.D() < time.Second || c.MaxAge.D() > time.Hour:
		return fmt.Errorf("arbitrage.max_age is %v: it must be 1s to 1h", c.MaxAge.D())
	case c.Persist.D()%time.Second != 0 || c.Persist < 0 || c.Persist.D() > 63*time.Second:
		return fmt.Errorf("arbitrage.persist is %v: it must be whole seconds, 0s to 63s", c.Persist.D())
	case c.QuietFor.D()%time.Second != 0 || c.QuietFor.D() < time.Second:
		return fmt.Errorf("arbitrage.quiet_for is %v: it must be whole seconds, 1s at least", c.QuietFor.D())
	case c.CoolDown < 0:
		return fmt.Errorf("arbitrage.cool_down is %v: it must not be negative", c.CoolDown.D())
	}
	for i, f := range c.Fees {
		if f.Venue == "" || !(f.Bps >= -100 && f.Bps <= 1000) {
			return fmt.Errorf("arbitrage.fees has %q at %v as its number %d: it must name a venue and lie between -100 and 1000", f.Venue, f.Bps, i)
		}
	}
	return nil
}

func (c arbitrageConfig) rules() alarm.Rules {
	checks := 1 + int(c.Persist.D()/time.Second)
	return alarm.Rules{Need: checks, Of: checks, ExitBars: int(c.QuietFor.D() / time.Second), CoolDown: int64(c.CoolDown)}
}

// fee is the taker fee at a venue, as a fraction.
func (c arbitrageConfig) fee(venue string) float64 {
	for _, f := range c.Fees {
		if f.Venue == venue {
			return f.Bps / 1e4
		}
	}
	return c.FeeBps / 1e4
}

// arbitrage watches one pair.
type arbitrage struct {
	cfg   arbitrageConfig
	key   processor.Key
	rules alarm.Rules

	// markets in the order of venue and symbol.
	markets []*market
	episode alarm.Episode
	seen    dedup.Recent
	// late counts quotes since the last event whose second had been judged.
	late uint32
}

var _ processor.Deduplicator = (*arbitrage)(nil)

func (a *arbitrage) Duplicates() uint64 { return a.seen.Duplicates() }

// maxMarkets bounds the venues of a pair; more are not looked at.
const maxMarkets = 64

func (a *arbitrage) OnRecord(rec schemas.Record, _ processor.Emit) {
	q, ok := rec.Message.(*schemas.Quote)
	if !ok {
		return
	}
	if q.Meta.Id != "" && a.seen.SeenHash(dedup.Hash(q.Meta.Venue, q.Meta.Symbol, q.Meta.Id)) {
		return
	}
	if m := a.market(q.Meta); m != nil && !m.wait(q, rec.Time) {
		a.late++
	}
}

// market finds or makes the market of a quote; nil when there are too many.
func (a *arbitrage) market(meta *schemas.Meta) *market {
	i, found := slices.BinarySearchFunc(a.markets, meta, func(m *market, meta *schemas.Meta) int { return m.compare(meta.Venue, meta.Symbol) })
	switch {
	case found:
		return a.markets[i]
	case len(a.markets) == maxMarkets:
		return nil
	}
	a.markets = slices.Insert(a.markets, i, newMarket(meta.Venue, meta.Symbol, a.cfg.fee(meta.Venue)))
	return a.markets[i]
}

func (a *arbitrage) OnTime(now schemas.Time, emit processor.Emit) {
	for _, m := range a.markets {
		m.pick(now)
		m.fresh = m.last.sound() && now.Sub(m.last.at) < a.cfg.MaxAge.D()
	}
	a.markets = slices.DeleteFunc(a.markets, func(m *market) bool { return m.left(now) })
	v := a.weigh()
	signal := alarm.Signal{At: int64(now), Enter: v.severity > alarm.None, Stay: v.stay, Severity: v.severity}
	if t := a.episode.Step(a.rules, signal); t != alarm.Unchanged {
		v.severity = a.episode.Tells(t, v.severity)
		a.report(now, v, t.Status(), emit)
	}
}

const arbitrageLayout = 1

func (a *arbitrage) AppendState(dst []byte) []byte {
	dst = pack.Uint(a.seen.Append(append(dst, arbitrageLayout)), uint64(a.late))
	dst = a.episode.AppendState(dst)
	dst = pack.Uint(dst, uint64(len(a.markets)))
	for _, m := range a.markets {
		dst = m.appendTo(dst)
	}
	return dst
}

func (a *arbitrage) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != arbitrageLayout {
		return fmt.Errorf("state layout of arbitrage is %d: it must be %d", v, arbitrageLayout)
	}
	a.seen.Restore(r)
	a.late = uint32(r.Uint())
	rest, err := a.episode.RestoreState(r.Rest())
	if err != nil {
		return fmt.Errorf("reading the episode of arbitrage: %w", err)
	}
	r = pack.NewReader(rest)
	a.markets = nil
	for range r.Count(maxMarkets) {
		m := newMarket("", "", 0)
		m.restore(r)
		m.fee = a.cfg.fee(m.venue)
		a.markets = append(a.markets, m)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of arbitrage: %w", err)
	}
	if !slices.IsSortedFunc(a.markets, func(x, y *market) int { return x.compare(y.venue, y.symbol) }) {
		return fmt.Errorf("reading the state of arbitrage: markets are out of order: %w", pack.ErrShort)
	}
	return nil
}
