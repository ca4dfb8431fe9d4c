package earnings

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // announcements are on New York's clock, also where the host has no zone files

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Poller asks one of the providers.
type Poller struct {
	cfg Config
}

var _ poll.Poller = (*Poller)(nil)

// New makes the poller.
func New(cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Key.IsZero() {
		return nil, errors.New("earnings.key is empty: it must be an API key of earnings.provider")
	}
	return &Poller{cfg.filled()}, nil
}

// Name is "earnings".
func (p *Poller) Name() string { return "earnings" }

// Venue is the provider.
func (p *Poller) Venue() string { return p.cfg.Provider }

// Topics is that of earnings.
func (p *Poller) Topics() []schemas.Topic { return []schemas.Topic{schemas.ReferenceEquities} }

// Tick is a minute.
func (p *Poller) Tick() time.Duration { return time.Minute }

// Lag is none.
func (p *Poller) Lag() time.Duration { return 0 }

const jobPrefix = "symbol/"

// Jobs has one for each ticker.
func (p *Poller) Jobs() []poll.Job {
	var jobs []poll.Job
	for _, s := range p.cfg.Symbols {
		jobs = append(jobs, poll.Job{Name: jobPrefix + strings.ToUpper(s), Stream: "earnings", Every: p.cfg.Every})
	}
	return jobs
}

// Ask is for the calendar of a ticker at Finnhub, for its quarters at Alpha Vantage.
func (p *Poller) Ask(job poll.Job, _ []byte, now schemas.Time) (poll.Request, error) {
	symbol := strings.TrimPrefix(job.Name, jobPrefix)
	if p.cfg.Provider == AlphaVantage {
		return p.alphaVantage(symbol), nil
	}
	return p.calendar(symbol, now), nil
}

// Refusal recognises the errors that come with status 200: Alpha Vantage says "Note" or "Information" where its limit is
// reached or the key is wrong, and "Error Message" for what it does not know; Finnhub says "error".
func (p *Poller) Refusal(body []byte) error {
	var refusal struct {
		Note, Information string
		Message           string `json:"Error Message"`
		Error             string
	}
	// An array is an answer; what is no JSON is left to Decode.
	if err := json.Unmarshal(body, &refusal); err != nil {
		return nil //nolint:nilerr // as above
	}
	for _, said := range []string{refusal.Note, refusal.Information, refusal.Message, refusal.Error} {
		if said != "" {
			return fmt.Errorf("it says: %.200s", strings.ReplaceAll(said, p.cfg.Key.Reveal(), "***"))
		}
	}
	return nil
}

// Decode reads an answer of the provider.
func (p *Poller) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	if cur.Told == nil {
		cur.Told = map[string]told{}
	}
	switch {
	case p.cfg.Provider == AlphaVantage:
		return p.decodeAlphaVantage(a, cur)
	case strings.Contains(a.Ref, calendarPath):
		return p.decodeCalendar(a, cur)
	}
	return p.decodeFinnhub(a, cur)
}

// cursor is what was told of a ticker.
type cursor struct {
	// Told is the last record of each quarter, by its last day.
	Told map[string]told `json:"told"`
	// Calendar holds Finnhub's calendar until the quarters are there, by year and quarter.
	Calendar map[string]told `json:"calendar,omitempty"`
}

// told is what is known of a quarter, as text so that it compares exactly.
type told struct {
	// N counts the records.
	N               int    `json:"n,omitempty"`
	Actual          string `json:"actual,omitempty"`
	Estimate        string `json:"estimate,omitempty"`
	RevenueActual   string `json:"revenue_actual,omitempty"`
	RevenueEstimate string `json:"revenue_estimate,omitempty"`
	// Announced is when, ns, 0 when unknown.
	Announced int64 `json:"announced,omitempty"`
}

// over fills what t does not know from what was known, and keeps the digits of a number that is the same.
func (t told) over(known told) told {
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&t.Actual, known.Actual},
		{&t.Estimate, known.Estimate},
		{&t.RevenueActual, known.RevenueActual},
		{&t.RevenueEstimate, known.RevenueEstimate},
	} {
		if *f.to == "" || same(*f.to, f.from) {
			*f.to = f.from
		}
	}
	if t.Announced == 0 {
		t.Announced = known.Announced
	}
	t.N = known.N
	return t
}

