package detectors

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

func init() {
	generators["incidents"] = alarms
	samples[schemas.EventsScopes.Name] = struct {
		fresh func() func(seq uint64, at schemas.Time) schemas.Message
		every time.Duration
	}{func() func(uint64, schemas.Time) schemas.Message {
		e := alarmOf("asset:BTC", "v:BTC-USD", "price_anomaly", "p", schemas.Medium, schemas.Update, t0)
		return func(_ uint64, at schemas.Time) schemas.Message {
			e.Id, e.EventTime = "", int64(at)
			return e
		}
	}, time.Second}
	others["incidents"] = map[string]string{
		"window": `"1m"`, "asset_detectors": `4`, "asset_keys": `2`, "market_assets": `3`, "update_interval": `"0s"`, "forget": `"11m"`, "cool_down": `"0s"`,
	}
	broken["incidents"] = map[string]string{
		"window": `"0s"`, "asset_detectors": `1`, "asset_keys": `513`, "market_assets": `0`, "update_interval": `"-1s"`, "forget": `"9m"`, "cool_down": `"-1s"`,
	}
}

func alarmOf(scope, key, detector, episode, severity, status string, at schemas.Time) *schemas.Event {
	e := &schemas.Event{
		Detector: detector, DetectorVersion: 1, Type: detector, Severity: severity, Status: status, DedupKey: episode, Key: key, EventTime: int64(at),
		Source: "test", Scope: scope, Evidence: &schemas.Evidence{},
	}
	if _, symbol, ok := strings.Cut(key, ":"); ok {
		e.Assets = assetsOf(symbol)[:1]
	}
	e.Id = schemas.EventID(e, uint32(schemas.SeverityRank(severity)))
	return e
}

// alarms makes a seeded tape of episodes of four detectors on three assets at three venues, each under its asset and the market, in
// an order that partitions might give; some never end, some come twice. A quarter of the hours is enough, as alarms need no warm-up.
func alarms(r *rand.Rand, hours int) []schemas.Message {
	detectors := [...]string{"price_anomaly", "unusual_volume", "liquidity_drop", "funding_rate"}
	severities := [...]string{schemas.Medium, schemas.High, schemas.Critical}
	var out []schemas.Message
	type episode struct {
		key, detector, id, severity string
		ends                        schemas.Time
	}
	var open []episode
	say := func(e episode, status string, at schemas.Time) {
		asset, _, _ := strings.Cut(strings.SplitN(e.key, ":", 2)[1], "-")
		for _, scope := range []string{"asset:" + asset, "market:all"} {
			m := alarmOf(scope, e.key, e.detector, e.id, e.severity, status, at)
			out = append(out, m)
			if r.IntN(40) == 0 {
				out = append(out, m)
			}
		}
	}
	busy := false
	for at, n := t0, 0; at < t0.Add(time.Duration(hours)*time.Hour/4); at = at.Add(time.Duration(5+r.IntN(40)) * time.Second) {
		if r.IntN(60) == 0 {
			busy = !busy
		}
		when := at.Add(-time.Duration(r.IntN(60)) * time.Second)
		switch chance := 60; {
		case busy && r.IntN(4) == 0, r.IntN(chance) == 0:
			n++
			e := episode{
				key:      fmt.Sprintf("%c:%c-USD", 'v'+rune(r.IntN(3)), 'A'+rune(r.IntN(6))),
				detector: detectors[r.IntN(len(detectors))], id: fmt.Sprintf("e%d", n), severity: severities[r.IntN(2)],
				ends: at.Add(time.Duration(r.IntN(1500)) * time.Second),
			}
			if r.IntN(12) == 0 {
				e.ends = at.Add(1e6 * time.Hour)
			}
			open = append(open, e)
			say(e, schemas.Open, when)
		case len(open) > 0:
			i := r.IntN(len(open))
			e := &open[i]
			if at < e.ends {
				if e.ends.Sub(at) < 1000*time.Hour {
					e.severity = severities[min(r.IntN(8), 2)]
					say(*e, schemas.Update, at)
				}
				continue
			}
			say(*e, schemas.Resolved, at)
			open = append(open[:i], open[i+1:]...)
		}
	}
	return out
}

// However many episodes come, a scope remembers a bounded number, those that spoke last.
func TestIncidentsAreBounded(t *testing.T) {
	in := &incidents{cfg: incidentsConfig{MarketAssets: 2 * maxParticipants}}
	for n := range 3 * maxParticipants {
		e := alarmOf("market:all", fmt.Sprintf("v:%d-USD", n), "price_anomaly", fmt.Sprintf("%06d", (n*7919)%100003), schemas.Medium, schemas.Open, t0.Add(time.Duration(n)*time.Millisecond))
		in.take(e, schemas.Time(e.EventTime))
	}
	if len(in.members) != maxParticipants {
		t.Fatalf("%d episodes are remembered: it must be %d", len(in.members), maxParticipants)
	}
	for _, m := range in.members {
		if m.last < t0.Add(2*maxParticipants*time.Millisecond) {
			t.Errorf("%s, silent since %v, is remembered", m.episode, m.last)
		}
	}
}
