package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// The background of the study.
const (
	feedMinimum = 50_000 // USD from which the feed tells transfers
	warmDays    = 45
	testDays    = 90 // unless the options say otherwise
	thinShare   = 15 // the thin asset has this part of the busy one's transfers
	exchangesOf = 8
	dailySpan   = 24 * time.Hour
	// regulars is how many plain addresses deal with exchanges again and again, and regularShare their part of such transfers.
	regulars     = 40
	regularShare = 0.3
	// spacing of injections, and how long after an injection's end it may be found.
	injectEvery = 11 * time.Hour
	foundWithin = 30 * time.Minute
)

// whaleStudy judges whale_movement on a seeded background with the shape of real blocks: token transfers as JSON lines of ethereum-etl, and
// a CSV of address, label and category. Injected are single transfers of the 99.9 and 99.99 % size to an exchange, splits of them, and
// shuffles inside an exchange.
func whaleStudy(ctx context.Context, o StudyOptions) (Result, error) {
	categories := map[string]string{}
	var rows []tokenTransfer
	for _, path := range o.Data {
		if strings.Contains(path, ".json") {
			more, err := readTokenTransfers(path)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
			continue
		}
		f, err := readHeaded(path)
		if err != nil {
			return nil, err
		}
		if !f.has("address", "category") {
			return nil, fmt.Errorf("header of %s is %q: it must have address and category", path, f.head)
		}
		address, category := f.at("address"), f.at("category")
		for _, row := range f.rows {
			categories[address(row)] = category(row)
		}
	}
	shape, err := shapeOf(rows, categories)
	if err != nil {
		return nil, err
	}
	r := &WhaleReport{Shape: *shape}
	for _, asset := range []struct {
		name string
		rate float64
	}{{"busy", shape.PerDay}, {"thin", shape.PerDay / thinShare}} {
		one, err := whaleAsset(ctx, asset.name, asset.rate, shape, o)
		if err != nil {
			return nil, err
		}
		r.Assets = append(r.Assets, *one)
	}
	return r, nil
}

// A WhaleReport is what whale_movement made of the background and of what was injected.
type WhaleReport struct {
	Shape  chainShape   `json:"shape"`
	Assets []WhaleAsset `json:"assets"`
}

// A WhaleAsset is one asset of the background.
type WhaleAsset struct {
	Asset  string  `json:"asset"`
	PerDay float64 `json:"transfers_per_day"`
	Days   int     `json:"days"`
	// Events by severity a day, of transfers and of net flows; Medium is all of medium and above.
	Transfers [4]float64 `json:"transfer_events_per_day"`
	Flows     [4]float64 `json:"flow_events_per_day"`
	Medium    Interval   `json:"medium_per_day"`
	// Beyond are all events of a severity and above a day, from low on.
	Beyond [4]Interval `json:"events_per_day_and_above"`
	// NaiveUSD is the size that as many transfers of the background reach as there are events of medium and above: the naive rule's threshold.
	NaiveUSD float64     `json:"naive_usd"`
	Grades   []WhaleGain `json:"injections"`
}

// A WhaleGain is what became of one kind of injection: Beyond raised an event of a severity or above, from low on, Found one of medium or
// above, Any any.
type WhaleGain struct {
	Grade string   `json:"grade"`
	USD   float64  `json:"usd"`
	N     int      `json:"n"`
	Busy  int      `json:"busy"`
	Found Interval `json:"found"`
	Any   Interval `json:"any_event"`
	Delay Delay    `json:"delay"`
	// Beyond are the shares by severity.
	Beyond [4]Interval `json:"found_and_above"`
	// Naive says that a piece reaches the naive rule's threshold, and NaivePerDay how many transfers of the background a day reach the size
	// of a piece: what the rule costs at the threshold that finds them all.
	Naive       bool    `json:"found_by_naive"`
	NaivePerDay float64 `json:"naive_per_day"`
}

// A whaleGrade is one kind of injection.
type whaleGrade struct {
	share    float64 // of the sizes that lie below
	pieces   int
	span     time.Duration
	internal bool
	// fresh says that each piece comes from an address of its own.
	fresh bool
}

func (g whaleGrade) String() string {
	text := strconv.FormatFloat(100*g.share, 'g', 6, 64) + " % size"
	if g.pieces > 1 {
		text += fmt.Sprintf(" in %d over %v", g.pieces, g.span)
	}
	if g.internal {
		text += ", internal"
	}
	if g.fresh {
		text += ", as many senders"
	}
	return text
}

