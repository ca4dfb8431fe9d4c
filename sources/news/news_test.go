package news

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources/poll"
)

// The feeds here are written by hand in the shapes of RSS 2.0 (https://www.rssboard.org/rss-specification) and Atom (RFC 4287):
// no recorded ones are at hand.

const address = "https://feeds.example.com/wire.xml"

var noon = poll.Time(time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC))

func poller(t testing.TB, change func(*Config)) *Poller {
	t.Helper()
	cfg := Defaults()
	cfg.Feeds = []string{"wire " + address, "other https://other.example.com/feed", "bound https://bound.example.com/feed ETH BTC"}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rss is a feed around items.
func rss(items ...string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>The Wire</title><link>https://www.example.com/</link><language>en-US</language>` +
		strings.Join(items, "") + `</channel></rss>`
}

// entry is an item: the fields in order, "" leaves one out.
func entry(guid, link, title, date string) string {
	var b strings.Builder
	b.WriteString("<item>")
	for i, v := range []string{guid, link, title, date} {
		if v != "" {
			tag := []string{"guid", "link", "title", "pubDate"}[i]
			fmt.Fprintf(&b, "<%s>%s</%s>", tag, v, tag)
		}
	}
	b.WriteString("</item>")
	return b.String()
}

func decode(t testing.TB, p *Poller, job, body string, cursor []byte) poll.Result {
	t.Helper()
	res, err := p.Decode(poll.Answer{Job: job, Ref: p.feeds[job].url, At: noon, Body: []byte(body), Cursor: cursor})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Records {
		a := r.Message.(*schemas.Article)
		a.Meta.Source, a.Meta.EventTime = "news", int64(noon)
		if err := schemas.Validate(a); err != nil {
			t.Error(err)
		}
	}
	return res
}

func articles(res poll.Result) []*schemas.Article {
	var out []*schemas.Article
	for _, r := range res.Records {
		out = append(out, r.Message.(*schemas.Article))
	}
	return out
}

// An item of every field, told once for each of its symbols.
func TestArticle(t *testing.T) {
	p := poller(t, nil)
	res := decode(t, p, "feed/wire", rss(`<item><guid isPermaLink="false">n-1</guid><link>/news/1?utm_source=rss</link>
		<title>Apple &amp;amp; Microsoft
		 settle</title><description>&lt;p&gt;Both &lt;b&gt;sides&lt;/b&gt;&lt;/p&gt;&lt;script&gt;track()&lt;/script&gt;&lt;p&gt;agree.&lt;/p&gt;</description>
		<pubDate>Mon, 02 Mar 2026 06:30:00 EST</pubDate></item>`), nil)
	got := articles(res)
	if len(got) != 2 || got[0].Meta.Symbol != "AAPL" || got[1].Meta.Symbol != "MSFT" {
		t.Fatalf("%v, want one for AAPL and one for MSFT", got)
	}
	want := &schemas.Article{
		Guid: "n-1", Url: "https://feeds.example.com/news/1?utm_source=rss", Title: "Apple & Microsoft settle", Summary: "Both sides agree.",
		ContentHash: contentHash("Apple & Microsoft settle", "Both sides agree."), Publisher: "The Wire", Language: "en",
		PublishedAt: int64(noon.Add(-30 * time.Minute)), FirstSeenAt: int64(noon),
	}
	if got[0].Meta.Id != "wire/n-1" || res.Records[0].Said != noon.Add(-30*time.Minute) {
		t.Errorf("id %q, said %s", got[0].Meta.Id, res.Records[0].Said)
	}
	got[0].Meta = nil
	if got[0].String() != want.String() {
		t.Errorf("got  %v\nwant %v", got[0], want)
	}
}

// Atom: the id, the alternate link, the date of publication before that of the last change.
func TestAtom(t *testing.T) {
	p := poller(t, nil)
	got := articles(decode(t, p, "feed/wire", `<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>Notes</title><link href="https://example.com/"/>
		<entry><id>tag:example.com,2026:2</id><title type="html">Nvidia &lt;em&gt;ships&lt;/em&gt;</title><link rel="alternate" href="https://example.com/2"/>
		<published>2026-03-02T11:00:00Z</published><updated>2026-03-02T11:59:00Z</updated><summary>s</summary></entry>
		<entry><id>tag:example.com,2026:1</id><title>Nvidia plans</title><link href="https://example.com/1"/><updated>2026-03-02T10:00:00+01:00</updated></entry></feed>`, nil))
	var lines []string
	for _, a := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", a.Guid, a.Url, a.Title, schemas.Time(a.PublishedAt), a.Publisher))
	}
	want := []string{
		"tag:example.com,2026:1 https://example.com/1 Nvidia plans 2026-03-02T09:00:00Z Notes",
		"tag:example.com,2026:2 https://example.com/2 Nvidia ships 2026-03-02T11:00:00Z Notes",
	}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
}

