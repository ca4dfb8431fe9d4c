package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/internal/depth"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/binance"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A LiquidityReport is the outcome of the study of liquidity_drop.
type LiquidityReport struct {
	Key     string  `json:"key"`
	Minutes float64 `json:"minutes"`
	// Reach is how far from the mid the books go, in percent, on the shallower side, the least of all.
	Reach float64 `json:"reach_pct"`
	// Known is in how many of the books a band is known wholly.
	Known []KnownBand    `json:"known"`
	Rules []LiquidityRow `json:"rules"`
	// Charts are the depths of either side within each band, with the detector's alarms.
	Charts []sheet.Chart `json:"charts,omitempty"`
}

// A KnownBand is the share of books of which all within a distance of the mid is known, by side.
type KnownBand struct {
	Band float64 `json:"band_pct"`
	Bid  float64 `json:"bid"`
	Ask  float64 `json:"ask"`
}

// A LiquidityRow is one rule at one band.
type LiquidityRow struct {
	Rule string  `json:"rule"`
	Band float64 `json:"band_pct"`
	// Alarms on the untouched books, of Hours.
	Alarms int           `json:"alarms"`
	Alerts []sheet.Alert `json:"alerts,omitempty"`
	Hours  float64       `json:"hours"`
	Cuts   []CutReport   `json:"cuts"`
}

// A CutReport is what became of the cuts of one side to one size.
type CutReport struct {
	Side string  `json:"side"`
	Pct  float64 `json:"pct"`
	// Whole says that so many of the levels went, those that are left being what they were; else each lost its share.
	Whole bool `json:"whole_levels,omitempty"`
	N     int  `json:"n"`
	// Within five seconds, and within thirty.
	Five, Ever Interval
	Delay      Delay `json:"delay"`
}

const (
	// cutLength is how much of a cut is looked at: what is not told in half a minute would not be in two.
	cutLength = 30 * time.Second
	cutSoon   = 5 * time.Second
	// cutWarm is how much of the recording only warms the baselines up, and cutEvery how far apart the cuts begin.
	cutWarm, cutEvery = 90 * time.Second, 5 * time.Second
)

// liquidityStudy judges liquidity_drop on the books of a recording of Binance's USD-margined futures: what is cut out of one side and
// stays away must be told within five seconds. It runs by the levels, within bands that they reach, beside a plain rule that compares
// each second's depth with the mean of all seconds before, ten minutes at most; and as shipped, by the bands that the source knows
// wholly. Of the books of a second only the last is kept, which is all that the detector looks at.
func liquidityStudy(ctx context.Context, o StudyOptions) (Result, error) {
	if len(o.Data) != 1 {
		return nil, fmt.Errorf("data are %v: it must be one recording", o.Data)
	}
	b := &bookTape{}
	if err := b.read(ctx, o.Data[0]); err != nil {
		return nil, err
	}
	out := &LiquidityReport{Key: b.key, Minutes: b.last().Sub(b.first()).Minutes(), Reach: b.reach()}
	levels := b.levels()
	for _, band := range []float64{0.1, 0.2} {
		out.Rules = append(out.Rules, levels.naive(band))
		one, err := levels.detector(ctx, o.Config, map[string]any{"band_pct": band, "near_pct": band / 2})
		if err != nil {
			return nil, err
		}
		one.Rule, one.Band = "liquidity_drop", band
		out.Rules = append(out.Rules, *one)
		if o.Charts {
			out.Charts = append(out.Charts, levels.charts(band, one.Alerts)...)
		}
	}
	one, err := b.detector(ctx, o.Config, nil)
	if err != nil {
		return nil, err
	}
	one.Rule, one.Band = "as shipped, by bands", 1
	out.Rules, out.Known = append(out.Rules, *one), b.known()
	return out, nil
}

// A bookTape holds the books and Ticks of one instrument in their order.
type bookTape struct {
	key     string
	entries []schemas.Message
}

var _ sources.Publisher = (*bookTape)(nil)