// whaleShares are the sizes that are injected, by the share of the background's that lie below.
var whaleShares = []float64{0.999, 0.9999}

func whaleGrades() []whaleGrade {
	var out []whaleGrade
	for _, share := range whaleShares {
		out = append(out, whaleGrade{share: share, pieces: 1})
		for _, pieces := range []int{5, 20, 100} {
			for _, span := range []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour} {
				out = append(out, whaleGrade{share: share, pieces: pieces, span: span})
			}
		}
		for _, span := range []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour} {
			out = append(out, whaleGrade{share: share, pieces: 20, span: span, fresh: true})
		}
		out = append(out, whaleGrade{share: share, pieces: 1, internal: true}, whaleGrade{share: share, pieces: 20, span: time.Hour, internal: true})
	}
	return out
}

// A whaleRun is one asset in the course of a run.
type whaleRun struct {
	player  *player
	random  *rand.Rand
	out     *WhaleAsset
	grades  []whaleGrade
	tallies []whaleTally
	// running are the exchanges of open net flows by episode, counted the severities of open episodes that were counted.
	running map[string]string
	counted map[string]int
}

// A whaleTally is what became of the injections of one grade so far: how many reached a severity, and how late those of medium or above were.
type whaleTally struct {
	reached [4]int
	delays  []time.Duration
}

// whaleAsset runs one asset: weeks to warm up, then weeks of background with injections into copies of the detector.
func whaleAsset(ctx context.Context, name string, rate float64, shape *chainShape, o StudyOptions) (*WhaleAsset, error) {
	p, err := newPlayer(o.Detector, o.Config)
	if err != nil {
		return nil, err
	}
	w := &whaleRun{
		player: p, random: rand.New(rand.NewPCG(o.Seed, uint64(rate))), out: &WhaleAsset{Asset: name, PerDay: rate, Days: cmp.Or(o.Days, testDays)},
		grades: whaleGrades(), running: map[string]string{}, counted: map[string]int{},
	}
	w.tallies = make([]whaleTally, len(w.grades))
	for _, g := range w.grades {
		w.out.Grades = append(w.out.Grades, WhaleGain{Grade: g.String(), USD: shape.size(g.share)})
	}
	start := schemas.Time(1704067200e9)
	inject := start.Add(warmDays * dailySpan)
	today := background(w.random, start, rate, shape)
	for d := range warmDays + w.out.Days {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		from := start.Add(time.Duration(d) * dailySpan)
		next := background(w.random, from.Add(dailySpan), rate, shape)
		ahead := slices.Concat(today, next)
		for at := from; at < from.Add(dailySpan); at = at.Add(time.Hour) {
			if at >= inject {
				inject = at.Add(injectEvery)
				if err := w.inject(at, ahead); err != nil {
					return nil, err
				}
			}
			if err := p.hour(at, ahead); err != nil {
				return nil, err
			}
		}
		w.count(d >= warmDays)
		today = next
	}
	w.finish()
	w.out.NaiveUSD = shape.size(max(1-w.out.Medium.Value/rate, 0))
	for k, g := range w.grades {
		one := &w.out.Grades[k]
		piece := one.USD / float64(g.pieces)
		one.Naive, one.NaivePerDay = piece >= w.out.NaiveUSD, rate*shape.above(piece)/shape.above(feedMinimum)
	}
	return w.out, nil
}

// inject tries every grade at a time, on an exchange drawn by its size. Where that has an open net flow already, nothing can be said of
// splits.
func (w *whaleRun) inject(at schemas.Time, ahead []movement) error {
	exchange := exchangeName(exchangeBy(w.random))
	saved, err := w.player.machine.save()
	if err != nil {
		return err
	}
	busy := slices.Contains(slices.Collect(maps.Values(w.running)), exchange)
	for k, g := range w.grades {
		gain, tally := &w.out.Grades[k], &w.tallies[k]
		if busy && g.pieces > 1 {
			gain.Busy++
			continue
		}
		late, err := w.player.tryWhale(saved, at, ahead, g, gain.USD, exchange, w.random.Uint64())
		if err != nil {
			return err
		}
		gain.N++
		for s := range late {
			tally.reached[s]++
		}
		if len(late) >= 2 {
			tally.delays = append(tally.delays, late[1])
		}
	}
	return nil
}

