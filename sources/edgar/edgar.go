package edgar

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// venue is the Meta.venue of what the SEC publishes.
const venue = "sec"

// Poller asks EDGAR.
type Poller struct {
	cfg       Config
	companies []company
}

var _ poll.Poller = (*Poller)(nil)

// New makes the poller. userAgent is what the requests will carry.
func New(cfg Config, userAgent string) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !strings.Contains(userAgent, "@") {
		return nil, fmt.Errorf("poll.user_agent is %q: for SEC EDGAR it must hold a mail address to write to, such as \"Example Ltd admin@example.com\"", userAgent)
	}
	p := &Poller{cfg: cfg}
	for _, text := range cfg.Companies {
		c, err := readCompany(text)
		if err != nil {
			return nil, err
		}
		p.companies = append(p.companies, c)
	}
	return p, nil
}

// Name is "edgar".
func (p *Poller) Name() string { return "edgar" }

// Venue is "sec".
func (p *Poller) Venue() string { return venue }

// Topics are those of facts and of filings as news.
func (p *Poller) Topics() []schemas.Topic {
	return []schemas.Topic{schemas.ReferenceEquities, schemas.NewsArticles}
}

// Tick is a minute: filings come by the day.
func (p *Poller) Tick() time.Duration { return time.Minute }

// Lag is none.
func (p *Poller) Lag() time.Duration { return 0 }

const jobPrefix = "company/"

// Jobs has one for each company.
func (p *Poller) Jobs() []poll.Job {
	var jobs []poll.Job
	for _, c := range p.companies {
		jobs = append(jobs, poll.Job{Name: jobPrefix + c.symbol, Stream: "filings", Every: p.cfg.Every})
	}
	return jobs
}

// cursor is what is known of a company.
type cursor struct {
	CIK uint64 `json:"cik"`
	// Facts is the latest filing whose facts were read.
	Facts string `json:"facts,omitempty"`
	// Wanted is the latest filing that has facts.
	Wanted string `json:"wanted,omitempty"`
	// Accepted says when filings with facts became public, ns by accession number.
	Accepted map[string]int64 `json:"accepted,omitempty"`
}

// Ask is for the list of filings, or for the company's CIK where that is not known.
func (p *Poller) Ask(job poll.Job, state []byte, _ schemas.Time) (poll.Request, error) {
	cur, err := poll.ReadCursor[cursor](state)
	if err != nil {
		return poll.Request{}, err
	}
	cik := max(cur.CIK, p.cik(strings.TrimPrefix(job.Name, jobPrefix)))
	if cik == 0 {
		return p.request(p.cfg.FilesURL + tickersPath), nil
	}
	return p.request(p.submissions(cik)), nil
}

func (p *Poller) cik(symbol string) uint64 {
	i := slices.IndexFunc(p.companies, func(c company) bool { return c.symbol == symbol })
	if i < 0 {
		return 0
	}
	return p.companies[i].cik
}

const (
	tickersPath = "/files/company_tickers.json"
	factsPath   = "/api/xbrl/companyfacts/"
)

func (p *Poller) submissions(cik uint64) string {
	return fmt.Sprintf("%s/submissions/CIK%010d.json", p.cfg.DataURL, cik)
}

func (p *Poller) facts(cik uint64) string {
	return fmt.Sprintf("%s%sCIK%010d.json", p.cfg.DataURL, factsPath, cik)
}

func (p *Poller) request(url string) poll.Request {
	return poll.Request{Ref: url, PerMinute: p.cfg.PerMinute}
}

// Refusal knows none: EDGAR refuses by status.
func (p *Poller) Refusal([]byte) error { return nil }

// Decode reads one of the three kinds of answer.
func (p *Poller) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	symbol := strings.TrimPrefix(a.Job, jobPrefix)
	switch {
	case strings.HasSuffix(a.Ref, tickersPath):
		return p.tickers(a, cur, symbol)
	case strings.Contains(a.Ref, factsPath):
		return p.companyFacts(a, cur, symbol)
	}
	return p.filings(a, cur, symbol)
}

// tickers finds the CIK of a ticker.
func (p *Poller) tickers(a poll.Answer, cur cursor, symbol string) (poll.Result, error) {
	var all map[string]struct {
		CIK    uint64 `json:"cik_str"`
		Ticker string `json:"ticker"`
	}
	if err := poll.Decode(a.Body, &all); err != nil {
		return poll.Result{}, err
	}
	for _, entry := range all { // tickers are unique: the order plays no part
		if entry.Ticker == symbol && entry.CIK > 0 {
			cur.CIK = entry.CIK
			return poll.Result{Cursor: poll.WriteCursor(cur), Next: []poll.Request{p.request(p.submissions(cur.CIK))}}, nil
		}
	}
	return poll.Result{}, fmt.Errorf("looking up the CIK of %s: the SEC lists no such ticker", symbol)
}
