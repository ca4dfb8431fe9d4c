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
	fundingRateName    = "funding_rate"
	fundingRateVersion = 1
	fundingRateType    = "funding_spike"
)

// An instance is a base asset with the contracts of every venue. Rates are judged in OnTime: all venues settle at the same moment, and
// their records come in any order.
func init() {
	processor.Register(processor.Spec[fundingRateConfig]{
		Name:    fundingRateName,
		Kind:    processor.Watchdog,
		Summary: "Funding of perpetual contracts that is extreme, or rare for its contract, and on how many venues.",
		Version: fundingRateVersion,
		Input:   schemas.MarketDerivatives,
		Output:  schemas.Events,
		Step:    time.Minute,
		Defaults: fundingRateConfig{
			ThresholdPct: 0.1, CheckInterval: processor.Duration(5 * time.Minute), MinScore: 5, Confirm: processor.Duration(30 * time.Minute),
			CoolDown: processor.Duration(8 * time.Hour),
		},
		New: func(c fundingRateConfig, key processor.Key) processor.Processor {
			return &fundingRate{cfg: c, key: key, rules: c.rules()}
		},
	})
}

// fundingRateConfig is the configuration of funding_rate.
type fundingRateConfig struct {
	ThresholdPct  float64            `koanf:"threshold_pct" json:"threshold_pct" doc:"Funding per 8 hours that always raises an event, in percent of the position, either way."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often the rates of all venues are judged together, in event time, whole minutes."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Raise events by threshold_pct alone, however rare a lower rate is."`
	MinScore      float64            `koanf:"min_score" json:"min_score" doc:"Distance from the contract's median of 90 days, in its own scale, from which a rate of 0.3 of the threshold raises an event."`
	Confirm       processor.Duration `koanf:"confirm" json:"confirm" doc:"How long a rate that is not settled yet must hold before it raises an event; one that was paid does so at once, a predicted one never."`
	CoolDown      processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
}

// Validate checks the settings.
func (c fundingRateConfig) Validate() error {
	switch {
	case !(c.ThresholdPct > 0 && c.ThresholdPct <= 100):
		return fmt.Errorf("funding_rate.threshold_pct is %v: it must be greater than 0 and at most 100", c.ThresholdPct)
	case c.CheckInterval.D()%time.Minute != 0 || c.CheckInterval.D() < time.Minute || c.CheckInterval.D() > time.Hour:
		return fmt.Errorf("funding_rate.check_interval is %v: it must be whole minutes, 1m to 60m", c.CheckInterval.D())
	case !(c.MinScore >= 2 && c.MinScore <= 1000):
		return fmt.Errorf("funding_rate.min_score is %v: it must be 2 to 1000", c.MinScore)
	case c.Confirm < 0 || c.Confirm.D()/c.CheckInterval.D() > 63:
		return fmt.Errorf("funding_rate.confirm is %v: it must be 0 to 63 check intervals", c.Confirm.D())
	case c.CoolDown < 0:
		return fmt.Errorf("funding_rate.cool_down is %v: it must not be negative", c.CoolDown.D())
	}
	return nil
}

func (c fundingRateConfig) rules() alarm.Rules {
	checks := 1 + int(c.Confirm/c.CheckInterval)
	return alarm.Rules{Need: checks, Of: checks, ExitBars: 1, CoolDown: int64(c.CoolDown)}
}

// Sides of funding.
const (
	longsPay = iota
	shortsPay
	sides
)

// A fundingSide is the episode of one side, and since when a prediction has been telling it.
type fundingSide struct {
	episode  alarm.Episode
	foreseen schemas.Time
}

// fundingRate watches the contracts on one base asset.
type fundingRate struct {
	cfg   fundingRateConfig
	key   processor.Key
	rules alarm.Rules

	// seen are the payments that came lately; accruing rates that come twice change nothing.
	seen dedup.Recent
	// contracts in the order of venue and symbol.
	contracts []*contract
	sides     [sides]fundingSide
	// known is when any rate was last known.
	known schemas.Time
	// late counts payments since the last event that came after their successors.
	late uint32
}

var _ processor.Deduplicator = (*fundingRate)(nil)

func (f *fundingRate) Duplicates() uint64 { return f.seen.Duplicates() }

const (
	// maxContracts bounds the contracts of an asset; more are not looked at.
	maxContracts = 64
	// retired is how long a contract without a record is remembered.
	retired = 30 * 24 * time.Hour
	// unknownFor is how long nothing may be known before a running episode ends.
	unknownFor = 24 * time.Hour
)

