package proofs

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/simulator"
)

// watchdogs are all eight, with the time after the end of an anomaly within which it counts as found (up to three times of it
// it counts as delayed), and their cool-down.
var watchdogs = map[string]struct{ within, coolDown time.Duration }{
	"correlation_breakdown": {30 * time.Minute, time.Hour},
	"earnings_anomaly":      {2 * time.Minute, 0},
	"exchange_outage":       {2 * time.Minute, 10 * time.Minute},
	"funding_rate":          {10 * time.Minute, 8 * time.Hour},
	"liquidity_drop":        {time.Minute, 10 * time.Minute},
	"price_anomaly":         {2 * time.Minute, time.Hour},
	"unusual_volume":        {5 * time.Minute, 30 * time.Minute},
	"whale_movement":        {10 * time.Minute, 6 * time.Hour},
}

// TestAllEight runs all eight watchdogs, and the incidents made of their alarms, at once on a real Kafka over a simulated market of everything at 100,000 records a
// second: for ten minutes (five days of the market, two of them calm) in the full form, one minute in the short one. In the middle the watchdogs
// are restarted. Every labelled anomaly is listed, the lag of every group is watched, and reconcile finds no difference between the
// events and a replay of what the watchdogs read.
func TestAllEight(t *testing.T) {
	asked(t)
	const rate = 100_000
	wall := time.Minute
	if full() {
		wall = 10 * time.Minute
	}
	market, calm := 5*24*time.Hour, 48*time.Hour
	speed := market.Seconds() / 600
	market = time.Duration(float64(wall) * speed)
	calm = min(calm, market*2/5)
	names := slices.Sorted(maps.Keys(watchdogs))
	stages := []string{"bars", "baskets", "scopes"}
	dogs := append(slices.Clip(names), "incidents")
	groups := slices.Concat(stages, dogs)

	s := newSystem(t, testservices.Kafka(t), "eight.")
	s.run("topics", "apply", "-s", "topics.partitions=8")
	staging := s.start(append([]string{"stage"}, stages...)...)
	watching := s.start(append([]string{"detect"}, dogs...)...)
	labels := filepath.Join(t.TempDir(), "labels.jsonl")
	ingest := s.start("ingest", "simulator", "--once", "-s", "simulator.start=2024-01-01T00:00:00Z", "-s", "simulator.duration="+market.String(),
		"-s", "simulator.calm="+calm.String(), "-s", fmt.Sprintf("simulator.speed=%g", speed), "-s", fmt.Sprintf("simulator.rate=%g", 1.05*rate/speed),
		"-s", "simulator.kinds=trades,quotes,books,derivatives,transfers,equities,status", "-s", "simulator.instruments=16",
		"-s", "simulator.anomalies_per_day=6", "-s", "simulator.rare_anomalies_per_day=8", "-s", "simulator.labels="+labels)

	began, lags, memory := time.Now(), map[string]int64{}, samples{}
	restarted, before := false, int64(0)
	for running := true; running; {
		select {
		case err := <-ingest.done:
			ingest.done = nil
			if err != nil {
				t.Fatalf("ingest ended with %v\n%s", err, ingest.tail())
			}
			running = false
		case <-time.After(2 * time.Second):
		}
		for group, lag := range s.lags(groups) {
			lags[group] = max(lags[group], lag)
		}
		if !restarted && time.Since(began) > wall/2 {
			restarted = true
			before = memory.peak(1)
			watching.stop()
			watching = s.start(append([]string{"detect"}, dogs...)...)
		}
		memory = append(memory, watching.resident())
	}
	ended := time.Now()
	records, took := ingest.published()
	for _, group := range slices.Concat(groups, groups[1:], []string{"scopes", "incidents"}) { // one may have written after its reader was looked at
		s.awaitLag(group, 4*time.Minute)
	}
	caught := time.Since(ended)
	watching.stop()
	staging.stop()

	perSecond := float64(records) / took.Seconds()
	if perSecond < rate {
		t.Errorf("%.0f records a second, want %d", perSecond, rate)
	}
	t.Logf("%d records in %v, %.0f a second; %v after the last one every group had committed all; the watchdogs' process held at most %d MiB before its restart, %d MiB in all",
		records, took.Round(time.Second), perSecond, caught.Round(100*time.Millisecond), before>>20, memory.peak(1)>>20)
	for _, group := range slices.Sorted(maps.Keys(lags)) {
		t.Logf("lag of %-22s at most %d records", group, lags[group])
	}
	for _, name := range dogs {
		s.stateSize(name)
	}
	events := s.events(false)
	marked, err := simulator.ReadLabels(labels)
	if err != nil {
		t.Fatal(err)
	}
	all := decoded(t, events)
	verdicts(t, marked, all)
	incidents(t, all)
	if found := s.run(append([]string{"reconcile"}, dogs...)...); found != "" {
		t.Errorf("the topic and a replay differ:\n%s", found)
	}
}

