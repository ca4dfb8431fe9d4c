package evaluate

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/simulator"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// A market is the engine of each of some detectors, fed by the simulator.
type market struct {
	enc    schemas.Encoder
	tasks  map[string]*processor.Task // by topic
	out    map[string]*heard
	offset int64
}

type heard struct {
	collector
	events []*schemas.Event
}

func newMarket(t *testing.T, detectors ...string) *market {
	t.Helper()
	s := &market{tasks: map[string]*processor.Task{}, out: map[string]*heard{}}
	for _, name := range detectors {
		h := &heard{}
		h.keep = func(e *schemas.Event) { h.events = append(h.events, e) }
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		s.out[def.Input.Name] = h
		s.tasks[def.Input.Name] = newTask(t, name, h)
	}
	return s
}

// newTask is the engine of a processor as shipped.
func newTask(t *testing.T, name string, sink processor.Sink) *processor.Task {
	t.Helper()
	def, err := processor.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := def.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	return processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, nil)
}

// events are those that were heard, by detector.
func (s *market) events() map[string][]*schemas.Event {
	events := map[string][]*schemas.Event{}
	for _, h := range s.out {
		for _, e := range h.events {
			events[e.Detector] = append(events[e.Detector], e)
		}
	}
	return events
}

func (s *market) Publish(topic schemas.Topic, m schemas.Message) error {
	task := s.tasks[topic.Name]
	if task == nil {
		return nil
	}
	if err := s.hand(task, topic, m); err != nil {
		return err
	}
	return s.out[topic.Name].err
}

// hand encodes a message and has a task process it.
func (s *market) hand(task *processor.Task, topic schemas.Topic, m schemas.Message) error {
	value, err := s.enc.AppendValue(nil, topic, m)
	if err != nil {
		return err
	}
	s.offset++
	in := processor.Input{Value: value, Type: schemas.TypeOf(m), Offset: s.offset}
	if in.Type != "Tick" {
		in.Key = []byte(topic.KeyOf(m))
	}
	task.Process(in)
	return nil
}

func (s *market) Tick(name string, at schemas.Time, topics ...schemas.Topic) error {
	for _, topic := range topics {
		if task := s.tasks[topic.Name]; task != nil {
			if err := s.hand(task, topic, &schemas.Tick{Source: name, Time: int64(at)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *market) Flush(context.Context) error { return nil }

// simulate runs the detectors over a market of some kinds and returns their events by detector, and the labels.
func simulate(t *testing.T, c simulator.Config, detectors ...string) (events map[string][]*schemas.Event, labels []simulator.Label) {
	t.Helper()
	c.Start, c.Speed, c.Labels = "2024-01-01T00:00:00Z", 0, filepath.Join(t.TempDir(), "labels.jsonl")
	src, err := simulator.New(c, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newMarket(t, detectors...)
	if err := src.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s.events(), labelsFor(t, c.Labels, detectors...)
}

// labelsFor returns the labels that are meant for detectors.
func labelsFor(t *testing.T, path string, detectors ...string) []simulator.Label {
	t.Helper()
	labels, err := simulator.ReadLabels(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(labels, func(l simulator.Label) bool { return !slices.Contains(detectors, l.Detector) })
}

// foundIn returns the events that a label has, from its start to a while after its end.
func foundIn(t *testing.T, l simulator.Label, events []*schemas.Event, after time.Duration) (found []*schemas.Event) {
	t.Helper()
	from, err1 := parseTime(l.Start)
	to, err2 := parseTime(l.End)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if at := schemas.Time(e.EventTime); e.Key == l.Key && at >= from && at <= to.Add(after) {
			found = append(found, e)
		}
	}
	return found
}

// What the simulator hides in transfers, funding and earnings is found by the detectors as shipped, and little else raises an event.
func TestDetectorsFindWhatTheSimulatorHides(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	const within = 10 * time.Minute
	c := simulator.Defaults()
	c.Instruments, c.Rate, c.Duration, c.Calm, c.RareAnomaliesPerDay = 3, 10, 240*time.Hour, 96*time.Hour, 6
	c.Kinds = []string{"transfers", "derivatives"}
	events, labels := simulate(t, c, "whale_movement", "funding_rate")
	spikes, seen := 0, 0
	for _, l := range labels {
		found := foundIn(t, l, events[l.Detector], within)
		switch {
		case l.Detector == "funding_rate":
			spikes++
			seen += min(len(found), 1)
		case len(found) == 0:
			t.Errorf("%s of %s at %s: nothing was raised", l.Kind, l.Key, l.Start)
		case l.Kind == "whale_split" && !slices.ContainsFunc(found, func(e *schemas.Event) bool { return schemas.SeverityRank(e.Severity) >= 2 }):
			t.Errorf("%s of %s at %s: nothing of medium or above", l.Kind, l.Key, l.Start)
		}
	}
	whales := len(labels) - spikes
	t.Logf("%d whales; %d of %d spikes of funding; %d and %d events", whales, seen, spikes, len(events["whale_movement"]), len(events["funding_rate"]))
	if whales < 30 || opens(events["whale_movement"]) > 2*whales {
		t.Errorf("%d whales raise %d events: want at least 30, and at most two each", whales, opens(events["whale_movement"]))
	}
	// The others lie in the cool-down of one on the same asset.
	if spikes < 20 || 10*seen < 9*spikes || opens(events["funding_rate"]) > 3*spikes/2 {
		t.Errorf("%d of %d spikes of funding seen, %d events: want nine in ten, and at most one and a half each", seen, spikes, opens(events["funding_rate"]))
	}

	c.Kinds, c.Calm, c.Duration = []string{"equities"}, 10*time.Minute, 12*time.Hour
	events, labels = simulate(t, c, "earnings_anomaly")
	for _, l := range labels {
		if len(foundIn(t, l, events["earnings_anomaly"], within)) == 0 {
			t.Errorf("%s of %s at %s: nothing was raised", l.Kind, l.Key, l.Start)
		}
	}
	if n := opens(events["earnings_anomaly"]); len(labels) < 5 || n != len(labels) {
		t.Errorf("%d surprises, %d events: want as many, at least 5", len(labels), n)
	}
}

func opens(events []*schemas.Event) (n int) {
	for _, e := range events {
		if e.Status == schemas.Open {
			n++
		}
	}
	return n
}