// same says that two texts are one number, such as 2.84 and 2.840.
func same(a, b string) bool {
	x, err := poll.Text(a).Decimal()
	if err != nil || x == nil {
		return false
	}
	y, err := poll.Text(b).Decimal()
	return err == nil && y != nil && x.Cmp(y) == 0
}

// corrects says that t changes something that was told after the announcement; what was not known before is none.
func (t told) corrects(known told) bool {
	changed := func(from, to string) bool { return from != "" && from != to }
	return known.Actual != "" && (changed(known.Actual, t.Actual) || changed(known.Estimate, t.Estimate) ||
		changed(known.RevenueActual, t.RevenueActual) || changed(known.RevenueEstimate, t.RevenueEstimate))
}

// maxQuarters bounds what is remembered of a ticker: forty years.
const maxQuarters = 160

// tell makes a record of every quarter of which something is new, and of nothing that was told.
func (p *Poller) tell(a poll.Answer, cur cursor, quarters map[string]told, bad []error) poll.Result {
	res := poll.Result{Bad: bad}
	symbol := strings.TrimPrefix(a.Job, jobPrefix)
	first := len(cur.Told) == 0
	for _, end := range slices.Sorted(maps.Keys(quarters)) {
		known := cur.Told[end]
		next := quarters[end].over(known)
		if next == known {
			continue
		}
		next.N++
		r, err := p.record(a, symbol, end, known, next, first)
		if err != nil {
			res.Bad = append(res.Bad, fmt.Errorf("%s, quarter of %s: %w", symbol, end, err))
			continue
		}
		cur.Told[end] = next
		res.Records = append(res.Records, r)
	}
	for ends := slices.Sorted(maps.Keys(cur.Told)); len(ends) > maxQuarters; ends = ends[1:] {
		delete(cur.Told, ends[0])
	}
	cur.Calendar = nil
	res.Cursor = poll.WriteCursor(cur)
	return res
}

// unknownAge is how old a quarter must be for its announcement to lie back, when the provider does not say when it was and it
// appears at a later look: companies report within 90 days. At the first look all such lie back: Finnhub's calendar names the
// day of whatever was told in the last month.
const unknownAge = 100 * 24 * time.Hour

func (p *Poller) record(a poll.Answer, symbol, end string, known, next told, first bool) (poll.Record, error) {
	day, err := poll.Day(end, newYork)
	if err != nil {
		return poll.Record{}, err
	}
	e := &schemas.Earnings{
		Meta:      &schemas.Meta{Venue: p.cfg.Provider, Symbol: symbol, Id: end + "/" + strconv.Itoa(next.N)},
		PeriodEnd: end, Basis: schemas.EarningsBasis_EARNINGS_BASIS_STREET, AnnouncedAt: next.Announced,
		Correction: next.corrects(known),
	}
	for _, f := range []struct {
		name string
		text string
		to   **schemas.Decimal
	}{
		{"actual", next.Actual, &e.EpsActual},
		{"estimate", next.Estimate, &e.EpsEstimate},
		{"revenue actual", next.RevenueActual, &e.RevenueActual},
		{"revenue estimate", next.RevenueEstimate, &e.RevenueEstimate},
	} {
		if *f.to, err = poll.Text(f.text).Decimal(); err != nil {
			return poll.Record{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	r := poll.Record{Topic: schemas.ReferenceEquities, Message: e}
	switch {
	case next.Actual == "" || known.Actual != "": // an estimate, or more of what was announced: known from now on
	case next.Announced != 0:
		r.Said = schemas.Time(next.Announced)
	default:
		r.Backfill = first || a.At.Sub(poll.Time(day)) > unknownAge
	}
	return r, nil
}

// newYork is the clock of announcements.
var newYork = func() *time.Location {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // embedded
	}
	return zone
}()

// announced is the latest moment of a part of a trading day: providers tell the part, not the minute. Nothing is known
// before it was.
func announced(date, part string) (int64, error) {
	day, err := poll.Day(date, newYork)
	if err != nil {
		return 0, err
	}
	hour, minute := 20, 0 // the end of trading after hours
	switch part {
	case "bmo", "pre-market":
		hour, minute = 9, 30
	case "dmh":
		hour, minute = 16, 0
	}
	return int64(poll.Time(time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, newYork))), nil
}

// number keeps a number as it was written, without the providers' ways of saying that there is none.
func number(t poll.Text) (string, error) {
	d, err := t.Decimal()
	if err != nil || d == nil {
		return "", err
	}
	return string(t), nil
}
