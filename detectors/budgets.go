package detectors

import (
	"fmt"
	"path"
)

// A keyBudget is the budget of the keys that a pattern names, in place of budget_days.
type keyBudget struct {
	Key  string  `koanf:"key" json:"key" doc:"Keys, by symbol or venue:symbol (chain:asset), with * and ? as wildcards."`
	Days float64 `koanf:"days" json:"days" doc:"Their return period in days."`
}

// budgetFor is the budget of a key in days: that of the first pattern that names it.
func budgetFor(budgets []keyBudget, venue, symbol string, days float64) float64 {
	for _, b := range budgets {
		bySymbol, _ := path.Match(b.Key, symbol)
		byKey, _ := path.Match(b.Key, venue+":"+symbol)
		if bySymbol || byKey {
			return b.Days
		}
	}
	return days
}

// checkBudgets checks the budgets of a detector and of some of its keys.
func checkBudgets(detector string, days float64, budgets []keyBudget) error {
	if !(days >= 0.1 && days <= 365) {
		return fmt.Errorf("%s.budget_days is %v: it must be 0.1 to 365", detector, days)
	}
	for i, b := range budgets {
		if _, err := path.Match(b.Key, ""); err != nil || b.Key == "" || !(b.Days >= 0.1 && b.Days <= 365) {
			return fmt.Errorf("%s.budgets has %q at %v days as its number %d: it must be a symbol or venue:symbol, with * and ? as wildcards, and 0.1 to 365 days",
				detector, b.Key, b.Days, i)
		}
	}
	return nil
}
