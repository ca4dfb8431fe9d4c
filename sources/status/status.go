package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// States of a VenueStatus.
const (
	online      = "online"
	degraded    = "degraded"
	maintenance = "maintenance"
	down        = "down"
)

// all is the scope of the whole venue.
const all = "all"

// Poller asks pages and APIs.
type Poller struct {
	cfg   Config
	pages map[string]string // address by venue
}

var _ poll.Poller = (*Poller)(nil)

// New makes the poller.
func New(cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Poller{cfg: cfg, pages: map[string]string{}}
	for _, text := range cfg.Pages {
		venue, address, _ := strings.Cut(text, "=")
		p.pages[venue] = address
	}
	return p, nil
}

// Name is "status".
func (p *Poller) Name() string { return "status" }

// Venue is "status": the health of this source is not that of a venue.
func (p *Poller) Venue() string { return "status" }

// Topics is that of venues' states.
func (p *Poller) Topics() []schemas.Topic { return []schemas.Topic{schemas.VenuesStatus} }

// Tick is a second: a slower one would hold back the time of the venues' keys, which their own feeds share.
func (p *Poller) Tick() time.Duration { return time.Second }

// Lag is none.
func (p *Poller) Lag() time.Duration { return 0 }

const (
	pagePrefix = "page/"
	apiPrefix  = "api/"
)

// Jobs has one for each page and API.
func (p *Poller) Jobs() []poll.Job {
	var jobs []poll.Job
	for _, venue := range slices.Sorted(maps.Keys(p.pages)) {
		jobs = append(jobs, poll.Job{Name: pagePrefix + venue, Stream: "pages", Every: p.cfg.Every})
	}
	for _, venue := range p.cfg.APIs {
		jobs = append(jobs, poll.Job{Name: apiPrefix + venue, Stream: "apis", Every: p.cfg.Every})
	}
	return jobs
}

// Ask is always for the whole present state.
func (p *Poller) Ask(job poll.Job, _ []byte, _ schemas.Time) (poll.Request, error) {
	if venue, ok := strings.CutPrefix(job.Name, pagePrefix); ok {
		return poll.Request{Ref: p.pages[venue] + summaryPath, PerMinute: p.cfg.PerMinute}, nil
	}
	venue := strings.TrimPrefix(job.Name, apiPrefix)
	api := apis[venue]
	address := api.address
	if own := p.cfg.Addresses[venue]; own != "" {
		address = own
	}
	return poll.Request{Ref: address + api.path, PerMinute: p.cfg.PerMinute}, nil
}

// Refusal recognises the APIs' errors that come with status 200.
func (p *Poller) Refusal(body []byte) error {
	var r struct {
		RetCode int             `json:"retCode"` // Bybit
		Code    poll.Text       `json:"code"`    // OKX, Binance
		Errors  json.RawMessage `json:"error"`   // Kraken: a list; Deribit: an object
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil //nolint:nilerr // what is no JSON is left to Decode
	}
	if r.RetCode != 0 || r.Code != "" && r.Code != "0" || len(r.Errors) > 2 && string(r.Errors) != "null" {
		return fmt.Errorf("it says: %.200s", body)
	}
	return nil
}

// report is the present state of one scope.
type report struct {
	State string `json:"state"`
	Text  string `json:"text,omitempty"`
	// Starts and Ends are a window that is announced, or that of what is over, ns.
	Starts int64 `json:"starts,omitempty"`
	Ends   int64 `json:"ends,omitempty"`
	// Said is when the venue says that it was over, ns; 0 when it is not, or the venue does not say.
	Said int64 `json:"said,omitempty"`
	// over says that it has ended: it is told only if it was told before.
	over bool
}

// told is a report with when it was last told.
type told struct {
	report
	At int64 `json:"at"`
}

type cursor struct {
	Told map[string]told `json:"told"` // by scope
	// Asked are the scopes that have left the summary, and whose end was asked for.
	Asked []string `json:"asked,omitempty"`
	// N counts the records, so that no id comes twice.
	N int `json:"n"`
}

// renewed is how often a state that is not online is told again: who listens takes a report of a day ago for stale.
const renewed = 6 * time.Hour

