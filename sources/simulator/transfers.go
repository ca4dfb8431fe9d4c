package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

// Chain is the chain of the simulated transfers.
const Chain = "simchain"

// Exchanges are the addresses of the exchanges' wallets on Chain, by venue suffix: "" of the configured venue, "2", "3".
var Exchanges = [venueCount]string{
	"0xe100000000000000000000000000000000000001", "0xe200000000000000000000000000000000000002", "0xe300000000000000000000000000000000000003",
}

// transfers makes the transfers of a dollar token and of the first two instruments' assets, a block every 12 seconds.
type transfers struct {
	*Market
	random
	plan   plan
	assets []chainAsset
	queue  []transfer // of the whale, one a block at most, in order
}

type chainAsset struct {
	name string
	in   *instrument // nil for the dollar token
}

// transfer is one that is to come.
type transfer struct {
	due      schemas.Time
	asset    int
	usd      float64
	from, to string
}

const (
	blockEvery = 12 * time.Second
	perBlock   = 3.0 // transfers a block and asset
	// Ordinary transfers stay far below what a whale detector looks for.
	medianUSD, mostUSD = 5000, 400_000
)

func newTransfers(m *Market) *transfers {
	t := &transfers{
		Market: m, random: newRandom(m.cfg.Seed, streamTransfer, 0), plan: newPlan(m, planWhale, m.cfg.RareAnomaliesPerDay),
		assets: []chainAsset{{name: "USD"}},
	}
	for _, in := range m.items[:min(len(m.items), 2)] {
		t.assets = append(t.assets, chainAsset{in.asset, in})
	}
	return t
}

func (t *transfers) perSecond() float64 {
	return float64(len(t.assets)) * perBlock / blockEvery.Seconds()
}

func (t *transfers) second(now schemas.Time, put Put) error {
	end := now.Add(time.Second)
	if t.plan.begins(end) {
		t.whale(end)
	}
	if !due(end, blockEvery, 0) {
		return nil
	}
	index := uint32(0)
	for asset := range t.assets {
		for range t.poisson(perBlock * season(now)) {
			tail := t.size()
			next := transfer{asset: asset, usd: min(medianUSD*tail*tail, mostUSD), from: t.wallet(), to: t.wallet()}
			switch t.below(4) {
			case 0:
				next.to = Exchanges[t.below(venueCount)]
			case 1:
				next.from = Exchanges[t.below(venueCount)]
			}
			index++
			if err := t.publish(next, end, index, put); err != nil {
				return err
			}
		}
	}
	for len(t.queue) > 0 && t.queue[0].due <= end {
		index++
		if err := t.publish(t.queue[0], end, index, put); err != nil {
			return err
		}
		t.queue = t.queue[1:]
	}
	return nil
}

func (t *transfers) wallet() string {
	return fmt.Sprintf("0x%016x%016x%08x", t.pcg.Uint64(), t.pcg.Uint64(), uint32(t.pcg.Uint64()))
}

// publish makes the record of the index-th transaction of the block at a time.
func (t *transfers) publish(x transfer, at schemas.Time, index uint32, put Put) error {
	a, usd := t.assets[x.asset], 1.0
	if a.in != nil {
		usd = a.in.to / unit
	}
	hash := fmt.Sprintf("0x%016x%016x%016x%016x", t.pcg.Uint64(), t.pcg.Uint64(), t.pcg.Uint64(), t.pcg.Uint64())
	log := 2 * index
	meta := t.meta(0, a.name, at)
	meta.Venue, meta.Id = Chain, hash+":"+strconv.Itoa(int(log))
	amount := decimal(x.usd/usd, -8)
	return put(schemas.ChainTransfers, &schemas.Transfer{
		Meta: meta, Chain: Chain, Asset: a.name, TxHash: hash, LogIndex: &log, Height: uint64(int64(at) / int64(blockEvery)), TxIndex: index,
		From: x.from, To: x.to, FromOwner: t.owner(x.from), ToOwner: t.owner(x.to), FromKind: kindOf(x.from), ToKind: kindOf(x.to), Amount: amount, UsdValue: decimal(amount.Float()*usd, -2), PriceTime: int64(at),
	})
}

// owner is the venue whose wallet an address is, "" of all others.
func (t *transfers) owner(address string) string {
	if i := slices.Index(Exchanges[:], address); i >= 0 {
		return t.venues[i]
	}
	return ""
}

func kindOf(address string) schemas.AddressKind {
	if slices.Contains(Exchanges[:], address) {
		return schemas.AddressKind_ADDRESS_KIND_EXCHANGE
	}
	return schemas.AddressKind_ADDRESS_KIND_UNSPECIFIED
}

// whale queues one large transfer, or one split into 20 over minutes to hours.
func (t *transfers) whale(at schemas.Time) {
	p := &t.plan
	if len(t.queue) > 0 {
		return
	}
	asset, exchange, flow := p.below(len(t.assets)), p.below(venueCount), "to an exchange"
	from, to := t.wallet(), Exchanges[exchange]
	if p.below(3) == 0 {
		from, to, flow = to, from, "from an exchange"
	}
	kind, pieces, each, apart := "whale_transfer", 1, 1.2e6+float64(2e6*p.size()), time.Duration(0)
	if p.turn(3) == 1 {
		kind, pieces, each = "whale_split", 20, p.between(0.7e6, 0.95e6)
		apart = time.Duration(30+p.below(330)) * time.Second
	}
	for i := range pieces {
		t.queue = append(t.queue, transfer{due: at.Add(time.Duration(i) * apart), asset: asset, usd: each, from: from, to: to})
	}
	last := at.Add(time.Duration(pieces-1)*apart + blockEvery)
	name := t.assets[asset].name
	t.label(Label{
		Kind: kind, Detector: "whale_movement", Key: Chain + ":" + name, Symbol: name, Size: float64(float64(pieces) * each), Detail: flow,
	}.span(at, last))
}
