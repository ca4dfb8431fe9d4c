package detectors

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/stream/processor"
	"github.com/tapewatch/tapewatch/stream/processor/feed"
)

func TestBudgetFor(t *testing.T) {
	budgets := []keyBudget{{"binance:BTC-*", 2}, {"BTC-USD", 3}, {"kraken:*", 4}, {"ET?-USD", 5}}
	for key, want := range map[[2]string]float64{
		{"binance", "BTC-USD"}: 2, {"binance", "BTC-EUR"}: 2, {"kraken", "BTC-USD"}: 3, {"kraken", "BTC-EUR"}: 4, {"okx", "ETH-USD"}: 5, {"okx", "LTC-USD"}: 1,
	} {
		if got := budgetFor(budgets, key[0], key[1], 1); got != want {
			t.Errorf("the budget of %v is %v days, want %v", key, got, want)
		}
	}
}

// One key's budget changes that key's events, to what they are with that budget for all, and no other's.
func TestBudgetsOfKeys(t *testing.T) {
	testservices.Study(t)
	for detector, key := range map[string]string{"price_anomaly": "S1-USD", "unusual_volume": "S1-USD", "whale_movement": "USDT"} {
		def, err := processor.Lookup(detector)
		if err != nil {
			t.Fatal(err)
		}
		events := func(config string) (own, rest []string) {
			bound, err := def.BindJSON([]byte(config))
			if err != nil {
				t.Fatal(err)
			}
			inputs, err := feed.Inputs(def.Input, generators[detector](rand.New(rand.NewPCG(11, 1)), 150))
			if err != nil {
				t.Fatal(err)
			}
			sink := &feed.Recorder{}
			task := processor.NewTask(bound, 0, 0, processor.DefaultTimePolicy(), sink, feed.History(inputs))
			for _, in := range inputs {
				task.Process(in)
			}
			for _, line := range sink.Lines {
				line = strings.ReplaceAll(line, bound.ConfigHash, "")
				if strings.Contains(line, `"symbol":"`+key+`"`) {
					own = append(own, line)
				} else {
					rest = append(rest, line)
				}
			}
			return own, rest
		}
		own, rest := events(`{}`)
		ownTight, restTight := events(`{"budget_days":0.2}`)
		ownMixed, restMixed := events(`{"budgets":[{"key":"` + key + `","days":0.2}]}`)
		same := func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
		if same(own, ownTight) || same(rest, restTight) || len(rest) == 0 {
			t.Fatalf("%s: the budget changes nothing, so nothing is tested", detector)
		}
		if !same(ownMixed, ownTight) {
			t.Errorf("%s: with a budget of its own %s has other events than with the same one for all", detector, key)
		}
		if !same(restMixed, rest) {
			t.Errorf("%s: a budget of %s changes the events of others", detector, key)
		}
	}
}

// A pair's budget changes events, of its members too, as half of their pairs break for them; one of no pair changes nothing.
func TestBudgetsOfPairs(t *testing.T) {
	testservices.Study(t)
	def, err := processor.Lookup(correlationName)
	if err != nil {
		t.Fatal(err)
	}
	plain := eventsOf(t, def, `{}`)
	for pattern, same := range map[string]bool{"S0-USD/S1-USD": false, "S0-*/S1-*": false, "S0-USD": false, "S1-USD/S0-USD": true, "S9-*": true} {
		if got := eventsOf(t, def, `{"budgets":[{"key":"`+pattern+`","days":0.2}]}`) == plain; got != same {
			t.Errorf("a budget of %s leaves the events alone: %v, want %v", pattern, got, same)
		}
	}
}

func TestBrokenBudgets(t *testing.T) {
	for _, detector := range []string{"price_anomaly", "unusual_volume", "liquidity_drop", "whale_movement", "correlation_breakdown"} {
		def, err := processor.Lookup(detector)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := def.BindJSON([]byte(`{"budgets":[{"key":"*:BTC-*","days":14}]}`)); err != nil {
			t.Errorf("%s: %v", detector, err)
		}
		for _, b := range []string{`{"key":"","days":1}`, `{"key":"[","days":1}`, `{"key":"BTC-USD","days":0}`, `{"key":"BTC-USD"}`, `{"key":"BTC-USD","days":366}`} {
			_, err := def.BindJSON([]byte(`{"budgets":[` + b + `]}`))
			if err == nil || !strings.Contains(err.Error(), detector+".budgets ") || !strings.Contains(err.Error(), "must") {
				t.Errorf("%s: budget %s: error %v: it must name field, value and rule", detector, b, err)
			}
		}
	}
}