// read plays a capture.
func (b *bookTape) read(ctx context.Context, path string) error {
	c := binance.FuturesDefaults()
	c.Play, c.Symbols, c.BookDepth = path, nil, 1000
	s, err := venue.New(c, nil, sources.NewMetrics(nil))
	if err != nil {
		return err
	}
	if err := s.Run(ctx, b); err != nil {
		return fmt.Errorf("playing %s: %w", path, err)
	}
	if b.key == "" {
		return errors.New("the recording has no book: it must have depth updates and a snapshot")
	}
	return nil
}

// Publish keeps the books and gaps of the first instrument that has any.
func (b *bookTape) Publish(topic schemas.Topic, m schemas.Message) error {
	if topic.Name != schemas.MarketBooks.Name {
		return nil
	}
	if key := topic.KeyOf(m); b.key == "" {
		b.key = key
	} else if key != b.key {
		return nil
	}
	_, book := m.(*schemas.BookSnapshot)
	if n := len(b.entries); n > 0 && book {
		if last, ok := b.entries[n-1].(*schemas.BookSnapshot); ok {
			proto.Reset(last)
			proto.Merge(last, m)
			return nil
		}
	}
	b.entries = append(b.entries, proto.Clone(m))
	return nil
}

// Tick keeps it.
func (b *bookTape) Tick(name string, at schemas.Time, topics ...schemas.Topic) error {
	if slices.ContainsFunc(topics, func(t schemas.Topic) bool { return t.Name == schemas.MarketBooks.Name }) {
		b.entries = append(b.entries, &schemas.Tick{Source: name, Time: int64(at)})
	}
	return nil
}

// Flush has nothing to do.
func (b *bookTape) Flush(context.Context) error { return nil }

func (b *bookTape) books() (out []*schemas.BookSnapshot) {
	for _, m := range b.entries {
		if s, ok := m.(*schemas.BookSnapshot); ok {
			out = append(out, s)
		}
	}
	return out
}

// levels is the tape without what the source states of the depth by band.
func (b *bookTape) levels() *bookTape {
	out := &bookTape{key: b.key, entries: slices.Clone(b.entries)}
	for i, m := range out.entries {
		if s, ok := m.(*schemas.BookSnapshot); ok {
			s = proto.CloneOf(s)
			s.Bands, out.entries[i] = nil, s
		}
	}
	return out
}

// known counts the bands that are known wholly.
func (b *bookTape) known() (out []KnownBand) {
	books := b.books()
	for i, d := range books[0].Bands {
		k := KnownBand{Band: float64(d.BasisPoints) / 100}
		for _, s := range books {
			if len(s.Bands) > i && s.Bands[i].BidComplete {
				k.Bid++
			}
			if len(s.Bands) > i && s.Bands[i].AskComplete {
				k.Ask++
			}
		}
		k.Bid, k.Ask = k.Bid/float64(len(books)), k.Ask/float64(len(books))
		out = append(out, k)
	}
	return out
}

func (b *bookTape) first() schemas.Time { return schemas.TimeOf(b.books()[0]) }

func (b *bookTape) last() schemas.Time { return schemas.TimeOf(b.entries[len(b.entries)-1]) }

// reach is how far the books go at least, in percent of the mid.
func (b *bookTape) reach() float64 {
	least := 100.0
	for _, s := range b.books() {
		mid := midOf(s)
		bid, ask := s.Bids[len(s.Bids)-1].Price.Float(), s.Asks[len(s.Asks)-1].Price.Float()
		least = min(least, 100*(1-bid/mid), 100*(ask/mid-1))
	}
	return least
}

// A cut takes a share out of one side: of each level, or of the number of levels.
type cut struct {
	bid   bool
	keep  float64
	whole bool
}

var cuts = []cut{
	{true, 0.5, false},
	{false, 0.5, false},
	{true, 0.4, false},
	{false, 0.4, false},
	{true, 0.3, false},
	{false, 0.3, false},
	{true, 0.1, false},
	{false, 0.1, false},
	{true, 0.3, true},
	{false, 0.3, true},
}

func (c cut) side() string {
	if c.bid {
		return "bid"
	}
	return "ask"
}

