package evaluate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/evaluate/sheet"
	"github.com/tapewatch/tapewatch/schemas"
)

// Naive funding rule: an episode begins at 0.1 % either way and ends below half of it.
const (
	naiveFunding = 0.001
	eightHours   = 8 * time.Hour
	// injectDays is how far injections of funding lie apart; injectFrom from when the series' own figures are known well.
	injectDays = 5
	exactly    = 1e-12
)

// A fundingSeries is the payments of one contract.
type fundingSeries struct {
	venue, symbol string
	payments      []payment
}

type payment struct {
	at   schemas.Time
	rate float64
}

func (s *fundingSeries) asset() string {
	asset, _, _ := strings.Cut(s.symbol, "-")
	return asset
}

func (s *fundingSeries) name() string { return s.venue + " " + s.asset() }

// fundingStudy judges funding_rate on histories of payments: CSV with Symbol, Date and Funding Rate (a fraction per 8 hours), times in
// UTC+3, the venue between the first two underscores of the file's name (github.com/supervik/historical-funding-rates-fetcher).
func fundingStudy(ctx context.Context, o StudyOptions) (Result, error) {
	var all []*fundingSeries
	for _, path := range o.Data {
		s, err := readFunding(path)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errors.New("data are empty: at least one file of payments must be named")
	}
	slices.SortFunc(all, func(a, b *fundingSeries) int {
		return cmp.Or(strings.Compare(a.asset(), b.asset()), strings.Compare(a.venue, b.venue))
	})
	r := &FundingReport{}
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Naive = append(r.Naive, naiveOf(s))
		d, events, err := fundingOf(s, o)
		if err != nil {
			return nil, err
		}
		r.Detector = append(r.Detector, *d)
		if o.Charts {
			r.Charts = append(r.Charts, s.chart(events))
		}
	}
	episodes := 0
	for _, d := range r.Detector {
		episodes += d.Episodes
	}
	r.Equal = equalFunding(all, episodes)
	for i := 1; i < len(all); i++ {
		if all[i].asset() != all[i-1].asset() {
			continue
		}
		pair := all[i-1 : i+1]
		both, err := fundingTogether(pair, o)
		if err != nil {
			return nil, err
		}
		r.Together = append(r.Together, *both)
		found, err := injectFunding(ctx, pair, o)
		if err != nil {
			return nil, err
		}
		r.Injections = append(r.Injections, found...)
	}
	return r, nil
}

