package news

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// linker finds out which symbols a text is about:
//
//   - $AAPL, when the symbol is known: a sum of money or a slogan is none;
//   - NASDAQ: AAPL, as releases name their companies, known or not;
//   - the name of a company, written with capitals. A name of one word from the file of companies counts only before its legal
//     form ("Target Corporation"), because "Target", "Gap" and "Visa" are words.
type linker struct {
	known map[string]bool
	// names by their first word, the longest first.
	names map[string][]name
}

type name struct {
	words  []string
	symbol string
	// legal says that a legal form must follow.
	legal bool
}

func newLinker(symbols []string, companies string) (*linker, error) {
	l := &linker{known: map[string]bool{}, names: map[string][]name{}}
	taken := map[string]bool{}
	for _, text := range symbols {
		symbol, names, _ := strings.Cut(text, ":")
		l.known[symbol] = true
		for alias := range strings.SplitSeq(names, "|") {
			l.add(taken, name{words: lower(words(alias)), symbol: symbol})
		}
	}
	if companies != "" {
		all, err := readCompanies(companies)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			l.known[c.Ticker] = true
			stem := stemOf(c.Title)
			l.add(taken, name{words: stem, symbol: c.Ticker, legal: len(stem) == 1})
		}
	}
	for first := range l.names { // each list on its own: the order plays no part
		slices.SortStableFunc(l.names[first], func(a, b name) int { return len(b.words) - len(a.words) })
	}
	return l, nil
}

// add takes a name unless it is another symbol's: the shares of one company go by the first, which is the largest.
func (l *linker) add(taken map[string]bool, n name) {
	key := strings.Join(n.words, " ")
	if len(n.words) == 0 || taken[key] {
		return
	}
	taken[key] = true
	l.names[n.words[0]] = append(l.names[n.words[0]], n)
}

// company is one entry of the SEC's file.
type company struct {
	Ticker string `json:"ticker"`
	Title  string `json:"title"`
}

// readCompanies reads the SEC's file in its order, the largest company first.
func readCompanies(path string) ([]company, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading news.companies: %w", err)
	}
	if bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("unpacking news.companies: %w", err)
		}
		if raw, err = io.ReadAll(z); err != nil {
			return nil, fmt.Errorf("unpacking news.companies: %w", err)
		}
	}
	var all map[string]company
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("reading news.companies %s: it must be company_tickers.json of the SEC: %w", path, err)
	}
	out := make([]company, 0, len(all))
	for i := range len(all) {
		c, ok := all[strconv.Itoa(i)]
		if !ok || !isSymbol(c.Ticker) {
			return nil, fmt.Errorf("reading news.companies %s: entry %d is %q: entries must be numbered from 0 and have a ticker", path, i, c.Ticker)
		}
		out = append(out, c)
	}
	return out, nil
}

var (
	cashtag  = regexp.MustCompile(`(?:^|[^A-Za-z0-9$])\$([A-Z]{1,6}(?:[.-][A-Z]{1,2})?)\b`)
	exchange = regexp.MustCompile(`(?i:\b(?:nasdaq(?:gs|gm|cm)?|nyse(?: (?:american|arca|mkt))?|nysearca|amex|cboe|otcqx|otcqb)(?:®)?)\s?:\s?([A-Z]{1,5}(?:[.-][A-Z]{1,2})?)\b`)
)

// symbols lists those that a text is about, unordered, perhaps twice.
func (l *linker) symbols(text string) []string {
	var out []string
	for _, m := range cashtag.FindAllStringSubmatch(text, -1) {
		if s := ticker(m[1]); l.known[s] {
			out = append(out, s)
		}
	}
	for _, m := range exchange.FindAllStringSubmatch(text, -1) {
		out = append(out, ticker(m[1]))
	}
	said := words(text)
	plain := lower(said)
	for i := 0; i < len(said); {
		n, ok := l.at(said[i:], plain[i:])
		if ok {
			out = append(out, n.symbol)
		}
		i += max(len(n.words), 1)
	}
	return out
}

// at is the longest name at the beginning of a text.
func (l *linker) at(said, plain []string) (name, bool) {
	for _, n := range l.names[plain[0]] {
		k := len(n.words)
		switch {
		case len(plain) < k || !slices.Equal(plain[:k], n.words) || !capital(said[:k]):
		case n.legal && (len(plain) == k || !legalForms[plain[k]] || !capital(said[k:k+1])):
		default:
			return n, true
		}
	}
	return name{}, false
}

// ticker is the SEC's spelling: classes of shares stand behind a dash.
func ticker(text string) string { return strings.ReplaceAll(text, ".", "-") }

// small are words that names write without a capital.
var small = map[string]bool{"of": true, "the": true, "and": true, "for": true, "in": true, "de": true, "com": true, "&": true}

// capital says that words are written as a name is.
func capital(said []string) bool {
	for i, w := range said {
		if i > 0 && small[w] {
			continue
		}
		for _, r := range w {
			if unicode.IsLower(r) {
				return false
			}
			break
		}
	}
	return true
}

// words cuts a text at all that is neither letter, digit nor &.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r != '&' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

func lower(said []string) []string {
	out := make([]string, len(said))
	for i, w := range said {
		out[i] = strings.ToLower(w)
	}
	return out
}

var legalForms = map[string]bool{
	"inc": true, "incorporated": true, "corp": true, "corporation": true, "co": true, "company": true, "companies": true, "ltd": true, "limited": true,
	"plc": true, "llc": true, "lp": true, "sa": true, "nv": true, "ag": true, "se": true, "holdings": true, "holding": true, "group": true,
}

// stemOf is the name of a company without its legal form: "Meta Platforms, Inc." is "meta platforms". What stands between
// slashes is the SEC's ("BANK OF AMERICA CORP /DE/").
func stemOf(title string) []string {
	title, _, _ = strings.Cut(title, "/")
	stem := lower(words(title))
	for len(stem) > 1 && legalForms[stem[len(stem)-1]] {
		stem = stem[:len(stem)-1]
	}
	if len(stem) > 0 && stem[0] == "the" {
		stem = stem[1:]
	}
	return stem
}
