package detectors

import (
	"slices"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
)

// A minuteBar is what is kept of a member's bar.
type minuteBar struct {
	end           schemas.Time
	volume, close float32
	trades, rush  uint32
	complete      bool
}

// maxAhead bounds how many bars of a member wait for slower members.
const maxAhead = 2 * minutesOfDay

// A seat is what every member of a basket has, whatever is watched: its name, and the bars that came before their minute was
// closed. Minute t closes when time, which the Ticks of every member's partition move, has passed it; then the members are taken
// in the order of their keys, so that the order of arrival plays no part.
type seat struct {
	venue, symbol string
	// ahead are the bars that wait, ascending.
	ahead []minuteBar
	// seen is the end of the last bar that was taken.
	seen schemas.Time
	late uint32
}

func newSeat(venue, symbol string) seat {
	return seat{venue: strings.Clone(venue), symbol: strings.Clone(symbol)}
}

func (s *seat) chair() *seat { return s }

func (s *seat) key() string { return s.venue + ":" + s.symbol }

// compare orders by venue, then symbol.
func (s *seat) compare(venue, symbol string) int {
	if c := strings.Compare(s.venue, venue); c != 0 {
		return c
	}
	return strings.Compare(s.symbol, symbol)
}

// place finds a bar's member among those of a basket, which are in the order of their keys, or where it belongs.
func place[M interface{ chair() *seat }](members []M, meta *schemas.Meta) (i int, found bool) {
	return slices.BinarySearchFunc(members, meta, func(m M, meta *schemas.Meta) int { return m.chair().compare(meta.Venue, meta.Symbol) })
}

// wait keeps a bar until its minute is closed, and says whether it was there already.
func (s *seat) wait(bar *schemas.Bar) (again bool) {
	end := schemas.Time(bar.End)
	i, found := slices.BinarySearchFunc(s.ahead, end, func(b minuteBar, at schemas.Time) int { return int(b.end - at) })
	switch {
	case found:
		return true
	case len(s.ahead) == maxAhead:
		s.late++ // it counts as missing: two days ahead of the slowest member is no market any more
	default:
		s.ahead = slices.Insert(s.ahead, i, minuteBar{
			end: end, volume: float32(bar.Volume.Float()), close: float32(bar.Close.Float()), trades: bar.Trades, rush: bar.RushOrders, complete: !bar.Incomplete,
		})
	}
	return false
}

// pick takes the bar that ends now; false says that it is missing.
func (s *seat) pick(now schemas.Time) (bar minuteBar, found bool) {
	bar.end = now
	n := 0
	for n < len(s.ahead) && s.ahead[n].end < now {
		n++
	}
	if n < len(s.ahead) && s.ahead[n].end == now {
		bar, found = s.ahead[n], true
		s.seen = now
		n++
	}
	s.ahead = s.ahead[:copy(s.ahead, s.ahead[n:])]
	return bar, found
}

// left says that the member has been silent for so long that it is no member any more.
func (s *seat) left(now schemas.Time) bool { return len(s.ahead) == 0 && now.Sub(s.seen) > forgotten }

// oneMinute says that a bar is one of those that baskets are watched by: a whole minute of the clock.
func oneMinute(bar *schemas.Bar) bool {
	return bar.End-bar.Start == int64(time.Minute) && bar.End%int64(time.Minute) == 0
}

func (s *seat) appendAhead(dst []byte) []byte {
	dst = pack.Uint(dst, uint64(len(s.ahead)))
	for i := range s.ahead {
		dst = s.ahead[i].appendTo(dst, 0)
	}
	return dst
}

func (s *seat) restoreAhead(r *pack.Reader) {
	for range r.Count(maxAhead) {
		var b minuteBar
		b.restore(r, 0)
		s.ahead = append(s.ahead, b)
	}
}

// appendTo appends the bar; its end, in minutes after base, is short when base is near.
func (b *minuteBar) appendTo(dst []byte, base schemas.Time) []byte {
	dst = pack.Bool(dst, b.complete)
	dst = pack.Int(dst, int64(b.end-base)/int64(time.Minute))
	dst = pack.Float32(pack.Float32(dst, b.volume), b.close)
	return pack.Uint(pack.Uint(dst, uint64(b.trades)), uint64(b.rush))
}

func (b *minuteBar) restore(r *pack.Reader, base schemas.Time) {
	b.complete = r.Bool()
	b.end = base + schemas.Time(r.Int()*int64(time.Minute))
	b.volume, b.close = r.Float32(), r.Float32()
	b.trades, b.rush = uint32(r.Uint()), uint32(r.Uint())
}