func readFunding(path string) (*fundingSeries, error) {
	f, err := readHeaded(path)
	if err != nil {
		return nil, err
	}
	name := strings.Split(filepath.Base(path), "_")
	if !f.has("Symbol", "Date", "Funding Rate") || len(name) < 3 {
		return nil, fmt.Errorf("header of %s is %q: it must have Symbol, Date and Funding Rate, and its name must be SYMBOL_VENUE_…", path, f.head)
	}
	symbol, date, rate := f.at("Symbol"), f.at("Date"), f.at("Funding Rate")
	out := &fundingSeries{venue: name[1], symbol: symbol(f.rows[0]) + "-PERP"}
	for _, row := range f.rows {
		at, err1 := day(time.DateTime, date(row))
		v, err2 := strconv.ParseFloat(rate(row), 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		out.payments = append(out.payments, payment{at.Add(-3 * time.Hour), v})
	}
	return out, nil
}

// A FundingReport is what funding_rate made of histories of payments.
type FundingReport struct {
	Naive      []NaiveFunding      `json:"naive"`
	Equal      EqualFunding        `json:"equal"`
	Detector   []FundingEpisodes   `json:"detector"`
	Together   []FundingEpisodes   `json:"together"`
	Injections []FundingInjections `json:"injections"`
	Charts     []sheet.Chart       `json:"charts,omitempty"`
}

// EqualFunding is the naive rule at the threshold, a share, that gives all series together as many episodes as the detector has.
type EqualFunding struct {
	Threshold float64 `json:"threshold"`
	Episodes  int     `json:"episodes"`
}

// NaiveFunding is what the rule of 0.1 % finds in a series, and how degenerate the series is.
type NaiveFunding struct {
	Series   string  `json:"series"`
	Payments int     `json:"payments"`
	Beyond   int     `json:"beyond"`
	ByYear   []int   `json:"by_year"`
	Negative int     `json:"negative"`
	Episodes int     `json:"episodes"`
	Base     float64 `json:"share_exactly_base"`
	ZeroMAD  float64 `json:"share_mad_zero"`
}

// FundingEpisodes are the detector's episodes.
type FundingEpisodes struct {
	Series string `json:"series"`
	// Strict counts the episodes by the knob alone, without a cool-down: the naive rule's.
	Strict   int   `json:"strict"`
	Episodes int   `json:"episodes"`
	ByYear   []int `json:"by_year"`
	// BySeverity counts episodes by their highest severity, low to critical; Rare those that the knob alone would not have begun.
	BySeverity []int `json:"by_severity"`
	Rare       int   `json:"rare"`
	// HourlySame says that an hourly series of an eighth each gives the same episodes.
	HourlySame bool `json:"hourly_same"`
	// Either and Both count settlements of 2021 with one venue, and both, beyond the knob.
	Either int `json:"either,omitempty"`
	Both   int `json:"both,omitempty"`
}

// FundingInjections is the share of injected rates that was found.
type FundingInjections struct {
	Asset  string   `json:"asset"`
	Rate   float64  `json:"rate_pct"`
	Length int      `json:"settlements"`
	Venues int      `json:"venues"`
	N      int      `json:"n"`
	Found  Interval `json:"found"`
	Medium Interval `json:"found_medium"`
	Naive  bool     `json:"found_by_knob"`
}

const firstYear, years = 2020, 4

func yearIndex(at schemas.Time) int { return at.UTC().Year() - firstYear }

func madOf(all []payment) float64 {
	v := make([]float64, len(all))
	for i, p := range all {
		v[i] = p.rate
	}
	m := median(v)
	for i := range v {
		v[i] = math.Abs(v[i] - m)
	}
	return median(v)
}

// chart is the payments with the detector's episodes.
func (s *fundingSeries) chart(events []*schemas.Event) sheet.Chart {
	out := sheet.Chart{
		Title: s.name(), Unit: "funding per 8 hours, %", From: s.payments[0].at, To: s.payments[len(s.payments)-1].at, Alerts: alertsOf(events),
	}
	for _, p := range s.payments {
		out.Line = append(out.Line, sheet.Sample{At: p.at, Value: 100 * p.rate})
	}
	return out
}

// fundingOf runs one series by itself, and returns the events as well.
func fundingOf(s *fundingSeries, o StudyOptions) (*FundingEpisodes, []*schemas.Event, error) {
	one := []*fundingSeries{s}
	strict, err := playFunding(one, o.Detector, []byte(`{"strict":true,"cool_down":"0s"}`), 1)
	if err != nil {
		return nil, nil, err
	}
	events, err := playFunding(one, o.Detector, o.Config, 1)
	if err != nil {
		return nil, nil, err
	}
	hourly, err := playFunding(one, o.Detector, o.Config, 8)
	if err != nil {
		return nil, nil, err
	}
	out := episodesOf(s.name(), events)
	out.Strict = episodesOf("", strict).Episodes
	out.HourlySame = slices.EqualFunc(events, hourly, func(a, b *schemas.Event) bool {
		return a.EventTime == b.EventTime && a.Status == b.Status && a.Severity == b.Severity && a.DedupKey == b.DedupKey
	})
	return out, events, nil
}

func fundingTogether(pair []*fundingSeries, o StudyOptions) (*FundingEpisodes, error) {
	events, err := playFunding(pair, o.Detector, o.Config, 1)
	if err != nil {
		return nil, err
	}
	out := episodesOf(pair[0].name()+" and "+pair[1].venue, events)
	beyond := map[schemas.Time]int{}
	for _, s := range pair {
		for _, p := range s.payments {
			if p.at.UTC().Year() == 2021 && math.Abs(p.rate) >= naiveFunding-exactly {
				beyond[p.at.Floor(time.Minute)]++
			}
		}
	}
	out.Either = len(beyond)
	for _, n := range beyond {
		if n == 2 {
			out.Both++
		}
	}
	return out, nil
}

func episodesOf(name string, events []*schemas.Event) *FundingEpisodes {
	out := &FundingEpisodes{Series: name, ByYear: make([]int, years), BySeverity: make([]int, 4)}
	peak := map[string]int{}
	for _, e := range events {
		peak[e.DedupKey] = max(peak[e.DedupKey], schemas.SeverityRank(e.Severity))
		if e.Status != schemas.Open {
			continue
		}
		out.Episodes++
		out.ByYear[yearIndex(schemas.Time(e.EventTime))]++
		if !slices.Contains(e.Evidence.Legs, "knob") {
			out.Rare++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(peak)) {
		out.BySeverity[peak[key]-1]++
	}
	return out
}

// A settlement is the payments of all contracts at one time.
type settlement struct {
	at    schemas.Time
	rates []float64 // by contract; NaN where it does not pay
}

func settlementsOf(all []*fundingSeries) []settlement {
	by := map[schemas.Time][]float64{}
	for i, s := range all {
		for _, p := range s.payments {
			at := p.at.Floor(time.Minute)
			if by[at] == nil {
				by[at] = slices.Repeat([]float64{math.NaN()}, len(all))
			}
			by[at][i] = p.rate
		}
	}
	var out []settlement
	for _, at := range slices.Sorted(maps.Keys(by)) {
		out = append(out, settlement{at, by[at]})
	}
	return out
}

// playFunding runs series of one asset through the detector, each payment in so many parts an hour apart.
func playFunding(all []*fundingSeries, detector string, config []byte, parts int) ([]*schemas.Event, error) {
	p, err := newPlayer(detector, config)
	if err != nil {
		return nil, err
	}
	for _, s := range settlementsOf(all) {
		if err := p.settle(all, s, parts); err != nil {
			return nil, err
		}
	}
	return p.events, nil
}

// settle pays, and moves time to a minute before the next settlement.
func (p *player) settle(all []*fundingSeries, s settlement, parts int) error {
	for part := range parts {
		at := s.at.Add(time.Duration(part) * time.Hour)
		for i, one := range all {
			if s.rates[i] != s.rates[i] {
				continue
			}
			err := p.play(&schemas.Funding{
				Meta: &schemas.Meta{Venue: one.venue, Symbol: one.symbol, Id: strconv.FormatInt(int64(at), 10), EventTime: int64(at)}, Asset: one.asset(),
				Rate: schemas.NewDecimal(int64(math.Round(s.rates[i]*1e11))/int64(parts), -11), Kind: schemas.FundingKind_FUNDING_KIND_SETTLED,
			})
			if err != nil {
				return err
			}
		}
		end := at.Add(time.Hour)
		if part == parts-1 {
			end = s.at.Add(eightHours)
		}
		if err := p.tick(end.Add(-time.Minute)); err != nil {
			return err
		}
	}
	return nil
}

// injectFunding replaces payments of 2022 and 2023, every few days at seeded settlements at which no episode is on, and plays each on a
// copy of the detector.
func injectFunding(ctx context.Context, pair []*fundingSeries, o StudyOptions) ([]FundingInjections, error) {
	p, err := newPlayer(o.Detector, o.Config)
	if err != nil {
		return nil, err
	}
	var out []FundingInjections
	for _, rate := range []float64{0.03, 0.05, 0.08, 0.1, 0.3, -0.03, -0.05, -0.08, -0.1, -0.3} {
		for _, length := range []int{1, 3} {
			for venues := 1; venues <= 2; venues++ {
				out = append(out, FundingInjections{Asset: pair[0].asset(), Rate: rate, Length: length, Venues: venues, Naive: math.Abs(rate) >= 0.1})
			}
		}
	}
	found, medium := make([]int, len(out)), make([]int, len(out))
	r := rand.New(rand.NewPCG(o.Seed, 0))
	all := settlementsOf(pair)
	next, quiet := schemas.Time(0), schemas.Time(0)
	running := map[string]bool{}
	for i, s := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.at.UTC().Year() >= 2022 && s.at >= next && len(running) == 0 && s.at.Sub(quiet) > 24*time.Hour && i+4 < len(all) {
			next = s.at.Add(injectDays*24*time.Hour - time.Duration(r.IntN(6))*eightHours)
			saved, err := p.machine.save()
			if err != nil {
				return nil, err
			}
			for k := range out {
				severity, err := p.injected(saved, pair, all[i:i+4], &out[k])
				if err != nil {
					return nil, err
				}
				out[k].N++
				found[k] += min(severity, 1)
				medium[k] += min(severity/2, 1)
			}
		}
		if err := p.settle(pair, s, 1); err != nil {
			return nil, err
		}
		for _, e := range p.events {
			if running[e.DedupKey] = true; e.Status == schemas.Resolved {
				delete(running, e.DedupKey)
				quiet = schemas.Time(e.EventTime)
			}
		}
		p.events = p.events[:0]
	}
	for k := range out {
		out[k].Found, out[k].Medium = Wilson(found[k], out[k].N), Wilson(medium[k], out[k].N)
	}
	return out, nil
}

// injected plays four settlements with the rate in the first ones, and returns the rank of the highest severity raised by them.
func (p *player) injected(saved any, pair []*fundingSeries, stretch []settlement, g *FundingInjections) (int, error) {
	m, err := p.machine.fork(saved)
	if err != nil {
		return 0, err
	}
	f := &player{machine: m.(*taskMachine)}
	f.machine.out.keep = func(e *schemas.Event) { f.events = append(f.events, e) }
	for i, s := range stretch[:g.Length] {
		changed := settlement{s.at, slices.Clone(s.rates)}
		for v := range g.Venues {
			changed.rates[v] = g.Rate / 100
		}
		if err := f.settle(pair, changed, 1); err != nil {
			return 0, fmt.Errorf("injecting at settlement %d: %w", i, err)
		}
	}
	highest := 0
	for _, e := range f.events {
		if e.Status != schemas.Resolved {
			highest = max(highest, schemas.SeverityRank(e.Severity))
		}
	}
	return highest, nil
}

// Sheet shows the report.
func (r *FundingReport) Sheet() *sheet.Sheet {
	list := func(n []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ", "), "[]") }
	naive := sheet.NewTable("Naive", "Payments", "Beyond", "2020 to 2023", "Negative", "Episodes", "Exactly 0.01 %", "MAD = 0")
	for _, n := range r.Naive {
		naive.Row(n.Series, n.Payments, n.Beyond, list(n.ByYear), n.Negative, n.Episodes, figure(n.Base), figure(n.ZeroMAD))
	}
	detector := sheet.NewTable("Detector", "Strict", "Episodes", "2020 to 2023", "Low to critical", "By rarity", "Hourly same")
	for _, d := range r.Detector {
		detector.Row(d.Series, d.Strict, d.Episodes, list(d.ByYear), list(d.BySeverity), d.Rare, d.HourlySame)
	}
	together := sheet.NewTable("Together", "Episodes", "2020 to 2023", "Low to critical", "By rarity", "2021: either beyond", "Both")
	for _, d := range r.Together {
		together.Row(d.Series, d.Episodes, list(d.ByYear), list(d.BySeverity), d.Rare, d.Either, d.Both)
	}
	injected := sheet.NewTable("Injected", "N", "Knob", "1 x 1", "95 %", "1 x 2", "3 x 1", "3 x 2")
	var plots []sheet.Plot
	shares := sheet.Whiskers{X: "share found"}
	const forms = 4
	for i := 0; i+forms <= len(r.Injections); i += forms {
		g := r.Injections[i : i+forms]
		cell := func(k int) string { return figure(g[k].Found.Value) + " (" + figure(g[k].Medium.Value) + ")" }
		name := fmt.Sprintf("%s %+.2f %%", g[0].Asset, g[0].Rate)
		injected.Row(name, g[0].N, g[0].Naive, cell(0), bounds(g[0].Found), cell(1), cell(2), cell(3))
		shares.Title = g[0].Asset + ": one payment on one venue"
		shares.Rows = append(shares.Rows, whisker(name, g[0].Found, 0), whisker("as medium or above", g[0].Medium, 1))
		if end := i + forms; end+forms > len(r.Injections) || r.Injections[end].Asset != g[0].Asset {
			plots = append(plots, shares)
			shares.Rows = nil
		}
	}
	return &sheet.Sheet{
		Title: "funding_rate", Lead: "the naive rule is 0.1 % either way, an episode ends below 0.05 %",
		Parts: []sheet.Part{
			{Tables: []*sheet.Table{naive}},
			{Tables: []*sheet.Table{detector}, Plots: plotsOf(r.Charts)},
			{Tables: []*sheet.Table{together}},
			{Title: "Share of injected rates that is found (and as medium or above), by settlements x venues", Tables: []*sheet.Table{injected}, Plots: plots},
		},
	}
}
