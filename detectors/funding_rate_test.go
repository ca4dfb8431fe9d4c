package detectors

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tapewatch/tapewatch/schemas"
)

func init() {
	generators["funding_rate"] = fundings
	others["funding_rate"] = map[string]string{
		"threshold_pct": `0.2`, "check_interval": `"7m"`, "strict": `true`, "min_score": `3`, "confirm": `"2h"`, "cool_down": `"0s"`,
	}
	broken["funding_rate"] = map[string]string{
		"threshold_pct": `0`, "check_interval": `"90s"`, "min_score": `1`, "confirm": `"-1s"`, "cool_down": `"-1s"`,
	}
	samples[schemas.MarketDerivatives.Name] = struct {
		fresh func() func(seq uint64, at schemas.Time) schemas.Message
		every time.Duration
	}{sampleFunding, time.Second}
}

// sampleFunding is three venues whose accruing rates are told each second.
func sampleFunding() func(seq uint64, at schemas.Time) schemas.Message {
	m := &schemas.Funding{
		Meta: &schemas.Meta{Source: "s", Symbol: "BTC-USDT-PERP"}, Rate: schemas.NewDecimal(0, -8), IntervalSeconds: 28800,
		Kind: schemas.FundingKind_FUNDING_KIND_CURRENT, Asset: "BTC",
	}
	return func(seq uint64, at schemas.Time) schemas.Message {
		m.Meta.Venue, m.Meta.EventTime = [...]string{"binance", "bybit", "okx"}[seq%3], int64(at)
		m.NextTime = int64(at.Floor(8 * time.Hour).Add(8 * time.Hour))
		m.Rate.Mantissa = 10000 + int64(seq%7)
		return m
	}
}

// fundings makes two assets on four venues: settled rates, hourly ones without an interval, accruing and predicted ones; calm weeks with
// spikes either way, caps, late and doubled records, gaps, venues that fall silent.
func fundings(r *rand.Rand, hours int) []schemas.Message {
	var out []schemas.Message
	seq := 0
	venues := []string{"binance", "bybit", "hyper", "okx"}
	spike, size := [2]int{}, [2]float64{}
	silent := map[int]int{}
	own := [2]int{} // spikes of okx alone
	for hour := range hours * 6 {
		at := t0.Add(time.Duration(hour) * time.Hour)
		for i, asset := range []string{"BTC", "ETH"} {
			if r.IntN(40) == 0 {
				spike[i], size[i] = 8+r.IntN(24), 0.002*(r.Float64()-0.4)
				if r.IntN(8) == 0 {
					size[i] *= 4
				}
			}
			spike[i]--
			if own[i]--; r.IntN(40) == 0 {
				own[i] = 2 + r.IntN(8)
			}
			for k, venue := range venues {
				n := i*4 + k
				if silent[n]--; silent[n] > 0 {
					continue
				}
				if r.IntN(400) == 0 {
					silent[n] = 30
				}
				rate := 1e-4 + 2e-5*r.NormFloat64()
				if k == 3 && own[i] > 0 {
					rate += 0.0018
				}
				if spike[i] > 0 && (k < 2 || spike[i]%4 != 0) && (k < 2 || size[i] > 0.0005) {
					rate += size[i]
				}
				seq++
				m := &schemas.Funding{
					Meta: &schemas.Meta{Source: "test", Venue: venue, Symbol: asset + "-USDT-PERP", Id: strconv.Itoa(seq), EventTime: int64(at.Add(time.Duration(r.IntN(900)) * time.Millisecond))},
					Kind: schemas.FundingKind_FUNDING_KIND_SETTLED, Asset: asset,
				}
				switch {
				case venue == "hyper":
					rate /= 8
				case venue == "okx":
					m.Kind, m.IntervalSeconds, m.NextTime = schemas.FundingKind(1+r.IntN(2)), 28800, int64(at.Floor(8*time.Hour).Add(8*time.Hour))
				case hour%8 != 0:
					continue
				case venue == "binance":
					m.IntervalSeconds, m.Cap = 28800, schemas.NewDecimal(3, -3)
				}
				if r.IntN(60) == 0 {
					m.Meta.EventTime -= int64(2 * time.Hour)
				}
				m.Rate = schemas.NewDecimal(int64(rate*1e8), -8)
				out = append(out, m)
				switch r.IntN(80) {
				case 0:
					out = append(out, m)
				case 1:
					out = append(out, &schemas.Gap{Meta: &schemas.Meta{Source: "test", Venue: venue, Symbol: asset, EventTime: int64(at)}, Channel: "derivatives", Cause: "disconnect"})
				case 2, 3, 4, 5:
					out = append(out, &schemas.OpenInterest{Meta: m.Meta, Asset: asset, Quantity: schemas.NewDecimal(int64(1000+r.IntN(9000)), 0), Unit: schemas.QuantityUnit(1 + r.IntN(3)), Multiplier: schemas.NewDecimal(1, -2)},
						&schemas.Mark{Meta: m.Meta, Asset: asset, MarkPrice: schemas.NewDecimal(60000, 0)})
				}
			}
		}
		out = append(out, &schemas.Tick{Source: "test", Time: int64(at.Add(59 * time.Second))}, &schemas.Tick{Source: "test", Time: int64(at.Add(time.Hour - time.Second))})
	}
	return append(out, &schemas.Tick{Source: "test", Time: int64(t0.Add(time.Duration(hours*6+60) * time.Hour))})
}

