package detectors

import (
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/internal/series"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	liquidityDropName    = "liquidity_drop"
	liquidityDropVersion = 3
)

// The book is looked at once a second of event time, as its last snapshot left it: how often a source publishes one plays no part.
func init() {
	layout, err := calibration.NewLayout(0.05, 6)
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[liquidityDropConfig]{
		Name:    liquidityDropName,
		Kind:    processor.Watchdog,
		Summary: "Depth of a book near its price that went and stays away.",
		Version: liquidityDropVersion,
		Input:   schemas.MarketBooks,
		Output:  schemas.Events,
		Step:    time.Second,
		Defaults: liquidityDropConfig{
			ThresholdPct: 50, BandPct: 1, NearPct: 0.1, Persist: processor.Duration(5 * time.Second), CheckInterval: processor.Duration(time.Second),
			Recovery: processor.Duration(time.Minute), Notional: 100_000, BudgetDays: 1, AdaptiveRate: 0.2,
			CoolDown: processor.Duration(10 * time.Minute), QuietFor: processor.Duration(30 * time.Second),
		},
		New: func(c liquidityDropConfig, key processor.Key) processor.Processor {
			c.BudgetDays = budgetFor(c.Budgets, key.Venue, key.Symbol, c.BudgetDays)
			// Population, version 1: no book of more than minutes is at hand to measure it on. A third and a half gone for five
			// seconds stand for once a day and once a week; what they raise is low until the key's own history speaks.
			return newLiquidityDrop(c, key, &calibration.Plan{
				Layout: layout, Population: calibration.Population{Version: 1, Daily: 0.4, Weekly: 0.7}, Hours: 1 / c.BudgetDays, Alarms: 1 / c.BudgetDays, Eta: c.AdaptiveRate, Reach: 1,
			})
		},
	})
}