// apply returns the book without the share, of a cut that began at from.
func (c cut) apply(s *schemas.BookSnapshot, from schemas.Time) *schemas.BookSnapshot {
	out := proto.CloneOf(s)
	levels := &out.Asks
	if c.bid {
		levels = &out.Bids
	}
	if c.whole {
		c.thin(out, levels, from)
		return out
	}
	for _, l := range *levels {
		c.scale(l.Quantity)
	}
	for _, d := range out.Bands {
		quantity, capped := d.AskQuantity, d.AskCapped
		if c.bid {
			quantity, capped = d.BidQuantity, d.BidCapped
		}
		c.scale(quantity)
		if capped != nil {
			c.scale(capped)
		}
	}
	return out
}

// thin takes whole levels out, the same prices as long as the cut lasts but the best one, and states the bands anew. Of one that goes
// beyond the levels, which is not complete, that is less than was known: it was not judged before and is not now.
func (c cut) thin(s *schemas.BookSnapshot, levels *[]*schemas.Level, from schemas.Time) {
	mid := midOf(s)
	best := (*levels)[0]
	*levels = slices.DeleteFunc(*levels, func(l *schemas.Level) bool {
		return l != best && rand.New(rand.NewPCG(uint64(from), uint64(l.Price.Mantissa))).Float64() >= c.keep
	})
	for _, d := range s.Bands {
		n, sum, largest := 0, 0.0, 0.0
		for ; n < len(*levels) && math.Abs((*levels)[n].Price.Float()/mid-1) <= float64(d.BasisPoints)/1e4; n++ {
			q := (*levels)[n].Quantity.Float()
			sum, largest = sum+q, max(largest, q)
		}
		capped := depth.Capped(n, sum, largest, func(i int) float64 { return (*levels)[i].Quantity.Float() })
		if c.bid {
			d.BidQuantity, d.BidCapped = amount(sum), amount(capped)
		} else {
			d.AskQuantity, d.AskCapped = amount(sum), amount(capped)
		}
	}
}

// amount is a quantity to the eighth decimal.
func amount(q float64) *schemas.Decimal { return schemas.NewDecimal(int64(q*1e8), -8) }

func midOf(s *schemas.BookSnapshot) float64 {
	return (s.Bids[0].Price.Float() + s.Asks[0].Price.Float()) / 2
}

// scale leaves the share that is kept of a quantity.
func (c cut) scale(q *schemas.Decimal) {
	if q.Mantissa > 0 {
		q.Mantissa = max(int64(float64(q.Mantissa)*c.keep*1000), 1)
	}
	q.Exponent -= 3
}

// starts are the moments at which cuts begin: five seconds apart, with an odd part of a second.
func (b *bookTape) starts() []schemas.Time {
	var out []schemas.Time
	for at, k := b.first().Add(cutWarm), 0; at.Add(cutSoon+2*time.Second) < b.last(); at, k = at.Add(cutEvery), k+1 {
		out = append(out, at.Add(time.Duration(k*137%1000)*time.Millisecond))
	}
	return out
}

// detector measures liquidity_drop.
func (b *bookTape) detector(ctx context.Context, config []byte, change map[string]any) (*LiquidityRow, error) {
	bound, err := with("liquidity_drop", config, change)
	if err != nil {
		return nil, err
	}
	m := newTaskMachine(bound, Options{}, nil)
	out := &LiquidityRow{Hours: b.last().Sub(b.first()).Hours()}
	starts := b.starts()
	tallies := make([]cutTally, len(cuts))
	for i, e := range b.entries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for len(starts) > 0 && schemas.TimeOf(e) >= starts[0] {
			saved, err := m.save()
			if err != nil {
				return nil, err
			}
			for k, c := range cuts {
				at, err := b.fork(m, saved, c, starts[0], b.entries[i:])
				if err != nil {
					return nil, err
				}
				tallies[k].add(starts[0], at)
			}
			starts = starts[1:]
		}
		m.put(schemas.TypeOf(e), e)
		for _, n := range m.take() {
			if n.status == schemas.Open {
				out.Alarms++
				out.Alerts = append(out.Alerts, sheet.Alert{At: n.at, Severity: severityNames[n.severity-1]})
			}
		}
	}
	if m.out.err != nil {
		return nil, m.out.err
	}
	for k, c := range cuts {
		out.Cuts = append(out.Cuts, tallies[k].report(c))
	}
	return out, nil
}

