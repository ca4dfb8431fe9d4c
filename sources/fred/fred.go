package fred

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the service's days are St. Louis', also where the host has no zone files

	"github.com/tapewatch/tapewatch/internal/secret"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// Poller asks FRED.
type Poller struct {
	cfg    Config
	series []series
}

var (
	_ poll.Poller   = (*Poller)(nil)
	_ poll.Fallback = (*Poller)(nil)
)

// New makes the poller.
func New(cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Key.IsZero() {
		return nil, errors.New("fred.key is empty: it must be an API key, free at https://fred.stlouisfed.org/docs/api/api_key.html")
	}
	p := &Poller{cfg: cfg}
	for _, text := range cfg.Series {
		s, err := readSeries(text)
		if err != nil {
			return nil, err
		}
		p.series = append(p.series, s)
	}
	return p, nil
}

// Name is "fred".
func (p *Poller) Name() string { return "fred" }

// Venue is "fred".
func (p *Poller) Venue() string { return "fred" }

// Topics is that of macroeconomic observations.
func (p *Poller) Topics() []schemas.Topic { return []schemas.Topic{schemas.MacroObservations} }

// Tick is a minute: releases come by the day.
func (p *Poller) Tick() time.Duration { return time.Minute }

// Lag is none.
func (p *Poller) Lag() time.Duration { return 0 }

const jobPrefix = "series/"

// Jobs has one for each series.
func (p *Poller) Jobs() []poll.Job {
	var jobs []poll.Job
	for _, s := range p.series {
		jobs = append(jobs, poll.Job{Name: jobPrefix + s.id, Stream: "observations", Every: p.cfg.Every})
	}
	return jobs
}

// cursor is where the next look begins.
type cursor struct {
	// Vintage is the latest day on which something new was public.
	Vintage string `json:"vintage,omitempty"`
	// Paged is the same over the pages of a look that is not over.
	Paged string `json:"paged,omitempty"`
	// Present says that the service has no vintages of the series: what it has now is all that is to be had.
	Present bool `json:"present,omitempty"`
}

// Ask is for what was public from the day before the last vintage on. The service cuts real-time periods to what was asked
// for, so only what begins after the first day asked for begins there in truth; and on the last vintage's day more may come.
func (p *Poller) Ask(job poll.Job, state []byte, _ schemas.Time) (poll.Request, error) {
	cur, err := poll.ReadCursor[cursor](state)
	if err != nil {
		return poll.Request{}, err
	}
	id := strings.TrimPrefix(job.Name, jobPrefix)
	if cur.Present {
		return p.request(id, "", 0), nil
	}
	from := p.cfg.Vintages
	if cur.Vintage > from {
		day, err := poll.Day(cur.Vintage, time.UTC)
		if err != nil {
			return poll.Request{}, err
		}
		from = max(from, day.AddDate(0, 0, -1).Format(time.DateOnly))
	}
	return p.request(id, from, 0), nil
}

// pageLimit is how many observations the service gives at once.
const pageLimit = 100_000

// request is for the vintages from a day on, or for the present values where from is empty.
func (p *Poller) request(id, from string, offset int) poll.Request {
	query := url.Values{
		"series_id": {id}, "file_type": {"json"}, "observation_start": {p.cfg.From}, "limit": {strconv.Itoa(pageLimit)}, "offset": {strconv.Itoa(offset)},
	}
	if from != "" {
		query.Set(realtimeStart, from)
		query.Set("realtime_end", "9999-12-31")
	}
	ref := p.cfg.URL + "/series/observations?" + query.Encode()
	return poll.Request{Ref: ref, URL: secret.New(ref + "&api_key=" + url.QueryEscape(p.cfg.Key.Reveal())), PerMinute: p.cfg.PerMinute}
}

const realtimeStart = "realtime_start"

// Instead asks for the present values of a series of which ALFRED, which keeps the vintages, has none: SP500 and others whose
// owners allow no archive. The service says so in words alone.
func (p *Poller) Instead(refused poll.Request, why error) (poll.Request, bool) {
	address, err := url.Parse(refused.Ref)
	if err != nil || !strings.Contains(strings.ToLower(why.Error()), "does not exist in alfred") {
		return poll.Request{}, false
	}
	asked := address.Query()
	return p.request(asked.Get("series_id"), "", 0), asked.Has(realtimeStart)
}