// liquidityDropConfig is the configuration of liquidity_drop.
type liquidityDropConfig struct {
	ThresholdPct  float64            `koanf:"threshold_pct" json:"threshold_pct" doc:"Share of a side's usual depth that must be gone for an event, in percent."`
	BandPct       float64            `koanf:"band_pct" json:"band_pct" doc:"Depth counts within this distance of the mid price, in percent. Where the source does not know the book so far out, the widest of its bands that it knows wholly is judged; the event names it."`
	NearPct       float64            `koanf:"near_pct" json:"near_pct" doc:"A second, narrower band for the evidence, in percent."`
	Persist       processor.Duration `koanf:"persist" json:"persist" doc:"How long depth must be gone, in event time: the smallest drop within it counts. Whole seconds, at most 60."`
	CheckInterval processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often drops are judged, in event time; whole seconds."`
	Recovery      processor.Duration `koanf:"recovery" json:"recovery" doc:"A drop beyond the threshold is critical when less than 80 % of the depth is back after this time."`
	Notional      float64            `koanf:"notional" json:"notional" doc:"Size of the order whose slippage is stated, in units of the quote currency."`
	Strict        bool               `koanf:"strict" json:"strict" doc:"Raise events by threshold_pct alone."`
	BudgetDays    float64            `koanf:"budget_days" json:"budget_days" doc:"Days in which drops below threshold_pct, from 0.4 of it, may raise one alarm, low or medium: how rare they must be."`
	Budgets       []keyBudget        `koanf:"budgets" json:"budgets,omitempty" doc:"Keys with a budget of their own: by symbol or venue:symbol (chain:asset), * and ? are wildcards; the first that names a key counts."`
	AdaptiveRate  float64            `koanf:"adaptive_rate" json:"adaptive_rate" doc:"Step of the adaptive correction of the calibrated threshold, 0 (off) to 0.5."`
	CoolDown      processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
	QuietFor      processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"How long depth must be back before an episode is resolved; whole seconds."`
}

// Validate checks the settings.
func (c liquidityDropConfig) Validate() error {
	whole := func(d processor.Duration) bool { return d >= processor.Duration(time.Second) && d.D()%time.Second == 0 }
	switch {
	case !(c.ThresholdPct > 0 && c.ThresholdPct < 100):
		return fmt.Errorf("liquidity_drop.threshold_pct is %v: it must be greater than 0 and less than 100", c.ThresholdPct)
	case !(c.BandPct >= 0.001 && c.BandPct <= 20):
		return fmt.Errorf("liquidity_drop.band_pct is %v: it must be 0.001 to 20", c.BandPct)
	case !(c.NearPct > 0 && c.NearPct <= c.BandPct):
		return fmt.Errorf("liquidity_drop.near_pct is %v: it must be greater than 0 and at most band_pct (%v)", c.NearPct, c.BandPct)
	case !whole(c.Persist) || c.Persist.D() > longestLeast*time.Second:
		return fmt.Errorf("liquidity_drop.persist is %v: it must be whole seconds, 1s to 60s", c.Persist.D())
	case !whole(c.CheckInterval):
		return fmt.Errorf("liquidity_drop.check_interval is %v: it must be whole seconds, at least 1s", c.CheckInterval.D())
	case c.Recovery <= 0:
		return fmt.Errorf("liquidity_drop.recovery is %v: it must be greater than zero", c.Recovery.D())
	case !(c.Notional > 0 && c.Notional <= 1e12):
		return fmt.Errorf("liquidity_drop.notional is %v: it must be greater than 0 and at most 1e12", c.Notional)
	case !(c.AdaptiveRate >= 0 && c.AdaptiveRate <= 0.5):
		return fmt.Errorf("liquidity_drop.adaptive_rate is %v: it must be 0 to 0.5", c.AdaptiveRate)
	case c.CoolDown < 0:
		return fmt.Errorf("liquidity_drop.cool_down is %v: it must not be negative", c.CoolDown.D())
	case !whole(c.QuietFor):
		return fmt.Errorf("liquidity_drop.quiet_for is %v: it must be whole seconds, at least 1s", c.QuietFor.D())
	}
	return checkBudgets(liquidityDropName, c.BudgetDays, c.Budgets)
}

// liquidityDrop watches the book of one instrument.
type liquidityDrop struct {
	cfg   liquidityDropConfig
	key   processor.Key
	rules alarm.Rules
	plan  *calibration.Plan
	bands bands

	seen dedup.Recent
	view bookView
	// heard is the time of the last book, also of one that could not be judged.
	heard schemas.Time
	// mids are those of the last five seconds, whose median the bands are laid around; path those of the last minute.
	mids *series.Window
	path *series.Window
	// seconds counts the samples; season is how far the hour of the week has moved the depth since the first one, logarithms.
	seconds uint64
	season  float64
	sampled schemas.Time
	profile *season.Profile
	// followed are the bands, in no order; sides what is followed of a side besides.
	followed [mostBands]bookBand
	sides    [bookSides]bookSide
	spread   lasting
	late     uint32
	// unjudged counts the seconds since the last one that could be judged.
	unjudged   uint32
	calib      calibration.Leg
	episode    alarm.Episode
	strikes    [bookSides]strike
	duplicates uint64 // no state
}

// A bookBand is the baselines of one band; width 0 is none.
type bookBand struct {
	width uint32
	sides [bookSides]lasting
	// slow is the level that the season is apart from.
	slow series.Level
}

// A bookSide is the baselines of one side.
type bookSide struct{ near, slip series.EW }

// A strike is a drop of a side that reached the knob in the running episode: since when, and since when the depth is back; 0 for not.
type strike struct{ since, back schemas.Time }

// A lasting series is the baseline of a logarithm, and how far the last seconds lay off it.
type lasting struct {
	level series.EW
	fed   schemas.Time // when the baseline last learned
	off   least
}

var _ processor.Deduplicator = (*liquidityDrop)(nil)

func (l *liquidityDrop) Duplicates() uint64 { return l.duplicates }

func newLiquidityDrop(c liquidityDropConfig, key processor.Key, plan *calibration.Plan) *liquidityDrop {
	l := &liquidityDrop{
		cfg: c, key: key, plan: plan,
		rules: alarm.Rules{Need: 1, Of: 1, ExitBars: checksFor(c.QuietFor, c.CheckInterval), CoolDown: int64(c.CoolDown)},
		bands: newBands(c.NearPct, c.BandPct, c.Notional),
		mids:  series.NewWindow(5), path: series.NewWindow(moveSeconds + 1), profile: season.NewProfile(season.HoursOfWeek),
	}
	persist := int(c.Persist.D() / time.Second)
	for i := range l.followed {
		for side := range l.followed[i].sides {
			l.followed[i].sides[side].off = newLeast(persist)
		}
	}
	l.spread.off = newLeast(persist)
	return l
}

// flagSnapshot marks the first book after its source had to build it anew.
const flagSnapshot = 1

func (l *liquidityDrop) OnRecord(rec schemas.Record, _ processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.BookSnapshot:
		if l.seen.Seen(m.Meta) {
			l.duplicates++
			return
		}
		if rec.Late || rec.Time < l.view.at {
			l.late++
			return
		}
		l.heard = rec.Time
		if m.Meta.Flags&flagSnapshot != 0 {
			l.restart()
		}
		if v, ok := l.bands.view(m, rec.Time, l.mids.Median()); ok {
			l.arrange(&v)
			l.view = v
		}
	case *schemas.Gap:
		if m.Channel == "book" || m.Channel == "all" || m.Channel == "" {
			l.view = bookView{}
			l.restart()
			l.calib.Interrupt()
		}
	}
}

// arrange puts the bands of a view where those of their width are followed. One that is new takes the place of one that is not in the
// view.
func (l *liquidityDrop) arrange(v *bookView) {
	seen := v.bands
	v.bands = [mostBands]bandView{}
	place := func(to int, b *bandView) {
		v.bands[to] = *b
		b.width = 0
	}
	for i := range seen {
		for to := range l.followed {
			if seen[i].width > 0 && l.followed[to].width == seen[i].width {
				place(to, &seen[i])
			}
		}
	}
	for i := range seen {
		for to := range l.followed {
			if seen[i].width > 0 && v.bands[to].width == 0 {
				l.followed[to].begin(seen[i].width)
				place(to, &seen[i])
			}
		}
	}
}

// begin follows another width.
func (b *bookBand) begin(width uint32) {
	b.width, b.slow = width, series.Level{}
	for i := range b.sides {
		b.sides[i].level, b.sides[i].fed = series.EW{}, 0
		b.sides[i].off.clear()
	}
}

// restart forgets how long depth has been gone; the baselines stay.
func (l *liquidityDrop) restart() {
	for i := range l.followed {
		for side := range l.followed[i].sides {
			l.followed[i].sides[side].off.clear()
		}
	}
	l.spread.off.clear()
	l.mids.Clear()
	l.path.Clear()
}

// staleAfter is how long a book that is not published anew is taken to be unchanged.
const staleAfter = 10 * time.Second

func (l *liquidityDrop) OnTime(now schemas.Time, emit processor.Emit) {
	if l.view.at == 0 || now.Sub(l.view.at) > staleAfter {
		if l.view.at != 0 {
			l.view = bookView{}
			l.restart()
			l.calib.Interrupt()
		}
		l.idle(now, emit)
		return
	}
	l.mids.Add(l.view.mid)
	l.path.Add(l.view.mid)
	l.follow(now)
	if !l.measure(now) {
		l.idle(now, emit)
	} else {
		l.unjudged = 0
		if now%schemas.Time(l.cfg.CheckInterval) == 0 {
			l.judge(now, emit)
		}
	}
	l.learn(now)
}

// idleSeconds is after how many seconds that could not be judged an episode ends.
const idleSeconds = 600

// idle passes a second that cannot be judged.
func (l *liquidityDrop) idle(now schemas.Time, emit processor.Emit) {
	if l.unjudged++; l.unjudged < idleSeconds || l.episode.Phase() != alarm.Active {
		return
	}
	if l.episode.Withdraw(int64(now)) == alarm.Resolve {
		l.report(now, liquidityVerdict{severity: l.episode.Peak(), notes: []string{"no_data"}}, schemas.Resolved, emit)
		l.strikes = [bookSides]strike{}
	}
}

// follow moves the season. Only its change within one state of the profile counts, so that what the profile learns moves nothing.
func (l *liquidityDrop) follow(now schemas.Time) {
	if l.sampled != 0 && now.Sub(l.sampled) < time.Hour {
		l.season += l.profile.Smooth(int64(now)) - l.profile.Smooth(int64(l.sampled))
	}
	l.sampled = now
}

const (
	// baselineLeast is the weight that a baseline needs before anything is judged by it: a minute.
	baselineLeast = 55
	// baselineAge is how long a baseline is good for that learns nothing: three of its half-lives.
	baselineAge = 30 * time.Minute
	// bookDecay fades the baselines by a second: half-life 10 min; slowBookDecay the level that the season is apart from: 7 days.
	bookDecay     = 0.99884543980218866
	slowBookDecay = 0.99999885392309
	// bookClip bounds what a second may do to a baseline, in its standard deviations and at least bookFloor.
	bookClip, bookFloor = 3, 0.02
	// nothing is the logarithm that stands for no depth at all.
	nothing = -30
)

func logOf(v float64) float64 {
	if v <= 0 {
		return nothing
	}
	return max(fixed.Ln(v), nothing)
}

// known says whether the baseline has seen enough. One of a band that was not known for long begins anew.
func (s *lasting) known(now schemas.Time) bool {
	if now.Sub(s.fed) > baselineAge {
		s.level = series.EW{}
	}
	return s.level.Weight() >= baselineLeast
}

func (s *lasting) learn(now schemas.Time, x float64) {
	s.level.AddClipped(bookDecay, x, bookClip, bookFloor)
	s.fed = now
}

// measure puts the second's deviations into the windows and says whether a side can be judged.
func (l *liquidityDrop) measure(now schemas.Time) bool {
	for i := range l.followed {
		v := &l.view.bands[i]
		for side := range l.followed[i].sides {
			s := &l.followed[i].sides[side]
			if !v.complete[side] {
				s.off.clear()
			} else if s.known(now) {
				s.off.push(s.level.Mean() - (logOf(v.quantity[side]) - l.season))
			}
		}
	}
	if l.spread.known(now) && l.view.spreadBp > 0 {
		l.spread.off.push(logOf(l.view.spreadBp) - l.spread.level.Mean())
	}
	return l.widest(bidSide) != nil || l.widest(askSide) != nil
}

// widest is the band that a side is judged by: the widest one whose baseline is known and that has been complete for the whole window;
// nil for none.
func (l *liquidityDrop) widest(side int) *bookBand {
	var found *bookBand
	for i := range l.followed {
		b := &l.followed[i]
		if _, full := b.sides[side].off.value(); full && (found == nil || b.width > found.width) {
			found = b
		}
	}
	return found
}

// learn puts the second into the baselines, after it was judged.
func (l *liquidityDrop) learn(now schemas.Time) {
	if !l.view.known(bidSide) && !l.view.known(askSide) {
		return
	}
	var reference *bookBand
	level := 0.0
	for i := range l.followed {
		b := &l.followed[i]
		if x, ok := b.learn(now, &l.view.bands[i], l.season); ok && (reference == nil || b.width > reference.width) {
			reference, level = b, x
		}
	}
	for i := range l.sides {
		s, v := &l.sides[i], &l.view.sides[i]
		if !l.view.known(i) {
			continue
		}
		if v.near > 0 {
			s.near.AddClipped(bookDecay, logOf(v.near), bookClip, bookFloor)
		}
		if v.slippage > 0 {
			s.slip.AddClipped(bookDecay, logOf(v.slippage), bookClip, bookFloor)
		}
	}
	if l.view.spreadBp > 0 {
		l.spread.learn(now, logOf(l.view.spreadBp))
	}
	if reference != nil {
		if reference.slow.Weight() > 0 {
			l.profile.Add(season.HourOfWeek(int64(now)), season.Hour(int64(now)), min(max(level-reference.slow.Mean(), -2), 2))
		}
		reference.slow.Add(slowBookDecay, level)
	}
	l.seconds++
}

// learn puts a second into the baselines of a band and returns the mean logarithm of the sides that are complete; false for none.
func (b *bookBand) learn(now schemas.Time, v *bandView, season float64) (mean float64, ok bool) {
	sum, n := 0.0, 0.0
	for side := range b.sides {
		if !v.complete[side] || v.quantity[side] <= 0 {
			continue
		}
		x := logOf(v.quantity[side])
		b.sides[side].learn(now, x-season)
		sum, n = sum+x, n+1
	}
	return sum / max(n, 1), n > 0
}

const liquidityDropLayout = 4

func (l *liquidityDrop) AppendState(dst []byte) []byte {
	dst = append(dst, liquidityDropLayout)
	dst = pack.Float(pack.Uint(dst, uint64(l.bands.near)), l.bands.notional)
	dst = l.seen.Append(dst)
	dst = pack.Int(l.view.appendTo(dst), int64(l.heard))
	dst = pack.Uint(dst, l.seconds)
	dst = pack.Float(dst, l.season)
	dst = pack.Int(dst, int64(l.sampled))
	dst = pack.Uint(pack.Uint(dst, uint64(l.late)), uint64(l.unjudged))
	for i := range l.strikes {
		dst = pack.Int(pack.Int(dst, int64(l.strikes[i].since)), int64(l.strikes[i].back))
	}
	for i := range l.followed {
		b := &l.followed[i]
		dst = pack.Uint(dst, uint64(b.width))
		for side := range b.sides {
			dst = b.sides[side].off.appendTo(pack.Int(dst, int64(b.sides[side].fed)))
		}
	}
	dst = l.spread.off.appendTo(pack.Int(dst, int64(l.spread.fed)))
	return appendAll(dst, l.parts()...)
}

// RestoreState keeps everything but what is usual of a narrow band and of a notional that are others now: those start anew.
func (l *liquidityDrop) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != liquidityDropLayout {
		return fmt.Errorf("state layout of liquidity_drop is %d: it must be %d", v, liquidityDropLayout)
	}
	near, notional := uint32(r.Uint()), r.Float()
	l.seen.Restore(r)
	l.view.restore(r)
	l.heard = schemas.Time(r.Int())
	l.seconds = r.Uint()
	l.season = r.Float()
	l.sampled = schemas.Time(r.Int())
	l.late, l.unjudged = uint32(r.Uint()), uint32(r.Uint())
	for i := range l.strikes {
		l.strikes[i] = strike{since: schemas.Time(r.Int()), back: schemas.Time(r.Int())}
	}
	for i := range l.followed {
		b := &l.followed[i]
		b.width = uint32(r.Uint())
		for side := range b.sides {
			b.sides[side].fed = schemas.Time(r.Int())
			b.sides[side].off.restore(r)
		}
	}
	l.spread.fed = schemas.Time(r.Int())
	l.spread.off.restore(r)
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of liquidity_drop: %w", err)
	}
	if _, err := restoreAll(r.Rest(), l.parts()...); err != nil {
		return fmt.Errorf("reading the baselines of liquidity_drop: %w", err)
	}
	for i := range l.sides {
		if near != l.bands.near {
			l.sides[i].near, l.view.sides[i].near = series.EW{}, -1
		}
		if notional != l.bands.notional {
			l.sides[i].slip, l.view.sides[i].slippage = series.EW{}, -1
		}
	}
	return nil
}

func (l *liquidityDrop) parts() []keeper {
	out := []keeper{l.mids, l.path, l.profile, &l.spread.level, &l.calib, &l.episode}
	for i := range l.sides {
		out = append(out, &l.sides[i].near, &l.sides[i].slip)
	}
	for i := range l.followed {
		b := &l.followed[i]
		out = append(out, &b.slow, &b.sides[bidSide].level, &b.sides[askSide].level)
	}
	return out
}