// Decode reads the present state and tells what has changed.
func (p *Poller) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	if cur.Told == nil {
		cur.Told = map[string]told{}
	}
	venue, isPage := strings.CutPrefix(a.Job, pagePrefix)
	var now map[string]report
	var next []poll.Request
	switch {
	case isPage && !strings.HasSuffix(a.Ref, summaryPath) && a.Ref != "":
		now, err = decodeEnds(a, &cur)
	case isPage:
		whole := all
		if slices.Contains(p.cfg.APIs, venue) {
			whole = "page" // the trading engine speaks for the whole venue
		}
		if now, err = decodePage(a.Body, whole); err == nil {
			next = p.ends(venue, now, &cur)
		}
	default:
		venue = strings.TrimPrefix(a.Job, apiPrefix)
		if apis[venue].decode == nil {
			return poll.Result{}, fmt.Errorf("job %q is of no venue that is known", a.Job)
		}
		now, err = apis[venue].decode(a.Body)
	}
	if err != nil {
		return poll.Result{}, err
	}
	res := tell(a, venue, cur, now)
	// What is asked for next may not come: then the summary must be seen again, though it may not have changed.
	res.Next, res.Partial = next, len(next) > 0
	return res, nil
}

// ends asks when the incidents and maintenances ended that have left a page's summary, which lists only those that have not.
// Until the answer they stay as they were; of one whose end was asked for in vain nothing more is to be had.
func (p *Poller) ends(venue string, now map[string]report, cur *cursor) (next []poll.Request) {
	asked := cur.Asked
	cur.Asked = nil
	for _, list := range pageLists {
		before := len(cur.Asked)
		for _, scope := range slices.Sorted(maps.Keys(cur.Told)) {
			if _, listed := now[scope]; listed || !strings.HasPrefix(scope, list.prefix) || slices.Contains(asked, scope) {
				continue
			}
			now[scope] = cur.Told[scope].report
			cur.Asked = append(cur.Asked, scope)
		}
		if len(cur.Asked) > before {
			next = append(next, poll.Request{Ref: p.pages[venue] + list.path, PerMinute: p.cfg.PerMinute, Fresh: true})
		}
	}
	return next
}

// tell makes a record of each scope whose state is new, has changed, or is to be renewed; a scope that is no longer listed is
// online.
func tell(a poll.Answer, venue string, cur cursor, now map[string]report) poll.Result {
	for _, scope := range slices.Sorted(maps.Keys(cur.Told)) {
		if _, listed := now[scope]; !listed {
			was := cur.Told[scope]
			now[scope] = report{State: online, Text: strings.TrimSuffix("no longer listed: "+was.Text, ": ")}
		}
	}
	var res poll.Result
	for _, scope := range slices.Sorted(maps.Keys(now)) {
		is, was := now[scope], cur.Told[scope]
		if is.over && was.State == "" {
			continue
		}
		is.over = false
		again := is.State != online && a.At.Sub(schemas.Time(was.At)) >= renewed
		if is == was.report && !again {
			continue
		}
		cur.N++
		res.Records = append(res.Records, poll.Record{
			Topic: schemas.VenuesStatus, Said: schemas.Time(is.Said),
			Message: &schemas.VenueStatus{
				Meta:  &schemas.Meta{Venue: venue, Symbol: "ALL", Id: a.Job + "/" + scope + "/" + strconv.Itoa(cur.N)},
				State: is.State, Scope: scope, Reporter: "status_page", Description: is.Text, Starts: is.Starts, Ends: is.Ends,
			},
		})
		cur.Told[scope] = told{is, int64(a.At)}
		if is.State == online && scope != all && scope != "page" {
			delete(cur.Told, scope)
		}
	}
	res.Cursor = poll.WriteCursor(cur)
	return res
}

// clip bounds what people write, without cutting a character.
func clip(text string) string {
	const most = 500
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// moment reads RFC 3339; what cannot be read is not known.
func moment(text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	at := poll.Time(t)
	if err != nil || at < schemas.MinTime || at > schemas.MaxTime {
		return 0
	}
	return int64(at)
}

// millis reads milliseconds since the Unix epoch.
func millis(text poll.Text) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < int64(schemas.MinTime)/1e6 || n > int64(schemas.MaxTime)/1e6 {
		return 0
	}
	return n * 1e6
}