func (f *fundingRate) OnRecord(rec schemas.Record, _ processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Funding:
		if m.Kind == schemas.FundingKind_FUNDING_KIND_SETTLED && m.Meta.Id != "" && f.seen.SeenHash(dedup.Hash(m.Meta.Venue, m.Meta.Symbol, m.Meta.Id)) {
			return
		}
		if c := f.contract(m.Meta, true); c != nil && !c.take(m, rec.Time) {
			f.late++
		}
	case *schemas.OpenInterest:
		if c := f.contract(m.Meta, false); c != nil {
			c.openInterest(m)
		}
	case *schemas.Mark:
		if c := f.contract(m.Meta, false); c != nil && m.MarkPrice.Sign() > 0 {
			c.mark = m.MarkPrice.Float()
		}
	case *schemas.Gap:
		if m.Channel != "derivatives" && m.Channel != "all" && m.Channel != "" {
			return
		}
		for _, c := range f.contracts {
			if c.venue == m.Meta.Venue {
				c.lose()
			}
		}
	}
}

// contract finds a contract, or makes one when told to; nil when there is none.
func (f *fundingRate) contract(meta *schemas.Meta, add bool) *contract {
	i, found := slices.BinarySearchFunc(f.contracts, meta, func(c *contract, m *schemas.Meta) int { return c.compare(m.Venue, m.Symbol) })
	switch {
	case found:
		return f.contracts[i]
	case !add || len(f.contracts) == maxContracts:
		return nil
	}
	f.contracts = slices.Insert(f.contracts, i, newContract(meta.Venue, meta.Symbol))
	return f.contracts[i]
}

func (f *fundingRate) OnTime(now schemas.Time, emit processor.Emit) {
	if now%schemas.Time(f.cfg.CheckInterval) != 0 {
		return
	}
	f.contracts = slices.DeleteFunc(f.contracts, func(c *contract) bool { return now.Sub(c.latest()) > retired })
	fresh := false
	for _, c := range f.contracts {
		fresh = fresh || c.known(now)
	}
	if fresh {
		f.known = now
	}
	for side := range f.sides {
		if fresh {
			f.judge(side, now, emit)
		} else if f.known > 0 && now.Sub(f.known) >= unknownFor {
			f.giveUp(side, now, emit)
		}
	}
}

// judge weighs one side over all venues and moves its episode.
func (f *fundingRate) judge(side int, now schemas.Time, emit processor.Emit) {
	s := &f.sides[side]
	v := f.weigh(side, now)
	switch {
	case v.foreseen && s.foreseen == 0:
		s.foreseen = now
	case !v.foreseen && v.severity == alarm.None:
		s.foreseen = 0
	}
	signal := alarm.Signal{At: int64(now), Enter: v.severity > alarm.None, Hard: v.settled, Stay: v.stay, Severity: v.severity}
	if t := s.episode.Step(f.rules, signal); t != alarm.Unchanged {
		v.severity = s.episode.Tells(t, v.severity)
		f.report(side, now, v, t.Status(), emit)
	}
}

// giveUp ends an episode of which nothing has been known for long.
func (f *fundingRate) giveUp(side int, now schemas.Time, emit processor.Emit) {
	s := &f.sides[side]
	s.foreseen = 0
	if s.episode.Withdraw(int64(now)) == alarm.Resolve {
		f.report(side, now, fundingVerdict{severity: s.episode.Peak()}, schemas.Resolved, emit)
	}
}

const fundingRateLayout = 1

func (f *fundingRate) AppendState(dst []byte) []byte {
	dst = append(dst, fundingRateLayout)
	dst = f.seen.Append(dst)
	dst = pack.Uint(pack.Int(dst, int64(f.known)), uint64(f.late))
	for i := range f.sides {
		dst = pack.Int(dst, int64(f.sides[i].foreseen))
		dst = f.sides[i].episode.AppendState(dst)
	}
	dst = pack.Uint(dst, uint64(len(f.contracts)))
	for _, c := range f.contracts {
		dst = c.appendTo(dst)
	}
	return dst
}

func (f *fundingRate) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != fundingRateLayout {
		return fmt.Errorf("state layout of funding_rate is %d: it must be %d", v, fundingRateLayout)
	}
	f.seen.Restore(r)
	f.known, f.late = schemas.Time(r.Int()), uint32(r.Uint())
	for i := range f.sides {
		f.sides[i].foreseen = schemas.Time(r.Int())
		rest, err := f.sides[i].episode.RestoreState(r.Rest())
		if err != nil {
			return fmt.Errorf("reading an episode of funding_rate: %w", err)
		}
		r = pack.NewReader(rest)
	}
	f.contracts = nil
	for range r.Count(maxContracts) {
		c := newContract("", "")
		c.restore(r)
		f.contracts = append(f.contracts, c)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of funding_rate: %w", err)
	}
	if !slices.IsSortedFunc(f.contracts, func(a, b *contract) int { return a.compare(b.venue, b.symbol) }) {
		return fmt.Errorf("reading the state of funding_rate: contracts are out of order: %w", pack.ErrShort)
	}
	return nil
}
