package detectors

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

// Names of the legs in evidence; legKnob and legRarity are shared.
const (
	legShare     = "volume_share" // the transfer is a large part of a day's volume
	legPieces    = "pieces"       // many transfers between the same parties add up to a rare one
	legShortFlow = "net_flow_1h"
	legLongFlow  = "net_flow_24h"
	legCrowd     = "crowd"
)

// event makes the event of a transfer's sum.
func (w *whaleMovement) event(s *txSum, at schemas.Time, status, text string, ev *schemas.Evidence) *schemas.Event {
	return &schemas.Event{
		Type: whaleMovementName, Severity: s.severity.String(), Status: status, Assets: []string{w.key.Symbol}, EventTime: int64(at), Evidence: ev,
		DedupKey:    schemas.DedupKey(whaleMovementName, whaleMovementVersion, w.key.String()+"/"+strconv.FormatUint(s.id, 16), s.opened),
		Description: text,
	}
}

// report publishes an event of a transfer that has just come.
func (w *whaleMovement) report(t *schemas.Transfer, s *txSum, v whaleVerdict, status string, emit processor.Emit) {
	ev := w.explain(t, s, v)
	w.late = 0
	text := dollars(s.usd) + " of " + w.key.Symbol + " moved on " + w.key.Venue + " from " + named(t.FromOwner, t.From) + " to " + named(t.ToOwner, t.To) +
		" (" + strings.ReplaceAll(s.class.String(), "_", " ") + ")"
	switch {
	case v.share:
		text += ", " + number(100*s.usd/t.UsdVolume_24H.Float(), 3) + " % of a day's volume"
	case v.days >= 1:
		text += ", as much as once in " + number(min(v.days, longestDays), 2) + " days"
	}
	emit(w.event(s, schemas.Time(t.Meta.EventTime), status, text+".", ev))
}

// explain fills in the figures that a person needs to check the event by hand.
func (w *whaleMovement) explain(t *schemas.Transfer, s *txSum, v whaleVerdict) *schemas.Evidence {
	at := t.Meta.EventTime
	ev := &schemas.Evidence{
		Value: new(s.usd), Ratio: new(s.usd / w.cfg.MinUSD), Threshold: new(w.cfg.MinUSD), ThresholdOrigin: originKnob, WindowStart: int64(s.at), WindowEnd: at,
		LateRecords: w.late, Notes: []string{"tx:" + t.TxHash, "from:" + t.From, "to:" + t.To, "flow:" + s.class.String()},
	}
	for _, leg := range []struct {
		fired bool
		name  string
	}{{v.knob, legKnob}, {v.rare, legRarity}, {v.share, legShare}} {
		if leg.fired {
			ev.Legs = append(ev.Legs, leg.name)
		}
	}
	var list measures
	list.add("amount", t.Amount.Float(), t.Asset)
	list.add("usd_value", t.UsdValue.Float(), "USD")
	list.add("transaction_usd", s.usd, "USD")
	list.add("height", float64(t.Height), "")
	list.add("price_age_seconds", time.Duration(at-t.PriceTime).Seconds(), "seconds")
	if volume := t.UsdVolume_24H.Float(); volume > 0 {
		list.add("volume_24h", volume, "USD")
		list.add("volume_share_pct", 100*s.usd/volume, "percent")
	}
	if s.class < calibratedClasses {
		leg := &w.sizes[s.class]
		ev.SampleSize, ev.Calibrated = uint64(leg.Days()*24), leg.Days() >= calibratedDays
		if leg.Calibrated() {
			threshold, from := leg.Threshold()
			list.add("rare_from_usd", expUSD(threshold), "USD")
			ev.Expected, ev.Z = new(expUSD(threshold)), new(sizeScore(s.usd))
			rarity(ev, v.days)
			if v.rare && !v.knob {
				ev.Threshold, ev.ThresholdOrigin = new(expUSD(threshold)), origin(from)
			}
		}
	}
	ev.Measures = list
	if t.Labels != "" {
		ev.Notes = append(ev.Notes, "labels:"+t.Labels)
	}
	if at-t.PriceTime > int64(w.cfg.StaleAfter) {
		ev.Notes = append(ev.Notes, "stale_price")
	}
	if w.late > 0 {
		ev.Notes = append(ev.Notes, "late")
	}
	return ev
}

// reportReorg says that a transfer is gone with its block.
func (w *whaleMovement) reportReorg(t *schemas.Transfer, s *txSum, at schemas.Time, usd float64, emit processor.Emit) {
	ev := &schemas.Evidence{
		Value: new(max(s.usd, 0)), Expected: new(s.usd + usd), Threshold: new(w.cfg.MinUSD), ThresholdOrigin: originKnob, WindowStart: int64(s.at), WindowEnd: int64(at),
		Notes: []string{"reorg", "tx:" + t.TxHash, "flow:" + s.class.String()},
	}
	emit(w.event(s, at, schemas.Resolved, "The block of the transfer of "+dollars(usd)+" of "+w.key.Symbol+" was dropped by a reorganisation.", ev))
}

