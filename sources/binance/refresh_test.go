package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/sources"
	"github.com/tapewatch/tapewatch/sources/capture"
	"github.com/tapewatch/tapewatch/sources/feed"
	"github.com/tapewatch/tapewatch/sources/venue"
)

// A deepVenue has a book of 600 prices a side and shows 400 of them in a snapshot. Its price drifts downwards, a tick at a time.
type deepVenue struct {
	rand       *rand.Rand
	mid        int
	bids, asks map[int]int // quantity by price
	last       int
	// true depth within the bands, of every number
	depths map[string][2][]int
}

var bandsTold = []int{10, 20, 50}

func newDeepVenue() *deepVenue {
	v := &deepVenue{rand: rand.New(rand.NewPCG(7, 7)), mid: 100_000, bids: map[int]int{}, asks: map[int]int{}, depths: map[string][2][]int{}}
	v.fill()
	return v
}

// fill puts a level at each price that has none, and returns what it put.
func (v *deepVenue) fill() (put [2]map[int]int) {
	const deep = 600
	put = [2]map[int]int{{}, {}}
	for side, levels := range []map[int]int{v.bids, v.asks} {
		for i := 1; i <= deep; i++ {
			price := v.mid + i*(2*side-1)
			if levels[price] == 0 {
				levels[price] = 1 + v.rand.IntN(9)
				put[side][price] = levels[price]
			}
		}
	}
	return put
}

