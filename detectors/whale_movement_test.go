package detectors

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapewatch/tapewatch/internal/testservices"
	"github.com/tapewatch/tapewatch/schemas"
)

func init() {
	generators["whale_movement"] = transfers
	others["whale_movement"] = map[string]string{
		"min_usd": `3e6`, "check_interval": `"7m"`, "strict": `true`, "budget_days": `0.2`, "adaptive_rate": `0.5`, "volume_share_pct": `0.3`, "finality": `"3m"`,
		"stale_after": `"20m"`, "cool_down": `"24h"`,
	}
	broken["whale_movement"] = map[string]string{
		"min_usd": `0`, "check_interval": `"30s"`, "budget_days": `0`, "adaptive_rate": `2`, "volume_share_pct": `0`, "finality": `"0s"`, "stale_after": `"-1s"`,
		"cool_down": `"-1s"`,
	}
	samples[schemas.ChainTransfers.Name] = struct {
		fresh func() func(seq uint64, at schemas.Time) schemas.Message
		every time.Duration
	}{sampleTransfer, 10 * time.Second}
}

// sampleTransfer is small transfers between addresses and three exchanges.
func sampleTransfer() func(seq uint64, at schemas.Time) schemas.Message {
	m := &schemas.Transfer{
		Meta: &schemas.Meta{Source: "s", Venue: "v", Symbol: "USDT"}, Chain: "v", Asset: "USDT", From: "0xa", To: "0xb", LogIndex: new(uint32(1)),
		Amount: schemas.NewDecimal(0, 0), UsdValue: schemas.NewDecimal(0, 0), ToKind: schemas.AddressKind_ADDRESS_KIND_EXCHANGE,
	}
	var hashes [256]string
	for i := range hashes {
		hashes[i] = fmt.Sprintf("0x%064x", i)
	}
	return func(seq uint64, at schemas.Time) schemas.Message {
		m.Meta.EventTime, m.PriceTime, m.TxHash, m.ToOwner = int64(at), int64(at), hashes[seq%256], [...]string{"binance", "kraken", "okx"}[seq%3]
		m.UsdValue.Mantissa = 50000 + int64(seq%997)*100
		return m
	}
}

var owners = []string{"binance", "coinbase", "kraken", "okx", ""}

// transfers makes two assets on a chain: Pareto sizes, exchanges, bridges, a treasury, shuffles; batches in one transaction, reorganised
// blocks, records twice, late and unpriced, stale prices, gaps, bursts of deposits.
func transfers(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	seq := 0
	burst := 0
	for second := 0; second < hours*3600; second += 30 {
		at := t0.Add(time.Duration(second) * time.Second)
		if second%60 == 0 {
			out = append(out, &schemas.Tick{Source: "test", Time: int64(at)})
		}
		burst--
		switch second { // of deposits, the second one in the cool-down of the first
		case 55 * 3600, 110 * 3600, 133 * 3600:
			burst = 120
		}
		for i, asset := range []string{"USDT", "WETH"} {
			if r.IntN(3) > 0 && burst < 0 {
				continue
			}
			seq++
			usd := 40000 * math.Pow(1-r.Float64(), -1/1.1)
			m := &schemas.Transfer{
				Meta:  &schemas.Meta{Source: "test", Venue: "ethereum", Symbol: asset, Id: strconv.Itoa(seq), EventTime: int64(at.Add(time.Duration(r.IntN(20)) * time.Second))},
				Chain: "ethereum", Asset: asset, TxHash: fmt.Sprintf("0x%x", seq), Height: uint64(1000 + second/12), From: fmt.Sprintf("0x%x", r.IntN(1000)), To: fmt.Sprintf("0x%x", r.IntN(1000)),
				Amount: schemas.NewDecimal(int64(usd), 0), UsdValue: schemas.NewDecimal(int64(usd), 0), LogIndex: new(uint32(r.IntN(200))), PriceTime: int64(at.Add(-time.Duration(r.IntN(400)) * time.Second)),
			}
			m.FromOwner, m.ToOwner = owners[r.IntN(len(owners))], owners[r.IntN(len(owners))]
			m.FromKind, m.ToKind = schemas.AddressKind(r.IntN(5)), schemas.AddressKind(r.IntN(5))
			if r.IntN(2) == 0 {
				m.FromOwner, m.FromKind = "", 0
			}
			if burst > 0 && i == 0 {
				m.FromOwner, m.FromKind, m.ToOwner, m.ToKind = "", 0, "kraken", schemas.AddressKind_ADDRESS_KIND_EXCHANGE
				m.UsdValue = schemas.NewDecimal(1900000, 0)
			}
			out = append(out, m)
			switch r.IntN(60) {
			case 0:
				out = append(out, m)
			case 1: // a reorganisation, and the transfer again in another block
				gone := proto.CloneOf(m)
				gone.Retracted = true
				out = append(out, gone, gone)
				if r.IntN(2) == 0 {
					again := proto.CloneOf(m)
					again.Height++
					out = append(out, again)
				}
			case 2, 3: // more outputs of the same transaction
				for k := range 2 + r.IntN(20) {
					more := proto.CloneOf(m)
					more.LogIndex, more.Meta.Id = new(uint32(300+k)), fmt.Sprintf("%d/%d", seq, k)
					out = append(out, more)
				}
			case 4:
				m.UsdValue = nil
			case 5:
				m.Meta.EventTime -= int64(time.Duration(r.IntN(40)) * time.Minute)
			case 6:
				m.UsdVolume_24H = schemas.NewDecimal(100e6, 0)
			case 7:
				m.LogIndex = nil
			case 8:
				if r.IntN(10) == 0 {
					out = append(out, &schemas.Gap{Meta: &schemas.Meta{Source: "test", Venue: "ethereum", Symbol: asset, EventTime: int64(at)}, Channel: "all", Cause: "disconnect"})
				}
			}
		}
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(time.Duration(hours+2) * time.Hour))})
}

