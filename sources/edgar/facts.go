package edgar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// fact is one value of one filing. fy and fp describe the filing, not the value's period, and are left alone.
type fact struct {
	Start     string    `json:"start"`
	End       string    `json:"end"`
	Value     poll.Text `json:"val"`
	Accession string    `json:"accn"`
	Form      string    `json:"form"`
	Filed     string    `json:"filed"`

	value *schemas.Decimal
}

// period is what a value is about.
type period struct{ start, end string }

// taxonomies are facts by taxonomy, concept and unit.
type taxonomies map[string]map[string]struct {
	Units map[string][]*fact `json:"units"`
}

// holds says that a filing is among the facts.
func holds(facts taxonomies, accession string) bool {
	for _, concepts := range facts { // any: the order plays no part
		for _, c := range concepts {
			for _, unit := range c.Units {
				if slices.ContainsFunc(unit, func(f *fact) bool { return f.Accession == accession }) {
					return true
				}
			}
		}
	}
	return false
}

// companyFacts reads all facts of a company. Each period's first value and each later one that differs are records; that a
// later filing repeats a value is none.
func (p *Poller) companyFacts(a poll.Answer, cur cursor, symbol string) (poll.Result, error) {
	var body struct {
		Facts taxonomies `json:"facts"`
	}
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	if len(body.Facts) == 0 {
		return poll.Result{}, poll.Missing("facts")
	}
	d := &factDecoder{symbol: symbol, cur: cur}
	for _, concept := range p.cfg.Concepts {
		taxonomy, name, _ := strings.Cut(concept, "/")
		d.units(concept, body.Facts[taxonomy][name].Units, body.Facts["us-gaap"][dilutedShares].Units["shares"])
	}
	res := poll.Result{Records: d.records, Bad: d.bad}
	if len(d.records) == 0 {
		return poll.Result{}, fmt.Errorf("%w: no fact of edgar.concepts is in the answer", poll.ErrShape)
	}
	if cur.Wanted == "" || holds(body.Facts, cur.Wanted) { // the facts of a filing come a little after it
		cur.Facts = cur.Wanted
	} else {
		res.Partial = true
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// factDecoder makes records of one company's facts.
type factDecoder struct {
	symbol  string
	cur     cursor
	records []poll.Record
	bad     []error
}

func (d *factDecoder) units(concept string, units map[string][]*fact, shares []*fact) {
	names := make([]string, 0, len(units))
	for unit := range units {
		names = append(names, unit)
	}
	slices.Sort(names)
	for _, unit := range names {
		vintages := d.vintages(concept, units[unit])
		for _, p := range periodsOf(vintages) {
			for _, f := range vintages[p] {
				d.put(concept, unit, f, false)
			}
		}
		if derivable(concept, unit) {
			var counts map[period][]*fact
			if strings.HasSuffix(unit, "/shares") {
				counts = d.vintages(dilutedShares, shares)
			}
			d.fourthQuarters(concept, unit, vintages, counts)
		}
	}
}

// derivable says that a year's value is the sum of its quarters'. An average, such as a number of shares, is none.
func derivable(concept, unit string) bool {
	return unit != "shares" && !strings.Contains(concept, "WeightedAverage")
}

// vintages sorts the values of each period by filing and leaves out those that only repeat the one before.
func (d *factDecoder) vintages(concept string, facts []*fact) map[period][]*fact {
	out := map[period][]*fact{}
	sorted := slices.Clone(facts)
	slices.SortStableFunc(sorted, func(a, b *fact) int {
		return cmp.Or(cmp.Compare(a.Filed, b.Filed), cmp.Compare(a.Accession, b.Accession))
	})
	for _, f := range sorted {
		if f.value == nil {
			v, err := f.Value.Decimal()
			if err == nil && (v == nil || f.Accession == "") {
				err = fmt.Errorf("%w: val and accn must not be missing", poll.ErrShape)
			}
			if err != nil {
				d.bad = append(d.bad, fmt.Errorf("%s of %s, filing %s: %w", concept, f.End, f.Accession, err))
				continue
			}
			f.value = v
		}
		p := period{f.Start, f.End}
		if have := out[p]; len(have) == 0 || have[len(have)-1].value.Cmp(f.value) != 0 {
			out[p] = append(have, f)
		}
	}
	return out
}

func periodsOf(of map[period][]*fact) []period {
	out := make([]period, 0, len(of))
	for p := range of {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b period) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.start, b.start)) })
	return out
}

func (d *factDecoder) put(concept, unit string, f *fact, derived bool) {
	said, err := d.public(f)
	if err != nil {
		d.bad = append(d.bad, fmt.Errorf("%s, filing %s: %w", concept, f.Accession, err))
		return
	}
	id := strings.Join([]string{concept, unit, f.Start, f.End, f.Accession}, "|")
	if derived {
		id += "|derived"
	}
	d.records = append(d.records, poll.Record{
		Topic: schemas.ReferenceEquities, Said: said,
		Message: &schemas.FundamentalFact{
			Meta:    &schemas.Meta{Venue: venue, Symbol: d.symbol, Id: id},
			Concept: concept, Unit: unit, PeriodStart: f.Start, PeriodEnd: f.End, Value: f.value,
			Accession: f.Accession, Form: f.Form, Filed: f.Filed, Derived: derived,
		},
	})
}

// public is when a filing could be read: its acceptance, or the end of its day at the SEC when that is all that is known.
func (d *factDecoder) public(f *fact) (schemas.Time, error) {
	if at := d.cur.Accepted[f.Accession]; at != 0 {
		return schemas.Time(at), nil
	}
	day, err := poll.Day(f.Filed, newYork)
	if err != nil {
		return 0, err
	}
	return poll.Time(day.Add(22 * time.Hour)), nil
}
