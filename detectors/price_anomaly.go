package detectors

import (
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	priceAnomalyName    = "price_anomaly"
	priceAnomalyVersion = 3
)

// OnTime runs every second, because the move over the window is judged between minute closes too: at fixed moments of event
// time rather than on each trade, so that the answer hangs on the trades of a second and not on their order within it, and
// costs the record path nothing. Volatility, jumps and drifts live on whole minutes, which their baselines are made of.
func init() {
	jumps, err := calibration.NewLayout(1, 128)
	if err != nil {
		panic(err)
	}
	drifts, err := calibration.NewLayout(1, 8)
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[priceAnomalyConfig]{
		Name:    priceAnomalyName,
		Kind:    processor.Watchdog,
		Summary: "A price that moved too far, or too fast for its own volatility.",
		Version: priceAnomalyVersion,
		Input:   schemas.MarketTrades,
		Output:  schemas.Events,
		Step:    time.Second,
		Defaults: priceAnomalyConfig{
			ThresholdPct: 5, Window: processor.Duration(15 * time.Minute), CheckInterval: processor.Duration(time.Second), BudgetDays: 1,
			AdaptiveRate: 0.2, CoolDown: processor.Duration(time.Hour), QuietFor: processor.Duration(15 * time.Minute),
			CrashWindow: processor.Duration(30 * time.Minute),
		},
		New: func(c priceAnomalyConfig, key processor.Key) processor.Processor {
			c.BudgetDays = budgetFor(c.Budgets, key.Venue, key.Symbol, c.BudgetDays)
			return &priceAnomaly{
				cfg: c, key: key, rules: c.rules(), closes: newCloses(c.minutes()), vol: newVolatility(),
				// Populations, version 2: scores at one and at one seventh alarm a day, means of BTC and ETH on bitfinex, 2018.
				jumpPlan:  c.plan(jumps, calibration.Population{Version: 2, Daily: 7.9, Weekly: 14.1}, jumpHours, 1),
				driftPlan: c.plan(drifts, calibration.Population{Version: 2, Daily: 3.2, Weekly: 4}, driftHours, driftReach),
			}
		},
	})
}