// lags returns how far each group is behind, summed over its partitions; a group that has not committed yet is left out.
func (s *system) lags(groups []string) map[string]int64 {
	s.t.Helper()
	adm := kadm.NewClient(s.client())
	defer adm.Close()
	out := map[string]int64{}
	for _, g := range groups {
		name := s.prefix + "tapewatch." + g
		lags, err := adm.Lag(s.t.Context(), name)
		if err != nil {
			continue
		}
		if l, ok := lags[name]; ok && l.Error() == nil {
			out[g] = l.Lag.Total()
		}
	}
	return out
}

// stateSize logs the keys of a processor and the size of their states, as the last snapshot of each stands on the topic.
func (s *system) stateSize(name string) {
	s.t.Helper()
	sizes := map[string]int{}
	s.raw(schemas.StateTopic(name), func(r *kgo.Record) {
		if !strings.HasPrefix(string(r.Key), "\x00") {
			sizes[string(r.Key)] = len(r.Value)
		}
	})
	if len(sizes) == 0 {
		s.t.Errorf("%s has no state", name)
		return
	}
	total, most := 0, 0
	for _, n := range sizes {
		total += n
		most = max(most, n)
	}
	s.t.Logf("state of %-22s %d keys, %d bytes a key, %d at most", name, len(sizes), total/len(sizes), most)
}

