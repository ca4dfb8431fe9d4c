package stages

import (
	"testing"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

// What comes twice is left out and counted.
func TestDuplicatesAreCounted(t *testing.T) {
	trade := &schemas.Trade{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", Id: "1", EventTime: 1704067200e9 + 1},
		Price: schemas.NewDecimal(1, 0), Quantity: schemas.NewDecimal(1, 0),
	}
	bar := &schemas.Bar{
		Meta:  &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", Id: "60s/1", EventTime: 1704067260e9},
		Start: 1704067200e9, End: 1704067260e9,
		Volume: schemas.NewDecimal(0, 0), Turnover: schemas.NewDecimal(0, 0),
	}
	quote := &schemas.Quote{
		Meta:     &schemas.Meta{Source: "s", Venue: "v", Symbol: "S", Id: "1", EventTime: 1704067200e9 + 1},
		BidPrice: schemas.NewDecimal(1, 0), BidQuantity: schemas.NewDecimal(1, 0), AskPrice: schemas.NewDecimal(2, 0), AskQuantity: schemas.NewDecimal(1, 0),
	}
	for name, twice := range map[string]schemas.Message{"bars": trade, "baskets": bar, "crossquotes": quote} {
		def, err := processor.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := def.Bind(nil)
		if err != nil {
			t.Fatal(err)
		}
		in, err := feed.Inputs(def.Input, []schemas.Message{twice, twice, twice})
		if err != nil {
			t.Fatal(err)
		}
		task := processor.NewTask(b, 0, 0, processor.DefaultTimePolicy(), processor.Discard{}, nil)
		for _, i := range in {
			task.Process(i)
		}
		if s := task.Stats(); s.Records != 3 || s.Rejected != 0 || s.Duplicates != 2 {
			t.Errorf("%s: %d records, %d rejected, %d duplicates; want 3, 0, 2", name, s.Records, s.Rejected, s.Duplicates)
		}
	}
}
