package cases

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/depth"
	"github.com/tapewatch/tapewatch/schemas"
)

// book is a ladder of equal steps around a mid price: bids= and asks= are the quantity of each level, levels= how many a side has,
// step= their distance, and depth= how many the source publishes (one more than levels unless it is given). With bands= the source
// states the depth of all levels within so many basis points, knows the book as far as reach= basis points (all of it unless it is
// given), and publishes no more than depth= of them. wall= is what stands on the middle level of the asks instead.
//
//	00:00:01 book v:BTC-USDT mid=60000 step=50 levels=10 bids=2~0.1 asks=2~0.1
//	00:00:01 book v:BTC-USDT mid=60000 step=10 levels=100 bids=2 asks=2 depth=20 bands=10+50+100 reach=80
func book(meta *schemas.Meta, a *arguments) (schemas.Message, error) {
	mid, step := a.decimal("mid"), a.decimal("step")
	levels := int(a.uint("levels"))
	if mid == nil || step == nil || levels == 0 {
		return nil, fmt.Errorf("book needs mid, step and levels")
	}
	meta.Flags = uint32(a.uint("flags"))
	b := &schemas.BookSnapshot{Meta: meta, Depth: uint32(levels + 1), Updates: 1}
	if _, ok := a.values["depth"]; ok {
		b.Depth = uint32(a.uint("depth"))
	}
	exponent := min(mid.Exponent, step.Exponent) - 1
	m, ok1 := mid.Rescale(exponent)
	s, ok2 := step.Rescale(exponent)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("mid %s and step %s have no common exponent", mid.Text(), step.Text())
	}
	for i := range int64(levels) {
		if q := a.decimal("bids"); q.Sign() > 0 {
			b.Bids = append(b.Bids, &schemas.Level{Price: schemas.NewDecimal(m-s*(2*i+1)/2, exponent), Quantity: q})
		}
		if q := a.decimal("asks"); q.Sign() > 0 {
			if _, ok := a.values["wall"]; ok && i == int64(levels)/2 {
				q = a.decimal("wall")
			}
			b.Asks = append(b.Asks, &schemas.Level{Price: schemas.NewDecimal(m+s*(2*i+1)/2, exponent), Quantity: q})
		}
	}
	return b, bands(b, mid, a)
}

// bands states the depth of a book around mid.
func bands(b *schemas.BookSnapshot, mid *schemas.Decimal, a *arguments) error {
	const whole = 10_000
	list, ok := a.values["bands"]
	if !ok {
		return nil
	}
	reach := uint64(whole)
	if _, ok := a.values["reach"]; ok {
		reach = a.uint("reach")
	}
	for text := range strings.SplitSeq(list, "+") {
		width, err := strconv.ParseUint(text, 10, 13)
		if err != nil {
			return fmt.Errorf("bands: %w", err)
		}
		sum := func(levels []*schemas.Level) (all, capped *schemas.Decimal) {
			const digits = -8
			var quantities []float64
			total, largest := int64(0), int64(0)
			for _, l := range levels {
				price, _ := l.Price.Rescale(digits)
				middle, _ := mid.Rescale(digits)
				quantity, ok := l.Quantity.Rescale(digits)
				if away := max(price-middle, middle-price); ok && away <= middle/whole*int64(width) {
					total, largest = total+quantity, max(largest, quantity)
					quantities = append(quantities, float64(quantity))
				}
			}
			all = schemas.NewDecimal(total, digits)
			if v := depth.Capped(len(quantities), float64(total), float64(largest), func(i int) float64 { return quantities[i] }); v < float64(total) {
				capped = schemas.NewDecimal(int64(v), digits)
			}
			return all, capped
		}
		d := &schemas.DepthBand{BasisPoints: uint32(width), BidComplete: width <= reach, AskComplete: width <= reach}
		d.BidQuantity, d.BidCapped = sum(b.Bids)
		d.AskQuantity, d.AskCapped = sum(b.Asks)
		b.Bands = append(b.Bands, d)
	}
	b.Bids, b.Asks = b.Bids[:min(len(b.Bids), int(b.Depth))], b.Asks[:min(len(b.Asks), int(b.Depth))]
	return nil
}

// health is what a feed says of a stream in one second.
//
//	00:00:01 health v:BTC-USDT channel=trades records=5 others=true connected=false
func health(meta *schemas.Meta, a *arguments) schemas.Message {
	channel := a.values["channel"]
	if channel == "" {
		channel = "trades"
	}
	meta.Id = channel + "/" + strconv.FormatInt(meta.EventTime, 10)
	return &schemas.FeedHealth{
		Meta: meta, Channel: channel, Records: uint32(a.uint("records")), Connected: a.values["connected"] != "false", OthersAlive: a.values["others"] == "true",
		Gaps: uint32(a.uint("gaps")), Reconnects: uint32(a.uint("reconnects")),
	}
}

// status is what a venue, its status page or a probe says.
//
//	00:00:01 status v:all state=maintenance reporter=status_page starts=01:00:00 ends=02:00:00
func status(meta *schemas.Meta, a *arguments) (schemas.Message, error) {
	s := &schemas.VenueStatus{Meta: meta, State: a.values["state"], Scope: meta.Symbol, Reporter: a.values["reporter"], Starts: a.time("starts"), Ends: a.time("ends")}
	if _, ok := a.values["http"]; ok {
		s.HttpStatus = new(uint32(a.uint("http")))
	}
	if v, ok := a.values["response"]; ok {
		d, err := time.ParseDuration(v)
		if err != nil {
			return nil, fmt.Errorf("response: %w", err)
		}
		s.ResponseNs = new(uint64(d))
	}
	return s, nil
}

// event is an event of the key, or, with of=, one of that key under the line's scope.
func event(key string, at schemas.Time, a *arguments) schemas.Message {
	e := &schemas.Event{
		Detector: a.values["detector"], DetectorVersion: 1, Type: a.values["detector"], Severity: a.values["severity"], Status: a.values["status"],
		DedupKey: a.values["episode"], Key: key, EventTime: int64(at), Source: a.source(), Evidence: &schemas.Evidence{},
	}
	if of := a.values["of"]; of != "" {
		e.Scope, e.Key = key, of
	}
	e.Venue, e.Symbol, _ = strings.Cut(e.Key, ":")
	if assets := a.values["assets"]; assets != "" {
		e.Assets = strings.Split(assets, ",")
	}
	e.Id = schemas.EventID(e, uint32(schemas.SeverityRank(e.Severity)))
	return e
}