// count takes the events of the day; an episode counts once, at its highest severity so far.
func (w *whaleRun) count(tested bool) {
	one := 1 / float64(w.out.Days)
	for _, e := range w.player.events {
		flow := flowOf(e)
		if e.Status == schemas.Resolved {
			delete(w.running, e.DedupKey)
			delete(w.counted, e.DedupKey)
			continue
		}
		by := &w.out.Transfers
		if flow != "" {
			w.running[e.DedupKey], by = flow, &w.out.Flows
		}
		if !tested {
			continue
		}
		if old := w.counted[e.DedupKey]; old > 0 {
			by[old-1] -= one
		}
		w.counted[e.DedupKey] = schemas.SeverityRank(e.Severity)
		by[w.counted[e.DedupKey]-1] += one
	}
	w.player.events = w.player.events[:0]
}

func (w *whaleRun) finish() {
	sum, days := 0.0, float64(w.out.Days)
	for s := len(w.out.Beyond) - 1; s >= 0; s-- {
		sum += w.out.Transfers[s] + w.out.Flows[s]
		w.out.Beyond[s] = perDay(int(math.Round(sum*days)), days)
	}
	w.out.Medium = w.out.Beyond[1]
	for k := range w.grades {
		g, t := &w.out.Grades[k], &w.tallies[k]
		for s, n := range t.reached {
			g.Beyond[s] = Wilson(n, g.N)
		}
		g.Any, g.Found, g.Delay = g.Beyond[0], g.Beyond[1], delayOf(t.delays)
	}
}

// flowOf returns the exchange of a net flow's event, "" for a transfer's.
func flowOf(e *schemas.Event) string {
	for _, n := range e.Evidence.Notes {
		if name, ok := strings.CutPrefix(n, "exchange:"); ok {
			return name
		}
	}
	return ""
}

// hour plays an hour of movements, with a tick at each minute.
func (p *player) hour(from schemas.Time, all []movement) error {
	i, _ := slices.BinarySearchFunc(all, from, func(m movement, at schemas.Time) int { return int(min(max(m.at-at, -1), 1)) })
	for minute := from.Add(time.Minute); minute <= from.Add(time.Hour); minute = minute.Add(time.Minute) {
		for ; i < len(all) && all[i].at < minute; i++ {
			if err := p.play(all[i].record()); err != nil {
				return err
			}
		}
		if err := p.tick(minute); err != nil {
			return err
		}
	}
	return nil
}

// tryWhale plays a stretch with an injection on a copy of the detector, and says how late the first event of each severity or above named it,
// from low to the highest that did. Flow events that the untouched stream has are other exchanges' or came before: an injection goes to an
// exchange without one.
func (p *player) tryWhale(saved any, at schemas.Time, ahead []movement, g whaleGrade, usd float64, exchange string, seed uint64) (late []time.Duration, err error) {
	m, err := p.machine.fork(saved)
	if err != nil {
		return nil, err
	}
	f := &player{machine: m.(*taskMachine)}
	f.machine.out.keep = func(e *schemas.Event) { f.events = append(f.events, e) }
	r := rand.New(rand.NewPCG(seed, 1))
	end := at.Add(g.span + foundWithin)
	i, _ := slices.BinarySearchFunc(ahead, at, func(m movement, at schemas.Time) int { return int(min(max(m.at-at, -1), 1)) })
	var stretch []movement
	for ; i < len(ahead) && ahead[i].at < end.Add(time.Hour); i++ {
		stretch = append(stretch, ahead[i])
	}
	for k := range g.pieces {
		one := movement{at: at.Add(time.Second + time.Duration(r.Float64()*float64(g.span))), usd: usd / float64(g.pieces), class: deposit, to: exchange, tx: "injected" + strconv.Itoa(k), address: "splitter"}
		if g.fresh {
			one.address = ""
		}
		if g.internal {
			one.class, one.from = shuffle, exchange
		}
		stretch = append(stretch, one)
	}
	slices.SortStableFunc(stretch, func(a, b movement) int { return int(min(max(a.at-b.at, -1), 1)) })
	for ; at < end; at = at.Add(time.Hour) {
		if err := f.hour(at, stretch); err != nil {
			return nil, err
		}
	}
	for _, e := range f.events {
		when := schemas.Time(e.EventTime)
		mine := flowOf(e) == exchange && !g.internal || slices.ContainsFunc(e.Evidence.Notes, func(n string) bool { return strings.HasPrefix(n, "tx:injected") })
		if e.Status == schemas.Resolved || !mine || when > end {
			continue
		}
		for len(late) < schemas.SeverityRank(e.Severity) {
			late = append(late, when.Sub(end.Add(-g.span-foundWithin)))
		}
	}
	return late, nil
}

