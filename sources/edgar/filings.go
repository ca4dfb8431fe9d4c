package edgar

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the SEC's clock is New York's, also where the host has no zone files

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// submissions is the list of a company's filings: columns of one length.
type submissions struct {
	CIK     poll.Text `json:"cik"`
	Filings *struct {
		Recent struct {
			Accession []string `json:"accessionNumber"`
			Filed     []string `json:"filingDate"`
			Accepted  []string `json:"acceptanceDateTime"`
			Form      []string `json:"form"`
			Items     []string `json:"items"`
			XBRL      []int    `json:"isXBRL"`
			Document  []string `json:"primaryDocument"`
		} `json:"recent"`
	} `json:"filings"`
}

// newsAge is how old a filing may be to be published as an article: what the topic keeps.
const newsAge = 30 * 24 * time.Hour

// filings reads the list of filings: the new ones are articles, and one with facts leads to the facts.
func (p *Poller) filings(a poll.Answer, cur cursor, symbol string) (poll.Result, error) {
	var s submissions
	if err := poll.Decode(a.Body, &s); err != nil {
		return poll.Result{}, err
	}
	if s.Filings == nil {
		return poll.Result{}, poll.Missing("filings.recent")
	}
	r := s.Filings.Recent
	n := len(r.Accession)
	if n == 0 || len(r.Filed) != n || len(r.Accepted) != n || len(r.Form) != n || len(r.Items) != n || len(r.XBRL) != n || len(r.Document) != n {
		return poll.Result{}, fmt.Errorf("%w: the columns of filings.recent must be of one length, not empty", poll.ErrShape)
	}
	zone := zoneOf(r.Accepted)
	var res poll.Result
	cur.CIK = max(cur.CIK, p.cik(symbol))
	cur.Accepted = map[string]int64{}
	cur.Wanted = ""
	for i := range n {
		at, err := accepted(r.Accepted[i], zone)
		if err != nil {
			res.Bad = append(res.Bad, fmt.Errorf("filing %s: %w", r.Accession[i], err))
			continue
		}
		if r.XBRL[i] != 0 {
			cur.Accepted[r.Accession[i]] = int64(at)
			if cur.Wanted == "" && hasStatements(r.Form[i]) { // the latest stands first
				cur.Wanted = r.Accession[i]
			}
		}
		if p.isNews(r.Form[i]) && a.At.Sub(at) <= newsAge {
			res.Records = append(res.Records, p.article(a, cur.CIK, symbol, r.Accession[i], r.Form[i], r.Items[i], r.Document[i], at))
		}
	}
	if cur.Wanted != cur.Facts {
		res.Next = []poll.Request{p.request(p.facts(cur.CIK))}
		res.Partial = true // until the facts are there, the unchanged list must lead to them again
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// hasStatements says that a form's XBRL is in companyfacts; that of an 8-K is its cover page.
func hasStatements(form string) bool {
	switch strings.TrimSuffix(form, "/A") {
	case "10-K", "10-Q", "20-F", "40-F":
		return true
	}
	return false
}

func (p *Poller) isNews(form string) bool {
	return slices.Contains(p.cfg.Forms, strings.TrimSuffix(form, "/A"))
}

// article tells a filing as news.
func (p *Poller) article(a poll.Answer, cik uint64, symbol, accession, form, items, document string, at schemas.Time) poll.Record {
	title := symbol + " files " + form
	if said := describe(items); said != "" {
		title += ": " + said
	}
	sum := sha256.Sum256([]byte(title))
	return poll.Record{
		Topic: schemas.NewsArticles, Said: at,
		Message: &schemas.Article{
			Meta: &schemas.Meta{Venue: venue, Symbol: symbol, Id: accession},
			Guid: accession, Title: title, ContentHash: hex.EncodeToString(sum[:]), Publisher: "SEC EDGAR", Language: "en",
			Url: fmt.Sprintf("https://www.sec.gov/Archives/edgar/data/%d/%s/%s", cik, strings.ReplaceAll(accession, "-", ""), document),

			PublishedAt: int64(at), FirstSeenAt: int64(a.At),
		},
	}
}

// items of form 8-K that move prices, https://www.sec.gov/files/form8-k.pdf. 2.02 is the release of earnings.
var itemNames = map[string]string{
	"1.01": "material agreement", "1.02": "end of a material agreement", "1.03": "bankruptcy", "1.05": "cybersecurity incident",
	"2.01": "acquisition or disposal", "2.02": "results of operations", "2.03": "financial obligation", "2.05": "costs of exit",
	"2.06": "impairment", "3.01": "delisting", "3.02": "unregistered sale of shares", "4.01": "change of auditor",
	"4.02": "earlier statements not to be relied on", "5.01": "change of control", "5.02": "change of directors or officers",
	"7.01": "regulation FD disclosure", "8.01": "other events",
}

func describe(items string) string {
	var names []string
	for item := range strings.SplitSeq(items, ",") {
		if name := itemNames[item]; name != "" {
			names = append(names, name+" ("+item+")")
		}
	}
	return strings.Join(names, ", ")
}

// newYork is the clock of EDGAR, which takes filings from 06:00 to 22:00.
var newYork = func() *time.Location {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // embedded
	}
	return zone
}()

// zoneOf finds out what clock a filer's acceptance times are on. They end in Z, but for about a quarter of the filers they are
// New York's, and each filer's are all of one kind (github.com/theOGognf/finagg/issues/64). EDGAR takes filings from 06:00 to 22:00 New
// York, so hours 06 to 09 cannot be UTC and hours 22 to 03 cannot be New York's. Where the hours do not tell, New York is
// taken: the later reading, so that nothing is known before it was.
func zoneOf(stamps []string) *time.Location {
	utc, local := 0, 0
	for _, s := range stamps {
		if len(s) < 13 {
			continue
		}
		switch s[11:13] {
		case "06", "07", "08", "09":
			local++
		case "22", "23", "00", "01", "02", "03":
			utc++
		}
	}
	if utc > local {
		return time.UTC
	}
	return newYork
}

func accepted(stamp string, zone *time.Location) (schemas.Time, error) {
	t, err := time.ParseInLocation("2006-01-02T15:04:05.000Z", stamp, zone)
	if err != nil {
		return 0, fmt.Errorf("acceptanceDateTime is %.30q: it must be YYYY-MM-DDThh:mm:ss.000Z", stamp)
	}
	return poll.Time(t), nil
}