func pairs(levels map[int]int) string {
	out := [][2]string{}
	for _, price := range slices.Sorted(maps.Keys(levels)) {
		out = append(out, [2]string{strconv.Itoa(price), strconv.Itoa(levels[price])})
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// step changes the book and returns the message of that.
func (v *deepVenue) step(ms int64) string {
	bids, asks := map[int]int{}, map[int]int{}
	if v.rand.IntN(4) == 0 {
		v.mid--
		delete(v.bids, v.mid)
		bids[v.mid] = 0
	}
	put := v.fill()
	maps.Copy(bids, put[0])
	maps.Copy(asks, put[1])
	for range 3 { // near the price
		price := v.mid - 1 - v.rand.IntN(20)
		v.bids[price] = 1 + v.rand.IntN(9)
		bids[price] = v.bids[price]
	}
	v.last++
	v.measure()
	return fmt.Sprintf(`{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":%s,"a":%s}`, ms, v.last, v.last, pairs(bids), pairs(asks))
}

func (v *deepVenue) measure() {
	var out [2][]int
	for _, width := range bandsTold {
		for side, levels := range []map[int]int{v.bids, v.asks} {
			sum := 0
			for price, q := range levels {
				if away := max(price-v.mid, v.mid-price); away*10_000 <= v.mid*width {
					sum += q
				}
			}
			out[side] = append(out[side], sum)
		}
	}
	v.depths[strconv.Itoa(v.last)] = out
}

// snapshot is the best levels.
func (v *deepVenue) snapshot() string {
	const limit = 400
	best := func(levels map[int]int, sign int) map[int]int {
		out := map[int]int{}
		for price, q := range levels {
			if sign*(price-v.mid) <= limit {
				out[price] = q
			}
		}
		return out
	}
	return fmt.Sprintf(`{"lastUpdateId":%d,"bids":%s,"asks":%s}`, v.last, pairs(best(v.bids, -1)), pairs(best(v.asks, 1)))
}

// A depthCheck is a Publisher that holds the bands against the venue's whole book.
type depthCheck struct {
	t       *testing.T
	venue   *deepVenue
	books   int
	known   [2][]int
	seen    map[string]bool
	unequal int
}

var _ sources.Publisher = (*depthCheck)(nil)

func (c *depthCheck) Publish(_ schemas.Topic, m schemas.Message) error {
	if g, ok := m.(*schemas.Gap); ok {
		c.t.Errorf("%v", g)
	}
	b, ok := m.(*schemas.BookSnapshot)
	if !ok {
		return nil
	}
	if c.seen[b.Meta.Id] {
		c.t.Errorf("book %s came twice", b.Meta.Id)
	}
	c.seen[b.Meta.Id] = true
	c.books++
	for i, d := range b.Bands {
		for side, one := range []struct {
			quantity *schemas.Decimal
			complete bool
		}{{d.BidQuantity, d.BidComplete}, {d.AskQuantity, d.AskComplete}} {
			want := float64(c.venue.depths[b.Meta.Id][side][i])
			if one.complete {
				c.known[side][i]++
			}
			if got := one.quantity.Float(); got > want || one.complete && got != want {
				c.t.Fatalf("book %s within %d basis points, side %d: %v, complete %v; the venue's has %v", b.Meta.Id, d.BasisPoints, side, got, one.complete, want)
			} else if got != want {
				c.unequal++
			}
		}
	}
	return nil
}

func (c *depthCheck) Tick(string, schemas.Time, ...schemas.Topic) error { return nil }

func (c *depthCheck) Flush(context.Context) error { return nil }

// A snapshot shows a part of the book, and the price runs out of it. A new one is asked for in time, once a minute at most, and makes the
// book anew without a Gap: what is said to be complete is always the venue's depth, and within 0.2 % nearly all is. The answer may be
// older than updates that came before it, or newer than those to come; the negative control has no answers but the first.
func TestBookIsMadeAnewInTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers int // most
		ahead   bool
		lag     int // steps from the request to the answer
		least   float64
		most    float64
	}{
		{"answered late", 1000, false, 5, 0.97, 1},
		{"answered ahead of the stream", 1000, true, 3, 0.97, 1},
		{"answered once", 1, false, 5, 0, 0.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Symbols, cfg.BookBands, cfg.SnapshotLevels = []string{"BTC-USDT"}, bandsTold, 400
			spec, err := cfg.Spec()
			if err != nil {
				t.Fatal(err)
			}
			v := newDeepVenue()
			check := &depthCheck{t: t, venue: v, known: [2][]int{make([]int, 3), make([]int, 3)}, seen: map[string]bool{}}
			asked, due := 0, -1
			m, err := venue.NewMachine(spec, cfg.Config, check, sources.NewMetrics(nil), nil, venue.Hands{Recover: func(string, string) { asked++; due = 0 }})
			if err != nil {
				t.Fatal(err)
			}
			pump := feed.NewPump(m)
			do := func(f capture.Frame) {
				if err := pump.Frame(f); err != nil {
					t.Fatal(err)
				}
			}
			do(capture.Frame{Kind: capture.Connect, Conn: "a/1", At: began, URL: "wss://x/stream?streams=btcusdt@depth@100ms"})
			var late []capture.Frame // updates that are behind the answer
			const steps, stepMillis = 4000, 200
			for i := range steps {
				at := began.Add(time.Duration(1+i) * stepMillis * time.Millisecond)
				update := capture.Frame{Kind: capture.Receive, Conn: "a/1", At: at, Data: []byte(v.step(int64(at) / 1e6))}
				if due >= 0 {
					due++
				}
				if c.ahead && due >= 0 {
					late = append(late, update) // held back until the answer is there
				} else {
					do(update)
				}
				if due > c.lag {
					due = -1
					if c.answers--; c.answers >= 0 {
						do(capture.Frame{Kind: capture.HTTP, Conn: "a.http/1", At: at + 1, URL: cfg.snapshotURL("BTCUSDT"), Data: []byte(v.snapshot())})
					}
					for _, u := range late {
						u.At = at + 2
						do(u)
					}
					late = nil
				}
			}
			if share := float64(check.known[0][1]) / float64(check.books); share < c.least || share > c.most || check.books < steps/2 {
				t.Errorf("in %d books, of %d snapshots, the bids within 0.2 %% are known in %.3f, want %v to %v", check.books, asked, share, c.least, c.most)
			}
			if most := steps * stepMillis / 60_000; asked > 1+most {
				t.Errorf("%d snapshots asked for in %d minutes", asked, most)
			}
			t.Logf("%d books, %d snapshots asked for; known: bids %v, asks %v; %d sums are lower bounds", check.books, asked, check.known[0], check.known[1], check.unequal)
		})
	}
}
