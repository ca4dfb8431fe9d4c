// Package news polls feeds, RSS 2.0, RSS 1.0 and Atom, and tells their articles by the symbols that they are about.
//
// Feeds are not written for machines: dates are edited or missing, ids are missing, shared or made anew with each build. What
// makes an item the same as an earlier one is in identity.go, what it is about in link.go.
package news

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/sources/poll"
)

// Config is the news source.
type Config struct {
	Feeds     []string      `koanf:"feeds" doc:"Feeds, each as NAME URL [SYMBOL ...]: RSS or Atom. Symbols that are given are linked to every article of the feed."`
	Symbols   []string      `koanf:"symbols" doc:"Symbols and the names they go by in a text, each as SYMBOL:name|name. A name must be written with a capital there."`
	Companies string        `koanf:"companies" doc:"File of all companies to link, as the SEC publishes it (https://www.sec.gov/files/company_tickers.json), plain or gzip; empty links news.symbols only."`
	Every     time.Duration `koanf:"every" doc:"Time between two looks at a feed."`
	PerMinute int           `koanf:"per_minute" doc:"Requests a minute to each host, at most."`
}

// Defaults follow the wires on which US companies publish, for five large companies.
func Defaults() Config {
	return Config{
		Feeds: []string{
			"prnewswire https://www.prnewswire.com/rss/news-releases-list.rss",
			"globenewswire https://www.globenewswire.com/RssFeed/orgclass/1/feedTitle/GlobeNewswire%20-%20News%20about%20Public%20Companies",
		},
		Symbols: []string{"AAPL:Apple", "MSFT:Microsoft", "NVDA:Nvidia", "GOOGL:Alphabet|Google", "AMZN:Amazon"},
		Every:   5 * time.Minute, PerMinute: 30,
	}
}

// Validate checks the settings.
func (c Config) Validate() error {
	seen := map[string]bool{}
	for _, text := range c.Feeds {
		f, err := readFeed(text)
		if err != nil {
			return err
		}
		if seen[f.name] {
			return fmt.Errorf("news.feeds names %s twice", f.name)
		}
		seen[f.name] = true
	}
	for _, text := range c.Symbols {
		if symbol, _, _ := strings.Cut(text, ":"); !isSymbol(symbol) {
			return fmt.Errorf("news.symbols has %q: each must be SYMBOL:name|name", text)
		}
	}
	switch {
	case len(c.Feeds) == 0:
		return errors.New("news.feeds is empty: it must name at least one feed")
	case c.PerMinute < 1 || c.PerMinute > 600:
		return fmt.Errorf("news.per_minute is %d: it must lie between 1 and 600", c.PerMinute)
	}
	return poll.Interval("news.every", c.Every)
}

// feed is one entry of feeds.
type feed struct {
	name    string
	url     string
	symbols []string
}

func readFeed(text string) (feed, error) {
	parts := strings.Fields(text)
	const least = 2
	if len(parts) < least || strings.Contains(parts[0], "/") {
		return feed{}, fmt.Errorf("news.feeds has %q: each must be NAME URL [SYMBOL ...]", text)
	}
	f := feed{name: parts[0], url: parts[1], symbols: parts[least:]}
	u, err := url.Parse(f.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return f, fmt.Errorf("news.feeds has %q: the address of %s must be an http or https URL", f.url, f.name)
	}
	if u.User != nil {
		return f, fmt.Errorf("news.feeds has a password in the address of %s: it would stand in recordings and logs", f.name)
	}
	for _, s := range f.symbols {
		if !isSymbol(s) {
			return f, fmt.Errorf("news.feeds has %q for %s: a symbol must be of capitals, digits, dots and dashes", s, f.name)
		}
	}
	return f, nil
}

func isSymbol(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}
