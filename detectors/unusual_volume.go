package detectors

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	unusualVolumeName    = "unusual_volume"
	unusualVolumeVersion = 4
)

// An instance is a basket, because most of an instrument's volume is its market's: what counts is what its peers do not share.
// Minute t is judged in OnTime, when every member's bar of it has come or the engine's bound has released the member.
func init() {
	layout, err := calibration.NewLayout(1, 128)
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[unusualVolumeConfig]{
		Name:    unusualVolumeName,
		Kind:    processor.Watchdog,
		Summary: "More volume, trades or rush orders than the hour, the recent past and the market explain.",
		Version: unusualVolumeVersion,
		Input:   schemas.MarketBaskets,
		Output:  schemas.Events,
		Step:    time.Minute,
		Defaults: unusualVolumeConfig{
			Multiplier: 3, Window: processor.Duration(15 * time.Minute), LongWindow: processor.Duration(time.Hour),
			CheckInterval: processor.Duration(time.Minute), BudgetDays: 1, AdaptiveRate: 0.2, CoolDown: processor.Duration(30 * time.Minute),
			QuietFor: processor.Duration(5 * time.Minute), MarketWeight: 0.8, MinPeers: 1,
		},
		New: func(c unusualVolumeConfig, key processor.Key) processor.Processor {
			return &unusualVolume{
				cfg: c, key: key, rules: c.rules(), gauges: c.gauges(), layout: layout, legs: c.legs(layout), profile: season.NewProfile(season.HoursOfWeek),
			}
		},
	})
}

