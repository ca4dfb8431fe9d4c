package detectors

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/internal/alarm"
	"github.com/tapewatch/tapewatch/internal/calibration"
	"github.com/tapewatch/tapewatch/internal/dedup"
	"github.com/tapewatch/tapewatch/internal/fixed"
	"github.com/tapewatch/tapewatch/internal/pack"
	"github.com/tapewatch/tapewatch/schemas"
	"github.com/tapewatch/tapewatch/stream/processor"
)

const (
	// maxPieces bounds the pairs of parties that are followed.
	maxPieces = 32
	// pieceFade is the half-life of the sum of a pair: long enough to hold a split over six hours, short enough that parties who deal
	// with each other all day do not drown it. pieceOnce is that of its claim to a place after a single transfer: most pairs never
	// meet again.
	pieceFade = 6 * time.Hour
	pieceOnce = time.Hour
	// pieceGap is how long no piece may come before an event of pieces is over.
	pieceGap = 3 * time.Hour
)

// A piece is what one party sent another lately, in how many transfers: the sum that a large transfer has been split into.
type piece struct {
	id uint32
	// score is the logarithm of the faded sum at a time, in USD; coarse, as it is stored, and the time is a whole second.
	score float32
	at    schemas.Time
	// count is how many they were; it fades as the sum does, though never below one.
	count uint32
	// told is the highest severity of the events of single transfers among them, severity that of the event of their sum.
	told, severity alarm.Severity
	opened         schemas.Time
	class          flowClass
}

// pieces are the pairs, and the calibration of the sums of those that met more than once.
type pieces struct {
	list []piece
	leg  calibration.Leg
}

// pieceID is a pair of parties. The exchange stands for its many deposit addresses.
func pieceID(t *schemas.Transfer) uint32 {
	return uint32(dedup.Hash(party(t.FromOwner, t.From), party(t.ToOwner, t.To)) >> 32)
}

// fadedScore is the score at a later time.
func (p *piece) fadedScore(at schemas.Time) float64 {
	return float64(p.score) - float64(math.Ln2*(float64(max(at-p.at, 0))/float64(pieceFade)))
}

// claim is how much a pair deserves its place.
func (p *piece) claim(at schemas.Time) float64 {
	age := float64(max(at-p.at, 0))
	switch {
	case p.severity > alarm.None:
		return math.Inf(1)
	case p.count <= 1:
		return float64(p.score) - float64(math.Ln2*(age/float64(pieceOnce)))
	}
	return p.fadedScore(at)
}

// add counts a transfer of a pair.
func (x *pieces) add(t *schemas.Transfer, class flowClass, at schemas.Time, usd float64) *piece {
	id := pieceID(t)
	at = at.Floor(time.Second)
	i := slices.IndexFunc(x.list, func(p piece) bool { return p.id == id })
	if i >= 0 {
		p := &x.list[i]
		sum := fixed.Exp(p.fadedScore(at)) + usd
		left := math.Ceil(float64(p.count) * fixed.Decay(int64(at-p.at), int64(pieceFade)))
		p.count = min(p.count, max(uint32(left), 1)) + 1
		p.score, p.at, p.class = float32(sizeScore(sum)), max(p.at, at), class
		return p
	}
	fresh := piece{id: id, score: float32(sizeScore(usd)), at: at, count: 1, class: class}
	if len(x.list) < maxPieces {
		x.list = append(x.list, fresh)
		return &x.list[len(x.list)-1]
	}
	least, claim := 0, math.Inf(1)
	for k := range x.list {
		if c := x.list[k].claim(at); c < claim {
			least, claim = k, c
		}
	}
	if math.IsInf(claim, 1) {
		return nil
	}
	x.list[least] = fresh
	return &x.list[least]
}

// judgePieces weighs the sum of a pair after a transfer: it is worth no more than a single transfer of that size, and no more than its own
// rarity among sums, as some parties send each other money all day.
func (w *whaleMovement) judgePieces(t *schemas.Transfer, class flowClass, at schemas.Time, usd float64, single alarm.Severity, emit processor.Emit) {
	p := w.pieces.add(t, class, at, usd)
	if p == nil {
		return
	}
	p.told = max(p.told, single)
	if p.count < 2 {
		return
	}
	score := float64(p.score)
	v := w.weighPieces(class, score)
	w.pieces.leg.Observe(w.sizePlan, int64(at), score)
	if v.severity <= max(p.told, p.severity, alarm.Low) {
		return
	}
	status := schemas.Update
	if p.severity == alarm.None {
		status, p.opened = schemas.Open, at
	}
	p.severity = v.severity
	w.reportPieces(p, t, v, at, status, emit)
}

// weighPieces is the verdict on a sum.
func (w *whaleMovement) weighPieces(class flowClass, score float64) whaleVerdict {
	var v whaleVerdict
	leg := &w.sizes[class]
	v.knob = score >= sizeScore(w.cfg.MinUSD*reaches)
	if w.cfg.Strict || !v.knob || !leg.Calibrated() || !w.pieces.leg.Calibrated() {
		return v
	}
	v.days = min(leg.ReturnDays(w.sizePlan, score), w.pieces.leg.ReturnDays(w.sizePlan, score))
	switch {
	case v.days >= max(whaleWeek, w.cfg.BudgetDays):
		v.severity = alarm.High
	case v.days >= w.cfg.BudgetDays:
		v.severity = alarm.Medium
	}
	return v
}

