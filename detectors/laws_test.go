package detectors

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/laws"
)

const t0 = schemas.Time(1704067200e9) // 2024-01-01 00:00 UTC, a Monday

// tape makes a seeded tape of trades: three instruments that wander, jump, trend, crash and come back, with ticks, silences, gaps,
// bad prints, duplicates and late trades.
func tape(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	price := [3]float64{100, 2000, 0.5}
	drift, back := [3]float64{}, [3]int{}
	seq := uint64(0)
	for at := t0; at < t0.Add(time.Duration(hours)*time.Hour); at = at.Add(10 * time.Second) {
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at)})
		if r.IntN(4000) == 0 {
			at = at.Add(time.Duration(r.IntN(180)) * time.Minute)
		}
		for i := range price {
			if r.IntN(3) > 0 {
				continue
			}
			switch r.IntN(2000) {
			case 0:
				price[i] *= 1 + 0.2*(r.Float64()-0.5)
			case 1:
				drift[i] = 0.002 * (r.Float64() - 0.5)
			case 2:
				drift[i] = 0
			case 3:
				price[i] *= 0.91
				back[i] = 20 + r.IntN(60)
			}
			if back[i]--; back[i] == 0 {
				price[i] *= 1.07
			}
			price[i] *= 1 + drift[i] + 0.0004*r.NormFloat64()
			seq++
			when, shown := at.Add(time.Duration(r.IntN(10000))*time.Millisecond), price[i]
			switch r.IntN(300) {
			case 0:
				when = at.Add(-time.Duration(r.IntN(100)) * time.Second)
			case 1:
				shown *= 1.5
			}
			out = append(out, tradeOf(i, seq, when, shown))
			switch r.IntN(3000) {
			case 0:
				out = append(out, out[len(out)-1])
			case 1:
				m := &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(at)}
				out = append(out, &schemas.Gap{Meta: m, Channel: "trades", From: int64(at.Add(-time.Second)), To: int64(at), Cause: "sequence"})
			}
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(time.Duration(hours+6) * time.Hour))})
}

func tradeOf(i int, seq uint64, at schemas.Time, price float64) *schemas.Trade {
	return &schemas.Trade{
		Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), Id: strconv.FormatUint(seq, 10), Sequence: seq, EventTime: int64(at), ReceiveTime: int64(at)},
		Price: decimalOf(price), Quantity: schemas.NewDecimal(1, 0),
	}
}

// baskets makes a seeded tape of minute bars of two baskets: the market moves together, members burst, stay away, come late or
// incomplete.
func baskets(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	market := 1.0
	var burst [5]int
	for minute := range hours * 60 {
		end := t0.Add(time.Duration(minute+1) * time.Minute)
		market *= 1 + 0.05*r.NormFloat64() + 0.02*(1-market)
		market = max(market, 0.1)
		for i := range burst {
			if r.IntN(900) == 0 {
				burst[i] = 15 + r.IntN(30)
			}
			volume := market * (1 + r.ExpFloat64()) * 1000
			if burst[i]--; burst[i] > 0 {
				volume *= 15
			}
			bar := &schemas.Bar{
				Meta:  &schemas.Meta{Source: "test", Venue: "v", Symbol: fmt.Sprintf("S%d-USD", i), EventTime: int64(end)},
				Start: int64(end.Add(-time.Minute)), End: int64(end), Volume: schemas.NewDecimal(int64(volume), -2), Close: schemas.NewDecimal(int64(1000+r.IntN(9)), -2),
				Trades: uint32(volume / 100), RushOrders: uint32(volume / 1000), Basket: "venue:v", Incomplete: r.IntN(1500) == 0,
			}
			if r.IntN(1500) == 0 {
				continue
			}
			out = append(out, bar)
			if i < 3 {
				other := proto.CloneOf(bar)
				other.Basket = "three"
				out = append(out, other)
			}
		}
		out = append(out, &schemas.Tick{Source: "test", Time: int64(end)})
		if r.IntN(1500) == 0 {
			out = append(out, out[len(out)-2])
		}
	}
	return out
}

// generators make the inputs of the laws, by processor.
var generators = map[string]func(r *rand.Rand, hours int) []schemas.Message{
	"price_anomaly": tape, "unusual_volume": baskets,
	"liquidity_drop": books, "correlation_breakdown": returns, "exchange_outage": statuses,
}

func TestLaws(t *testing.T) {
	testservices.Study(t)
	for _, def := range processor.All() {
		if def.Kind != processor.Watchdog {
			continue
		}
		t.Run(def.Name, func(t *testing.T) {
			laws.Run(t, def.Name, nil, func(r *rand.Rand) []schemas.Message { return generators[def.Name](r, 76) })
		})
	}
}

// Every event has an id of its own, and an episode is told from its beginning to its end: first open, or resolved when it was over as it was
// told; then updates; then resolved, once, with the highest severity that it had. Corrections of earnings alone may lower it, or come behind
// its end.
func TestEpisodesAreTold(t *testing.T) {
	testservices.Study(t)
	for _, def := range processor.All() {
		if def.Kind != processor.Watchdog {
			continue
		}
		t.Run(def.Name, func(t *testing.T) {
			ids := map[string]string{}
			told := map[string]*schemas.Event{}
			highest := map[string]int{}
			for e := range eventsIn(t, eventsOf(t, def, `{}`)) {
				if text, twice := ids[e.Id]; twice {
					t.Errorf("%q has the id of %q", e.Description, text)
				}
				ids[e.Id] = e.Description
				before, corrects := told[e.DedupKey], def.Name == earningsAnomalyName
				rank := schemas.SeverityRank(e.Severity)
				switch {
				case before == nil && e.Status == schemas.Update:
					t.Errorf("%q updates what was not open", e.Description)
				case before != nil && e.Status == schemas.Open:
					t.Errorf("%q opens what began with %q", e.Description, before.Description)
				case before != nil && before.Status == schemas.Resolved && !corrects:
					t.Errorf("%q comes after the end: %q", e.Description, before.Description)
				case e.Status == schemas.Resolved && rank != max(highest[e.DedupKey], rank) && !corrects:
					t.Errorf("%q ends as %s what was graver", e.Description, e.Severity)
				}
				told[e.DedupKey] = e
				highest[e.DedupKey] = max(highest[e.DedupKey], rank)
			}
		})
	}
}

// eventsIn are the events among the lines of a recorder.
func eventsIn(t *testing.T, lines string) iter.Seq[*schemas.Event] {
	return func(yield func(*schemas.Event) bool) {
		for line := range strings.Lines(lines) {
			text, ok := strings.CutPrefix(line, "Event ")
			if !ok {
				continue
			}
			e := &schemas.Event{}
			if err := protojson.Unmarshal([]byte(text), e); err != nil {
				t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	}
}