// Refusal recognises an error in the body.
func (p *Poller) Refusal(body []byte) error {
	var refusal struct {
		Code    int    `json:"error_code"`
		Message string `json:"error_message"`
	}
	if json.Unmarshal(body, &refusal) == nil && refusal.Code != 0 {
		return fmt.Errorf("error %d: %.200s", refusal.Code, refusal.Message)
	}
	return nil
}

// page is an answer.
type page struct {
	From         string `json:"realtime_start"`
	Count        *int   `json:"count"`
	Offset       int    `json:"offset"`
	Limit        int    `json:"limit"`
	Observations []struct {
		From  string    `json:"realtime_start"`
		Date  string    `json:"date"`
		Value poll.Text `json:"value"`
	} `json:"observations"`
}

// stLouis is the clock of the service's days.
var stLouis = func() *time.Location {
	zone, err := time.LoadLocation("America/Chicago")
	if err != nil {
		panic(err) // embedded
	}
	return zone
}()

// Decode reads observations: one record for each vintage of each.
func (p *Poller) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	var body page
	if err := poll.Decode(a.Body, &body); err != nil {
		return poll.Result{}, err
	}
	if body.Count == nil || body.From == "" {
		return poll.Result{}, poll.Missing("count or realtime_start")
	}
	s := p.find(strings.TrimPrefix(a.Job, jobPrefix))
	if address, err := url.Parse(a.Ref); err == nil && a.Ref != "" && !address.Query().Has(realtimeStart) {
		return p.present(s, cur, &body), nil
	}
	var res poll.Result
	// The first look takes the cut periods too: by the day asked for their values were public.
	first := cur.Vintage == "" || cur.Vintage <= p.cfg.Vintages
	for _, o := range body.Observations {
		if !first && o.From <= body.From {
			continue
		}
		r, err := record(s, o.Date, o.From, o.Value)
		if err != nil {
			res.Bad = append(res.Bad, err)
			continue
		}
		res.Records = append(res.Records, r)
	}
	for _, o := range body.Observations {
		cur.Paged = max(cur.Paged, o.From)
	}
	if next := body.Offset + len(body.Observations); len(body.Observations) > 0 && next < *body.Count {
		res.Next = []poll.Request{p.request(s.id, body.From, next)}
	} else { // the vintage moves with the last page: those before it were asked for from the one before
		cur = cursor{Vintage: max(cur.Vintage, cur.Paged, body.From)}
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// present reads the values of a series without vintages. Nobody says when each became public, so it is known from when it is
// first seen, and a value that changes is seen again; the vintage is that day. The first look tells history.
func (p *Poller) present(s series, cur cursor, body *page) (res poll.Result) {
	for _, o := range body.Observations {
		r, err := record(s, o.Date, o.From, o.Value)
		if err != nil {
			res.Bad = append(res.Bad, err)
			continue
		}
		r.Said, r.Backfill = 0, !cur.Present
		schemas.MetaOf(r.Message).Id = s.id + "/" + o.Date + "/=" + string(o.Value)
		res.Records = append(res.Records, r)
	}
	if next := body.Offset + len(body.Observations); len(body.Observations) > 0 && next < *body.Count {
		res.Next = []poll.Request{p.request(s.id, "", next)}
		return res
	}
	res.Cursor = poll.WriteCursor(cursor{Present: true})
	return res
}

func (p *Poller) find(id string) series {
	i := slices.IndexFunc(p.series, func(s series) bool { return s.id == id })
	if i < 0 { // a recording of other settings
		return series{id: id, region: "US"}
	}
	return p.series[i]
}

// record is one vintage of one observation. The day has no time: at its end at the latest the value was public.
func record(s series, date, vintage string, value poll.Text) (poll.Record, error) {
	day, err := poll.Day(vintage, stLouis)
	if err != nil {
		return poll.Record{}, fmt.Errorf("%s of %s: realtime_start: %w", s.id, date, err)
	}
	if _, err := poll.Day(date, time.UTC); err != nil {
		return poll.Record{}, fmt.Errorf("%s: date: %w", s.id, err)
	}
	v, err := value.Decimal()
	if err != nil {
		return poll.Record{}, fmt.Errorf("%s of %s: value: %w", s.id, date, err)
	}
	return poll.Record{
		Topic: schemas.MacroObservations, Said: poll.Time(day.AddDate(0, 0, 1)),
		Message: &schemas.MacroObservation{
			Meta:   &schemas.Meta{Venue: "fred", Symbol: s.id, Id: s.id + "/" + date + "/" + vintage},
			Series: s.id, Region: s.region, Date: date, Value: v, Unit: s.unit, Vintage: vintage,
		},
	}, nil
}