// seen plays the memory of sources/poll: a record is new unless its id or one of its keys has come before for its symbol.
type seen map[string]bool

func (s seen) fresh(res poll.Result) (titles []string) {
	for _, r := range res.Records {
		a := r.Message.(*schemas.Article)
		known := false
		for _, k := range append([]string{a.Meta.Id}, r.Keys...) {
			known = known || s[a.Meta.Symbol+"|"+k]
		}
		for _, k := range append([]string{a.Meta.Id}, r.Keys...) {
			s[a.Meta.Symbol+"|"+k] = true
		}
		if !known {
			titles = append(titles, a.Title)
		}
	}
	return titles
}

// What is the same article, and what is another: feeds over several looks, and the titles that are new at each.
func TestSameArticle(t *testing.T) {
	const morning, evening = "Mon, 02 Mar 2026 06:00:00 GMT", "Mon, 02 Mar 2026 11:00:00 GMT"
	one, two := "https://www.example.com/1", "https://www.example.com/2"
	for _, c := range []struct {
		name  string
		looks []string
		want  []string // new titles, "|" between those of one look
	}{
		{"a date that is edited", []string{
			rss(entry("1", one, "Apple A", morning)), rss(entry("1", one, "Apple A", evening)),
		}, []string{"Apple A", ""}},
		{"a date that is missing", []string{
			rss(entry("1", one, "Apple A", "")), rss(entry("2", two, "Apple B", "") + entry("1", one, "Apple A", "")),
		}, []string{"Apple A", "Apple B"}},
		{"a text that is corrected", []string{
			rss(entry("1", one, "Apple A", morning)), rss(entry("1", one, "Apple A, corrected", morning)),
		}, []string{"Apple A", ""}},
		{"no ids: the address, however it is written", []string{
			rss(entry("", one, "Apple A", morning)), rss(entry("", "http://example.com/1/?utm_medium=rss#top", "Apple A2", evening)), rss(entry("", two, "Apple A", evening)),
		}, []string{"Apple A", "", "Apple A"}},
		{"neither ids nor addresses: the content", []string{
			rss(entry("", "", "Apple A", morning)), rss(entry("", "", "Apple   A", "")), rss(entry("", "", "Apple B", "")),
		}, []string{"Apple A", "", "Apple B"}},
		{"one address for all: it counts for nothing", []string{
			rss(entry("", "https://www.example.com/", "Apple A", "")), rss(entry("", "https://example.com", "Apple B", "") + entry("", "https://example.com", "Apple A", "")),
		}, []string{"Apple A", "Apple B"}},
		{"one page for several: it counts for nothing", []string{
			rss(entry("1", one, "Apple A", "") + entry("2", one, "Apple B", "")), rss(entry("3", one, "Apple C", "") + entry("1", one, "Apple A", "")),
		}, []string{"Apple B|Apple A", "Apple C"}},
		{"one id for all: it counts for nothing, also later", []string{
			rss(entry("x", one, "Apple A", "") + entry("x", two, "Apple B", "")), rss(entry("x", "https://www.example.com/3", "Apple C", "")), rss(entry("x", two, "Apple B", evening)),
		}, []string{"Apple B|Apple A", "Apple C", ""}},
		{"one id for all, no addresses", []string{
			rss(entry("x", "", "Apple A", "") + entry("x", "", "Apple B", "")), rss(entry("x", "", "Apple B", "") + entry("x", "", "Apple C", "")),
		}, []string{"Apple B|Apple A", "Apple C"}},
		{"an item twice in one feed", []string{
			rss(entry("1", one, "Apple A", "") + entry("1", one+"?utm_source=x", "Apple A", "")),
		}, []string{"Apple A"}},
		{"a feed that is built anew each day, with new ids and dates", []string{
			rss(entry("day1-1", one, "Apple A", morning)), rss(entry("day2-2", two, "Apple B", evening) + entry("day2-1", one, "Apple A", evening)),
		}, []string{"Apple A", "Apple B"}},
		{"an article that moves", []string{
			rss(entry("1", one, "Apple A", morning)), rss(entry("1", one+"-corrected", "Apple A", morning)),
		}, []string{"Apple A", ""}},
		{"different articles with one title", []string{
			rss(entry("1", one, "Apple today", morning)), rss(entry("2", two, "Apple today", evening)),
		}, []string{"Apple today", "Apple today"}},
		{"a symbol that is named later", []string{
			rss(entry("1", one, "Apple buys", morning)), rss(entry("1", one, "Apple buys from Nvidia", morning)),
		}, []string{"Apple buys", "Apple buys from Nvidia"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, s := poller(t, nil), seen{}
			var cursor []byte
			for i, body := range c.looks {
				res := decode(t, p, "feed/wire", body, cursor)
				cursor = res.Cursor
				if got := strings.Join(s.fresh(res), "|"); got != c.want[i] {
					t.Errorf("look %d: %q is new, want %q", i+1, got, c.want[i])
				}
			}
		})
	}
}

