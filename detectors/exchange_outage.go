package detectors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/internal/season"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	exchangeOutageName    = "exchange_outage"
	exchangeOutageVersion = 3
	// pipelineStall is the type of the events that speak of ourselves: no health of the feeds, or no network. It is never an outage.
	pipelineStall = "pipeline_stall"
)

// An instance is a venue with all its streams, because one symbol's silence says little and that of all of them says much.
func init() {
	layout, err := calibration.NewLayout(0.5, 64)
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[exchangeOutageConfig]{
		Name:    exchangeOutageName,
		Kind:    processor.Watchdog,
		Summary: "A venue that fell silent, says that it is down, or does not answer.",
		Version: exchangeOutageVersion,
		Input:   schemas.VenuesStatus,
		Output:  schemas.Events,
		Step:    time.Second,
		Defaults: exchangeOutageConfig{
			SilenceTimeout: processor.Duration(3 * time.Minute), CheckInterval: processor.Duration(time.Second), Pause: processor.Duration(3 * time.Second),
			HeartbeatPhi: 8, PooledPhi: 12, SymbolPhi: 8, HealthInterval: processor.Duration(time.Second), SlowAnswer: processor.Duration(4 * time.Second),
			CriticalAfter: processor.Duration(5 * time.Minute), QuietFor: processor.Duration(time.Minute), CoolDown: processor.Duration(10 * time.Minute),
		},
		New: func(c exchangeOutageConfig, key processor.Key) processor.Processor {
			return &exchangeOutage{
				cfg: c, key: key, season: season.NewProfile(season.HoursOfWeek), rules: alarm.Rules{Need: 1, Of: 1, ExitBars: 1, CoolDown: int64(c.CoolDown)},
				// Population, version 1: on five pairs of bitfinex, January to June 2019, an hour's pooled phi reaches 1 once in 8 days,
				// 4 in 16 and 12 in 116; a line through two points cannot be all of that, and overstates the rarity at 12 fivefold.
				plan: &calibration.Plan{Layout: layout, Population: calibration.Population{Version: 1, Daily: 0.5, Weekly: 4}, Hours: falseRate, Alarms: falseRate, Reach: 1},
			}
		},
	})
}

// falseRate is how many false outages a day the pooled threshold may raise; pooled_phi is its floor.
const falseRate = 0.02

// exchangeOutageConfig is the configuration of exchange_outage.
type exchangeOutageConfig struct {
	SilenceTimeout processor.Duration `koanf:"silence_timeout" json:"silence_timeout" doc:"With every symbol silent for so long, when that is unusual for the venue, it is out. Whole seconds."`
	CheckInterval  processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often the venue is judged, in event time; whole seconds."`
	Pause          processor.Duration `koanf:"pause" json:"pause" doc:"Pause between two arrivals of a venue's data that is acceptable on top of the usual one."`
	HeartbeatPhi   float64            `koanf:"heartbeat_phi" json:"heartbeat_phi" doc:"-log10 of the probability of the pause in a venue's data from which it is out."`
	PooledPhi      float64            `koanf:"pooled_phi" json:"pooled_phi" doc:"-log10 of the probability of the silence of all symbols together from which a venue of at least four is out, three quarters of it for three and half for two; the venue's own history can only raise it."`
	SymbolPhi      float64            `koanf:"symbol_phi" json:"symbol_phi" doc:"-log10 of the probability of one symbol's silence from which the venue is degraded; half of the symbols at three quarters of it do too."`
	HealthInterval processor.Duration `koanf:"health_interval" json:"health_interval" doc:"Time between two FeedHealth records of a stream. Ten without one are a stall of our own. Whole seconds, at most 1m."`
	SlowAnswer     processor.Duration `koanf:"slow_answer" json:"slow_answer" doc:"Probes that take longer are bad."`
	CriticalAfter  processor.Duration `koanf:"critical_after" json:"critical_after" doc:"How long a silence must last to be critical."`
	QuietFor       processor.Duration `koanf:"quiet_for" json:"quiet_for" doc:"An outage is over when three symbols trade again, or after so long with data."`
	CoolDown       processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an episode, which only a rise of two severities breaks."`
}

