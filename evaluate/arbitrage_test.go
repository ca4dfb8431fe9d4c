package evaluate

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/simulator"
	_ "github.com/tapewatch/tapewatch/stages" // registers crossquotes
	"github.com/tapewatch/tapewatch/stream/processor"
)

// crossing is a market whose quotes pass through the stage crossquotes.
type crossing struct {
	*market
	stage *processor.Task
}

func (c *crossing) Publish(topic schemas.Topic, m schemas.Message) error {
	if topic.Name != schemas.MarketQuotes.Name {
		return nil
	}
	return c.hand(c.stage, topic, m)
}

func (c *crossing) Tick(name string, at schemas.Time, topics ...schemas.Topic) error {
	for _, topic := range topics {
		if topic.Name != schemas.MarketQuotes.Name {
			continue
		}
		if err := c.hand(c.stage, topic, &schemas.Tick{Source: name, Time: int64(at)}); err != nil {
			return err
		}
		if err := c.market.Tick(name, at, schemas.MarketCrossquotes); err != nil {
			return err
		}
	}
	return nil
}

// relay hands what a stage emits to the market.
type relay struct {
	processor.Discard
	t  *testing.T
	to *market
}

func (r relay) Emit(m schemas.Message) {
	if err := r.to.Publish(schemas.MarketCrossquotes, m); err != nil {
		r.t.Error(err)
	}
}

// The venue whose quotes the simulator moves off those of the others is found, and nothing else is.
func TestArbitrageFindsDislocations(t *testing.T) {
	testservices.Study(t)
	t.Parallel()
	c := simulator.Defaults()
	c.Instruments, c.Rate, c.Duration, c.Calm, c.RareAnomaliesPerDay, c.Kinds = 4, 40, 12*time.Hour, 10*time.Minute, 96, []string{"trades", "quotes"}
	c.Start, c.Speed, c.AnomaliesPerDay, c.Labels = "2024-01-02T12:00:00Z", 0, 0, filepath.Join(t.TempDir(), "labels.jsonl")
	src, err := simulator.New(c, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newMarket(t, "arbitrage")
	if err := src.Run(t.Context(), &crossing{s, newTask(t, "crossquotes", relay{t: t, to: s})}); err != nil {
		t.Fatal(err)
	}
	events := s.events()["arbitrage"]
	labels := labelsFor(t, c.Labels, "arbitrage_opportunity")
	found, explained := 0, map[string]bool{}
	for _, l := range labels {
		seen := foundIn(t, l, events, 30*time.Second)
		for _, e := range seen {
			explained[e.DedupKey] = true
			if e.Status == schemas.Open && e.Venue != l.Venue {
				t.Errorf("%s at %s is off, the event names %s: %s", l.Venue, l.Start, e.Venue, e.Description)
			}
		}
		if len(seen) > 0 {
			found++
		} else {
			t.Logf("missed: %s at %s, %s, size %v", l.Key, l.Venue, l.Start, l.Size)
		}
	}
	others := 0
	for _, e := range events {
		if e.Status == schemas.Open && !explained[e.DedupKey] {
			others++
			t.Logf("in no label: %s %s", schemas.Time(e.EventTime), e.Description)
		}
	}
	t.Logf("%d of %d dislocations found; %d episodes, %d of them in no label", found, len(labels), opens(events), others)
	if len(labels) < 20 || 10*found < 9*len(labels) || others > 1 {
		t.Errorf("%d of %d dislocations found, %d episodes in no label: want nine in ten of at least 20, and at most 1", found, len(labels), others)
	}
}
