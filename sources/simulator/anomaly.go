package simulator

import (
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Kinds of anomaly of one instrument.
const (
	priceJump    = "price_jump"
	priceRamp    = "price_ramp"
	flashCrash   = "flash_crash"
	volumeBurst  = "volume_burst"
	liquidityCut = "liquidity_cut"
)

// event is an anomaly of one instrument.
type event struct {
	kind       string
	start, end schemas.Time
	size       float64 // a price move as a fraction, the multiple of activity, or the share of depth that is gone
	side       schemas.Side
}

// excited is how long activity stays raised after a jump.
const excited = 15 * time.Minute

// anomaly begins one when it is due.
func (in *instrument) anomaly(cfg *Config, now schemas.Time, label func(Label)) {
	if now < in.due || now < in.event.end {
		return
	}
	r := &in.plan
	kinds := 4
	if cfg.has(schemas.MarketBooks) {
		kinds = 5
	}
	e, detail, detector := event{start: now}, "", "price_anomaly"
	switch r.below(kinds) {
	case 0:
		e.kind, e.size, e.end = priceJump, r.either(0.02, 0.10), now.Add(time.Second)
	case 1:
		e.kind, e.size, e.end = priceRamp, r.either(0.03, 0.10), now.Add(10*time.Minute)
	case 2:
		e.kind, e.size, e.end = flashCrash, -r.between(0.06, 0.16), now.Add(15*time.Minute)
	case 3:
		e.kind, e.size, e.end = volumeBurst, r.between(3, 15), now.Add(15*time.Minute)
		detector = "unusual_volume"
	default:
		e.kind, e.size, e.end = liquidityCut, r.between(0.6, 0.95), now.Add(time.Duration(60+r.below(240))*time.Second)
		detector = "liquidity_drop"
		e.side = schemas.Side(r.below(3))
		detail = [...]string{"both sides", "bids", "asks"}[e.side]
	}
	in.event = e
	in.due = e.end.Add(r.wait(cfg.AnomaliesPerDay))
	label(Label{
		Kind: e.kind, Detector: detector, Key: cfg.Venue + ":" + in.symbol, Venue: cfg.Venue, Symbol: in.symbol, Size: e.size, Detail: detail,
	}.span(e.start, e.end))
}

// either draws a move up of a..b, or one down that takes as much off in logarithms: many of them do not drag the price one way.
func (r *random) either(a, b float64) float64 {
	up := r.between(a, b)
	if r.below(2) == 0 {
		return up
	}
	return -up / (1 + up)
}

// shift is the price at a time as a multiple of what it would be without the anomaly.
func (e *event) shift(at schemas.Time) float64 {
	done := 1.0
	if at < e.end {
		done = float64(at-e.start) / float64(e.end-e.start)
	}
	size := 0.0
	switch {
	case e.kind == priceJump:
		size = e.size
	case e.kind == priceRamp:
		size = float64(e.size * done)
	case e.kind == flashCrash && done < 0.2: // down within 3 minutes, back within 12
		size = float64(e.size * (done / 0.2))
	case e.kind == flashCrash:
		size = float64(e.size * ((1 - done) / 0.8))
	}
	return 1 + size
}

// activity is the multiple of the usual number of trades.
func (e *event) activity(at schemas.Time) float64 {
	switch {
	case e.kind == priceJump && at < e.end.Add(excited):
		return 1 + 4*float64(e.end.Add(excited)-at)/float64(excited)
	case at >= e.end:
	case e.kind == flashCrash && at < e.start.Add(3*time.Minute):
		return 6
	case e.kind == flashCrash:
		return 3
	case e.kind == volumeBurst:
		return e.size
	}
	return 1
}

// depth is the share of a side's quantity that is there.
func (e *event) depth(side schemas.Side, at schemas.Time) float64 {
	if e.kind == liquidityCut && at < e.end && (e.side == schemas.Side_SIDE_UNSPECIFIED || e.side == side) {
		return 1 - e.size
	}
	return 1
}