// Validate checks the settings.
func (c exchangeOutageConfig) Validate() error {
	for _, d := range []struct {
		name  string
		value processor.Duration
		most  time.Duration
	}{
		{"silence_timeout", c.SilenceTimeout, 24 * time.Hour},
		{"check_interval", c.CheckInterval, time.Hour},
		{"health_interval", c.HealthInterval, time.Minute},
		{"quiet_for", c.QuietFor, time.Hour},
		{"critical_after", c.CriticalAfter, 24 * time.Hour},
	} {
		if d.value.D() < time.Second || d.value.D()%time.Second != 0 || d.value.D() > d.most {
			return fmt.Errorf("exchange_outage.%s is %v: it must be whole seconds, 1s to %v", d.name, d.value.D(), d.most)
		}
	}
	for _, p := range []struct {
		name  string
		value float64
	}{{"heartbeat_phi", c.HeartbeatPhi}, {"pooled_phi", c.PooledPhi}, {"symbol_phi", c.SymbolPhi}} {
		if !(p.value >= 1 && p.value <= 100) {
			return fmt.Errorf("exchange_outage.%s is %v: it must be 1 to 100", p.name, p.value)
		}
	}
	switch {
	case c.Pause < 0:
		return fmt.Errorf("exchange_outage.pause is %v: it must not be negative", c.Pause.D())
	case c.SlowAnswer <= 0:
		return fmt.Errorf("exchange_outage.slow_answer is %v: it must be greater than zero", c.SlowAnswer.D())
	case c.CoolDown < 0:
		return fmt.Errorf("exchange_outage.cool_down is %v: it must not be negative", c.CoolDown.D())
	}
	return nil
}

// exchangeOutage watches one venue.
type exchangeOutage struct {
	cfg   exchangeOutageConfig
	key   processor.Key
	rules alarm.Rules
	plan  *calibration.Plan

	seen dedup.Recent // statuses; health is recognised by its stream and second
	// flows are the symbols, vantages the sources that see the venue, reports what others say of it; each in order of its name.
	flows    []*flow
	vantages []vantage
	reports  []report
	pulse    pulse
	// season is the share of the symbols that trade in a bar by the hour of the week.
	season *season.Profile
	// heard is when data last came from the venue, on any stream.
	heard schemas.Time
	// blind is the last second in which we could not see, stalled since when; 0 when we can.
	blind, stalled schemas.Time
	// bar is the start of the open bar; pooled is phi of the silence of all symbols, as of the last bar, of pool symbols.
	bar    schemas.Time
	pooled float64
	pool   int
	// trading is how many symbols traded in each of the last bars.
	trading [15]uint8
	bars    uint64
	late    uint32
	calib   calibration.Leg
	// silent is when the running outage's silence began, resumed when data came again.
	silent, resumed schemas.Time
	episode         alarm.Episode
	stall           alarm.Episode
	duplicates      uint64 // no state
}

// A vantage is one source: from where the venue is seen.
type vantage struct {
	source string
	// health is the time of its last FeedHealth, before that of the second before; others is when it last said that other
	// connections of its process received data.
	health, before, others schemas.Time
	connected              bool
	reconnects             uint32
	// flaps counts reconnects of late.
	flaps float64
}

var _ processor.Deduplicator = (*exchangeOutage)(nil)

func (x *exchangeOutage) Duplicates() uint64 { return x.duplicates }

// gone is how long a symbol may be silent before it is taken to be no longer traded; forgotten drops it.
const gone = 24 * time.Hour

// asked is the symbol under which a service that is asked tells its health: it is no market, and has nothing new for hours.
const asked = "all"

