package detectors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	incidentsName    = "incidents"
	incidentsVersion = 1
	assetIncident    = "asset_incident"
	marketIncident   = "market_incident"
)

// An instance is a scope: an asset, or the whole market. Its members are the episodes of other detectors that concern it. No Ticks reach
// events, so its time is the latest event time that it has seen; it judges at records only.
func init() {
	processor.Register(processor.Spec[incidentsConfig]{
		Name:    incidentsName,
		Kind:    processor.Watchdog,
		Summary: "Alarms of several kinds or keys about one asset, or of several assets, as one.",
		Version: incidentsVersion,
		Input:   schemas.EventsScopes,
		Output:  schemas.Events,
		Step:    time.Second,
		Defaults: incidentsConfig{
			Window: processor.Duration(10 * time.Minute), AssetDetectors: 2, AssetKeys: 3, MarketAssets: 5,
			UpdateInterval: processor.Duration(time.Minute), Forget: processor.Duration(2 * time.Hour), CoolDown: processor.Duration(10 * time.Minute),
		},
		New: func(c incidentsConfig, key processor.Key) processor.Processor { return &incidents{cfg: c, key: key} },
	})
}

// incidentsConfig is the configuration of incidents.
type incidentsConfig struct {
	Window         processor.Duration `koanf:"window" json:"window" doc:"Alarms that begin within it count together."`
	AssetDetectors int                `koanf:"asset_detectors" json:"asset_detectors" doc:"Detectors that must raise alarms about one asset."`
	AssetKeys      int                `koanf:"asset_keys" json:"asset_keys" doc:"Or keys of one asset, such as its markets, that must."`
	MarketAssets   int                `koanf:"market_assets" json:"market_assets" doc:"Assets that must have alarms for one of the whole market."`
	UpdateInterval processor.Duration `koanf:"update_interval" json:"update_interval" doc:"Least time between updates that tell of new members only; a graver one is told at once."`
	Forget         processor.Duration `koanf:"forget" json:"forget" doc:"An episode that says nothing for so long is taken for over."`
	CoolDown       processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after an incident."`
}

// Validate checks the settings.
func (c incidentsConfig) Validate() error {
	for _, n := range []struct {
		name  string
		value int
	}{{"asset_detectors", c.AssetDetectors}, {"asset_keys", c.AssetKeys}, {"market_assets", c.MarketAssets}} {
		if n.value < 2 || n.value > maxParticipants {
			return fmt.Errorf("incidents.%s is %d: it must be 2 to %d", n.name, n.value, maxParticipants)
		}
	}
	switch {
	case c.Window.D() < time.Second || c.Window.D() > 24*time.Hour:
		return fmt.Errorf("incidents.window is %v: it must be 1s to 24h", c.Window.D())
	case c.Forget < c.Window || c.Forget.D() > 30*24*time.Hour:
		return fmt.Errorf("incidents.forget is %v: it must be incidents.window (%v) to 720h", c.Forget.D(), c.Window.D())
	case c.UpdateInterval < 0:
		return fmt.Errorf("incidents.update_interval is %v: it must not be negative", c.UpdateInterval.D())
	case c.CoolDown < 0:
		return fmt.Errorf("incidents.cool_down is %v: it must not be negative", c.CoolDown.D())
	}
	return nil
}

// maxParticipants bounds the episodes that a scope remembers; the one that has been silent longest gives way.
const maxParticipants = 512

// maxAssets bounds the assets that are counted of one episode.
const maxAssets = 8

// A participant is an episode of another detector.
type participant struct {
	episode, first string // dedup key, and the id of the event that made it a member
	detector, key  string
	assets         []string
	severity       alarm.Severity
	begun, last    schemas.Time
	open           bool
	// counted says that it is part of the incident.
	counted bool
}

// incidents watches one scope.
type incidents struct {
	cfg incidentsConfig
	key processor.Key

	// members in the order of episode.
	members []participant
	seen    dedup.Recent
	now     schemas.Time
	// onset is when the incident began, 0 without one; told what was last said, and when.
	onset  schemas.Time
	told   alarm.Severity
	toldAt schemas.Time
	ended  schemas.Time
}

var _ processor.Deduplicator = (*incidents)(nil)

func (in *incidents) Duplicates() uint64 { return in.seen.Duplicates() }

func (in *incidents) OnRecord(rec schemas.Record, emit processor.Emit) {
	e, ok := rec.Message.(*schemas.Event)
	if !ok || e.Id != "" && in.seen.SeenHash(dedup.Hash(e.Id)) {
		return
	}
	in.now = max(in.now, rec.Time)
	in.members = slices.DeleteFunc(in.members, func(m participant) bool { return in.over(m) })
	if in.onset != 0 && !in.goesOn() {
		in.end(emit) // all have been silent for too long
	}
	joined, changed := in.take(e, rec.Time)
	switch {
	case in.onset != 0 && changed:
		in.follow(joined, emit)
	case in.onset == 0 && joined:
		in.open(emit)
	}
}

// over reports whether a member may be forgotten: it has ended and no window reaches it, or it has been silent for too long.
func (in *incidents) over(m participant) bool {
	if m.open {
		return m.last < in.now.Add(-in.cfg.Forget.D())
	}
	return max(m.begun, m.last) < in.now.Add(-in.cfg.Window.D())
}