// The same page in two feeds is one article; the same id in two feeds is two.
func TestTwoFeeds(t *testing.T) {
	p, s := poller(t, nil), seen{}
	first := decode(t, p, "feed/wire", rss(entry("1", "https://example.com/1", "Apple A", "")), nil)
	again := decode(t, p, "feed/other", rss(entry("77", "https://www.example.com/1?ref=other", "Apple A", "")+entry("1", "https://other.example.com/9", "Apple B", "")), nil)
	if got := append(s.fresh(first), s.fresh(again)...); !slices.Equal(got, []string{"Apple A", "Apple B"}) {
		t.Errorf("%q, want Apple A, Apple B", got)
	}
}

// Dates: what is older than the topic keeps is left out; one that cannot be relied on is none.
func TestDates(t *testing.T) {
	for date, want := range map[string]string{
		"Mon, 02 Mar 2026 11:00:00 GMT":   "2026-03-02T11:00:00Z",
		"Mon, 02 Mar 2026 06:00:00 EST":   "2026-03-02T11:00:00Z",
		"Mon, 02 Mar 2026 06:00:00 -0500": "2026-03-02T11:00:00Z",
		"Mon, 02 Mar 2026 11:00:00 QQT":   "none",
		"yesterday":                       "none",
		"":                                "none",
		"Mon, 01 Jan 0001 00:00:00 GMT":   "none",
		"Mon, 02 Feb 2025 11:00:00 GMT":   "left out",
	} {
		got := "left out"
		for _, a := range articles(decode(t, poller(t, nil), "feed/wire", rss(entry("1", "https://example.com/1", "Apple A", date)), nil)) {
			got = schemas.Time(a.PublishedAt).String()
			if a.PublishedAt == 0 {
				got = "none"
			}
		}
		if got != want {
			t.Errorf("%q is %s, want %s", date, got, want)
		}
	}
}