func (x *exchangeOutage) OnRecord(rec schemas.Record, _ processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.FeedHealth:
		if m.Meta.Symbol != asked {
			x.health(rec, m)
		}
	case *schemas.VenueStatus:
		if x.seen.Seen(m.Meta) {
			x.duplicates++
			return
		}
		x.hear(rec.Time, m)
	case *schemas.Gap:
		x.blind = max(x.blind, rec.Time, schemas.Time(m.To))
		x.pulse.skip(x.blind)
	}
}

// maxStreams bounds the symbols and sources of a venue.
const maxStreams = 4096

func (x *exchangeOutage) health(rec schemas.Record, h *schemas.FeedHealth) {
	f := x.flow(h.Meta.Symbol)
	late := rec.Late || rec.Time < x.bar
	if again := f.known(rec.Time, x.cfg.HealthInterval.D(), late); again || late {
		if again {
			x.duplicates++
		} else {
			x.late++
		}
		return
	}
	if last := x.word(); last != 0 && rec.Time.Sub(last) > x.patience() {
		// Nobody looked in between: that is no pause of the venue's.
		x.blind = max(x.blind, rec.Time)
		x.pulse.skip(rec.Time)
	}
	v := x.vantage(h.Meta.Source)
	if v.connected = h.Connected; rec.Time > v.health {
		v.before, v.health = v.health, rec.Time
	}
	if h.OthersAlive {
		v.others = max(v.others, rec.Time)
	}
	if h.Reconnects > v.reconnects && v.reconnects > 0 {
		v.flaps += float64(h.Reconnects - v.reconnects)
	}
	v.reconnects = h.Reconnects
	if h.Channel == "trades" {
		f.trades = true
	}
	if h.Records > 0 {
		x.pulse.beat(rec.Time)
		x.heard = max(x.heard, rec.Time)
	}
	if f.trades && h.Channel != "trades" {
		return
	}
	f.report(rec.Time, x.cfg.HealthInterval.D())
	if h.Records > 0 {
		f.last, f.traded = max(f.last, rec.Time), true
		f.phi, f.joint = 0, 0
		x.pooled, x.pool = 0, 0
	}
}

func (x *exchangeOutage) flow(symbol string) *flow {
	i, found := slices.BinarySearchFunc(x.flows, symbol, func(f *flow, s string) int { return strings.Compare(f.symbol, s) })
	if found {
		return x.flows[i]
	}
	f := newFlow(symbol)
	if len(x.flows) < maxStreams {
		x.flows = slices.Insert(x.flows, i, f)
	}
	return f
}

func (x *exchangeOutage) vantage(source string) *vantage {
	i, found := slices.BinarySearchFunc(x.vantages, source, func(v vantage, s string) int { return strings.Compare(v.source, s) })
	if !found {
		x.vantages = slices.Insert(x.vantages, i, vantage{source: strings.Clone(source)})
	}
	return &x.vantages[i]
}

// sight is how well we see the venue.
type sight uint8

const (
	inSight sight = iota
	alone         // no other connection was ever alive here: they or we, nobody can say
	noLine        // our other connections fell silent with it: it is we
	noWord        // no FeedHealth: our own pipeline stalls
	unknown       // no feed at all
)

// patience is how long we wait for FeedHealth before it is a stall, and how long our line must be dead to be called so.
func (x *exchangeOutage) patience() time.Duration { return 10 * x.cfg.HealthInterval.D() }

// word is when a source last reported at all.
func (x *exchangeOutage) word() schemas.Time {
	last := schemas.Time(0)
	for i := range x.vantages {
		last = max(last, x.vantages[i].health)
	}
	return last
}

