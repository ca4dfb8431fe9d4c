package detectors

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// others holds for every setting of every watchdog a value that must show in its events. A setting that is parsed and never used
// fails here, and so does one that is missing.
var others = map[string]map[string]string{
	"price_anomaly": {
		"threshold_pct": `3`, "window": `"10m"`, "check_interval": `"1m"`, "strict": `true`, "budget_days": `0.2`, "adaptive_rate": `0`,
		"cool_down": `"0s"`, "quiet_for": `"3m"`, "crash_window": `"2m"`,
	},
	"unusual_volume": {
		"multiplier": `2`, "window": `"5m"`, "long_window": `"30m"`, "check_interval": `"7m"`, "strict": `true`, "budget_days": `0.2`, "adaptive_rate": `0`,
		"cool_down": `"0s"`, "quiet_for": `"60m"`, "market_weight": `0`, "min_peers": `9`,
	},
	"liquidity_drop": {
		"threshold_pct": `30`, "band_pct": `0.5`, "near_pct": `0.3`, "persist": `"20s"`, "check_interval": `"30s"`, "recovery": `"10s"`, "notional": `500`, "strict": `true`,
		"budget_days": `0.2`, "adaptive_rate": `0`, "cool_down": `"0s"`, "quiet_for": `"5m"`,
	},
	"correlation_breakdown": {
		"threshold": `0.3`, "pairs": `["S0-*/S1-*"]`, "bar": `"3m"`, "window": `"120m"`, "check_interval": `"10m"`, "min_bars": `76`, "max_zero_share": `0.01`, "max_members": `3`,
		"min_members": `6`, "strict": `true`, "budget_days": `0.2`, "adaptive_rate": `0`, "cool_down": `"6h"`, "quiet_for": `"2h"`,
	},
	"exchange_outage": {
		"silence_timeout": `"30s"`, "check_interval": `"1m"`, "pause": `"1m"`, "heartbeat_phi": `90`, "pooled_phi": `4`, "symbol_phi": `3`, "health_interval": `"30s"`,
		"slow_answer": `"9s"`, "critical_after": `"1m"`, "quiet_for": `"5s"`, "cool_down": `"2h"`,
	},
}

func TestEverySettingShows(t *testing.T) {
	testservices.Study(t)
	for _, def := range processor.All() {
		if def.Kind != processor.Watchdog {
			continue
		}
		bound, err := def.Bind(nil)
		if err != nil {
			t.Fatal(err)
		}
		plain := eventsOf(t, def, string(bound.ConfigJSON))
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal(bound.ConfigJSON, &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			value, ok := others[def.Name][name]
			if !ok {
				t.Errorf("%s.%s: give another value to try in this test", def.Name, name)
				continue
			}
			if eventsOf(t, def, `{"`+name+`":`+value+`}`) == plain {
				t.Errorf("%s.%s = %s changes nothing", def.Name, name, value)
			}
		}
	}
}