// retractPiece takes a transfer out of its pair's sum. An event that this leaves without a reason is withdrawn.
func (w *whaleMovement) retractPiece(t *schemas.Transfer, class flowClass, at schemas.Time, usd float64, emit processor.Emit) {
	id := pieceID(t)
	i := slices.IndexFunc(w.pieces.list, func(p piece) bool { return p.id == id })
	if i < 0 {
		return
	}
	p := &w.pieces.list[i]
	sum := fixed.Exp(float64(p.score)) - usd
	if p.count <= 1 || sum <= 1 {
		p.count, sum, p.told = 0, 1, alarm.None // the pair stays: they have met
	} else {
		p.count--
	}
	p.score = float32(sizeScore(sum))
	if p.severity > alarm.None && w.weighPieces(class, float64(p.score)).severity == alarm.None {
		w.endPieces(p, at, "reorg", emit)
	}
}

// finishPieces ends the events of pairs that have fallen silent.
func (w *whaleMovement) finishPieces(now schemas.Time, emit processor.Emit) {
	for i := range w.pieces.list {
		if p := &w.pieces.list[i]; p.severity > alarm.None && now.Sub(p.at) >= pieceGap {
			w.endPieces(p, now, "over", emit)
		}
	}
}

func (w *whaleMovement) endPieces(p *piece, at schemas.Time, why string, emit processor.Emit) {
	sum := fixed.Exp(float64(p.score))
	ev := &schemas.Evidence{
		Value: new(sum), Threshold: new(w.cfg.MinUSD), ThresholdOrigin: originKnob, WindowStart: int64(p.opened), WindowEnd: int64(at), Notes: []string{why, "flow:" + p.class.String()},
	}
	text := "No more pieces of " + w.key.Symbol + " came for " + number(pieceGap.Hours(), 2) + " hours; they were " + dollars(sum) + "."
	if why == "reorg" {
		text = "A reorganisation took back what made pieces of " + w.key.Symbol + " large: " + dollars(sum) + " are left."
	}
	emit(w.pieceEvent(p, at, schemas.Resolved, text, ev))
	p.severity, p.told = alarm.None, alarm.None
}

// reportPieces publishes an event of a pair's sum.
func (w *whaleMovement) reportPieces(p *piece, t *schemas.Transfer, v whaleVerdict, at schemas.Time, status string, emit processor.Emit) {
	sum := fixed.Exp(float64(p.score))
	leg := &w.pieces.leg
	ev := &schemas.Evidence{
		Value: new(sum), Ratio: new(sum / w.cfg.MinUSD), Z: new(float64(p.score)), Threshold: new(w.cfg.MinUSD), ThresholdOrigin: originKnob, SampleSize: uint64(leg.Days() * 24),
		Calibrated: leg.Days() >= calibratedDays, WindowStart: int64(at.Add(-pieceFade)), WindowEnd: int64(at), LateRecords: w.late, Legs: []string{legPieces},
		Notes: []string{"tx:" + t.TxHash, "from:" + t.From, "to:" + t.To, "flow:" + p.class.String()},
	}
	rarity(ev, v.days)
	threshold, _ := w.sizes[p.class].Threshold()
	var list measures
	list.add("transfers", float64(p.count), "")
	list.add("usd_value", t.UsdValue.Float(), "USD")
	list.add("rare_from_usd", expUSD(threshold), "USD")
	ev.Measures = list
	text := dollars(sum) + " of " + w.key.Symbol + " moved in " + strconv.FormatUint(uint64(p.count), 10) + " pieces from " + named(t.FromOwner, t.From) + " to " + named(t.ToOwner, t.To) +
		", as much as once in " + number(min(v.days, longestDays), 2) + " days in one transfer."
	emit(w.pieceEvent(p, at, status, text, ev))
}

func (w *whaleMovement) pieceEvent(p *piece, at schemas.Time, status, text string, ev *schemas.Evidence) *schemas.Event {
	return &schemas.Event{
		Type: whaleMovementName, Severity: p.severity.String(), Status: status, Assets: []string{w.key.Symbol}, EventTime: int64(at), Evidence: ev, Description: text,
		DedupKey: schemas.DedupKey(whaleMovementName, whaleMovementVersion, w.key.String()+"/pieces/"+strconv.FormatUint(uint64(p.id), 16), p.opened),
	}
}

func (x *pieces) appendTo(dst []byte, now schemas.Time) []byte {
	dst = pack.Uint(dst, uint64(len(x.list)))
	for i := range x.list {
		p := &x.list[i]
		dst = pack.Float32(append(dst, byte(p.id), byte(p.id>>8), byte(p.id>>16), byte(p.id>>24), byte(p.told)<<4|byte(p.severity), byte(p.class)), p.score)
		dst = pack.Uint(pack.Int(dst, int64(now-p.at)/1e9), uint64(p.count))
		if p.severity > alarm.None {
			dst = pack.Int(dst, int64(p.opened))
		}
	}
	return dst
}

func (x *pieces) restore(r *pack.Reader, now schemas.Time) {
	x.list = x.list[:0]
	for range r.Count(maxPieces) {
		var p piece
		for shift := 0; shift < 32; shift += 8 {
			p.id |= uint32(r.Byte()) << shift
		}
		grades := r.Byte()
		p.told, p.severity = min(alarm.Severity(grades>>4), alarm.Critical), min(alarm.Severity(grades&15), alarm.Critical)
		p.class = min(flowClass(r.Byte()), calibratedClasses-1)
		p.score = r.Float32()
		p.at, p.count = now-schemas.Time(r.Int()*1e9), uint32(r.Uint())
		if p.severity > alarm.None {
			p.opened = schemas.Time(r.Int())
		}
		x.list = append(x.list, p)
	}
}
