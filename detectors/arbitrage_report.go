package detectors

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Names of the legs in evidence.
const (
	legNet       = "net"        // the profit after fees reached the knob
	legOffMarket = "off_market" // a venue is far off the median of the others
)

// Profit over the knob from which an opportunity is graver, and the share of it that keeps an episode going.
const (
	mediumNet   = 3
	highNet     = 10
	criticalNet = 30
	exitNet     = alarm.DefaultExitRatio
)

// An arbitrageVerdict is what a second is worth.
type arbitrageVerdict struct {
	severity alarm.Severity
	stay     bool
	// buy and sell are the best way; nil when fewer than two venues have a fresh quote.
	buy, sell *market
	// gross and net of fees, fractions of what is paid.
	gross, net float64
	// off is the market that is farthest off the median of the others, by a fraction of it; nil when there are fewer than three.
	off      *market
	distance float64
}

// weigh finds the best way through the fresh quotes.
func (a *arbitrage) weigh() arbitrageVerdict {
	v := arbitrageVerdict{net: math.Inf(-1)}
	for _, sell := range a.markets {
		for _, buy := range a.markets {
			if !sell.fresh || !buy.fresh || sell.venue == buy.venue {
				continue
			}
			got, paid := float64(sell.last.bid*(1-sell.fee)), float64(buy.last.ask*(1+buy.fee))
			if net := got/paid - 1; net > v.net {
				v.net, v.gross, v.buy, v.sell = net, sell.last.bid/buy.last.ask-1, buy, sell
			}
		}
	}
	a.farthest(&v)
	effect := 1e4 * v.net / a.cfg.MinNetBps
	far := 100 * math.Abs(v.distance) / a.cfg.OffMarketPct
	v.severity = gradeNet(effect)
	if far >= 1 {
		v.severity = max(v.severity, alarm.Medium)
	}
	v.stay = effect >= exitNet || far >= exitNet
	return v
}

func gradeNet(effect float64) alarm.Severity {
	switch {
	case effect >= criticalNet:
		return alarm.Critical
	case effect >= highNet:
		return alarm.High
	case effect >= mediumNet:
		return alarm.Medium
	case effect >= 1:
		return alarm.Low
	}
	return alarm.None
}

// farthest compares each market with the median of the others.
func (a *arbitrage) farthest(v *arbitrageVerdict) {
	var room [maxMarkets]float64
	for _, m := range a.markets {
		others := room[:0]
		for _, o := range a.markets {
			if o != m && o.fresh && m.fresh {
				others = append(others, o.last.mid())
			}
		}
		if len(others) < 2 {
			continue
		}
		slices.Sort(others)
		middle := (others[(len(others)-1)/2] + others[len(others)/2]) / 2
		if d := m.last.mid()/middle - 1; v.off == nil || math.Abs(d) > math.Abs(v.distance) {
			v.off, v.distance = m, d
		}
	}
}

// report publishes an event of the pair's episode.
func (a *arbitrage) report(now schemas.Time, v arbitrageVerdict, status string, emit processor.Emit) {
	ev := &schemas.Evidence{
		Threshold: new(a.cfg.MinNetBps), ThresholdOrigin: originKnob, LateRecords: a.late,
		WindowStart: int64(now.Add(-a.cfg.Persist.D())), WindowEnd: int64(now),
	}
	a.late = 0
	var list measures
	list.add("min_net_bps", a.cfg.MinNetBps, "basis_points")
	if v.buy != nil {
		if 1e4*v.net >= a.cfg.MinNetBps {
			ev.Legs = append(ev.Legs, legNet)
		}
		ev.Value, ev.Ratio = new(1e4*v.net), new(1e4*v.net/a.cfg.MinNetBps)
		ev.Notes = append(ev.Notes, "buy:"+v.buy.venue, "sell:"+v.sell.venue)
		size := min(v.buy.last.askSize, v.sell.last.bidSize)
		paid := float64(float64(size*v.buy.last.ask) * (1 + v.buy.fee))
		list.add("gross_bps", 1e4*v.gross, "basis_points")
		list.add("net_bps", 1e4*v.net, "basis_points")
		list.add("buy_price", v.buy.last.ask, "")
		list.add("sell_price", v.sell.last.bid, "")
		list.add("quantity", size, "")
		list.add("profit", float64(paid*v.net), "")
		list.add("buy_age_seconds", now.Sub(v.buy.last.at).Seconds(), "seconds")
		list.add("sell_age_seconds", now.Sub(v.sell.last.at).Seconds(), "seconds")
	} else {
		ev.Notes = append(ev.Notes, "no_data")
	}
	venue := ""
	if v.off != nil {
		venue = v.off.venue
		if 100*math.Abs(v.distance) >= a.cfg.OffMarketPct {
			if len(ev.Legs) == 0 { // it alone raised the event
				ev.Value, ev.Threshold, ev.Ratio = new(100*v.distance), new(a.cfg.OffMarketPct), new(100*math.Abs(v.distance)/a.cfg.OffMarketPct)
			}
			ev.Legs = append(ev.Legs, legOffMarket)
		}
		list.add("off_market_pct", 100*v.distance, "percent")
	}
	for _, m := range a.markets {
		if m.fresh {
			ev.SampleSize++
			list.add("by_exchange:"+m.venue, m.last.mid(), "")
		} else {
			ev.Notes = append(ev.Notes, "stale:"+m.venue)
		}
	}
	ev.Measures = list
	emit(&schemas.Event{
		Type: arbitrageType, Severity: v.severity.String(), Status: status, Venue: venue, Symbol: a.key.Symbol, Assets: assetsOf(a.key.Symbol),
		EventTime: int64(now), Evidence: ev, Description: a.sentence(v, status),
		DedupKey: schemas.DedupKey(arbitrageName, arbitrageVersion, a.key.String(), schemas.Time(a.episode.Onset())),
	})
}

func (a *arbitrage) sentence(v arbitrageVerdict, status string) string {
	if status == schemas.Resolved {
		return a.key.Symbol + " no longer pays between venues."
	}
	price := func(p float64) string { return strconv.FormatFloat(p, 'g', 10, 64) }
	text := ""
	if v.net > 0 {
		text = fmt.Sprintf("%s can be bought on %s at %s and sold on %s at %s: %.1f basis points after fees.",
			a.key.Symbol, v.buy.venue, price(v.buy.last.ask), v.sell.venue, price(v.sell.last.bid), 1e4*v.net)
	}
	if v.off != nil && 100*math.Abs(v.distance) >= a.cfg.OffMarketPct {
		text += fmt.Sprintf(" %s quotes %s %+.2f %% off the other venues.", v.off.venue, a.key.Symbol, 100*v.distance)
	}
	return strings.TrimSpace(text)
}