// Why the event of a transfer ends: nothing can take it back any more, or so many others have events that it is followed no longer.
const (
	noteFinal   = "final"
	noteCrowded = "crowded_out"
)

// reportFinal ends the event of a transfer that stands.
func (w *whaleMovement) reportFinal(s *txSum, now schemas.Time, why string, emit processor.Emit) {
	ev := &schemas.Evidence{
		Value: new(s.usd), Threshold: new(w.cfg.MinUSD), ThresholdOrigin: originKnob, WindowStart: int64(s.at), WindowEnd: int64(now), Notes: []string{why, "flow:" + s.class.String()},
	}
	text := "The transfer of " + dollars(s.usd) + " of " + w.key.Symbol + " is final."
	if why == noteCrowded {
		text = "The transfer of " + dollars(s.usd) + " of " + w.key.Symbol + " is followed no longer: " + strconv.Itoa(maxSums) + " others are."
	}
	emit(w.event(s, now, schemas.Resolved, text, ev))
}

// reportFlow publishes an event of an exchange's net flow, or of the crowd at it.
func (w *whaleMovement) reportFlow(e *exchange, v flowVerdict, now schemas.Time, status string, emit processor.Emit) {
	calibrated, half := &w.flows.short, shortFlow
	switch v.leg {
	case legLongFlow:
		calibrated, half = &w.flows.long, longFlow
	case legCrowd:
		calibrated, half = &w.flows.crowd, crowdLong
	}
	threshold, from := calibrated.Threshold()
	ev := &schemas.Evidence{
		Value: new(v.value), Expected: new(v.usual), Ratio: new(v.ratio), Z: new(v.score), SampleSize: uint64(calibrated.Days() * 24), Calibrated: calibrated.Days() >= calibratedDays,
		WindowStart: int64(now) - half, WindowEnd: int64(now), LateRecords: w.late, Notes: []string{"exchange:" + e.name},
	}
	if calibrated.Calibrated() {
		ev.Threshold, ev.ThresholdOrigin = new(threshold), origin(from)
	}
	rarity(ev, v.days)
	if status != schemas.Resolved {
		ev.Legs = []string{v.leg}
	}
	w.late = 0
	var list measures
	list.add("net_flow_1h", e.short, "USD")
	list.add("net_flow_24h", e.long, "USD")
	list.add("usual_flow_1h", e.usualShort.Mean(), "USD")
	list.add("usual_flow_24h", e.usualLong, "USD")
	list.add("min_usd", w.cfg.MinUSD, "USD")
	list.add("counted_up_to", w.clipped(toExchange, largestUSD), "USD")
	for i, size := range [...]string{"0.4_min_usd", "min_usd"} {
		list.add("transfers_1h_from_"+size, float64(e.crowds[i].short), "")
		list.add("transfers_6h_from_"+size, float64(e.crowds[i].long), "")
	}
	ev.Measures = list
	text := dollars(math.Abs(v.value)) + " of " + w.key.Symbol + " net "
	if v.value > 0 {
		text += "to " + e.name
	} else {
		text += "from " + e.name
	}
	switch {
	case status == schemas.Resolved:
		text = "The flow of " + w.key.Symbol + " at " + e.name + " is usual again."
	case v.leg == legCrowd:
		text = "About " + number(v.value, 2) + " large transfers of " + w.key.Symbol + " came to " + e.name + " of late, each from another sender, " + number(v.ratio, 3) + " times the usual."
	default:
		text += " of late, " + number(v.ratio, 3) + " times the usual, in many transfers or few."
	}
	emit(&schemas.Event{
		Type: whaleMovementName, Severity: v.severity.String(), Status: status, Assets: []string{w.key.Symbol}, EventTime: int64(now), Evidence: ev, Description: text,
		DedupKey: schemas.DedupKey(whaleMovementName, whaleMovementVersion, w.key.String()+"/flow/"+strconv.FormatUint(dedup.Hash(e.name), 16), schemas.Time(e.episode.Onset())),
	})
}

// named says who stands at an end of a transfer.
func named(owner, address string) string {
	switch {
	case owner != "":
		return owner
	case address == "":
		return "an unknown address"
	}
	return address
}

// dollars prints an amount as a person writes it.
func dollars(usd float64) string {
	switch {
	case usd >= 1e9:
		return "$" + number(usd/1e9, 3) + "B"
	case usd >= 1e6:
		return "$" + number(usd/1e6, 3) + "M"
	}
	return "$" + number(usd/1e3, 3) + "k"
}