// Sheet shows the report.
func (r *WhaleReport) Sheet() *sheet.Sheet {
	s := &r.Shape
	out := &sheet.Sheet{
		Title: "whale_movement",
		Lead: fmt.Sprintf("real blocks: %d token transfers in %d s (%d ends labelled, %d to an exchange, %d from one), %d of them dollars, largest %.2f;\n"+
			"ln(USD) has mean %.2f and deviation %.2f: %.0f a day of $%d or more, %.0f of a million",
			s.Transfers, s.Seconds, s.Labelled, s.ToExchange, s.FromExchange, s.Dollars, s.Largest, s.LogMean, s.LogSD, s.PerDay, feedMinimum, s.Millions),
	}
	for _, a := range r.Assets {
		events := sheet.NewTable("Events/day", "Low", "Medium", "High", "Critical")
		events.Row("transfers", figure(a.Transfers[0]), figure(a.Transfers[1]), figure(a.Transfers[2]), figure(a.Transfers[3]))
		events.Row("net flows", figure(a.Flows[0]), figure(a.Flows[1]), figure(a.Flows[2]), figure(a.Flows[3]))
		events.Row("both, and above", figure(a.Beyond[0].Value), figure(a.Beyond[1].Value), figure(a.Beyond[2].Value), figure(a.Beyond[3].Value))
		injected := sheet.NewTable("Injected", "USD", "N", "Busy", "Any event", "Medium+", "95 %", "High+", "Critical", "Delay median", "P90", "Naive", "Naive/day")
		shares, late := sheet.Whiskers{Title: a.Asset + ": found as medium or above", X: "share"}, sheet.Delays{Title: a.Asset + ": how late"}
		for _, g := range a.Grades {
			injected.Row(g.Grade, fmt.Sprintf("%.1fM", g.USD/1e6), g.N, g.Busy, figure(g.Any.Value), figure(g.Found.Value), bounds(g.Found), figure(g.Beyond[2].Value),
				figure(g.Beyond[3].Value), minutes(g.Delay.Median), minutes(g.Delay.P90), g.Naive, figure(g.NaivePerDay))
			shares.Rows = append(shares.Rows, whisker(g.Grade, g.Found, 0))
			if len(g.Delay.All) > 0 {
				late.Rows = append(late.Rows, sheet.DelayRow{Name: g.Grade, Values: g.Delay.All})
			}
		}
		out.Parts = append(out.Parts, sheet.Part{
			Title:  a.Asset + " asset",
			Note:   fmt.Sprintf("%.0f transfers a day, %d days; medium and above %.2f a day (%s), as many as transfers of $%.1fM or more", a.PerDay, a.Days, a.Medium.Value, bounds(a.Medium), a.NaiveUSD/1e6),
			Tables: []*sheet.Table{events, injected}, Plots: append(a.curves(), shares, late),
		})
	}
	return out
}

// curves set what is found of each size, whole and in pieces, against the events of a severity and above; a plain threshold finds all
// pieces of a size at the price of all transfers that have it.
func (a *WhaleAsset) curves() []sheet.Plot {
	var out []sheet.Plot
	grades := whaleGrades()
	for _, share := range whaleShares {
		size := whaleGrade{share: share, pieces: 1}.String()
		c := sheet.Curve{Title: fmt.Sprintf("%s: found of a %s by severity", a.Asset, size), X: "events a day", Y: "share found"}
		naive := sheet.Line{Name: "naive: a threshold at the size of a piece", Series: 3}
		for k, g := range grades {
			one := &a.Grades[k]
			if g.share != share || g.internal || g.pieces != 1 && (g.pieces != 20 || g.span != time.Hour) {
				continue
			}
			line := sheet.Line{Name: g.String(), Series: len(c.Lines)}
			for s, found := range one.Beyond {
				line.Points = append(line.Points, sheet.Point{Name: severityNames[s] + " and above", X: a.Beyond[s].Value, Y: found.Value, Low: found.Low, High: found.High})
			}
			c.Lines = append(c.Lines, line)
			naive.Points = append(naive.Points, sheet.Point{Name: g.String(), X: one.NaivePerDay, Y: 1, Low: 1, High: 1})
		}
		c.Lines = append(c.Lines, naive)
		out = append(out, c)
	}
	return out
}