// decoded are the events of their JSON.
func decoded(t *testing.T, events map[string]string) (out []*schemas.Event) {
	t.Helper()
	for _, text := range events {
		e := &schemas.Event{}
		if err := protojson.Unmarshal([]byte(text), e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// verdicts lists every label of the eight as found, delayed or missed, and requires of each watchdog that it found one.
func verdicts(t *testing.T, labels []simulator.Label, events []*schemas.Event) {
	t.Helper()
	type tally struct{ found, delayed, overlapped, missed int }
	byKind, labelled, found := map[string]*tally{}, map[string]int{}, map[string]int{}
	explained := map[string]bool{}
	for _, l := range labels {
		dog, judged := watchdogs[l.Detector]
		if !judged {
			continue
		}
		labelled[l.Detector]++
		within := dog.within
		from, to := when(t, l.Start), when(t, l.End)
		var first *schemas.Event
		for _, e := range events {
			at := schemas.Time(e.EventTime).UTC()
			if !answers(e, l) || at.Before(from) || at.After(to.Add(3*within)) {
				continue
			}
			explained[e.Id] = true
			if first == nil || e.EventTime < first.EventTime {
				first = e
			}
		}
		k := byKind[l.Detector+" "+l.Kind]
		if k == nil {
			k = &tally{}
			byKind[l.Detector+" "+l.Kind] = k
		}
		verdict := "missed"
		switch {
		case first == nil && overlaps(events, l, from, dog.coolDown):
			verdict = "missed: it began in an open episode or the cool-down of one"
			k.overlapped++
		case first == nil:
			k.missed++
		case schemas.Time(first.EventTime).UTC().After(to.Add(within)):
			verdict = fmt.Sprintf("delayed, %v after its end", schemas.Time(first.EventTime).UTC().Sub(to))
			k.delayed++
		default:
			verdict = fmt.Sprintf("found %v after its start", schemas.Time(first.EventTime).UTC().Sub(from))
			k.found++
			found[l.Detector]++
		}
		t.Logf("label %s %s %s %s to %s, size %.3g %s: %s", l.Detector, l.Kind, l.Key, l.Start, l.End, l.Size, l.Detail, verdict)
	}
	others := map[string]int{}
	for _, e := range events {
		if !explained[e.Id] && e.Status == "open" {
			others[e.Detector]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		k := byKind[kind]
		t.Logf("%-44s labels %4d: found %d, delayed %d, missed within another episode %d, missed %d",
			kind, k.found+k.delayed+k.overlapped+k.missed, k.found, k.delayed, k.overlapped, k.missed)
	}
	for _, name := range slices.Sorted(maps.Keys(watchdogs)) {
		t.Logf("%-22s found %d of %d labelled anomalies, opened %d episodes outside of any", name, found[name], labelled[name], others[name])
		if found[name] == 0 && (full() || labelled[name] > 0 && name != "correlation_breakdown") { // which learns for days
			t.Errorf("%s found nothing", name)
		}
	}
}

// incidents holds each incident to the alarms that it names: they are on the topic, of its asset or of enough assets, of enough detectors or
// keys, and began within its window before it.
func incidents(t *testing.T, events []*schemas.Event) {
	t.Helper()
	byID := map[string]*schemas.Event{}
	for _, e := range events {
		byID[e.Id] = e
	}
	opened := map[string]int{}
	for _, e := range events {
		if e.Detector != "incidents" || e.Status != schemas.Open {
			continue
		}
		opened[e.Type]++
		detectors, keys, assets := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, note := range e.Evidence.Notes {
			m := byID[strings.TrimPrefix(note, "event:")]
			if m == nil {
				t.Errorf("%s names %s, which is not on the topic", e.Id, note)
				continue
			}
			if e.Type == "asset_incident" && !slices.Contains(m.Assets, e.Assets[0]) {
				t.Errorf("incident %s of %v names an alarm about %v", e.Id, e.Assets, m.Assets)
			}
			if at, limit := schemas.Time(m.EventTime), schemas.Time(e.EventTime); at > limit || at < limit.Add(-10*time.Minute) {
				t.Errorf("incident %s at %v names an alarm of %v", e.Id, limit, at)
			}
			detectors[m.Detector], keys[m.Key] = true, true
			for _, a := range m.Assets {
				assets[a] = true
			}
		}
		wide := len(detectors) >= 2 || len(keys) >= 3
		if e.Type == "market_incident" {
			wide = len(assets) >= 5
		}
		if !wide {
			t.Errorf("%s %s: %d detectors, %d keys, %d assets are too few", e.Type, e.Id, len(detectors), len(keys), len(assets))
		}
	}
	t.Logf("incidents: %v", opened)
	if full() && (opened["asset_incident"] == 0 || opened["market_incident"] == 0) {
		t.Errorf("incidents opened: %v; there must be some of an asset and some of the market", opened)
	}
}

// overlaps reports whether an episode of the same key was open at a time, or was cooling down: an episode tells once of all that
// happens in it.
func overlaps(events []*schemas.Event, l simulator.Label, at time.Time, coolDown time.Duration) bool {
	var last *schemas.Event
	for _, e := range events {
		if answers(e, l) && schemas.Time(e.EventTime).UTC().Before(at) && (last == nil || e.EventTime >= last.EventTime) {
			last = e
		}
	}
	return last != nil && (last.Status != "resolved" || at.Sub(schemas.Time(last.EventTime).UTC()) < coolDown)
}

// answers reports whether an event is of what a label marks: the same detector, and the same key or instrument. The event of a
// basket names the instrument that stands out, an outage of one instrument the venue.
func answers(e *schemas.Event, l simulator.Label) bool {
	if e.Detector != l.Detector {
		return false
	}
	return e.Key == l.Key || e.Venue != "" && e.Venue == l.Venue && cmp.Or(l.Symbol, e.Symbol) == e.Symbol
}

func when(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
