package detectors

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	correlationName    = "correlation_breakdown"
	correlationVersion = 3
	// correlationBreak is the type of its events.
	correlationBreak = "correlation_break"
)

// An instance is a basket. Bars are of two minutes: of one-minute returns a fifth to a third are zero even on large pairs, which
// hides correlation (Epps 1979) and makes every leg look stale.
func init() {
	layout, err := calibration.NewLayout(0.5, 64)
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[correlationConfig]{
		Name:    correlationName,
		Kind:    processor.Watchdog,
		Summary: "Instruments that moved together and no longer do, or now do.",
		Version: correlationVersion,
		Input:   schemas.MarketBaskets,
		Output:  schemas.Events,
		Step:    time.Minute,
		Defaults: correlationConfig{
			Threshold: 0.5, Pairs: []string{"*/*"}, Bar: processor.Duration(2 * time.Minute), Window: processor.Duration(150 * time.Minute),
			CheckInterval: processor.Duration(2 * time.Minute), MinBars: 60, MaxZeroShare: 0.3, MaxMembers: 16, MinMembers: 3, BudgetDays: 4, AdaptiveRate: 0.2,
			CoolDown: processor.Duration(time.Hour), QuietFor: processor.Duration(30 * time.Minute),
		},
		New: func(c correlationConfig, key processor.Key) processor.Processor {
			return newCorrelation(c, key, layout)
		},
	})
}

