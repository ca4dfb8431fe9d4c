package detectors

import (
	"fmt"
	"math"
	"slices"
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
	whaleMovementName    = "whale_movement"
	whaleMovementVersion = 4
)

// A transfer is judged when its record comes. Flows, which are sums of many transfers, are judged in OnTime. Sizes and flows have
// Pareto tails, so scores are their logarithms: the exponential tail of the calibration is then a Pareto one.
func init() {
	sizes, err := calibration.NewLayout(4, 40) // to far beyond all money, a factor of about 1.8 a cell
	if err != nil {
		panic(err)
	}
	flows, err := calibration.NewLayout(0.02, 40)
	if err != nil {
		panic(err)
	}
	crowds, err := calibration.NewLayout(4, 400) // less is nothing
	if err != nil {
		panic(err)
	}
	processor.Register(processor.Spec[whaleMovementConfig]{
		Name:    whaleMovementName,
		Kind:    processor.Watchdog,
		Summary: "Transfers that are large, or rare for their asset and kind of flow, net flows of exchanges that small ones add up to, and crowds of large ones.",
		Version: whaleMovementVersion,
		Input:   schemas.ChainTransfers,
		Output:  schemas.Events,
		Step:    time.Minute,
		Defaults: whaleMovementConfig{
			MinUSD: 1e6, CheckInterval: processor.Duration(2 * time.Minute), BudgetDays: 1.2, AdaptiveRate: 0.2, VolumeSharePct: 1,
			Finality: processor.Duration(15 * time.Minute), StaleAfter: processor.Duration(5 * time.Minute), CoolDown: processor.Duration(6 * time.Hour),
		},
		New: func(c whaleMovementConfig, key processor.Key) processor.Processor {
			c.BudgetDays = budgetFor(c.Budgets, key.Venue, key.Symbol, c.BudgetDays)
			return &whaleMovement{
				cfg: c, key: key, rules: alarm.Rules{Need: 1, Of: 1, ExitBars: 1, CoolDown: int64(c.CoolDown)}, txs: make([]txSum, 0, maxSums),
				pieces: pieces{list: make([]piece, 0, maxPieces)},
				// Populations, version 1: between a busy and a thin asset of the evaluation, one in a day from $8M and one in a week from
				// $20M; flows at 12 and 40 times their usual size.
				sizePlan: c.plan(sizes, calibration.Population{Version: 1, Daily: 15.9, Weekly: 16.8}, 1),
				flowPlan: c.plan(flows, calibration.Population{Version: 1, Daily: 2.5, Weekly: 3.7}, 1),
				// On seed 2 a crowd scores 4.4 once a day and 5.9 once a week on the busy asset, 3.9 and 8.2 in the thin one's first month.
				crowdPlan: c.plan(crowds, calibration.Population{Version: 1, Daily: 4.5, Weekly: 6.5}, crowdBudget),
			}
		},
	})
}

// whaleMovementConfig is the configuration of whale_movement.
type whaleMovementConfig struct {
	MinUSD         float64            `koanf:"min_usd" json:"min_usd" doc:"Value in USD from which a transfer always makes an event."`
	CheckInterval  processor.Duration `koanf:"check_interval" json:"check_interval" doc:"How often net flows are judged, in event time, whole minutes; a transfer is judged at once."`
	Strict         bool               `koanf:"strict" json:"strict" doc:"Raise events by min_usd alone: no rare smaller transfer, no net flow."`
	BudgetDays     float64            `koanf:"budget_days" json:"budget_days" doc:"Return period in days from which a transfer is medium, a smaller one or a net flow makes an event, per asset and kind of flow."`
	Budgets        []keyBudget        `koanf:"budgets" json:"budgets,omitempty" doc:"Keys with a budget of their own: by symbol or venue:symbol (chain:asset), * and ? are wildcards; the first that names a key counts."`
	AdaptiveRate   float64            `koanf:"adaptive_rate" json:"adaptive_rate" doc:"Step of the adaptive correction of the net flows' threshold, 0 (off) to 0.5."`
	VolumeSharePct float64            `koanf:"volume_share_pct" json:"volume_share_pct" doc:"Share of the volume of 24 hours from which a transfer is critical, in percent, where the record tells the volume."`
	Finality       processor.Duration `koanf:"finality" json:"finality" doc:"How long a block may still be taken back: until then a transfer's event is open, and disorder is no lateness."`
	StaleAfter     processor.Duration `koanf:"stale_after" json:"stale_after" doc:"A price older than this at the transfer is marked as stale."`
	CoolDown       processor.Duration `koanf:"cool_down" json:"cool_down" doc:"Quiet time after the episode of a net flow, which only a rise of two severities breaks."`
}

