package simulator

import (
	"slices"
	"testing"
	"time"

	_ "github.com/tapewatch/tapewatch/detectors"
	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	_ "github.com/tapewatch/tapewatch/stages"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// node is one processor on one partition, and the readers of what it puts out.
type node struct {
	t       *testing.T
	bound   *processor.Bound
	task    *processor.Task
	readers []*node
	events  []*schemas.Event
	offset  int64
	key     []byte
	value   []byte
	enc     schemas.Encoder
}

func newNode(t *testing.T, name string, readers ...*node) *node {
	t.Helper()
	def, err := processor.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := def.BindJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, bound: b, readers: readers}
	n.task = processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), n, nil)
	return n
}

// take hands a record to the processor.
func (n *node) take(msg schemas.Message) {
	var err error
	if n.value, err = n.enc.AppendValue(n.value[:0], n.bound.Input, msg); err != nil {
		n.t.Fatal(err)
	}
	n.key = append(n.key[:0], n.bound.Input.KeyOf(msg)...)
	if _, ok := msg.(*schemas.Tick); ok {
		n.key = n.key[:0]
	}
	n.task.Process(processor.Input{Key: n.key, Value: n.value, Type: schemas.TypeOf(msg), Offset: n.offset})
	n.offset++
}

func (n *node) Emit(msg schemas.Message) {
	if e, ok := msg.(*schemas.Event); ok {
		n.events = append(n.events, &schemas.Event{Symbol: e.Symbol, EventTime: e.EventTime, Status: e.Status})
	}
	for _, r := range n.readers {
		r.take(msg)
	}
}

func (n *node) Undo(int) { n.t.Fatal("a processor panicked") }

func (n *node) Forward(tick *schemas.Tick) {
	for _, r := range n.readers {
		r.take(tick)
	}
}

func (n *node) Reject(p processor.Poison) {
	n.t.Fatalf("%s refused record %d, %s: %s", n.bound.Name, p.Offset, p.Reason, p.Detail)
}

// TestWatchdogsFindLabels runs labelled price and volume anomalies through the detectors as they are shipped, after the two
// days of calm that they need to trust a history, and counts which of them an alarm answers. Labels that begin while an episode or its cool-down is on
// are busy: no second alarm may come.
func TestWatchdogsFindLabels(t *testing.T) {
	testservices.Study(t)
	cfg := tradesOnly()
	cfg.Instruments, cfg.Rate, cfg.AnomaliesPerDay, cfg.Calm = 6, 4, 8, 48*time.Hour
	var labels []Label
	m := NewMarket(cfg, monday, func(l Label) { labels = append(labels, l) })
	price, volume := newNode(t, "price_anomaly"), newNode(t, "unusual_volume")
	roots := []*node{price, newNode(t, "bars", newNode(t, "baskets", volume))}
	tick := &schemas.Tick{Source: m.Source()}
	put := func(_ schemas.Topic, msg schemas.Message) error {
		for _, r := range roots {
			r.take(msg)
		}
		return nil
	}
	for range 84 * time.Hour / time.Second {
		tick.Time = int64(m.Now())
		if err := put(schemas.MarketTrades, tick); err != nil {
			t.Fatal(err)
		}
		if err := m.Second(put); err != nil {
			t.Fatal(err)
		}
	}
	// Price anomalies are due within 20 minutes of their start, bursts while they last and the minutes that closing bars takes.
	found, busy, all, right := map[string]int{}, map[string]int{}, map[string]int{}, 0
	for _, l := range labels {
		from, to := l.bounds(t)
		events, until := price.events, from.Add(20*time.Minute)
		if l.Detector == "unusual_volume" {
			events, until = volume.events, to.Add(3*time.Minute)
		}
		within := func(from, to schemas.Time, status ...string) bool {
			return slices.ContainsFunc(events, func(e *schemas.Event) bool {
				at := schemas.Time(e.EventTime)
				return e.Symbol == l.Symbol && at > from && at <= to && slices.Contains(status, e.Status)
			})
		}
		switch {
		case within(from, until, schemas.Open):
			found[l.Kind]++
			right++
		case within(from.Add(-75*time.Minute), from, schemas.Open, schemas.Update, schemas.Resolved):
			busy[l.Kind]++
			continue
		}
		all[l.Kind]++
	}
	for kind, least := range map[string]float64{priceJump: 0.9, priceRamp: 0.9, flashCrash: 0.9, volumeBurst: 0.5} {
		t.Logf("%-13s found %d of %d, %d more busy", kind, found[kind], all[kind], busy[kind])
		if share := float64(found[kind]) / float64(max(all[kind], 1)); share < least {
			t.Errorf("%s: found %.2f of %d, want at least %.2f", kind, share, all[kind], least)
		}
	}
	opened := 0
	for _, e := range slices.Concat(price.events, volume.events) {
		if e.Status == schemas.Open {
			opened++
		}
	}
	t.Logf("%d episodes opened, %d labels found", opened, right)
	if opened > 2*right {
		t.Errorf("%d episodes for %d labels found: most alarms must answer one", opened, right)
	}
}
