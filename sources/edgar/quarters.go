package edgar

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

const dilutedShares = "WeightedAverageNumberOfDilutedSharesOutstanding"

// fourthQuarters derives what no filing states: the fourth quarter is the year less its first nine months. It is known once
// both are, on one basis. A later vintage follows when both have changed: one restated value against one that is not would
// be no quarter of any account.
func (d *factDecoder) fourthQuarters(concept, unit string, facts, shares map[period][]*fact) {
	for _, year := range periodsOf(facts) {
		if !lasts(year, 350, 380) {
			continue
		}
		for _, nine := range periodsOf(facts) {
			if nine.start == year.start && lasts(nine, 260, 290) {
				d.fourthQuarter(concept, unit, facts, shares, year, nine)
			}
		}
	}
}

func (d *factDecoder) fourthQuarter(concept, unit string, facts, shares map[period][]*fact, year, nine period) {
	quarter := period{start: dayAfter(nine.end), end: year.end}
	stated := ""
	if of := facts[quarter]; len(of) > 0 {
		stated = of[0].Filed
	}
	var usedYear, usedNine *fact
	for _, filed := range filings(facts[year], facts[nine]) {
		if stated != "" && stated <= filed {
			return // the company tells it itself
		}
		y, n := asOf(facts[year], filed), asOf(facts[nine], filed)
		if y == nil || n == nil || y == usedYear || n == usedNine || !oneBasis(asOf(shares[year], filed), asOf(shares[nine], filed), shares != nil) {
			continue
		}
		value, ok := minus(y.value, n.value)
		if !ok {
			return
		}
		usedYear, usedNine = y, n
		later := y
		if n.Filed > y.Filed {
			later = n
		}
		d.put(concept, unit, &fact{Start: quarter.start, End: quarter.end, Accession: later.Accession, Form: later.Form, Filed: later.Filed, value: value}, true)
	}
}

// oneBasis says that two figures per share count the same shares: a split between them would make a quarter of nothing. A
// ratio near a thousand is no split: early filings gave thousands in one place and units in another.
func oneBasis(year, nine *fact, perShare bool) bool {
	if !perShare {
		return true
	}
	if year == nil || nine == nil || nine.value.Sign() <= 0 || year.value.Sign() <= 0 {
		return false
	}
	const most = 1.2
	ratio := year.value.Float() / nine.value.Float()
	for _, unit := range []float64{1, 1000, 0.001} {
		if r := ratio / unit; r < most && r > 1/most {
			return true
		}
	}
	return false
}

// filings lists the days on which one of the values was filed, in order.
func filings(a, b []*fact) []string {
	var days []string
	for len(a)+len(b) > 0 {
		var day string
		if len(b) == 0 || len(a) > 0 && a[0].Filed <= b[0].Filed {
			day, a = a[0].Filed, a[1:]
		} else {
			day, b = b[0].Filed, b[1:]
		}
		if len(days) == 0 || days[len(days)-1] != day {
			days = append(days, day)
		}
	}
	return days
}

// asOf is the value that was known at the end of a day.
func asOf(of []*fact, day string) *fact {
	var last *fact
	for _, f := range of {
		if f.Filed <= day {
			last = f
		}
	}
	return last
}

func minus(a, b *schemas.Decimal) (*schemas.Decimal, bool) {
	exponent := min(a.GetExponent(), b.GetExponent())
	am, aok := a.Rescale(exponent)
	bm, bok := b.Rescale(exponent)
	return schemas.NewDecimal(am-bm, exponent), aok && bok
}

func lasts(p period, least, most int) bool {
	from, err := poll.Day(p.start, time.UTC)
	if err != nil {
		return false
	}
	to, err := poll.Day(p.end, time.UTC)
	days := int(to.Sub(from) / (24 * time.Hour))
	return err == nil && days >= least && days <= most
}

func dayAfter(day string) string {
	t, err := poll.Day(day, time.UTC)
	if err != nil {
		return day
	}
	return t.AddDate(0, 0, 1).Format(time.DateOnly)
}
