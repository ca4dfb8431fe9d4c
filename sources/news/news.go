package news

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mmcdole/gofeed"
	"golang.org/x/net/html"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// venue is the Meta.venue of articles.
const venue = "news"

// Poller asks feeds.
type Poller struct {
	cfg   Config
	feeds map[string]feed
	jobs  []poll.Job
	names *linker
}

var _ poll.Poller = (*Poller)(nil)

// New makes the poller; it reads the file of companies.
func New(cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Poller{cfg: cfg, feeds: map[string]feed{}}
	for _, text := range cfg.Feeds {
		f, err := readFeed(text)
		if err != nil {
			return nil, err
		}
		job := poll.Job{Name: "feed/" + f.name, Stream: "articles", Every: cfg.Every}
		p.feeds[job.Name], p.jobs = f, append(p.jobs, job)
	}
	var err error
	p.names, err = newLinker(cfg.Symbols, cfg.Companies)
	return p, err
}

// Name is "news".
func (p *Poller) Name() string { return "news" }

// Venue is "news".
func (p *Poller) Venue() string { return venue }

// Topics are those of articles.
func (p *Poller) Topics() []schemas.Topic { return []schemas.Topic{schemas.NewsArticles} }

// Tick is a minute: feeds are built every few minutes.
func (p *Poller) Tick() time.Duration { return time.Minute }

// Lag is none: an article counts from when it was seen.
func (p *Poller) Lag() time.Duration { return 0 }

// Jobs has one for each feed.
func (p *Poller) Jobs() []poll.Job { return p.jobs }

// Ask is for the feed.
func (p *Poller) Ask(job poll.Job, _ []byte, _ schemas.Time) (poll.Request, error) {
	f, ok := p.feeds[job.Name]
	if !ok {
		return poll.Request{}, fmt.Errorf("asking for %s: news.feeds has no such feed", job.Name)
	}
	return poll.Request{Ref: f.url, PerMinute: p.cfg.PerMinute}, nil
}

// Refusal knows none: what is no feed has an unexpected shape.
func (p *Poller) Refusal([]byte) error { return nil }

// cursor is what is known of a feed.
type cursor struct {
	// SharedIDs says that it once gave different items one id; its ids count for nothing from then on.
	SharedIDs bool `json:"shared_ids,omitempty"`
}

// newsAge is how old an article may be to be published: what the topic keeps.
const newsAge = 30 * 24 * time.Hour

// Decode reads a feed.
func (p *Poller) Decode(a poll.Answer) (poll.Result, error) {
	cur, err := poll.ReadCursor[cursor](a.Cursor)
	if err != nil {
		return poll.Result{}, err
	}
	parsed, err := gofeed.NewParser().Parse(bytes.NewReader(a.Body))
	if err != nil {
		return poll.Result{}, fmt.Errorf("%w: reading the feed: %w", poll.ErrShape, err)
	}
	if parsed.FeedType == "json" && parsed.FeedVersion == "" {
		return poll.Result{}, fmt.Errorf("%w: the answer is JSON, and no feed", poll.ErrShape)
	}
	f, ok := p.feeds[a.Job]
	if !ok { // a recording made with other settings
		f = feed{name: strings.TrimPrefix(a.Job, "feed/"), url: a.Ref}
	}
	items := readItems(parsed, a.Ref)
	cur.SharedIDs = identify(items, f.name, canonical(parsed.Link, a.Ref), cur.SharedIDs)
	var res poll.Result
	for _, i := range slices.Backward(items) { // feeds begin with the latest
		if i.title == "" {
			res.Bad = append(res.Bad, fmt.Errorf("%w: item %q of %s has neither title nor description", poll.ErrShape, i.id, f.name))
			continue
		}
		if i.published != 0 && a.At.Sub(i.published) > newsAge {
			continue
		}
		symbols := append(p.names.symbols(i.title+" . "+i.summary+" . "+i.categories), f.symbols...)
		slices.Sort(symbols)
		for _, symbol := range slices.Compact(symbols) {
			res.Records = append(res.Records, poll.Record{
				Topic: schemas.NewsArticles, Said: i.published, Keys: i.keys,
				Message: &schemas.Article{
					Meta: &schemas.Meta{Venue: venue, Symbol: symbol, Id: i.id},
					Guid: i.guid, Url: i.url, Title: i.title, Summary: i.summary, ContentHash: i.hash,
					Publisher: cmp.Or(fold(parsed.Title), f.name), Language: language(parsed.Language),
					PublishedAt: int64(i.published), FirstSeenAt: int64(a.At),
				},
			})
		}
	}
	res.Cursor = poll.WriteCursor(cur)
	return res, nil
}

// language is the primary subtag of a language tag: "en" of "en-US".
func language(tag string) string {
	tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
	return tag
}

// mostTitle and mostSummary bound what is kept of an item, in runes.
const (
	mostTitle   = 300
	mostSummary = 2000
)

// readItems reads what an article needs.
func readItems(f *gofeed.Feed, base string) []*item {
	items := make([]*item, 0, len(f.Items))
	for _, in := range f.Items {
		if in == nil {
			continue
		}
		i := &item{
			guid: strings.TrimSpace(in.GUID), url: resolve(in.Link, base), canonical: canonical(in.Link, base),
			title: cut(plain(in.Title), mostTitle), summary: cut(plain(cmp.Or(in.Description, in.Content)), mostSummary),
			categories: strings.Join(in.Categories, " . "),
			published:  published(in),
		}
		if i.title == "" {
			const head = 100
			i.title = cut(i.summary, head)
		}
		i.hash = contentHash(i.title, i.summary)
		items = append(items, i)
	}
	return items
}

// zones are the names that gofeed knows; a date in another zone it takes for UTC, which may be hours early.
var zones = map[string]bool{
	"": true, "Z": true, "UT": true, "UTC": true, "GMT": true, "WET": true, "WEST": true, "BST": true, "CET": true, "CEST": true, "EET": true, "EEST": true,
	"EST": true, "EDT": true, "CST": true, "CDT": true, "MST": true, "MDT": true, "PST": true, "PDT": true, "AM": true, "PM": true,
}

// published is when an item says it was: 0 when it does not, or names a zone that is not known. Atom entries without a date of
// publication have that of their last change.
func published(in *gofeed.Item) schemas.Time {
	t, said := in.PublishedParsed, in.Published
	if t == nil && said == "" {
		t, said = in.UpdatedParsed, in.Updated
	}
	if t == nil || t.Year() < schemas.MinTime.UTC().Year() || t.Year() >= schemas.MaxTime.UTC().Year() {
		return 0
	}
	said = strings.TrimSpace(said)
	zone := strings.ToUpper(said[len(strings.TrimRightFunc(said, unicode.IsLetter)):])
	if !zones[zone] {
		return 0
	}
	return poll.Time(*t)
}

// plain is the text of HTML, white space folded.
func plain(text string) string {
	if !strings.ContainsAny(text, "<&") {
		return fold(text)
	}
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(text))
	hidden := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			return fold(b.String())
		case html.TextToken:
			if !hidden {
				b.Write(z.Text())
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			t := z.Token()
			switch t.Data {
			case "script", "style":
				hidden = t.Type == html.StartTagToken
			case "a", "b", "i", "em", "strong", "span", "u", "sup", "sub":
			default:
				b.WriteByte(' ')
			}
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

// fold makes valid UTF-8 of a text and one blank of all its white space.
func fold(text string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
}

// cut keeps the beginning of a text.
func cut(text string, most int) string {
	n := 0
	for at := range text {
		if n == most {
			return text[:at]
		}
		n++
	}
	return text
}