// The state of an asset after a quarter of a busy feed.
func TestWhaleStateSize(t *testing.T) {
	testservices.Study(t)
	b := newBench(t, "whale_movement", "ethereum:USDT", `{}`)
	r := rand.New(rand.NewPCG(3, 3))
	for seq := range 91 * 24 * 20 {
		at := t0.Add(time.Duration(seq) * 3 * time.Minute)
		usd := 50000 * math.Pow(1-r.Float64(), -1/1.1)
		m := &schemas.Transfer{
			Meta: &schemas.Meta{Source: "s", Venue: "ethereum", Symbol: "USDT", EventTime: int64(at)}, Chain: "ethereum", Asset: "USDT", TxHash: strconv.Itoa(seq),
			From: strconv.Itoa(r.IntN(1000)), To: strconv.Itoa(r.IntN(1000)), UsdValue: schemas.NewDecimal(int64(usd), 0), Amount: schemas.NewDecimal(int64(usd), 0), PriceTime: int64(at),
		}
		if k := r.IntN(10); k < 4 {
			m.ToKind, m.ToOwner = schemas.AddressKind_ADDRESS_KIND_EXCHANGE, fmt.Sprint("exchange", r.IntN(8))
		} else if k < 8 {
			m.FromKind, m.FromOwner = schemas.AddressKind_ADDRESS_KIND_EXCHANGE, fmt.Sprint("exchange", r.IntN(8))
		}
		b.to(at)
		b.record(m)
	}
	size := len(b.p.AppendState(nil))
	w := b.p.(*whaleMovement)
	t.Logf("state of an asset: %d bytes: %d of ids, %d of %d exchanges, %d of calibration", size, len(w.seen.Append(nil)), len(w.flows.appendTo(nil, w.now)), len(w.flows.list), len(appendAll(nil, w.legs()...)))
	if size > 4096 {
		t.Errorf("state is %d bytes: want at most 4096", size)
	}
}