// Not a feed is not an empty feed; an item without words is counted, the others stand.
func TestShape(t *testing.T) {
	p := poller(t, nil)
	for _, body := range []string{"<html><body>Just a moment...</body></html>", "{}", "busy", rss(entry("1", "", "Apple A", ""))[:150]} {
		if res, err := p.Decode(poll.Answer{Job: "feed/wire", Ref: address, At: noon, Body: []byte(body)}); err == nil {
			t.Errorf("%.20q gives %d records and no error", body, len(res.Records))
		}
	}
	res := decode(t, p, "feed/wire", rss(entry("1", "https://example.com/1", "", ""), entry("2", "https://example.com/2", "Apple A", "")), nil)
	if len(res.Records) != 1 || len(res.Bad) != 1 || !strings.Contains(res.Bad[0].Error(), `"wire/1"`) {
		t.Errorf("%d records, bad %v; want one and the item named", len(res.Records), res.Bad)
	}
	if res := decode(t, p, "feed/wire", rss(), nil); len(res.Records)+len(res.Bad) != 0 {
		t.Errorf("an empty feed gives %v", res)
	}
	latin := strings.Replace(rss(entry("1", "", "Apple caf\xe9", "")), "UTF-8", "ISO-8859-1", 1)
	if got := articles(decode(t, p, "feed/wire", latin, nil)); len(got) != 1 || got[0].Title != "Apple café" {
		t.Errorf("%v, want Apple café", got)
	}
}

// A feed's own symbols are linked to all of it.
func TestBound(t *testing.T) {
	var got []string
	for _, a := range articles(decode(t, poller(t, nil), "feed/bound", rss(entry("1", "https://example.com/1", "Apple and $BTC", "")), nil)) {
		got = append(got, a.Meta.Symbol)
	}
	if !slices.Equal(got, []string{"AAPL", "BTC", "ETH"}) {
		t.Errorf("%q, want AAPL BTC ETH", got)
	}
}

