package news

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/tapewatch/tapewatch/schemas"
)

// item is an entry of a feed.
type item struct {
	guid, url, canonical string
	title, summary       string
	categories           string
	hash                 string
	published            schemas.Time

	// id is its identity, keys are all that may recognise it.
	id   string
	keys []string
}

// identify gives each item of a feed what makes it the same as an earlier one, whatever became of its date and its text: its
// id and its address. An id counts while no two different items of the feed share it, an address while no two items share it
// and it is not the feed's own. Items that have neither are known by their content. It reports whether the feed's ids are shared.
//
// Both count where there are both: a feed that is built anew has new ids at the same addresses, and an article that moves
// keeps its id. Ids hold within their feed, addresses among all feeds.
func identify(items []*item, name, home string, sharedIDs bool) bool {
	sharedIDs = sharedIDs || shareIDs(items)
	pages := shared(items, sharedIDs)
	for _, i := range items {
		guid, page := i.guid, i.canonical
		if sharedIDs {
			guid = ""
		}
		if page == home || pages[page] {
			page = ""
		}
		if guid != "" {
			i.keys = append(i.keys, name+"/"+guid)
		}
		if page != "" {
			i.keys = append(i.keys, page)
		} else {
			i.keys = append(i.keys, name+"/"+i.hash)
		}
		i.id = i.keys[0]
	}
	return sharedIDs
}

// shareIDs reports whether two items with one id are at two addresses, or, where they have none, tell different things.
func shareIDs(items []*item) bool {
	first := map[string]*item{}
	for _, i := range items {
		f := first[i.guid]
		switch {
		case i.guid == "":
		case f == nil:
			first[i.guid] = i
		case f.canonical != i.canonical, i.canonical == "" && f.hash != i.hash:
			return true
		}
	}
	return false
}

// shared lists the addresses at which there are different items.
func shared(items []*item, sharedIDs bool) map[string]bool {
	first, out := map[string]*item{}, map[string]bool{}
	for _, i := range items {
		f := first[i.canonical]
		switch {
		case f == nil:
			first[i.canonical] = i
		case f.hash != i.hash && (sharedIDs || i.guid == "" || f.guid != i.guid):
			out[i.canonical] = true
		}
	}
	return out
}

// contentHash is the hex SHA-256 of title and summary.
func contentHash(title, summary string) string {
	sum := sha256.Sum256([]byte(fold(title) + "\n" + fold(summary)))
	return hex.EncodeToString(sum[:])
}

// resolve makes a link absolute; "" when it cannot be read.
func resolve(link, base string) string {
	link = strings.TrimSpace(link)
	u, err := url.Parse(link)
	if err != nil || link == "" {
		return ""
	}
	if b, err := url.Parse(base); err == nil {
		u = b.ResolveReference(u)
	}
	return u.String()
}

// canonical is what two links to one page have in common: no scheme, no port of the scheme, no "www.", no fragment, no
// parameters that only say where the reader came from, and the others in order.
func canonical(link, base string) string {
	u, err := url.Parse(resolve(link, base))
	if err != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if port := u.Port(); port != "" && port != "80" && port != "443" {
		host += ":" + port
	}
	query := u.Query()
	for name := range query {
		if tracks(strings.ToLower(name)) {
			delete(query, name)
		}
	}
	page := "//" + strings.TrimPrefix(host, "www.") + strings.TrimRight(u.EscapedPath(), "/")
	if len(query) > 0 {
		page += "?" + query.Encode()
	}
	return page
}

// tracks recognises parameters that are no part of an address.
func tracks(parameter string) bool {
	switch parameter {
	case "fbclid", "gclid", "dclid", "msclkid", "mc_cid", "mc_eid", "cmpid", "icid", "ncid", "igshid", "ref", "source", "rss", "feedtype", "feedname", "partner", ".tsrc":
		return true
	}
	return strings.HasPrefix(parameter, "utm_") || strings.HasPrefix(parameter, "at_")
}