// take notes what an event says of its episode. It reports whether the episode is new here, and whether anything is.
func (in *incidents) take(e *schemas.Event, at schemas.Time) (joined, changed bool) {
	i, found := slices.BinarySearchFunc(in.members, e.DedupKey, func(m participant, episode string) int { return strings.Compare(m.episode, episode) })
	switch {
	case found:
		m := &in.members[i]
		if at < m.last {
			return false, false
		}
		was := *m
		m.last, m.open = at, e.Status != schemas.Resolved
		m.severity = max(m.severity, severityOf(e.Severity))
		return false, m.open != was.open || m.severity != was.severity
	case e.Status == schemas.Resolved:
		return false, false // of an episode that never counted
	case len(in.members) == maxParticipants:
		oldest := 0
		for j := range in.members {
			if in.members[j].last < in.members[oldest].last {
				oldest = j
			}
		}
		in.members = slices.Delete(in.members, oldest, oldest+1)
		if oldest < i {
			i--
		}
	}
	assets := slices.Clone(e.Assets[:min(len(e.Assets), maxAssets)])
	for j := range assets {
		assets[j] = strings.Clone(assets[j])
	}
	in.members = slices.Insert(in.members, i, participant{
		episode: strings.Clone(e.DedupKey), first: strings.Clone(e.Id), detector: strings.Clone(e.Detector), key: strings.Clone(e.Key),
		assets: assets, severity: severityOf(e.Severity), begun: at, last: at, open: true,
	})
	return true, true
}

func severityOf(s string) alarm.Severity { return alarm.Severity(schemas.SeverityRank(s)) }

// open begins an incident when enough episodes began within the window.
func (in *incidents) open(emit processor.Emit) {
	if in.ended != 0 && in.now < in.ended.Add(in.cfg.CoolDown.D()) {
		return
	}
	since := in.now.Add(-in.cfg.Window.D())
	recent := func(m *participant) bool { return m.begun > since }
	b := in.breadth(recent)
	if !b.enough(in.cfg, in.market()) {
		return
	}
	in.onset = in.now
	for i := range in.members {
		m := &in.members[i]
		if recent(m) {
			m.counted = true
			in.onset = min(in.onset, m.begun)
		}
	}
	in.tell(schemas.Open, b, emit)
}

// follow updates or ends the incident.
func (in *incidents) follow(joined bool, emit processor.Emit) {
	if joined {
		for i := range in.members {
			m := &in.members[i]
			m.counted = m.counted || m.open && m.begun >= in.onset
		}
	}
	if !in.goesOn() {
		in.end(emit)
		return
	}
	b := in.breadth(counted)
	if b.severity(in.cfg, in.market()) > in.told || joined && in.now >= in.toldAt.Add(in.cfg.UpdateInterval.D()) {
		in.tell(schemas.Update, b, emit)
	}
}

// end ends the incident.
func (in *incidents) end(emit processor.Emit) {
	in.tell(schemas.Resolved, in.breadth(counted), emit)
	in.onset, in.told, in.ended = 0, alarm.None, in.now
	for i := range in.members {
		in.members[i].counted = false
	}
}

func counted(m *participant) bool { return m.counted }

// goesOn reports whether an episode of the incident is on; one of the market needs half of the assets that make it one, or the last
// episode of many would keep it open.
func (in *incidents) goesOn() bool {
	on := in.breadth(func(m *participant) bool { return m.counted && m.open })
	if in.market() {
		return 2*len(on.assets) >= in.cfg.MarketAssets
	}
	return on.members > 0
}

func (in *incidents) market() bool { return in.key.String() == schemas.ScopeMarket }

// asset is what an incident of one asset is about.
func (in *incidents) asset() string { return strings.TrimPrefix(in.key.String(), schemas.ScopeAsset) }

func (*incidents) OnTime(schemas.Time, processor.Emit) {}

const incidentsLayout = 1

func (in *incidents) AppendState(dst []byte) []byte {
	dst = in.seen.Append(append(dst, incidentsLayout))
	for _, t := range []schemas.Time{in.now, in.onset, in.toldAt, in.ended} {
		dst = pack.Int(dst, int64(t))
	}
	dst = pack.Uint(append(dst, byte(in.told)), uint64(len(in.members)))
	for i := range in.members {
		m := &in.members[i]
		for _, s := range []string{m.episode, m.first, m.detector, m.key} {
			dst = pack.String(dst, s)
		}
		dst = pack.Uint(dst, uint64(len(m.assets)))
		for _, a := range m.assets {
			dst = pack.String(dst, a)
		}
		dst = append(dst, byte(m.severity))
		dst = pack.Int(pack.Int(dst, int64(m.begun)), int64(m.last))
		dst = pack.Bool(pack.Bool(dst, m.open), m.counted)
	}
	return dst
}

func (in *incidents) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != incidentsLayout {
		return fmt.Errorf("state layout of incidents is %d: it must be %d", v, incidentsLayout)
	}
	in.seen.Restore(r)
	for _, t := range []*schemas.Time{&in.now, &in.onset, &in.toldAt, &in.ended} {
		*t = schemas.Time(r.Int())
	}
	in.told = min(alarm.Severity(r.Byte()), alarm.Critical)
	in.members = nil
	for range r.Count(maxParticipants) {
		m := participant{episode: r.String(), first: r.String(), detector: r.String(), key: r.String()}
		for range r.Count(maxAssets) {
			m.assets = append(m.assets, r.String())
		}
		m.severity = min(alarm.Severity(r.Byte()), alarm.Critical)
		m.begun, m.last = schemas.Time(r.Int()), schemas.Time(r.Int())
		m.open, m.counted = r.Bool(), r.Bool()
		in.members = append(in.members, m)
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of incidents: %w", err)
	}
	if !slices.IsSortedFunc(in.members, func(a, b participant) int { return strings.Compare(a.episode, b.episode) }) {
		return fmt.Errorf("reading the state of incidents: members are out of order: %w", pack.ErrShort)
	}
	return nil
}