func companies(t testing.TB) *linker {
	t.Helper()
	l, err := newLinker(Defaults().Symbols, filepath.Join(testservices.DataDir(t), "edgar", "company_tickers.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What a text is about, by the 9,610 companies of the SEC.
func TestLinks(t *testing.T) {
	l := companies(t)
	if len(l.known) != 9610 {
		t.Errorf("%d symbols, the file has 9,610", len(l.known))
	}
	for text, want := range map[string]string{
		"$AAPL jumps":                    "AAPL",
		"$aapl, $ZZZZQ, $100 and US$AAP": "",
		"$BRK.B and $BRK-A":              "BRK-A BRK-B",
		"Acme (NASDAQ: ACMEQ) and Bolt (NYSE: T), (Nasdaq:GOOG)": "ACMEQ GOOG T",
		"Class A (NYSE American: BRK.A)":                         "BRK-A",
		"nasdaq: aapl falls":                                     "",
		"the Nasdaq: Stocks fell":                                "",
		"Apple's margin":                                         "AAPL",
		"apple pie and amazon rain":                              "",
		"Google and Alphabet":                                    "GOOGL",
		"Bank of America cuts Meta Platforms":                    "BAC META",
		"a bank of america":                                      "",
		"Target prices rise in the Gap between Visa rules":       "",
		"Target Corporation and Visa Inc. report":                "TGT V",
		"TAIWAN SEMICONDUCTOR MANUFACTURING sees growth":         "TSM",
		"Johnson & Johnson recalls":                              "JNJ",
		"":                                                       "",
	} {
		got := l.symbols(text)
		slices.Sort(got)
		if got := strings.Join(slices.Compact(got), " "); got != want {
			t.Errorf("%q is about %q, want %q", text, got, want)
		}
	}
}

// Real headlines with cashtags, read without them: what names find are the companies tagged. The three that are not tagged are
// named all the same (Georgia Power, Morgan Stanley, Luckin Coffee).
func TestNamesAgainstCashtags(t *testing.T) {
	l := companies(t)
	f, err := os.Open(filepath.Join(testservices.DataDir(t), "sentiment", "twitter_financial_news_valid.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var tagged, named, right int
	var others []string
	for _, row := range rows {
		tags := map[string]bool{}
		for _, m := range cashtag.FindAllStringSubmatch(row[0], -1) {
			if l.known[ticker(m[1])] {
				tags[ticker(m[1])] = true
			}
		}
		if len(tags) == 0 {
			continue
		}
		tagged++
		for _, s := range l.symbols(cashtag.ReplaceAllString(row[0], "")) {
			named++
			if tags[s] {
				right++
			} else {
				others = append(others, s)
			}
		}
	}
	if tagged != 267 || named != 81 || right != 78 || strings.Join(others, " ") != "GPJA MS LKNCY" {
		t.Errorf("%d headlines with cashtags; names find %d symbols, %d of them tagged, besides %v", tagged, named, right, others)
	}
}

// Settings that cannot be meant are refused, naming the value.
func TestConfig(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"news.feeds is empty":      func(c *Config) { c.Feeds = nil },
		`"wire"`:                   func(c *Config) { c.Feeds = []string{"wire"} },
		`"ftp://x"`:                func(c *Config) { c.Feeds = []string{"wire ftp://x"} },
		"has a password":           func(c *Config) { c.Feeds = []string{"wire https://me:word@example.com/"} },
		`"btc" for wire`:           func(c *Config) { c.Feeds = []string{"wire https://example.com/ btc"} },
		"names wire twice":         func(c *Config) { c.Feeds = []string{"wire https://a.example", "wire https://b.example"} },
		`"apple"`:                  func(c *Config) { c.Symbols = []string{"apple"} },
		"news.per_minute is 0":     func(c *Config) { c.PerMinute = 0 },
		"news.every is 1ms":        func(c *Config) { c.Every = time.Millisecond },
		"reading news.companies: ": func(c *Config) { c.Companies = filepath.Join(t.TempDir(), "absent") },
	} {
		cfg := Defaults()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		} else if strings.Contains(err.Error(), "word@") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// Whatever comes, an article has an id, a title and a symbol, and the same answer gives the same result.
func FuzzDecode(f *testing.F) {
	p := poller(f, nil)
	f.Add([]byte(rss(entry("1", "https://example.com/1?a=1", "Apple $AAPL (NASDAQ: AAPL)", "Mon, 02 Mar 2026 11:00:00 GMT"))), []byte(`{"shared_ids":true}`))
	f.Add([]byte(`<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>1</id><title>Apple</title><link href="::"/><updated>2026-03-02T11:00:00Z</updated></entry></feed>`), []byte(nil))
	f.Add([]byte(`{"version":"https://jsonfeed.org/version/1","title":"t","items":[{"id":"1","title":"Apple"}]}`), []byte(nil))
	f.Fuzz(func(t *testing.T, body, cursor []byte) {
		a := poll.Answer{Job: "feed/wire", Ref: address, At: noon, Body: body, Cursor: cursor}
		res, err := p.Decode(a)
		again, _ := p.Decode(a)
		if fmt.Sprint(res.Records) != fmt.Sprint(again.Records) {
			t.Fatal("two results of one answer")
		}
		if err != nil && len(res.Records) > 0 {
			t.Fatal("records beside an error")
		}
		for _, r := range res.Records {
			m := r.Message.(*schemas.Article)
			m.Meta.Source, m.Meta.EventTime = "news", int64(noon)
			if err := schemas.Validate(m); err != nil || m.Meta.Id == "" || len(r.Keys) == 0 {
				t.Fatalf("%v: %v", m, err)
			}
		}
		if err == nil && !json.Valid(res.Cursor) {
			t.Fatalf("cursor %q", res.Cursor)
		}
	})
}