// Validate checks the settings.
func (c whaleMovementConfig) Validate() error {
	switch {
	case !(c.MinUSD >= 1000 && c.MinUSD <= 1e12):
		return fmt.Errorf("whale_movement.min_usd is %v: it must be 1000 to 1e12", c.MinUSD)
	case c.CheckInterval.D()%time.Minute != 0 || c.CheckInterval.D() < time.Minute || c.CheckInterval.D() > time.Hour:
		return fmt.Errorf("whale_movement.check_interval is %v: it must be whole minutes, 1m to 60m", c.CheckInterval.D())
	case !(c.AdaptiveRate >= 0 && c.AdaptiveRate <= 0.5):
		return fmt.Errorf("whale_movement.adaptive_rate is %v: it must be 0 to 0.5", c.AdaptiveRate)
	case !(c.VolumeSharePct > 0 && c.VolumeSharePct <= 100):
		return fmt.Errorf("whale_movement.volume_share_pct is %v: it must be greater than 0 and at most 100", c.VolumeSharePct)
	case c.Finality.D() < time.Minute || c.Finality.D() > 24*time.Hour:
		return fmt.Errorf("whale_movement.finality is %v: it must be 1m to 24h", c.Finality.D())
	case c.StaleAfter < 0:
		return fmt.Errorf("whale_movement.stale_after is %v: it must not be negative", c.StaleAfter.D())
	case c.CoolDown < 0:
		return fmt.Errorf("whale_movement.cool_down is %v: it must not be negative", c.CoolDown.D())
	}
	return checkBudgets(whaleMovementName, c.BudgetDays, c.Budgets)
}

// plan is the calibration of a score whose threshold an hour passes once in so many times the budget.
func (c whaleMovementConfig) plan(layout *calibration.Layout, population calibration.Population, times float64) *calibration.Plan {
	return &calibration.Plan{Layout: layout, Population: population, Hours: 1 / (times * c.BudgetDays), Alarms: 1 / (times * c.BudgetDays), Eta: c.AdaptiveRate, Reach: 1, ByHours: true}
}

// A flowClass is the kind of way that money takes.
type flowClass uint8

// The classes. Sizes of the first ones are calibrated; the last two are book-keeping and never more than low.
const (
	toExchange flowClass = iota
	fromExchange
	betweenExchanges
	overBridge
	unknownFlow
	calibratedClasses

	internalFlow = calibratedClasses
	mintOrBurn   = calibratedClasses + 1
)

func (c flowClass) String() string {
	return [...]string{"to_exchange", "from_exchange", "exchange_to_exchange", "bridge", "unknown", "internal", "mint_burn"}[c]
}

// nullAddress is where minted tokens come from and burnt ones go to.
const nullAddress = "0x0000000000000000000000000000000000000000"

// classOf tells the kind of a transfer.
func classOf(t *schemas.Transfer) flowClass {
	from, to := t.FromKind, t.ToKind
	switch {
	case t.From == nullAddress || t.To == nullAddress || from == schemas.AddressKind_ADDRESS_KIND_TREASURY || to == schemas.AddressKind_ADDRESS_KIND_TREASURY:
		return mintOrBurn
	case t.From == t.To || (t.FromOwner != "" && t.FromOwner == t.ToOwner):
		return internalFlow
	case from == schemas.AddressKind_ADDRESS_KIND_BRIDGE || to == schemas.AddressKind_ADDRESS_KIND_BRIDGE:
		return overBridge
	case from == schemas.AddressKind_ADDRESS_KIND_EXCHANGE && to == schemas.AddressKind_ADDRESS_KIND_EXCHANGE:
		return betweenExchanges
	case from == schemas.AddressKind_ADDRESS_KIND_EXCHANGE:
		return fromExchange
	case to == schemas.AddressKind_ADDRESS_KIND_EXCHANGE:
		return toExchange
	}
	return unknownFlow
}