// correlationConfig is the configuration of correlation_breakdown.
type correlationConfig struct {
	Threshold     float64            `koanf:"threshold" json:"threshold" doc:"Change of a correlation that always raises an event, and the change that the statistics look for."`
	Pairs         []string           `koanf:"pairs" json:"pairs" doc:"Pairs to watch, A/B, by symbol or venue:symbol, with * and ? as wildcards. Their number grows with the square of the members."`
	Bar           processor.Duration `koanf:"bar" json:"bar" doc:"Length of the returns; whole minutes, at most 10."`
	Window        processor.Duration `koanf:"window" json:"window" doc:"Window of the present correlation; whole bars, 30 to 512."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often correlations are judged, in event time; whole minutes, in effect whole bars."`
	MinBars       int                `koanf:"min_bars" json:"min_bars" doc:"Bars with both returns that the window must hold for the threshold alone to raise an event."`
	MaxZeroShare  float64            `koanf:"max_zero_share" json:"max_zero_share" doc:"A leg with more returns of zero in the window is stale and not judged: an outage is no break."`
	MaxMembers    int                `koanf:"max_members" json:"max_members" doc:"Members of a basket that are watched, at most: the first in the order of their keys."`
	MinMembers    int                `koanf:"min_members" json:"min_members" doc:"From so many members on each is also compared with the mean of the others; at least 3."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Raise events by the threshold alone."`
	BudgetDays    float64            `koanf:"budget_days" json:"budget_days" doc:"Days in which a pair may raise one alarm below the threshold, from 0.4 of it: how rare a score must be."`
	Budgets       []keyBudget        `koanf:"budgets" json:"budgets,omitempty" doc:"Pairs (A/B, in alphabetical order) and members with a budget of their own, * and ? are wildcards; the first that names one counts."`
	AdaptiveRate  float64            `koanf:"adaptive_rate" json:"adaptive_rate" doc:"Step of the adaptive correction of the calibrated thresholds, 0 (off) to 0.5."`
	CoolDown      processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
	QuietFor      processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"How long a pair must be as usual before an episode is resolved; whole minutes."`
}

// Validate checks the settings.
func (c correlationConfig) Validate() error {
	whole := func(d processor.Duration) bool { return d >= processor.Duration(time.Minute) && d.D()%time.Minute == 0 }
	switch {
	case !(c.Threshold > 0 && c.Threshold <= 1.5):
		return fmt.Errorf("correlation_breakdown.threshold is %v: it must be greater than 0 and at most 1.5", c.Threshold)
	case len(c.Pairs) == 0 || len(c.Pairs) > 1000:
		return fmt.Errorf("correlation_breakdown.pairs has %d entries: it must have 1 to 1000", len(c.Pairs))
	case !whole(c.Bar) || c.Bar.D() > 10*time.Minute:
		return fmt.Errorf("correlation_breakdown.bar is %v: it must be whole minutes, 1m to 10m", c.Bar.D())
	case c.Window.D()%c.Bar.D() != 0 || c.Window.D() < 30*c.Bar.D() || c.Window.D() > mostBars*c.Bar.D():
		return fmt.Errorf("correlation_breakdown.window is %v: it must be whole bars, 30 to %d of %v", c.Window.D(), mostBars, c.Bar.D())
	case !whole(c.CheckInterval):
		return fmt.Errorf("correlation_breakdown.check_interval is %v: it must be whole minutes, at least 1m", c.CheckInterval.D())
	case c.MinBars < 10 || c.MinBars > mostBars:
		return fmt.Errorf("correlation_breakdown.min_bars is %v: it must be 10 to %d", c.MinBars, mostBars)
	case !(c.MaxZeroShare >= 0 && c.MaxZeroShare <= 1):
		return fmt.Errorf("correlation_breakdown.max_zero_share is %v: it must be 0 to 1", c.MaxZeroShare)
	case c.MaxMembers < 2 || c.MaxMembers > 100:
		return fmt.Errorf("correlation_breakdown.max_members is %v: it must be 2 to 100", c.MaxMembers)
	case c.MinMembers < 3 || c.MinMembers > 100:
		return fmt.Errorf("correlation_breakdown.min_members is %v: it must be 3 to 100", c.MinMembers)
	case !(c.AdaptiveRate >= 0 && c.AdaptiveRate <= 0.5):
		return fmt.Errorf("correlation_breakdown.adaptive_rate is %v: it must be 0 to 0.5", c.AdaptiveRate)
	case c.CoolDown < 0:
		return fmt.Errorf("correlation_breakdown.cool_down is %v: it must not be negative", c.CoolDown.D())
	case !whole(c.QuietFor):
		return fmt.Errorf("correlation_breakdown.quiet_for is %v: it must be whole minutes, at least 1m", c.QuietFor.D())
	}
	for i, p := range c.Pairs {
		a, b, ok := strings.Cut(p, "/")
		_, err1 := path.Match(a, "")
		_, err2 := path.Match(b, "")
		if !ok || a == "" || b == "" || err1 != nil || err2 != nil {
			return fmt.Errorf("correlation_breakdown.pairs[%d] is %q: it must be A/B, symbols or venue:symbol with * and ? as wildcards", i, p)
		}
	}
	return checkBudgets(correlationName, c.BudgetDays, c.Budgets)
}

// mostBars bounds a window.
const mostBars = 512

// bars is how many bars a window has.
func (c correlationConfig) bars() int { return int(c.Window / c.Bar) }

// wants says that a pair of members is configured.
func (c correlationConfig) wants(a, b *seat) bool {
	match := func(pattern string, s *seat) bool {
		symbol, _ := path.Match(pattern, s.symbol)
		key, _ := path.Match(pattern, s.key())
		return symbol || key
	}
	for _, p := range c.Pairs {
		x, y, _ := strings.Cut(p, "/")
		if match(x, a) && match(y, b) || match(x, b) && match(y, a) {
			return true
		}
	}
	return false
}

// correlation watches the pairs of one basket.
type correlation struct {
	cfg    correlationConfig
	key    processor.Key
	rules  alarm.Rules
	layout *calibration.Layout
	slow   float64 // fading of the baselines by a bar
	fading fading
	// patience is after how many judgements in a row that could not be made an episode ends.
	patience uint32

	// members in the order of their keys; pairs in the order of both.
	members []*constituent
	pairs   []*pair
	closed  schemas.Time
	// profile is the hour of the week of the size of returns, which all members share.
	profile    *season.Profile
	duplicates uint64 // no state
}

var _ processor.Deduplicator = (*correlation)(nil)

func (c *correlation) Duplicates() uint64 { return c.duplicates }

func newCorrelation(c correlationConfig, key processor.Key, layout *calibration.Layout) *correlation {
	interval := max(c.CheckInterval, c.Bar)
	return &correlation{
		cfg: c, key: key, rules: alarm.Rules{Need: 1, Of: 1, ExitBars: checksFor(c.QuietFor, interval), CoolDown: int64(c.CoolDown)},
		patience: uint32(checksFor(processor.Duration(time.Hour), interval)),
		layout:   layout, slow: fixed.Decay(int64(c.Bar), int64(72*time.Hour)), fading: fadingOf(c.Bar.D()),
		profile: season.NewProfile(season.HoursOfWeek),
	}
}

// maxSeats bounds the members of a basket that are known; MaxMembers of them are watched.
const maxSeats = 4096

func (c *correlation) OnRecord(rec schemas.Record, _ processor.Emit) {
	bar, ok := rec.Message.(*schemas.Bar)
	if !ok || !oneMinute(bar) {
		return
	}
	i, found := place(c.members, bar.Meta)
	if !found {
		if len(c.members) == maxSeats {
			return
		}
		c.members = slices.Insert(c.members, i, c.newConstituent(newSeat(bar.Meta.Venue, bar.Meta.Symbol), c.cfg.bars()))
	}
	m := c.members[i]
	end := schemas.Time(bar.End)
	switch {
	case end > c.closed && !m.wait(bar):
	case end > c.closed, m.took(c.closed.Sub(end)):
		c.duplicates++
	default:
		m.late++
	}
}

func (c *correlation) OnTime(now schemas.Time, emit processor.Emit) {
	c.admit(now)
	skipped := c.closed != 0 && now.Sub(c.closed) > time.Minute
	missing := 0
	for _, m := range c.members {
		if !m.minute(now, c.closed, skipped) {
			missing++
		}
	}
	c.closed = now
	if now%schemas.Time(c.cfg.Bar) != 0 {
		return
	}
	c.closeBar(now)
	if now%schemas.Time(c.cfg.CheckInterval) == 0 || c.cfg.CheckInterval < c.cfg.Bar {
		c.judge(now, missing, emit)
	}
	for _, p := range c.pairs {
		c.learn(p, now)
	}
	for _, m := range c.members {
		if m.watched {
			c.learn(&m.rest, now)
		}
	}
}

// admit gives the seats that are free to members in the order of their keys, and forgets who is gone.
func (c *correlation) admit(now schemas.Time) {
	watched, changed := 0, false
	for _, m := range c.members {
		if m.left(now) {
			changed = true
		} else if m.watched {
			watched++
		}
	}
	if changed {
		c.members = slices.DeleteFunc(c.members, func(m *constituent) bool { return m.left(now) })
	}
	for _, m := range c.members {
		if !m.watched && watched < c.cfg.MaxMembers {
			m.watched, changed = true, true
			watched++
		}
	}
	if changed {
		c.pairUp()
	}
}

// pairUp makes the list of pairs anew; those that there were go on. One that is asked for no more does so until its episode has ended.
func (c *correlation) pairUp() {
	old := c.pairs
	c.pairs = nil
	for i, a := range c.members {
		for _, b := range c.members[i+1:] {
			if !a.watched || !b.watched {
				continue
			}
			k := slices.IndexFunc(old, func(p *pair) bool { return p.a == a && p.b == b })
			wanted := c.cfg.wants(&a.seat, &b.seat)
			switch {
			case k >= 0 && (wanted || old[k].episode.Phase() == alarm.Active):
				old[k].leaving = !wanted
				c.pairs = append(c.pairs, old[k])
			case wanted:
				c.pairs = append(c.pairs, &pair{a: a, b: b})
			}
		}
	}
}

// closeBar ends a bar: what leaves the window becomes the past, then the new returns enter.
func (c *correlation) closeBar(now schemas.Time) {
	slot := int(int64(now) / int64(c.cfg.Bar) % int64(c.cfg.bars()))
	for _, p := range c.pairs {
		p.leave(p.a.z[slot], p.b.z[slot], c.slow)
	}
	sum, n := 0, 0
	for _, m := range c.members {
		if !m.watched {
			continue
		}
		m.rest.leave(m.z[slot], m.others[slot], c.slow)
		m.close(now.Add(-c.cfg.Bar.D()), slot)
		if z := m.z[slot]; z != absent {
			sum += int(z)
			n++
		}
	}
	for _, m := range c.members {
		if !m.watched {
			continue
		}
		m.compare(slot, sum, n, c.cfg.MinMembers, c.slow)
		m.rest.enter(m.z[slot], m.others[slot], c.cfg.Threshold)
		c.look(&m.rest)
	}
	for _, p := range c.pairs {
		p.enter(p.a.z[slot], p.b.z[slot], c.cfg.Threshold)
		c.look(p)
	}
}

const correlationLayout = 3

func (c *correlation) AppendState(dst []byte) []byte {
	dst = append(dst, correlationLayout)
	dst = pack.Uint(pack.Uint(dst, uint64(c.cfg.Bar)), uint64(c.cfg.bars()))
	dst = pack.Int(dst, int64(c.closed))
	dst = c.profile.AppendState(dst)
	dst = pack.Uint(dst, uint64(len(c.members)))
	for _, m := range c.members {
		dst = m.AppendState(dst)
	}
	dst = pack.Uint(dst, uint64(len(c.pairs)))
	for _, p := range c.pairs {
		dst = pack.Uint(pack.Uint(dst, uint64(slices.Index(c.members, p.a))), uint64(slices.Index(c.members, p.b)))
		dst = p.AppendState(dst)
	}
	return dst
}

// RestoreState keeps everything, unless returns or the window are of another length now: then all begins anew but the members and their
// episodes, which end when nothing can be judged for long.
func (c *correlation) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != correlationLayout {
		return fmt.Errorf("state layout of correlation_breakdown is %d: it must be %d", v, correlationLayout)
	}
	bar, bars := r.Uint(), r.Uint()
	c.closed = schemas.Time(r.Int())
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of correlation_breakdown: %w", err)
	}
	if bars > mostBars {
		return fmt.Errorf("reading the state of correlation_breakdown: a window of %d bars: it must be at most %d", bars, mostBars)
	}
	if err := c.restore(r.Rest(), int(bars)); err != nil {
		return err
	}
	if bar != uint64(c.cfg.Bar) || bars != uint64(c.cfg.bars()) {
		c.beginAnew()
	}
	c.pairUp()
	return nil
}

// restore reads what AppendState writes behind its head, windows of a number of bars.
func (c *correlation) restore(src []byte, bars int) error {
	rest, err := c.profile.RestoreState(src)
	if err != nil {
		return fmt.Errorf("reading the profile of correlation_breakdown: %w", err)
	}
	r := pack.NewReader(rest)
	n := r.Count(maxSeats)
	rest = r.Rest()
	c.members, c.pairs = nil, nil
	for range n {
		m := c.newConstituent(newSeat("", ""), bars)
		if rest, err = m.RestoreState(rest); err != nil {
			return fmt.Errorf("reading a member of correlation_breakdown: %w", err)
		}
		c.members = append(c.members, m)
	}
	r = pack.NewReader(rest)
	for range r.Count(maxSeats * 2) {
		i, j := int(r.Uint()), int(r.Uint())
		if i < 0 || j < 0 || i >= len(c.members) || j >= len(c.members) || r.Err() != nil {
			return fmt.Errorf("reading the state of correlation_breakdown: a pair of members %d and %d of %d", i, j, len(c.members))
		}
		p := &pair{a: c.members[i], b: c.members[j]}
		if rest, err = p.RestoreState(r.Rest()); err != nil {
			return fmt.Errorf("reading a pair of correlation_breakdown: %w", err)
		}
		p.recount(p.a.z, p.b.z)
		c.pairs = append(c.pairs, p)
		r = pack.NewReader(rest)
	}
	return r.Err()
}

// beginAnew forgets all figures, as they are of other lengths.
func (c *correlation) beginAnew() {
	c.profile = season.NewProfile(season.HoursOfWeek)
	fresh := map[*constituent]*constituent{}
	for i, old := range c.members {
		m := c.newConstituent(old.seat, c.cfg.bars())
		m.watched, m.taken, m.rest.episode = old.watched, old.taken, old.rest.episode
		c.members[i], fresh[old] = m, m
	}
	for i, old := range c.pairs {
		c.pairs[i] = &pair{a: fresh[old.a], b: fresh[old.b], episode: old.episode}
	}
}