// look says how well we see the venue now.
func (x *exchangeOutage) look(now schemas.Time) sight {
	if len(x.vantages) == 0 {
		return unknown
	}
	see, hadOthers, word := false, false, false
	for i := range x.vantages {
		v := &x.vantages[i]
		last := v.health
		if last > now { // time catches up with a record that came after a pause
			last = v.before
		}
		word = word || now.Sub(last) <= x.patience()
		see = see || v.others > x.heard
		hadOthers = hadOthers || v.others != 0 && v.others >= x.heard.Add(-time.Hour)
	}
	switch {
	case !word:
		return noWord
	case see || x.heard >= now.Add(-x.cfg.HealthInterval.D()):
		return inSight
	case hadOthers:
		return noLine
	}
	return alone
}

func (x *exchangeOutage) OnTime(now schemas.Time, emit processor.Emit) {
	see := x.look(now)
	x.watchOurselves(now, see, emit)
	if x.bar < now.Add(-time.Hour) {
		x.bar = now.Floor(flowBar)
	}
	for x.bar.Add(flowBar) <= now {
		x.closeBar()
	}
	for i := range x.vantages {
		x.vantages[i].flaps = float64(x.vantages[i].flaps * flapDecay)
	}
	x.expire(now)
	if now%schemas.Time(x.cfg.CheckInterval) == 0 && see != noWord && see != noLine {
		x.judge(now, see, emit)
	}
}

// flapDecay fades the reconnects by a second: half-life five minutes.
const flapDecay = 0.9976921765305523

// closeBar ends a bar for every symbol.
func (x *exchangeOutage) closeBar() {
	start, end := x.bar, x.bar.Add(flowBar)
	x.bar = end
	blind := x.blind > start || x.stalled != 0
	enough := uint32(max(flowBar/x.cfg.HealthInterval.D()/2, 1))
	trading, lively := 0, 0
	hour, share, seen := x.hour(start), 0.0, 0.0
	for _, f := range x.flows {
		if f.traded {
			trading++
		}
	}
	x.pooled, x.pool = 0, 0
	for _, f := range x.flows {
		unseen := blind || f.reports < enough
		silent := !f.traded && !unseen
		before, traded := f.phi, f.traded
		if f.close(hour, unseen) {
			seen++
			if traded {
				share++
			}
		}
		switch {
		case trading > 0:
			f.joint = 0
		case silent:
			f.joint += f.phi - before
		}
		if f.learned() && f.phi-f.joint <= frozenFrom && end.Sub(f.last) < gone {
			lively++
			if f.joint > 0 {
				x.pooled += f.joint
				x.pool++
			}
		}
	}
	if x.pool < lively {
		x.pooled, x.pool = 0, 0 // not all of them are silent
	}
	if seen > 0 {
		x.season.Add(season.HourOfWeek(int64(start)), season.Hour(int64(start)), share/seen)
	}
	copy(x.trading[:], x.trading[1:])
	x.trading[len(x.trading)-1] = uint8(min(trading, 255))
	x.flows = slices.DeleteFunc(x.flows, func(f *flow) bool { return end.Sub(max(f.last, f.reported)) > forgotten })
	x.bars++
	switch {
	case blind || x.episode.Phase() == alarm.Active:
		x.calib.Interrupt()
	case lively > 0:
		x.calib.Observe(x.plan, int64(start), x.pooled)
	}
}

// hour is how far the hour of the week moves the probability of a trade, in logits.
func (x *exchangeOutage) hour(at schemas.Time) float64 {
	center := x.season.Center()
	return logit(center+x.season.Offset(season.HourOfWeek(int64(at)))) - logit(center)
}

