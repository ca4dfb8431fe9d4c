package detectors

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Names of the legs in evidence.
const (
	legDetectors = "detectors" // alarms of several kinds
	legKeys      = "keys"      // alarms of several keys
	legAssets    = "assets"    // alarms of several assets
)

// A breadth is how far the alarms of some members reach. Lists are sorted.
type breadth struct {
	detectors, keys, assets []string
	members                 int
	worst                   alarm.Severity
}

func (in *incidents) breadth(count func(*participant) bool) breadth {
	var b breadth
	for i := range in.members {
		m := &in.members[i]
		if !count(m) {
			continue
		}
		b.members++
		b.worst = max(b.worst, m.severity)
		b.detectors, b.keys = append(b.detectors, m.detector), append(b.keys, m.key)
		b.assets = append(b.assets, m.assets...)
	}
	for _, list := range []*[]string{&b.detectors, &b.keys, &b.assets} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return b
}

// enough reports whether that makes an incident.
func (b *breadth) enough(c incidentsConfig, market bool) bool {
	if market {
		return len(b.assets) >= c.MarketAssets
	}
	return len(b.detectors) >= c.AssetDetectors || len(b.keys) >= c.AssetKeys
}

// severity is that of the gravest member, and one more when the alarms reach twice as far as they must.
func (b *breadth) severity(c incidentsConfig, market bool) alarm.Severity {
	wide := len(b.detectors) >= 2*c.AssetDetectors || len(b.keys) >= 2*c.AssetKeys
	if market {
		wide = len(b.assets) >= 2*c.MarketAssets
	}
	if wide {
		return min(b.worst+1, alarm.Critical)
	}
	return b.worst
}

// listed bounds the members that evidence names.
const listed = 20

// tell publishes an event of the incident.
func (in *incidents) tell(status string, b breadth, emit processor.Emit) {
	market := in.market()
	in.told, in.toldAt = max(in.told, b.severity(in.cfg, market)), in.now
	ev := &schemas.Evidence{ThresholdOrigin: originKnob, SampleSize: uint64(b.members), WindowStart: int64(in.onset), WindowEnd: int64(in.now)}
	var list measures
	list.add("detectors", float64(len(b.detectors)), "")
	list.add("keys", float64(len(b.keys)), "")
	typ, assets := assetIncident, []string{in.asset()}
	if market {
		typ, assets = marketIncident, b.assets[:min(len(b.assets), listed)]
		ev.Value, ev.Threshold = new(float64(len(b.assets))), new(float64(in.cfg.MarketAssets))
		list.add("assets", float64(len(b.assets)), "")
		if len(b.assets) >= in.cfg.MarketAssets {
			ev.Legs = append(ev.Legs, legAssets)
		}
	} else {
		ev.Value, ev.Threshold = new(float64(len(b.keys))), new(float64(in.cfg.AssetKeys))
		if len(b.detectors) >= in.cfg.AssetDetectors {
			ev.Legs = append(ev.Legs, legDetectors)
		}
		if len(b.keys) >= in.cfg.AssetKeys {
			ev.Legs = append(ev.Legs, legKeys)
		}
	}
	open := 0
	for i := range in.members {
		m := &in.members[i]
		if !m.counted {
			continue
		}
		if m.open {
			open++
		}
		if len(ev.Notes) < listed {
			ev.Notes = append(ev.Notes, "event:"+m.first)
		}
	}
	list.add("open", float64(open), "")
	ev.Measures = list
	emit(&schemas.Event{
		Type: typ, Severity: max(in.told, alarm.Low).String(), Status: status, Assets: assets, EventTime: int64(in.now), Evidence: ev,
		Description: in.sentence(b, status), DedupKey: schemas.DedupKey(incidentsName, incidentsVersion, in.key.String(), in.onset),
	})
}

func (in *incidents) sentence(b breadth, status string) string {
	what := in.asset()
	if in.market() {
		what = "the market"
	}
	switch {
	case status == schemas.Resolved && in.market():
		return fmt.Sprintf("Alarms are on about fewer than half of the %d assets that make an incident of the market.", in.cfg.MarketAssets)
	case status == schemas.Resolved:
		return fmt.Sprintf("No alarm about %s is on any more.", what)
	}
	since := "since"
	if status == schemas.Update {
		since = "of late, in the incident since" // those that ended before are forgotten
	}
	text := fmt.Sprintf("%d alarms about %s %s %v, by %s", b.members, what, since, in.onset, strings.Join(b.detectors, ", "))
	if in.market() {
		text += fmt.Sprintf(", on %d assets: %s", len(b.assets), strings.Join(b.assets[:min(len(b.assets), listed)], ", "))
	}
	return text + "."
}
