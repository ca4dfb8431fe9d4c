package stages

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor/laws"
)

const t0 = schemas.Time(1704196800e9) // 2024-01-02 12:00 UTC

// trades makes a seeded tape of three instruments with ticks each second, a silence, a gap, duplicates, disorder and late trades.
func trades(r *rand.Rand) []schemas.Message {
	var out []schemas.Message
	seq := uint64(0)
	at := t0
	for range 3000 {
		at = at.Add(time.Duration(r.IntN(120)) * time.Millisecond)
		if r.IntN(1500) == 0 {
			at = at.Add(3 * time.Minute)
		}
		if last := len(out); last == 0 || at.Floor(time.Second) != schemas.TimeOf(out[last-1]).Floor(time.Second) {
			out = append(out, &schemas.Tick{Source: "test", Time: int64(at.Floor(time.Second))})
		}
		seq++
		when := at
		if r.IntN(50) == 0 {
			when = at.Add(-time.Duration(r.IntN(4000)) * time.Millisecond)
		}
		symbol := fmt.Sprintf("S%d-USD", r.IntN(3))
		out = append(out, trade(symbol, seq, when, int64(100000+r.IntN(500)), int64(1+r.IntN(900)), schemas.Side(r.IntN(3))))
		switch r.IntN(400) {
		case 0:
			out = append(out, out[len(out)-1])
		case 1:
			out = append(out, &schemas.Gap{
				Meta: &schemas.Meta{Source: "test", Venue: "v", Symbol: symbol, EventTime: int64(at)}, Channel: "trades", From: int64(at.Add(-time.Second)), To: int64(at), Cause: "sequence",
			})
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(at.Add(2 * time.Hour))})
}

func trade(symbol string, seq uint64, at schemas.Time, price, qty int64, side schemas.Side) *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: symbol, Id: strconv.FormatUint(seq, 10), Sequence: seq, EventTime: int64(at), ReceiveTime: int64(at)},
		Price: schemas.NewDecimal(price, -2), Quantity: schemas.NewDecimal(qty, -3), TakerSide: side,
	}
}

func barsOf(r *rand.Rand) []schemas.Message {
	var out []schemas.Message
	for i := range 200 {
		start := t0.Add(time.Duration(i) * time.Minute)
		end := start.Add(time.Minute)
		for s := range 3 {
			bar := &schemas.Bar{
				Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", s), EventTime: int64(end)},
				Start: int64(start), End: int64(end), Volume: schemas.NewDecimal(int64(r.IntN(1000)), -2), Turnover: schemas.NewDecimal(1, 0),
			}
			out = append(out, bar)
			if r.IntN(20) == 0 {
				out = append(out, bar)
			}
		}
		out = append(out, &schemas.Tick{Source: "test", Time: int64(end)})
	}
	return out
}

// quotesOf makes a seeded tape of quotes at two venues: some one-sided, doubled or late, and gaps.
func quotesOf(r *rand.Rand) []schemas.Message {
	var out []schemas.Message
	at := t0
	for n := range 3000 {
		at = at.Add(time.Duration(r.IntN(400)) * time.Millisecond)
		if last := len(out); last == 0 || at.Floor(time.Second) != schemas.TimeOf(out[last-1]).Floor(time.Second) {
			out = append(out, &schemas.Tick{Source: "test", Time: int64(at.Floor(time.Second))})
		}
		when := at
		if r.IntN(50) == 0 {
			when = at.Add(-time.Duration(r.IntN(4000)) * time.Millisecond)
		}
		meta := &schemas.Meta{Source: "test", Venue: [...]string{"v", "w"}[r.IntN(2)], Symbol: "A-USD", Id: strconv.Itoa(n), EventTime: int64(when)}
		q := &schemas.Quote{
			Meta: meta, BidPrice: schemas.NewDecimal(int64(9990+r.IntN(9)), -2), BidQuantity: schemas.NewDecimal(int64(1+r.IntN(9)), 0),
			AskPrice: schemas.NewDecimal(int64(10000+r.IntN(9)), -2), AskQuantity: schemas.NewDecimal(int64(1+r.IntN(9)), 0),
		}
		out = append(out, q)
		switch r.IntN(100) {
		case 0:
			out = append(out, q)
		case 1:
			out = append(out, &schemas.Gap{Meta: meta, Channel: "quotes", Cause: "sequence"})
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(at.Add(time.Minute))})
}

// eventsOf makes a seeded tape of events of three detectors, one of which is that of incidents.
func eventsOf(r *rand.Rand) []schemas.Message {
	var out []schemas.Message
	for i := range 500 {
		base, money := fmt.Sprintf("S%d", r.IntN(3)), [...]string{"USD", "BTC"}[r.IntN(2)]
		e := &schemas.Event{
			Detector: [...]string{"price_anomaly", "whale_movement", "incidents"}[r.IntN(3)], DetectorVersion: 1, Type: "x", Key: "v:" + base + "-" + money,
			Severity: [...]string{schemas.Low, schemas.Medium, schemas.High}[r.IntN(3)], Status: [...]string{schemas.Open, schemas.Update, schemas.Resolved}[r.IntN(3)],
			DedupKey: strconv.Itoa(r.IntN(20)), Assets: []string{base, money}, EventTime: int64(t0.Add(time.Duration(i) * time.Second)), Source: "test",
			Evidence: &schemas.Evidence{}, Description: "d",
		}
		e.Id = schemas.EventID(e, 0)
		out = append(out, e)
	}
	return out
}

func TestLaws(t *testing.T) {
	t.Run("bars", func(t *testing.T) { laws.Run(t, "bars", nil, trades) })
	t.Run("baskets", func(t *testing.T) { laws.Run(t, "baskets", nil, barsOf) })
	t.Run("crossquotes", func(t *testing.T) { laws.Run(t, "crossquotes", nil, quotesOf) })
	t.Run("scopes", func(t *testing.T) { laws.Run(t, "scopes", nil, eventsOf) })
}
