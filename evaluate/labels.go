package evaluate

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// A label is the onset of a known anomaly.
type label struct {
	symbol string
	at     schemas.Time
}

// readLabels reads a CSV with a header: a column symbol and one of onset_utc, start_utc, onset, start or time; or, from a
// file .jsonl, the simulator's labels of the detector (docs/simulator.md).
func readLabels(path, detector string, r Range) ([]label, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening labels: %w", err)
	}
	defer file.Close()
	if strings.HasSuffix(path, ".jsonl") {
		return simulated(json.NewDecoder(file), path, detector, r)
	}
	in := csv.NewReader(file)
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the header of %s: %w", path, err)
	}
	symbol := slices.Index(head, "symbol")
	at := slices.IndexFunc(head, func(name string) bool {
		return slices.Contains([]string{"onset_utc", "start_utc", "onset", "start", "time"}, name)
	})
	if symbol < 0 || at < 0 {
		return nil, fmt.Errorf("header of %s is %q: it must have symbol, and onset_utc, start_utc, onset, start or time", path, head)
	}
	var out []label
	for {
		fields, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		t, err := parseTime(fields[at])
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if r.contains(t) {
			out = append(out, label{canonical(fields[symbol]), t})
		}
	}
}

// simulated reads the simulator's labels of a detector; a naive rule has those of the one that it stands beside.
func simulated(in *json.Decoder, path, detector string, r Range) ([]label, error) {
	switch detector {
	case NaivePrice:
		detector = "price_anomaly"
	case NaiveVolume:
		detector = "unusual_volume"
	}
	var out []label
	for {
		var l struct{ Detector, Symbol, Start string }
		err := in.Decode(&l)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		t, err := parseTime(l.Start)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if l.Detector == detector && r.contains(t) {
			out = append(out, label{canonical(l.Symbol), t})
		}
	}
}

func parseTime(text string) (schemas.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04Z", time.RFC3339, time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return schemas.Time(t.UnixNano()), nil
		}
	}
	return 0, fmt.Errorf("time %q is not known: it must be like 2018-01-11 03:54Z or as in RFC 3339", text)
}

// An outcome is what became of a label, or an alarm without one.
type outcome struct {
	at     schemas.Time
	became string
}

// What becomes of labels and alarms.
const (
	wasFound   = "Label found"
	wasCovered = "Label in a running alarm"
	wasCooling = "Label in a cool-down"
	wasMissed  = "Label missed"
	wasFalse   = "Alarm without a label"
)

// match sets labels against the alarms of a run. A label is found by the first alarm from before its onset to after it, covered by
// an alarm that began earlier and was still on at the onset, and cooling when the cool-down of an alarm was on.
func match(labels []label, members []*member, o Options, coolDown time.Duration) *LabelReport {
	before, after := o.Before, o.After
	out := &LabelReport{}
	var delays []time.Duration
	alarms, right := 0, 0
	for _, m := range members {
		alarms += len(m.alarms)
		used := make([]bool, len(m.alarms))
		for _, l := range labels {
			if l.symbol != m.symbol || m.first == 0 || l.at < m.first || l.at > m.last {
				continue // not of this series, or outside its data
			}
			out.Labels++
			one := outcome{at: l.at, became: wasMissed}
			for i, at := range m.alarms {
				if at < l.at.Add(-before) || at > l.at.Add(after) {
					continue
				}
				if !used[i] {
					used[i] = true
					right++
				}
				if one.became != wasFound {
					out.Found++
					delays = append(delays, at.Sub(l.at))
					one.became = wasFound
				}
			}
			switch {
			case one.became == wasFound:
			case slices.ContainsFunc(m.episodes, func(e Range) bool { return e.From < l.at && (e.To == 0 || e.To >= l.at) }):
				out.Covered++
				one.became = wasCovered
			case slices.ContainsFunc(m.episodes, func(e Range) bool { return e.To != 0 && e.To < l.at && l.at.Sub(e.To) <= coolDown }):
				out.Cooling++
				one.became = wasCooling
			}
			m.outcomes = append(m.outcomes, one)
		}
		for i, at := range m.alarms {
			if len(labels) > 0 && !used[i] {
				m.outcomes = append(m.outcomes, outcome{at: at, became: wasFalse})
			}
		}
	}
	out.Recall = Wilson(out.Found, out.Labels)
	out.RecallCovered = Wilson(out.Found+out.Covered, out.Labels)
	out.Precision = Wilson(right, alarms)
	out.Delay = delayOf(delays)
	return out
}