// unusualVolumeConfig is the configuration of unusual_volume.
type unusualVolumeConfig struct {
	Multiplier    float64            `koanf:"multiplier" json:"multiplier" doc:"How many times the expected figure an event needs at least."`
	Window        processor.Duration `koanf:"window" json:"window" doc:"Length of the sums of volume, trades and rush orders; whole minutes, at most 60."`
	LongWindow    processor.Duration `koanf:"long_window" json:"long_window" doc:"Length of the second sums of volume; whole minutes, at most 60."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often the sums are judged, in event time; whole minutes."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Raise events by the multiplier alone, however common they are."`
	BudgetDays    float64            `koanf:"budget_days" json:"budget_days" doc:"Days in which an instrument beyond the multiplier may raise one alarm: how rare a score must be."`
	Budgets       []keyBudget        `koanf:"budgets" json:"budgets,omitempty" doc:"Instruments with a budget of their own: by symbol or venue:symbol, * and ? are wildcards; the first that names one counts."`
	AdaptiveRate  float64            `koanf:"adaptive_rate" json:"adaptive_rate" doc:"Step of the adaptive correction of the calibrated thresholds, 0 (off) to 0.5."`
	CoolDown      processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
	QuietFor      processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"How long every leg must be below 0.6 of what raises an event before an episode is resolved; whole minutes."`
	MarketWeight  float64            `koanf:"market_weight" json:"market_weight" doc:"Share of the peers' mean surprise (in logarithms) that is taken off an instrument's own, 0 to 1."`
	MinPeers      int                `koanf:"min_peers" json:"min_peers" doc:"With fewer peers in the minute an instrument is judged without a market, by its own past alone."`
}

// Validate checks the settings.
func (c unusualVolumeConfig) Validate() error {
	for _, w := range []struct {
		name  string
		value processor.Duration
	}{{"window", c.Window}, {"long_window", c.LongWindow}} {
		if w.value.D()%time.Minute != 0 || w.value.D() < time.Minute || w.value.D() > time.Hour {
			return fmt.Errorf("unusual_volume.%s is %v: it must be whole minutes, 1m to 60m", w.name, w.value.D())
		}
	}
	switch {
	case !(c.Multiplier > 1 && c.Multiplier <= 1000):
		return fmt.Errorf("unusual_volume.multiplier is %v: it must be greater than 1 and at most 1000", c.Multiplier)
	case c.CheckInterval.D()%time.Minute != 0 || c.CheckInterval.D() < time.Minute:
		return fmt.Errorf("unusual_volume.check_interval is %v: it must be whole minutes, at least 1m", c.CheckInterval.D())
	case !(c.AdaptiveRate >= 0 && c.AdaptiveRate <= 0.5):
		return fmt.Errorf("unusual_volume.adaptive_rate is %v: it must be 0 to 0.5", c.AdaptiveRate)
	case c.CoolDown < 0:
		return fmt.Errorf("unusual_volume.cool_down is %v: it must not be negative", c.CoolDown.D())
	case c.QuietFor.D()%time.Minute != 0 || c.QuietFor.D() < time.Minute:
		return fmt.Errorf("unusual_volume.quiet_for is %v: it must be whole minutes, at least 1m", c.QuietFor.D())
	case !(c.MarketWeight >= 0 && c.MarketWeight <= 1):
		return fmt.Errorf("unusual_volume.market_weight is %v: it must be 0 to 1", c.MarketWeight)
	case c.MinPeers < 1 || c.MinPeers > 1000:
		return fmt.Errorf("unusual_volume.min_peers is %v: it must be 1 to 1000", c.MinPeers)
	}
	return checkBudgets(unusualVolumeName, c.BudgetDays, c.Budgets)
}

func (c unusualVolumeConfig) rules() alarm.Rules {
	return alarm.Rules{Need: 1, Of: 1, ExitBars: checksFor(c.QuietFor, c.CheckInterval), CoolDown: int64(c.CoolDown)}
}

// unusualVolume watches the members of one basket.
type unusualVolume struct {
	cfg    unusualVolumeConfig
	key    processor.Key
	rules  alarm.Rules
	gauges []gauge
	layout *calibration.Layout
	legs   []volumeLeg

	// members in the order of their keys.
	members []*member
	// closed is the end of the last minute that was judged.
	closed schemas.Time
	// minutes counts them. The profile, which all members share, is used from 28 days on.
	minutes    uint64
	profile    *season.Profile
	duplicates uint64 // no state
}

var _ processor.Deduplicator = (*unusualVolume)(nil)

func (u *unusualVolume) Duplicates() uint64 { return u.duplicates }

func (u *unusualVolume) OnRecord(rec schemas.Record, _ processor.Emit) {
	bar, ok := rec.Message.(*schemas.Bar)
	if !ok || !oneMinute(bar) {
		return
	}
	m := u.member(bar.Meta)
	end := schemas.Time(bar.End)
	if end <= u.closed {
		if old := &m.ring[slotOf(end)]; old.end == end && old.complete {
			u.duplicates++
		} else {
			m.late++
		}
		return
	}
	if m.wait(bar) {
		u.duplicates++
	}
}

// member finds or makes the member that a bar belongs to.
func (u *unusualVolume) member(meta *schemas.Meta) *member {
	i, found := place(u.members, meta)
	if !found {
		m := newMember(meta.Venue, meta.Symbol, u.gauges, len(u.legs))
		m.legs = u.legsOf(m)
		u.members = slices.Insert(u.members, i, m)
	}
	return u.members[i]
}

func (u *unusualVolume) OnTime(now schemas.Time, emit processor.Emit) {
	silent := 0
	for _, m := range u.members {
		if !m.take(u.closed, now) {
			silent++
		}
	}
	u.closed = now
	u.minutes++
	for i := range u.gauges {
		u.measure(now, i)
	}
	for _, m := range u.members {
		u.judge(m, now, silent, emit)
	}
	for _, m := range u.members {
		u.learn(m, now)
	}
	u.members = slices.DeleteFunc(u.members, func(m *member) bool { return m.left(now) })
}

const unusualVolumeLayout = 4

func (u *unusualVolume) AppendState(dst []byte) []byte {
	dst = append(dst, unusualVolumeLayout)
	dst = pack.Int(dst, int64(u.closed))
	dst = pack.Uint(dst, u.minutes)
	dst = pack.Uint(dst, uint64(len(u.gauges)))
	dst = u.profile.AppendState(dst)
	dst = pack.Uint(dst, uint64(len(u.members)))
	for _, m := range u.members {
		dst = m.AppendState(dst)
	}
	return dst
}

// RestoreState keeps everything but the gauges whose window is another one now, and the calibration by them: those start anew.
func (u *unusualVolume) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != unusualVolumeLayout {
		return fmt.Errorf("state layout of unusual_volume is %d: it must be %d", v, unusualVolumeLayout)
	}
	u.closed = schemas.Time(r.Int())
	u.minutes = r.Uint()
	if n := r.Count(16); n != len(u.gauges) {
		return fmt.Errorf("state of unusual_volume has %d gauges: it must have %d", n, len(u.gauges))
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of unusual_volume: %w", err)
	}
	rest, err := u.profile.RestoreState(r.Rest())
	if err != nil {
		return fmt.Errorf("reading the profile of unusual_volume: %w", err)
	}
	r = pack.NewReader(rest)
	n := r.Count(1 << 16)
	rest = r.Rest()
	u.members = nil
	for range n {
		m := newMember("", "", u.gauges, len(u.legs))
		if rest, err = m.RestoreState(rest); err != nil {
			return fmt.Errorf("reading a member of unusual_volume: %w", err)
		}
		m.legs = u.legsOf(m)
		for i := range u.legs {
			if g := u.legs[i].rare; len(m.gauges[g].forecasts) != u.gauges[g].window {
				m.calib[i] = calibration.Leg{}
			}
		}
		for i := range u.gauges {
			if len(m.gauges[i].forecasts) != u.gauges[i].window {
				m.gauges[i] = newGaugeState(u.gauges[i].window)
			}
		}
		u.members = append(u.members, m)
	}
	return r.Err()
}
