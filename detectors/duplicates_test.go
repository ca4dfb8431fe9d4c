package detectors

import (
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// What comes twice is left out and counted: a trade, and a bar before its minute is judged and after.
func TestDuplicatesAreCounted(t *testing.T) {
	const minute = 1704067200e9
	trade := &schemas.Trade{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", Id: "1", EventTime: minute + 1},
		Price: schemas.NewDecimal(1, 0), Quantity: schemas.NewDecimal(1, 0),
	}
	bar := &schemas.Bar{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", Id: "60s/1", EventTime: minute + 60e9},
		Start: minute, End: minute + 60e9, Basket: "venue:v",
		Volume: schemas.NewDecimal(0, 0), Turnover: schemas.NewDecimal(0, 0),
	}
	tick := &schemas.Tick{Source: "s", Time: minute + 60e9}
	for name, messages := range map[string][]schemas.Message{
		priceAnomalyName: {trade, trade, trade}, unusualVolumeName: {bar, bar, tick, bar},
	} {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := def.Bind(nil)
		if err != nil {
			t.Fatal(err)
		}
		in, err := feed.Inputs(def.Input, messages)
		if err != nil {
			t.Fatal(err)
		}
		task := processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
		for _, i := range in {
			task.Process(i)
		}
		if s := task.Stats(); s.Rejected != 0 || s.Duplicates != 2 {
			t.Errorf("%s: %d rejected, %d duplicates; want 0, 2", name, s.Rejected, s.Duplicates)
		}
	}
}