// party is who stands at one end: the owner where it is known.
func party(owner, address string) string {
	if owner != "" {
		return owner
	}
	return address
}

// whaleMovement watches the transfers of one asset on one chain.
type whaleMovement struct {
	cfg   whaleMovementConfig
	key   processor.Key
	rules alarm.Rules
	// How sizes, flows and crowds are calibrated.
	sizePlan, flowPlan, crowdPlan *calibration.Plan

	seen dedup.Recent
	// now is the last step of event time, 0 before the first.
	now schemas.Time
	// late counts the records since the last event that came after finality.
	late uint32
	// txs are the latest transactions' sums by the parties, and those whose event is open.
	txs   []txSum
	sizes [calibratedClasses]calibration.Leg
	flows exchanges
	// pieces are the sums that one party sent another in many transfers.
	pieces pieces
}

var _ processor.Deduplicator = (*whaleMovement)(nil)

func (w *whaleMovement) Duplicates() uint64 { return w.seen.Duplicates() }

// largestUSD bounds what a transfer can be worth; beyond it a price or a unit is wrong.
const largestUSD = 1e12

func (w *whaleMovement) OnRecord(rec schemas.Record, emit processor.Emit) {
	switch m := rec.Message.(type) {
	case *schemas.Gap:
		for i := range w.sizes {
			w.sizes[i].Interrupt()
		}
		w.flows.interrupt()
		w.pieces.leg.Interrupt()
	case *schemas.Transfer:
		w.transfer(rec, m, emit)
	}
}

func (w *whaleMovement) transfer(rec schemas.Record, t *schemas.Transfer, emit processor.Emit) {
	usd := t.UsdValue.Float()
	if !(usd > 0 && usd <= largestUSD) {
		return // no price was known, or no sum of money
	}
	// A block that was dropped and comes again brings the same transfer: each clears the other's mark.
	id, taken := identities(t)
	if t.Retracted {
		if w.seen.SeenHash(taken) {
			return
		}
		w.seen.Forget(id)
		w.retract(rec, t, usd, emit)
		return
	}
	if w.seen.SeenHash(id) {
		return
	}
	w.seen.Forget(taken)
	final := w.now > 0 && w.now.Sub(rec.Time) > w.cfg.Finality.D()
	class := classOf(t)
	s := w.sum(t, rec.Time, usd, emit)
	s.class = class
	v := w.weigh(t, s.usd, class)
	if final {
		w.late++
	} else {
		if class < calibratedClasses {
			w.sizes[class].Observe(w.sizePlan, int64(rec.Time), sizeScore(s.usd))
		}
		w.flows.add(t, class, rec.Time, w.clipped(class, usd))
		if class == toExchange && !w.pieces.knows(t) {
			w.flows.join(t, rec.Time, usd/w.cfg.MinUSD)
		}
	}
	switch {
	case v.severity == alarm.None:
	case s.severity == alarm.None:
		s.severity, s.opened = v.severity, max(rec.Time, s.opened)
		w.report(t, s, v, schemas.Open, emit)
	case v.severity > s.severity:
		s.severity = v.severity
		w.report(t, s, v, schemas.Update, emit)
	}
	if class < calibratedClasses && !final {
		w.judgePieces(t, class, rec.Time, usd, s.severity, emit)
	}
}

// identities are the marks of a transfer and of its retraction: by transaction and log index, or without one by the addresses.
func identities(t *schemas.Transfer) (id, retraction uint64) {
	h := dedup.Hash(t.TxHash)
	if t.LogIndex != nil {
		h ^= uint64(*t.LogIndex+1) * 0x9e3779b97f4a7c15
	} else {
		h ^= dedup.Hash(t.From, t.To)
	}
	return h>>32<<1 | 1, h>>32<<1 + 2
}

// sizeScore is what sizes are calibrated by.
func sizeScore(usd float64) float64 { return fixed.Ln(max(usd, 1)) }

// flowShare is how much of a rare transfer of its class one transfer may add to a net flow.
const flowShare = 1.0 / 8

// clipped is what a transfer adds to a net flow: what a large one says is said by its own event, and a few of them would drown the many
// small ones that the flow is there for.
func (w *whaleMovement) clipped(class flowClass, usd float64) float64 {
	if class >= calibratedClasses {
		return usd
	}
	threshold, _ := w.sizes[class].Threshold()
	return min(usd, max(flowShare*expUSD(threshold), w.cfg.MinUSD/10))
}