// eventsOf runs a seeded input and returns the events without the hash of the configuration, which differs by itself.
func eventsOf(t *testing.T, def *processor.Definition, config string) string {
	t.Helper()
	bound, err := def.BindJSON([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := feed.Inputs(def.Input, generators[def.Name](rand.New(rand.NewPCG(11, 1)), 150))
	if err != nil {
		t.Fatal(err)
	}
	sink := &feed.Recorder{}
	task := processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
	for _, in := range inputs {
		task.Process(in)
	}
	return strings.ReplaceAll(strings.Join(sink.Lines, "\n"), bound.ConfigHash, "")
}

// broken holds settings of every watchdog that must be refused.
var broken = map[string]map[string]string{
	"price_anomaly": {
		"threshold_pct": `0`, "window": `"90s"`, "check_interval": `"100ms"`, "budget_days": `0`, "adaptive_rate": `0.9`, "cool_down": `"-1s"`, "quiet_for": `"0s"`,
		"crash_window": `"-1s"`,
	},
	"unusual_volume": {
		"multiplier": `1`, "window": `"61m"`, "long_window": `"0s"`, "check_interval": `"30s"`, "budget_days": `1000`, "adaptive_rate": `-1`, "cool_down": `"-1s"`,
		"quiet_for": `"30s"`, "market_weight": `2`, "min_peers": `0`,
	},
	"liquidity_drop": {
		"threshold_pct": `100`, "band_pct": `0`, "near_pct": `2`, "persist": `"61s"`, "check_interval": `"500ms"`, "recovery": `"0s"`, "notional": `0`, "budget_days": `0`,
		"adaptive_rate": `1`, "cool_down": `"-1s"`, "quiet_for": `"0s"`,
	},
	"correlation_breakdown": {
		"threshold": `0`, "pairs": `[]`, "bar": `"90s"`, "window": `"59m"`, "check_interval": `"30s"`, "min_bars": `1`, "max_zero_share": `2`, "max_members": `1`,
		"min_members": `2`, "budget_days": `0`, "adaptive_rate": `1`, "cool_down": `"-1s"`, "quiet_for": `"0s"`,
	},
	"exchange_outage": {
		"silence_timeout": `"0s"`, "check_interval": `"100ms"`, "pause": `"-1s"`, "heartbeat_phi": `0`, "pooled_phi": `0`, "symbol_phi": `101`, "health_interval": `"2m"`,
		"slow_answer": `"0s"`, "critical_after": `"0s"`, "quiet_for": `"0s"`, "cool_down": `"-1s"`,
	},
}

// Broken settings are named, with their value and what it must be.
func TestBrokenSettings(t *testing.T) {
	for name, fields := range broken {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		for field, value := range fields {
			if _, err := def.BindJSON([]byte(`{"` + field + `":` + value + `}`)); err == nil || !strings.Contains(err.Error(), name+"."+field+" ") || !strings.Contains(err.Error(), "must") {
				t.Errorf("%s.%s = %s: error %v: it must name field, value and rule", name, field, value, err)
			}
		}
	}
}

// A snapshot that is broken in any way is an error or another state, never a panic; what was restored can go on.
func FuzzRestoreState(f *testing.F) {
	for _, def := range processor.All() {
		if def.Kind != processor.Watchdog {
			continue
		}
		p, next := driven(f, def)
		f.Add(def.Name, p.AppendState(nil))
		for range 20000 {
			next()
		}
		f.Add(def.Name, p.AppendState(nil))
	}
	f.Fuzz(func(t *testing.T, name string, state []byte) {
		def, err := processor.Lookup(name)
		if err != nil || def.Kind != processor.Watchdog {
			return
		}
		p, next := driven(t, def)
		if p.RestoreState(state) != nil {
			return
		}
		again, _ := driven(t, def)
		if err := again.RestoreState(p.AppendState(nil)); err != nil {
			t.Fatalf("what was restored cannot be restored again: %v", err)
		}
		for range 200 {
			next()
		}
	})
}

// A change of any setting, in the midst of an episode too, leaves no episode without its end.
func TestAChangeOfSettingsEndsEveryEpisode(t *testing.T) {
	testservices.Study(t)
	const hours, stay = 150, 3
	for _, def := range processor.All() {
		if def.Kind != processor.Watchdog {
			continue
		}
		t.Run(def.Name, func(t *testing.T) {
			t.Parallel()
			inputs, err := feed.Inputs(def.Input, generators[def.Name](rand.New(rand.NewPCG(11, 1)), hours))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := def.Bind(nil)
			if err != nil {
				t.Fatal(err)
			}
			sink := &feed.Recorder{}
			task := processor.NewTask(plain, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
			settings := slices.Sorted(maps.Keys(others[def.Name]))
			changes, last := 0, len(inputs)*4/5
			across := map[string]bool{} // open at a change
			var late map[string]*schemas.Event
			for i, in := range inputs {
				if i == last {
					late = unended(t, sink)
				}
				if i%(len(inputs)*stay/hours) == 0 && i < last {
					for key := range unended(t, sink) {
						across[key] = true
					}
					bound := plain
					if changes%2 == 0 {
						name := settings[changes/2%len(settings)]
						if bound, err = def.BindJSON([]byte(`{"` + name + `":` + others[def.Name][name] + `}`)); err != nil {
							t.Fatal(err)
						}
					}
					if err := task.Rebind(bound, int64(i)); err != nil {
						t.Fatal(err)
					}
					changes++
				}
				task.Process(in)
			}
			if len(across) == 0 {
				t.Error("NOT RUN: no episode was open at a change")
			}
			t.Logf("%d changes, %d episodes were open at one", changes, len(across))
			for key, e := range unended(t, sink) {
				// What is told of in the last fifth goes on.
				if before := late[key]; before != nil && before.Id == e.Id && across[key] {
					t.Errorf("nothing is told any more of %q, %s", e.Description, time.Unix(0, e.EventTime).UTC())
				}
			}
		})
	}
}

// unended are the episodes that were told and not ended, by their dedup keys.
func unended(t *testing.T, sink *feed.Recorder) map[string]*schemas.Event {
	t.Helper()
	open := map[string]*schemas.Event{}
	for e := range eventsIn(t, strings.Join(sink.Lines, "\n")) {
		open[e.DedupKey] = e
		if e.Status == schemas.Resolved {
			delete(open, e.DedupKey)
		}
	}
	return open
}
