package detectors

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Two thirds of the asks go, and then they are not known as a whole any more: nothing says that they are back.
func TestAnUnknownSideIsNotBack(t *testing.T) {
	b := newBench(t, liquidityDropName, "v:BTC-USD", `{}`)
	for second := range 200 {
		at := t0.Add(time.Duration(second) * time.Second)
		asks, step := int64(3), int64(50)
		if second >= 120 {
			asks = 1
		}
		if second >= 140 {
			step = 5 // ten levels, and all of them within the band
		}
		book := &schemas.BookSnapshot{Meta: &schemas.Meta{Source: "test", Venue: "v", Symbol: "BTC-USD", Sequence: uint64(second + 1), EventTime: int64(at)}, Depth: 10}
		for i := range int64(9) {
			book.Bids = append(book.Bids, &schemas.Level{Price: schemas.NewDecimal(6000-10*i-1, 0), Quantity: schemas.NewDecimal(3, 0)})
		}
		for i := range int64(10) {
			book.Asks = append(book.Asks, &schemas.Level{Price: schemas.NewDecimal(60010+10*step*i/5, -1), Quantity: schemas.NewDecimal(asks, 0)})
		}
		b.record(book)
		b.to(at)
	}
	if len(b.events) != 2 || b.events[1].Status != schemas.Resolved {
		t.Fatalf("events %v: want one that opens and one that resolves", b.events)
	}
	e := b.events[1]
	if !slices.Contains(e.Evidence.Notes, "truncated:ask") || strings.Contains(e.Description, "is back") {
		t.Errorf("notes %v, %q: want truncated:ask, and no word of depth that is back", e.Evidence.Notes, e.Description)
	}
}

// After a change of the narrow band and of the notional nothing is compared with what was usual before.
func TestUsualDepthIsOfTheSettingsInForce(t *testing.T) {
	b := newBench(t, liquidityDropName, "v:BTC-USD", `{}`)
	changed := newBench(t, liquidityDropName, "v:BTC-USD", `{"near_pct":0.5,"notional":1000000}`)
	for second := range 140 {
		if second == 119 {
			if err := changed.p.RestoreState(b.p.AppendState(nil)); err != nil {
				t.Fatal(err)
			}
			changed.reach, b = b.reach, changed
		}
		at, bids := t0.Add(time.Duration(second)*time.Second), int64(6)
		if second >= 130 {
			bids = 2
		}
		book := &schemas.BookSnapshot{Meta: &schemas.Meta{Source: "test", Venue: "v", Symbol: "BTC-USD", Sequence: uint64(second + 1), EventTime: int64(at)}, Depth: 10}
		for i := range int64(9) {
			book.Bids = append(book.Bids, &schemas.Level{Price: schemas.NewDecimal(60000-55*i-5, 0), Quantity: schemas.NewDecimal(bids, 0)})
			book.Asks = append(book.Asks, &schemas.Level{Price: schemas.NewDecimal(60000+55*i+5, 0), Quantity: schemas.NewDecimal(6, 0)})
		}
		b.record(book)
		b.to(at)
	}
	if len(b.events) != 1 {
		t.Fatalf("events %v: want one", b.events)
	}
	for _, m := range b.events[0].Evidence.Measures {
		if m.Name == "near_avg_depth" && m.Value < 30 || m.Name == "slippage_avg_bp" && m.Value < 9 {
			t.Errorf("%s is %v: want that of half a percent and a million", m.Name, m.Value)
		}
	}
}