// fork plays a cut to a copy of the machine and returns when it was told, 0 for never.
func (b *bookTape) fork(m *taskMachine, saved any, c cut, from schemas.Time, entries []schemas.Message) (schemas.Time, error) {
	f, err := m.fork(saved)
	if err != nil {
		return 0, err
	}
	one, ok := f.(*taskMachine)
	if !ok {
		return 0, fmt.Errorf("a fork of a task is %T: it must be a task", f)
	}
	for _, e := range entries {
		if schemas.TimeOf(e) > from.Add(cutLength) {
			break
		}
		if s, ok := e.(*schemas.BookSnapshot); ok {
			e = c.apply(s, from)
		}
		one.put(schemas.TypeOf(e), e)
		for _, n := range one.take() {
			if n.status == schemas.Open {
				return n.at, one.out.err
			}
		}
	}
	return 0, one.out.err
}

type cutTally struct {
	n, five, ever int
	delays        []time.Duration
}

func (t *cutTally) add(from, at schemas.Time) {
	t.n++
	if at == 0 {
		return
	}
	t.ever++
	d := at.Sub(from)
	if d <= cutSoon {
		t.five++
	}
	t.delays = append(t.delays, d)
}

func (t *cutTally) report(c cut) CutReport {
	return CutReport{Side: c.side(), Pct: 100 * (1 - c.keep), Whole: c.whole, N: t.n, Five: Wilson(t.five, t.n), Ever: Wilson(t.ever, t.n), Delay: delayOf(t.delays)}
}

// charts are the depths of either side within a band.
func (b *bookTape) charts(band float64, alerts []sheet.Alert) []sheet.Chart {
	var out []sheet.Chart
	all := b.depths(band)
	for side, name := range []string{"bids", "asks"} {
		c := sheet.Chart{Title: fmt.Sprintf("Depth of the %s within %g %%", name, band), Unit: "quantity", From: b.first(), To: b.last(), Alerts: alerts}
		for _, s := range all {
			c.Line = append(c.Line, sheet.Sample{At: s.at, Value: s.depth[side]})
		}
		out = append(out, c)
	}
	return out
}

// Sheet shows the report.
func (r *LiquidityReport) Sheet() *sheet.Sheet {
	t := sheet.NewTable("Rule", "Alarms", "Alarms/hour", "95 %", "Cut", "N", "Found in 5 s", "95 %", "Found in 30 s", "Delay median")
	t.Group = 4
	var plots []sheet.Plot
	for _, one := range r.Rules {
		rate := perDay(one.Alarms, one.Hours)
		name := fmt.Sprintf("%s, band %g %%", one.Rule, one.Band)
		shares, late := sheet.Whiskers{Title: name, X: "share found within 5 s"}, sheet.Delays{Title: "How late: " + name}
		for _, c := range one.Cuts {
			cut := fmt.Sprintf("%s %.0f %%", c.Side, c.Pct)
			if c.Whole {
				cut += " of the levels"
			}
			t.Row(name, one.Alarms, figure(rate.Value), bounds(rate), cut, c.N, figure(c.Five.Value), bounds(c.Five), figure(c.Ever.Value),
				fmt.Sprintf("%.1f s", c.Delay.Median*60))
			shares.Rows = append(shares.Rows, whisker(cut, c.Five, 0))
			late.Rows = append(late.Rows, sheet.DelayRow{Name: cut, Values: c.Delay.All})
		}
		plots = append(plots, shares, late)
	}
	known := sheet.NewTable("Band", "Bid", "Ask")
	for _, k := range r.Known {
		known.Row(fmt.Sprintf("%g %%", k.Band), fmt.Sprintf("%.2f", k.Bid), fmt.Sprintf("%.2f", k.Ask))
	}
	return &sheet.Sheet{
		Title: "liquidity_drop", Lead: fmt.Sprintf("%s; %.1f minutes of books, which reach %.3f %% from the mid at least", r.Key, r.Minutes, r.Reach),
		Parts: []sheet.Part{
			{Tables: []*sheet.Table{t}, Plots: append(plots, plotsOf(r.Charts)...)},
			{Title: "Books of which all within a band is known", Tables: []*sheet.Table{known}},
		},
	}
}
