package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// news makes articles that name a company or the asset of an instrument, or two assets: one record for each. What they say
// leans the way that the price went in the last hour, and a few minutes after a labelled price move one reports it.
type news struct {
	*Market
	random
	next   schemas.Time
	count  int
	hourly []float64      // prices smoothed over an hour
	told   []schemas.Time // begin of the anomaly that was reported last
}

const articlesPerDay = 960

func newNews(m *Market) *news {
	n := &news{Market: m, random: newRandom(m.cfg.Seed, streamNews, 0)}
	for _, in := range m.items {
		n.hourly = append(n.hourly, in.to)
	}
	n.told = make([]schemas.Time, len(m.items))
	n.next = m.start.Add(n.wait(articlesPerDay))
	return n
}

func (n *news) perSecond() float64 { return 1.25 * articlesPerDay / secondsPerDay }

func (n *news) second(now schemas.Time, put Put) error {
	end := now.Add(time.Second)
	for i, in := range n.items {
		n.hourly[i] += float64((in.to - n.hourly[i]) / 3600)
		e := &in.event
		if (e.kind == priceJump || e.kind == priceRamp || e.kind == flashCrash) && n.told[i] != e.start && end >= e.start.Add(3*time.Minute) {
			n.told[i] = e.start
			if err := n.article(end, tone(in.to/n.hourly[i]-1), []string{in.symbol}, put); err != nil {
				return err
			}
		}
	}
	if end < n.next {
		return nil
	}
	n.next = end.Add(n.wait(articlesPerDay))
	if n.cfg.has(schemas.ReferenceEquities) && n.below(3) == 0 {
		return n.article(end, n.below(3)-1, []string{fmt.Sprintf("E%03d", n.below(companyCount))}, put)
	}
	i := n.below(len(n.items))
	symbols := []string{n.items[i].symbol}
	if j := n.below(len(n.items)); j != i && n.below(4) == 0 {
		symbols = append(symbols, n.items[j].symbol)
	}
	mood := n.below(3) - 1
	if n.below(3) > 0 {
		mood = tone(n.items[i].to/n.hourly[i] - 1)
	}
	return n.article(end, mood, symbols, put)
}

// tone is -1, 0 or 1 for a move down, hardly any, or up.
func tone(move float64) int {
	switch {
	case move > 0.002:
		return 1
	case move < -0.002:
		return -1
	}
	return 0
}

// headlines are bearish, neutral and bullish; the name comes first.
var headlines = [3][]string{
	{"%s plunges as sellers panic", "%s slumps after weak guidance", "Analysts downgrade %s on fears of losses", "%s tumbles in broad decline", "%s faces lawsuit over fraud claims"},
	{"%s trades in a narrow range", "%s to hold its annual meeting", "What to know about %s this week", "%s names new head of operations", "%s unchanged ahead of data"},
	{"%s surges to a record high", "%s rallies on strong demand", "Analysts upgrade %s after record profit", "%s gains as buyers return", "%s jumps on upbeat outlook"},
}

// article publishes one with a mood of -1, 0 or 1, once for each symbol that it names.
func (n *news) article(at schemas.Time, mood int, symbols []string, put Put) error {
	n.count++
	names := symbols[0]
	if len(symbols) > 1 {
		names += " and " + symbols[1]
	}
	choice := headlines[mood+1]
	title := fmt.Sprintf(choice[n.below(len(choice))], names)
	summary := fmt.Sprintf("%s, at %s UTC.", title, at.UTC().Format("15:04"))
	hash := sha256.Sum256([]byte(title + "\n" + summary))
	guid := fmt.Sprintf("%s/%d-%d", n.source, int64(n.start)/1e9, n.count)
	for _, symbol := range symbols {
		meta := n.meta(0, symbol, at)
		meta.Id = guid
		if err := put(schemas.NewsArticles, &schemas.Article{
			Meta: meta, Guid: guid, Url: "https://news.example/" + guid, Title: title, Summary: summary, ContentHash: hex.EncodeToString(hash[:]),
			PublishedAt: int64(at), FirstSeenAt: int64(at), Publisher: "Simulated News", Language: "en",
		}); err != nil {
			return err
		}
	}
	return nil
}