// Twenty large transfers within twenty minutes are a crowd where each has a sender of its own, and none where they have one: what regulars
// move both ways drowns the sum of either.
func TestCrowds(t *testing.T) {
	for senders, want := range map[int]int{20: 1, 1: 0} {
		b := newBench(t, "whale_movement", "ethereum:USDT", `{}`)
		r := rand.New(rand.NewPCG(9, 9))
		seq := 0
		give := func(at schemas.Time, from string, usd float64, in bool) {
			seq++
			m := &schemas.Transfer{
				Meta: &schemas.Meta{Source: "s", Venue: "ethereum", Symbol: "USDT", EventTime: int64(at)}, Chain: "ethereum", Asset: "USDT", TxHash: strconv.Itoa(seq), From: from, To: "dep",
				UsdValue: schemas.NewDecimal(int64(usd), 0), Amount: schemas.NewDecimal(int64(usd), 0), PriceTime: int64(at),
			}
			if in {
				m.ToKind, m.ToOwner = schemas.AddressKind_ADDRESS_KIND_EXCHANGE, "binance"
			} else {
				m.From, m.To = "hot", from
				m.FromKind, m.FromOwner = schemas.AddressKind_ADDRESS_KIND_EXCHANGE, "binance"
			}
			b.to(at)
			b.record(m)
		}
		at := t0
		for range 30 * 24 * 6 {
			at = at.Add(10 * time.Minute)
			give(at, "regular", 20e6*(0.5+r.Float64()), r.IntN(2) == 0)
		}
		for k := range 20 {
			at = at.Add(time.Minute)
			give(at, "sender"+strconv.Itoa(k%senders), 600e3, true)
		}
		b.to(at.Add(time.Hour))
		got := 0
		for _, e := range b.events {
			if e.Status != schemas.Open || !slices.Equal(e.Evidence.Legs, []string{legCrowd}) {
				continue
			}
			got++
			if ev := e.Evidence; ev.GetValue() < crowdLeast || ev.GetRatio() < 5 || ev.GetExpected() != rareCrowd || e.Severity != schemas.High {
				t.Errorf("a crowd of %v, %v usual, ratio %v, is %s: %s", ev.GetValue(), ev.GetExpected(), ev.GetRatio(), e.Severity, e.Description)
			}
		}
		if got != want {
			t.Errorf("%d senders: %d crowds, want %d", senders, got, want)
		}
	}
}

// The bound lies above the probability that it bounds, and within a factor of 20 of it.
func TestChernoff(t *testing.T) {
	for _, c := range []struct{ n, usual float64 }{{3, 0.25}, {10, 2}, {20, 4}, {30, 20}, {60, 20}} {
		p, term := 0.0, math.Exp(-c.usual)
		for k := 0.0; k < c.n+200; k++ {
			if k >= c.n {
				p += term
			}
			term *= c.usual / (k + 1)
		}
		if bound := math.Exp(-chernoff(c.n, c.usual)); bound < p || bound > 20*p {
			t.Errorf("P(N >= %v) of a mean of %v is %v, the bound %v", c.n, c.usual, p, bound)
		}
	}
	if s := chernoff(2, 3); s != 0 {
		t.Errorf("less than usual surprises by %v", s)
	}
}

// However many transfers and exchanges come, what opened is resolved: nothing that is followed is dropped with its event open.
func TestWhalesInACrowdAreResolved(t *testing.T) {
	b := newBench(t, "whale_movement", "ethereum:USDT", `{}`)
	at, seq := t0, 0
	give := func(from, exchange string, usd float64) {
		seq++
		b.to(at)
		b.record(&schemas.Transfer{
			Meta: &schemas.Meta{Source: "s", Venue: "ethereum", Symbol: "USDT", EventTime: int64(at)}, Chain: "ethereum", Asset: "USDT", TxHash: strconv.Itoa(seq), From: from, To: "dep",
			UsdValue: schemas.NewDecimal(int64(usd), 0), Amount: schemas.NewDecimal(int64(usd), 0), PriceTime: int64(at),
			ToKind: schemas.AddressKind_ADDRESS_KIND_EXCHANGE, ToOwner: exchange,
		})
	}
	for range 10 * 24 * 4 { // the first exchange has the least
		at = at.Add(15 * time.Minute)
		for k := range maxExchanges {
			give("regular"+strconv.Itoa(k), fmt.Sprintf("exchange%02d", k), 10e3*float64(k+1))
		}
	}
	for k := range 20 {
		at = at.Add(time.Second)
		give("sender"+strconv.Itoa(k), "exchange00", 600e3)
	}
	at = at.Add(4 * time.Minute)
	give("other", "another exchange", 1000)
	for k := range 2 * maxSums {
		give("whale"+strconv.Itoa(k), "exchange11", 2e6)
	}
	b.to(at.Add(10 * 24 * time.Hour))
	open, opened := map[string]string{}, map[string]int{}
	for _, e := range b.events {
		switch e.Status {
		case schemas.Open:
			open[e.DedupKey] = e.Description
			for _, leg := range e.Evidence.Legs {
				opened[leg]++
			}
		case schemas.Resolved:
			delete(open, e.DedupKey)
		}
	}
	if opened[legShortFlow] == 0 || opened[legKnob] < 2*maxSums {
		t.Fatalf("events by leg are %v: want a flow and %d transfers", opened, 2*maxSums)
	}
	for _, text := range open {
		t.Errorf("never resolved: %s", text)
	}
}