// settlements feeds a series of payments, each at its time and an hourly fraction of it where hourly, and returns when episodes opened
// and ended.
func settlements(t *testing.T, config string, rates []float64, hourly bool) (opened, ended []schemas.Time) {
	t.Helper()
	b := newBench(t, "funding_rate", "BTC", config)
	pay := func(at schemas.Time, rate float64) {
		b.to(at)
		b.record(&schemas.Funding{
			Meta: &schemas.Meta{Source: "s", Venue: "v", Symbol: "BTC-USDT-PERP", EventTime: int64(at)}, Asset: "BTC", Kind: schemas.FundingKind_FUNDING_KIND_SETTLED,
			Rate: schemas.NewDecimal(int64(rate*1e10), -10),
		})
	}
	for i, rate := range rates {
		at := t0.Add(time.Duration(i) * 8 * time.Hour)
		if !hourly {
			pay(at, rate)
			continue
		}
		for h := range 8 {
			pay(at.Add(time.Duration(h)*time.Hour), rate/8)
		}
	}
	b.to(t0.Add(time.Duration(len(rates)) * 8 * time.Hour))
	for _, e := range b.events {
		switch e.Status {
		case schemas.Open:
			opened = append(opened, schemas.Time(e.EventTime))
		case schemas.Resolved:
			ended = append(ended, schemas.Time(e.EventTime))
		}
	}
	return opened, ended
}

// A venue that pays an eighth each hour is as extreme as one that pays all at once, and the interval shows without being told.
func TestHourlyVenuesAreNormalised(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	rates := make([]float64, 3000)
	for i := range rates {
		if rates[i] = 1e-4 + 1e-5*float64(r.IntN(9)); r.IntN(50) == 0 {
			rates[i] = 8e-4 + 4e-4*float64(r.IntN(4))
		}
	}
	opened, ended := settlements(t, `{}`, rates, false)
	hourlyOpened, hourlyEnded := settlements(t, `{}`, rates, true)
	if len(opened) < 30 {
		t.Fatalf("%d episodes: nothing was tested", len(opened))
	}
	if !slices.Equal(opened, hourlyOpened) || !slices.Equal(ended, hourlyEnded) {
		t.Errorf("%d episodes of settlements, %d of hours: want the same times\n%v\n%v", len(opened), len(hourlyOpened), opened, hourlyOpened)
	}
}

// The state of six contracts with 90 days each.
func TestFundingStateSize(t *testing.T) {
	b := newBench(t, "funding_rate", "BTC", `{}`)
	r := rand.New(rand.NewPCG(2, 2))
	for i := range 400 {
		at := t0.Add(time.Duration(i) * 8 * time.Hour)
		for k := range 6 {
			rate := int64(10000)
			if r.IntN(2) == 0 {
				rate += int64(r.NormFloat64() * 8000)
			}
			b.record(&schemas.Funding{
				Meta: &schemas.Meta{Source: "s", Venue: fmt.Sprint("venue", k), Symbol: "BTC-USDT-PERP", EventTime: int64(at)}, Asset: "BTC",
				Kind: schemas.FundingKind_FUNDING_KIND_SETTLED, Rate: schemas.NewDecimal(rate, -8), IntervalSeconds: 28800,
			})
		}
	}
	size := len(b.p.AppendState(nil))
	t.Logf("state of six contracts: %d bytes", size)
	if size > 6*1024 {
		t.Errorf("state is %d bytes: want at most 1024 a contract", size)
	}
}