// expUSD is the size of a score.
func expUSD(score float64) float64 { return fixed.Exp(min(score, 60)) }

// A whaleVerdict is what a transfer is worth.
type whaleVerdict struct {
	severity          alarm.Severity
	knob, rare, share bool
	// days is the return period of the size within its class, 0 when it is not known.
	days float64
}

const (
	whaleWeek   = 7  // return period from which a transfer is high
	whaleMonths = 91 // return period from which a flow to an exchange is critical
	coldMedium  = 10 // value over the knob that is medium while nothing is known of the asset
)

// weigh judges a sum: the knob makes the record, rarity within the class its severity.
func (w *whaleMovement) weigh(t *schemas.Transfer, usd float64, class flowClass) whaleVerdict {
	effect := usd / w.cfg.MinUSD
	v := whaleVerdict{knob: effect >= reaches}
	if class >= calibratedClasses {
		if v.knob {
			v.severity = alarm.Low
		}
		return v
	}
	if effect < alarm.EffectFloor*reaches {
		return v
	}
	leg := &w.sizes[class]
	v.days = leg.ReturnDays(w.sizePlan, sizeScore(usd))
	v.rare = !w.cfg.Strict && v.days >= w.cfg.BudgetDays
	volume := t.UsdVolume_24H.Float()
	v.share = volume > 0 && 100*usd >= w.cfg.VolumeSharePct*reaches*volume && !w.cfg.Strict
	switch {
	case v.share:
		v.severity = alarm.Critical
	case v.knob && !leg.Calibrated():
		v.severity = alarm.Low
		if effect >= coldMedium*reaches {
			v.severity = alarm.Medium
		}
	case v.knob && v.days >= max(whaleWeek, w.cfg.BudgetDays):
		v.severity = alarm.High
	case v.knob && v.days >= w.cfg.BudgetDays:
		v.severity = alarm.Medium
	case v.knob:
		v.severity = alarm.Low
	case v.rare:
		v.severity = max(alarm.Grade(v.days, alarm.EffectFloor), alarm.Low)
	}
	return v
}

func (w *whaleMovement) OnTime(now schemas.Time, emit processor.Emit) {
	w.now = now
	w.finish(now, emit)
	w.finishPieces(now, emit)
	w.pieces.leg.Observe(w.sizePlan, int64(now-1), 0)
	for i := range w.sizes {
		w.sizes[i].Observe(w.sizePlan, int64(now-1), 0) // an hour without a transfer is an hour of zero
	}
	if now%schemas.Time(w.cfg.CheckInterval) == 0 {
		w.judgeFlows(now, emit)
	}
}

const whaleMovementLayout = 4

func (w *whaleMovement) AppendState(dst []byte) []byte {
	dst = append(dst, whaleMovementLayout)
	dst = w.seen.Append(dst)
	dst = pack.Uint(pack.Int(dst, int64(w.now)), uint64(w.late))
	dst = pack.Uint(dst, uint64(len(w.txs)))
	for i := range w.txs {
		dst = w.txs[i].appendTo(dst, w.now)
	}
	dst = w.pieces.appendTo(dst, w.now)
	dst = w.flows.appendTo(dst, w.now)
	return appendAll(dst, w.legs()...)
}

func (w *whaleMovement) RestoreState(src []byte) error {
	r := pack.NewReader(src)
	if v := r.Byte(); v != whaleMovementLayout {
		return fmt.Errorf("state layout of whale_movement is %d: it must be %d", v, whaleMovementLayout)
	}
	w.seen.Restore(r)
	w.now, w.late = schemas.Time(r.Int()), uint32(r.Uint())
	w.txs = w.txs[:r.Count(maxSums)]
	for i := range w.txs {
		w.txs[i].restore(r, w.now)
	}
	w.pieces.restore(r, w.now)
	r = w.flows.restore(r, w.now)
	if err := r.Err(); err != nil {
		return fmt.Errorf("reading the state of whale_movement: %w", err)
	}
	if _, err := restoreAll(r.Rest(), w.legs()...); err != nil {
		return fmt.Errorf("reading the calibration of whale_movement: %w", err)
	}
	return nil
}

