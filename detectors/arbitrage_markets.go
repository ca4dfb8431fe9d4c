package detectors

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// A topQuote is the best bid and offer of a market.
type topQuote struct {
	at                         schemas.Time
	bid, bidSize, ask, askSize float64
}

// sound says that a quote can be traded on: one that is crossed in itself is bad data, not an opportunity.
func (q *topQuote) sound() bool { return q.bid > 0 && q.bid < q.ask }

func (q *topQuote) mid() float64 { return (q.bid + q.ask) / 2 }

// maxQuotes bounds how many quotes of a market wait for slower ones, one a second.
const maxQuotes = 600

// A market is one pair at one venue.
type market struct {
	venue, symbol string
	// last is the newest quote until the second that was judged, ahead are those after it, ascending.
	last  topQuote
	ahead []topQuote

	fee   float64 // from the configuration
	fresh bool    // judged anew each second
}

func newMarket(venue, symbol string, fee float64) *market {
	return &market{venue: strings.Clone(venue), symbol: strings.Clone(symbol), fee: fee}
}

func (m *market) compare(venue, symbol string) int {
	return cmp.Or(strings.Compare(m.venue, venue), strings.Compare(m.symbol, symbol))
}

// wait keeps a quote until its second is judged; false when that is over, or when the market is so far ahead of the slowest that it is
// none any more.
func (m *market) wait(q *schemas.Quote, at schemas.Time) bool {
	i, found := slices.BinarySearchFunc(m.ahead, at, func(q topQuote, at schemas.Time) int { return cmp.Compare(q.at, at) })
	if found || at == m.last.at {
		return true // the stage gives each moment one quote
	}
	if at < m.last.at || len(m.ahead) == maxQuotes {
		return false
	}
	m.ahead = slices.Insert(m.ahead, i, topQuote{
		at: at, bid: q.BidPrice.Float(), bidSize: q.BidQuantity.Float(), ask: q.AskPrice.Float(), askSize: q.AskQuantity.Float(),
	})
	return true
}

// pick takes the newest quote until now.
func (m *market) pick(now schemas.Time) {
	n := 0
	for n < len(m.ahead) && m.ahead[n].at <= now {
		n++
	}
	if n > 0 {
		m.last = m.ahead[n-1]
		m.ahead = m.ahead[:copy(m.ahead, m.ahead[n:])]
	}
}

// left says that the market has been silent for so long that it is none any more.
func (m *market) left(now schemas.Time) bool {
	return len(m.ahead) == 0 && now.Sub(m.last.at) > forgotten
}

func (m *market) appendTo(dst []byte) []byte {
	dst = m.last.appendTo(pack.String(pack.String(dst, m.venue), m.symbol))
	dst = pack.Uint(dst, uint64(len(m.ahead)))
	for i := range m.ahead {
		dst = m.ahead[i].appendTo(dst)
	}
	return dst
}

func (m *market) restore(r *pack.Reader) {
	m.venue, m.symbol = r.String(), r.String()
	m.last.restore(r)
	for range r.Count(maxQuotes) {
		var q topQuote
		q.restore(r)
		m.ahead = append(m.ahead, q)
	}
}

func (q *topQuote) appendTo(dst []byte) []byte {
	dst = pack.Int(dst, int64(q.at))
	return pack.Float(pack.Float(pack.Float(pack.Float(dst, q.bid), q.bidSize), q.ask), q.askSize)
}

func (q *topQuote) restore(r *pack.Reader) {
	q.at = schemas.Time(r.Int())
	q.bid, q.bidSize, q.ask, q.askSize = r.Float(), r.Float(), r.Float(), r.Float()
}