// watchOurselves follows stalls of our own: they leave no trace in the models, and are told as what they are.
func (x *exchangeOutage) watchOurselves(now schemas.Time, see sight, emit processor.Emit) {
	switch dead := see == noWord || see == noLine && now.Sub(x.heard) > x.patience(); {
	case dead:
		x.blind = now
		if x.stalled == 0 {
			x.stalled = now
		}
	case see != noLine && x.stalled != 0:
		if x.silent != 0 && x.resumed == 0 { // what nobody saw does not count
			x.silent = x.silent.Add(now.Sub(x.stalled))
		}
		x.pulse.skip(now)
		x.blind, x.stalled = now, 0
	}
	s := alarm.Signal{At: int64(now), Enter: x.stalled != 0, Hard: x.stalled != 0, Severity: alarm.Low}
	if t := x.stall.Step(alarm.Rules{Need: 1, Of: 1, ExitBars: 1}, s); t == alarm.Open || t == alarm.Resolve {
		x.reportStall(now, see, t.Status(), emit)
	}
}

const exchangeOutageLayout = 3

func (x *exchangeOutage) AppendState(dst []byte) []byte {
	dst = append(dst, exchangeOutageLayout)
	dst = x.seen.Append(dst)
	dst = pack.Uint(dst, uint64(len(x.vantages)))
	for i := range x.vantages {
		dst = x.vantages[i].appendTo(dst)
	}
	dst = pack.Uint(dst, uint64(len(x.reports)))
	for i := range x.reports {
		dst = x.reports[i].appendTo(dst)
	}
	dst = x.pulse.appendTo(dst)
	for _, at := range [...]schemas.Time{x.heard, x.blind, x.stalled, x.bar, x.silent, x.resumed} {
		dst = pack.Int(dst, int64(at))
	}
	dst = pack.Float(pack.Uint(pack.Uint(dst, uint64(x.pool)), x.bars), x.pooled)
	dst = pack.Uint(dst, uint64(x.late))
	dst = append(dst, x.trading[:]...)
	dst = pack.Uint(dst, uint64(len(x.flows)))
	for _, f := range x.flows {
		dst = f.appendTo(dst)
	}
	return appendAll(dst, x.season, &x.calib, &x.episode, &x.stall)
}

func (x *exchangeOutage) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != exchangeOutageLayout {
		return fmt.Errorf("state layout of exchange_outage is %d: it must be %d", v, exchangeOutageLayout)
	}
	x.seen.Restore(r)
	x.vantages, x.reports, x.flows = nil, nil, nil
	for range r.Count(maxStreams) {
		var v vantage
		v.restore(r)
		x.vantages = append(x.vantages, v)
	}
	for range r.Count(maxReports) {
		var v report
		v.restore(r)
		x.reports = append(x.reports, v)
	}
	x.pulse.restore(r)
	for _, at := range [...]*schemas.Time{&x.heard, &x.blind, &x.stalled, &x.bar, &x.silent, &x.resumed} {
		*at = schemas.Time(r.Int())
	}
	x.pool, x.bars, x.pooled = int(r.Uint()), r.Uint(), r.Float()
	x.late = uint32(r.Uint())
	for i := range x.trading {
		x.trading[i] = r.Byte()
	}
	for range r.Count(maxStreams) {
		f := newFlow("")
		f.restore(r)
		x.flows = append(x.flows, f)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of exchange_outage: %w", err)
	}
	if _, err := restoreAll(r.Rest(), x.season, &x.calib, &x.episode, &x.stall); err != nil {
		return fmt.Errorf("reading the season and the episodes of exchange_outage: %w", err)
	}
	return nil
}

func (v *vantage) appendTo(dst []byte) []byte {
	dst = pack.Bool(pack.String(dst, v.source), v.connected)
	for _, at := range [...]schemas.Time{v.health, v.before, v.others} {
		dst = pack.Int(dst, int64(at))
	}
	return pack.Float(pack.Uint(dst, uint64(v.reconnects)), v.flaps)
}

func (v *vantage) restore(r *pack.Reader) {
	v.source, v.connected = strings.Clone(r.String()), r.Bool()
	for _, at := range [...]*schemas.Time{&v.health, &v.before, &v.others} {
		*at = schemas.Time(r.Int())
	}
	v.reconnects, v.flaps = uint32(r.Uint()), r.Float()
}