func (w *whaleMovement) legs() []keeper {
	out := []keeper{&w.flows.short, &w.flows.long, &w.flows.crowd, &w.pieces.leg}
	for i := range w.sizes {
		out = append(out, &w.sizes[i])
	}
	return out
}

// A txSum is what one transaction moved from one party to another.
type txSum struct {
	id  uint64
	at  schemas.Time
	usd float64
	// opened is when its event opened; severity None without an event.
	opened   schemas.Time
	severity alarm.Severity
	class    flowClass
}

const (
	// maxSums bounds the transactions that are remembered, restingSums those of them without an event.
	maxSums     = 48
	restingSums = 16
)

// sum adds a transfer to what its transaction moved between the parties so far.
func (w *whaleMovement) sum(t *schemas.Transfer, at schemas.Time, usd float64, emit processor.Emit) *txSum {
	id := sumID(t)
	if i := slices.IndexFunc(w.txs, func(s txSum) bool { return s.id == id }); i >= 0 {
		w.txs[i].usd += usd
		return &w.txs[i]
	}
	resting := 0
	for i := range w.txs {
		if w.txs[i].severity == alarm.None {
			resting++
		}
	}
	if resting >= restingSums || len(w.txs) == maxSums {
		i := slices.IndexFunc(w.txs, func(s txSum) bool { return s.severity == alarm.None })
		if i < 0 { // all have events: that of the oldest ends before its time
			i = 0
			w.reportFinal(&w.txs[i], max(at, w.now), noteCrowded, emit)
		}
		w.txs = slices.Delete(w.txs, i, i+1)
	}
	w.txs = append(w.txs, txSum{id: id, at: at, opened: at, usd: usd})
	return &w.txs[len(w.txs)-1]
}

// sumID hashes the height too: a transaction that comes again in another block is told anew, not as what was withdrawn.
func sumID(t *schemas.Transfer) uint64 {
	return dedup.Hash(t.TxHash, party(t.FromOwner, t.From), party(t.ToOwner, t.To)) ^ t.Height*0x9e3779b97f4a7c15
}

// finish ends the events of transfers that cannot be taken back any more.
func (w *whaleMovement) finish(now schemas.Time, emit processor.Emit) {
	kept := w.txs[:0]
	for _, s := range w.txs {
		if now.Sub(s.at) <= w.cfg.Finality.D() {
			kept = append(kept, s)
		} else if s.severity > alarm.None {
			w.reportFinal(&s, now, noteFinal, emit)
		}
	}
	w.txs = kept
}

// retract takes a transfer back whose block was dropped.
func (w *whaleMovement) retract(rec schemas.Record, t *schemas.Transfer, usd float64, emit processor.Emit) {
	id := sumID(t)
	i := slices.IndexFunc(w.txs, func(s txSum) bool { return s.id == id })
	if i < 0 {
		return
	}
	class := classOf(t)
	if class < calibratedClasses {
		w.sizes[class].Interrupt() // the hour's largest may have been this one
		w.retractPiece(t, class, rec.Time, usd, emit)
	}
	w.flows.add(t, class, w.txs[i].at, -w.clipped(class, usd))
	w.txs[i].usd -= usd
	s := w.txs[i]
	v := w.weigh(t, max(s.usd, 0), class)
	if s.severity > alarm.None && v.severity == alarm.None {
		w.reportReorg(t, &s, rec.Time, usd, emit)
		w.txs[i].severity = alarm.None
		w.txs[i].opened++ // should the block come again, that is another episode
	}
}

func (s *txSum) appendTo(dst []byte, now schemas.Time) []byte {
	dst = pack.Fixed(dst, s.id)
	dst = pack.Int(pack.Int(dst, int64(now-s.at)), int64(s.opened-s.at))
	return append(pack.Float(dst, s.usd), byte(s.severity), byte(s.class))
}

func (s *txSum) restore(r *pack.Reader, now schemas.Time) {
	s.id = r.Fixed()
	s.at = now - schemas.Time(r.Int())
	s.opened = s.at + schemas.Time(r.Int())
	s.usd = r.Float()
	s.severity, s.class = min(alarm.Severity(r.Byte()), alarm.Critical), min(flowClass(r.Byte()), mintOrBurn)
	if math.IsNaN(s.usd) {
		s.usd = 0
	}
}