// priceAnomalyConfig is the configuration of price_anomaly.
type priceAnomalyConfig struct {
	ThresholdPct  float64            `koanf:"threshold_pct" json:"threshold_pct" doc:"Move over the window that always raises an event, in percent of the price at its start."`
	Window        processor.Duration `koanf:"window" json:"window" doc:"Length of the window of the move; whole minutes, at most 60."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often the move is judged between minute closes, in event time, whole seconds; with a minute or more only at the closes."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Raise events by threshold_pct alone: no jump, drift or early-warning leg."`
	BudgetDays    float64            `koanf:"budget_days" json:"budget_days" doc:"Days in which jumps and drift bursts below the threshold may raise one alarm, per instrument."`
	Budgets       []keyBudget        `koanf:"budgets" json:"budgets,omitempty" doc:"Keys with a budget of their own: by symbol or venue:symbol (chain:asset), * and ? are wildcards; the first that names a key counts."`
	AdaptiveRate  float64            `koanf:"adaptive_rate" json:"adaptive_rate" doc:"Step of the adaptive correction of the calibrated thresholds, 0 (off) to 0.5."`
	CoolDown      processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
	QuietFor      processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"How long the price must be calm before an episode is resolved; whole minutes."`
	CrashWindow   processor.Duration `koanf:"crash_window" json:"crash_window" doc:"Half of a move beyond the threshold that comes back within this time makes it a flash_crash."`
}

// Validate checks the settings.
func (c priceAnomalyConfig) Validate() error {
	switch {
	case !(c.ThresholdPct > 0 && c.ThresholdPct <= 1000):
		return fmt.Errorf("price_anomaly.threshold_pct is %v: it must be greater than 0 and at most 1000", c.ThresholdPct)
	case c.Window.D()%time.Minute != 0 || c.Window.D() < time.Minute || c.Window.D() > time.Hour:
		return fmt.Errorf("price_anomaly.window is %v: it must be whole minutes, 1m to 60m", c.Window.D())
	case c.CheckInterval.D()%time.Second != 0 || c.CheckInterval.D() < time.Second:
		return fmt.Errorf("price_anomaly.check_interval is %v: it must be whole seconds, at least 1s", c.CheckInterval.D())
	case !(c.AdaptiveRate >= 0 && c.AdaptiveRate <= 0.5):
		return fmt.Errorf("price_anomaly.adaptive_rate is %v: it must be 0 to 0.5", c.AdaptiveRate)
	case c.CoolDown < 0:
		return fmt.Errorf("price_anomaly.cool_down is %v: it must not be negative", c.CoolDown.D())
	case c.QuietFor.D()%time.Minute != 0 || c.QuietFor.D() < time.Minute:
		return fmt.Errorf("price_anomaly.quiet_for is %v: it must be whole minutes, at least 1m", c.QuietFor.D())
	case c.CrashWindow < 0:
		return fmt.Errorf("price_anomaly.crash_window is %v: it must not be negative", c.CrashWindow.D())
	}
	return checkBudgets(priceAnomalyName, c.BudgetDays, c.Budgets)
}

func (c priceAnomalyConfig) rules() alarm.Rules {
	return alarm.Rules{Need: 1, Of: 1, ExitBars: int(c.QuietFor.D() / time.Minute), CoolDown: int64(c.CoolDown)}
}

// minutes is the length of the window.
func (c priceAnomalyConfig) minutes() int { return int(c.Window.D() / time.Minute) }

// plan is how a leg is calibrated: its hours beyond the threshold for an alarm of the key, and how far the adaptive correction moves it.
func (c priceAnomalyConfig) plan(layout *calibration.Layout, population calibration.Population, hours, reach float64) *calibration.Plan {
	return &calibration.Plan{
		Layout: layout, Population: population, Hours: hours / c.BudgetDays, Alarms: 1 / c.BudgetDays, Eta: c.AdaptiveRate, Reach: reach,
	}
}

// priceAnomaly watches one instrument.
type priceAnomaly struct {
	cfg   priceAnomalyConfig
	key   processor.Key
	rules alarm.Rules
	// How the two calibrated legs are calibrated.
	jumpPlan, driftPlan *calibration.Plan

	seen   dedup.Recent
	prints prints
	// open is the start of the minute that now collects prints, current; ahead collects those of a later minute that come
	// before the Tick that ends it. 0 before the first print.
	open           schemas.Time
	current, ahead minutePrints
	// blind is where a Gap ends: minutes that start before it are incomplete.
	blind schemas.Time
	// silent counts the minutes without a print up to now.
	silent uint32
	// unjudged counts the minutes since the last one that could be judged.
	unjudged uint32
	// spoiled is an hour since the epoch that stays out of the calibration.
	spoiled int64
	// digits is the finest exponent that a price was quoted with.
	digits int32
	// late and held count the records of the open minute that were too late, and the prints held back.
	late, held uint32

	closes closes
	vol    volatility
	drift  drift
	jumps  calibration.Leg
	drifts calibration.Leg
	// scores of the last closed minute.
	last scores

	episode alarm.Episode
	crash   crash
	badTick schemas.Time // until then no further bad_tick event
}

var _ processor.Deduplicator = (*priceAnomaly)(nil)

func (p *priceAnomaly) Duplicates() uint64 { return p.seen.Duplicates() }

func (p *priceAnomaly) OnRecord(rec schemas.Record, emit processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Trade:
		p.trade(rec, m, emit)
	case *schemas.Gap:
		p.gap(rec, m)
	}
}

func (p *priceAnomaly) trade(rec schemas.Record, t *schemas.Trade, emit processor.Emit) {
	if p.seen.Seen(t.Meta) {
		return
	}
	if rec.Late || rec.Time < p.open {
		p.late++
		return
	}
	if t.OffBook != schemas.OffBook_OFF_BOOK_UNSPECIFIED || t.Price.Mantissa <= 0 {
		return // not a price of the book; a price at or below zero has no relative move
	}
	price := t.Price.Float()
	switch p.prints.judge(price) {
	case heldBack:
		p.held++
		return
	case reverted:
		p.reportBadTick(rec.Time, emit)
	case fair:
	}
	p.digits = min(p.digits, t.Price.Exponent)
	if p.open == 0 {
		p.open = rec.Time.Floor(time.Minute)
	}
	if rec.Time < p.open.Add(time.Minute) {
		p.current.add(price)
	} else {
		p.ahead.add(price)
	}
}

// gap forgets the reference prices: no score until whole minutes have made new ones.
func (p *priceAnomaly) gap(rec schemas.Record, g *schemas.Gap) {
	if g.Channel != "trades" && g.Channel != "all" && g.Channel != "" {
		return
	}
	p.blind = max(p.blind, rec.Time+1, schemas.Time(g.To))
	p.prints.interrupt()
	p.forget()
	p.spoil(rec.Time)
}

// forget drops what hangs on the prices before.
func (p *priceAnomaly) forget() {
	p.closes.clear()
	p.drift = drift{}
	p.last = scores{}
	p.silent = 0 // no last price is left for the next one to be judged against
}

func (p *priceAnomaly) OnTime(now schemas.Time, emit processor.Emit) {
	if p.open == 0 {
		return
	}
	if now.Sub(p.open) > 2*time.Hour {
		// Ticks were missing, not prints: what happened meanwhile is not known.
		p.blind = max(p.blind, now.Floor(time.Minute))
		p.forget()
		p.current, p.ahead = p.ahead, minutePrints{}
		p.open = now.Floor(time.Minute)
	}
	closed := false
	for p.open.Add(time.Minute) <= now {
		p.closeMinute(emit)
		closed = true
	}
	if !closed && now%schemas.Time(p.cfg.CheckInterval) == 0 && p.current.count > 0 && p.open >= p.blind {
		p.checkMove(now, emit)
	}
}

const priceAnomalyLayout = 3

func (p *priceAnomaly) AppendState(dst []byte) []byte {
	dst = append(dst, priceAnomalyLayout)
	dst = p.seen.Append(dst)
	dst = p.prints.appendTo(dst)
	dst = pack.Int(dst, int64(p.open))
	dst = p.current.appendTo(dst)
	dst = p.ahead.appendTo(dst)
	dst = pack.Int(dst, int64(p.blind))
	dst = pack.Uint(pack.Uint(dst, uint64(p.silent)), uint64(p.unjudged))
	dst = pack.Int(dst, p.spoiled)
	dst = pack.Int(dst, int64(p.digits))
	dst = pack.Uint(pack.Uint(dst, uint64(p.late)), uint64(p.held))
	dst = p.closes.appendTo(dst)
	dst = pack.Uint(dst, p.vol.minutes)
	dst = p.last.appendTo(dst)
	dst = p.crash.appendTo(dst)
	dst = pack.Int(dst, int64(p.badTick))
	return appendAll(dst, p.parts()...)
}

func (p *priceAnomaly) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != priceAnomalyLayout {
		return fmt.Errorf("state layout of price_anomaly is %d: it must be %d", v, priceAnomalyLayout)
	}
	p.seen.Restore(r)
	p.prints.restore(r)
	p.open = schemas.Time(r.Int())
	p.current.restore(r)
	p.ahead.restore(r)
	p.blind = schemas.Time(r.Int())
	p.silent, p.unjudged = uint32(r.Uint()), uint32(r.Uint())
	p.spoiled = r.Int()
	p.digits = int32(r.Int())
	p.late, p.held = uint32(r.Uint()), uint32(r.Uint())
	p.closes.restore(r)
	p.vol.minutes = r.Uint()
	p.last.restore(r)
	p.crash.restore(r)
	p.badTick = schemas.Time(r.Int())
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of price_anomaly: %w", err)
	}
	if _, err := restoreAll(r.Rest(), p.parts()...); err != nil {
		return fmt.Errorf("reading the baselines of price_anomaly: %w", err)
	}
	return nil
}

func (p *priceAnomaly) parts() []keeper {
	v := &p.vol
	return []keeper{&v.fast, &v.middle, &v.slow, v.profile, &p.drift, &p.jumps, &p.drifts, &p.episode}
}
